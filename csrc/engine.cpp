// Hands the units of a plan to threads, and adds up what the parts of a weight gradient have summed.
#include "engine.hpp"

#include <atomic>
#include <vector>

#include "parallel.hpp"
#include "simd/common.hpp"

namespace depthwise {
namespace {

std::atomic<int64_t> executed[8];

void count_execution(const Kernels* kernels) {
  for (int i = 0; i < target_count; ++i)
    if (targets[i].kernels == kernels) executed[i].fetch_add(1, std::memory_order_relaxed);
}

template <class Job>
void run(const Kernel<Job>& kernel, const Job& job, const Plan& plan) {
  struct Call {
    const Kernel<Job>& kernel;
    const Job& job;
  } call{kernel, job};
  parallel_for(
      plan.units, plan.threads, plan.scratch_bytes,
      [](const void* c, int64_t begin, int64_t end, void* scratch) {
        const Call& call = *static_cast<const Call*>(c);
        call.kernel.run(call.job, begin, end, scratch);
      },
      &call);
}

template <class T>
void store_weights(const Plan& plan, const std::vector<double>& sums) {
  const WeightGradient& job = plan.weight_gradient;
  const int64_t taps_w = job.sum_line == 1 ? job.kernel_lines : job.kernel_offsets;
  const int64_t taps = job.kernel_lines * job.kernel_offsets;
  for (int64_t o = 0; o < job.out_channels; ++o) {
    T* to = static_cast<T*>(plan.gW.data) + o % job.divide * plan.gW.strides[0] + o / job.divide * plan.gW.strides[1];
    for (int64_t tap = 0; tap < taps; ++tap) {
      double total = 0;
      for (int64_t part = 0; part < job.parts; ++part)
        total += sums[static_cast<size_t>((part * job.out_channels + o) * taps + tap)];
      to[tap / taps_w * plan.gW.strides[2] + tap % taps_w * plan.gW.strides[3]] = convert<T>(total);
    }
  }
}

}  // namespace

int64_t executions(int target) { return executed[target]; }

void execute(const Plan& plan) {
  count_execution(plan.kernels);
  if (plan.correlate) return run(*plan.correlate, plan.correlation, plan);
  WeightGradient job = plan.weight_gradient;
  std::vector<double> sums(static_cast<size_t>(job.parts * job.out_channels * job.kernel_lines * job.kernel_offsets));
  job.sums = sums.data();
  run(*plan.sum_products, job, plan);
  switch (plan.gW.dtype) {
    case DType::f16:
      return store_weights<f16>(plan, sums);
    case DType::bf16:
      return store_weights<bf16>(plan, sums);
    case DType::f32:
      return store_weights<float>(plan, sums);
    case DType::f64:
      return store_weights<double>(plan, sums);
  }
}

}  // namespace depthwise
