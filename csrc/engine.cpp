// Hands the units of a plan to threads, and adds up what the parts of a weight gradient have summed.
#include "engine.hpp"

#include <atomic>
#include <cstring>
#include <memory>

#include "kernels/pack.hpp"
#include "parallel.hpp"

namespace depthwise {
namespace {

std::atomic<int64_t> executed[most_targets];

template <class Job>
void run(const Kernel<Job>& kernel, const Job& job, const Plan& plan, Executor& executor) {
  struct Call {
    const Kernel<Job>& kernel;
    const Job& job;
  } call{kernel, job};
  parallel_for(
      plan.units, plan.threads, plan.scratch_bytes,
      [](const void* c, int64_t begin, int64_t end, void* scratch) {
        const Call& it = *static_cast<const Call*>(c);
        it.kernel.run(it.job, begin, end, scratch);
      },
      &call, executor);
}

// Fills gx with zeros, row by row or pixel by pixel as its memory lies.
void clear(const Plan& plan, Executor& executor) {
  parallel_for(
      plan.problem.batch * plan.problem.h.size, plan.threads, 0,
      [](const void* p, int64_t begin, int64_t end, void*) {
        const Problem& problem = static_cast<const Plan*>(p)->problem;
        const auto& [data, dtype, strides] = problem.x;
        const int64_t channels = problem.channels, h = problem.h.size, w = problem.w.size;
        const auto item = static_cast<size_t>(item_bytes(dtype));
        const bool last = strides[1] == 1;
        const int64_t outer = last ? w : channels, inner = last ? channels : w;
        const int64_t outer_step = strides[last ? width_axis : 1], inner_step = strides[last ? 1 : width_axis];
        for (int64_t row = begin; row < end; ++row)
          for (int64_t i = 0; i < outer; ++i) {
            char* at =
                static_cast<char*>(data) +
                (row / h * strides[0] + row % h * strides[height_axis] + i * outer_step) * static_cast<int64_t>(item);
            if (inner_step == 1)
              std::memset(at, 0, static_cast<size_t>(inner) * item);
            else
              for (int64_t k = 0; k < inner; ++k)
                std::memset(at + k * inner_step * static_cast<int64_t>(item), 0, item);
          }
      },
      &plan, executor);
}

// Adds the parts up in order, so that the sum does not depend on who summed them.
double sum_of_parts(const double* sums, int64_t parts, int64_t size) {
  double total = 0;
  for (int64_t part = 0; part < parts; ++part) total += sums[part * size];
  return total;
}

template <class T>
void store_weights(const Plan& plan, const double* sums) {
  const WeightGradient& job = plan.weight_gradient;
  const Array& gW = plan.problem.W;
  const int64_t kernel_h = plan.problem.h.kernel, kernel_w = plan.problem.w.kernel;
  for (int64_t o = 0; o < job.out_channels; ++o) {
    T* plane = static_cast<T*>(gW.data) + o % job.divide * gW.strides[0] + o / job.divide * gW.strides[1];
    for (int64_t k = 0; k < kernel_h; ++k)
      for (int64_t l = 0; l < kernel_w; ++l, ++sums)
        plane[k * gW.strides[height_axis] + l * gW.strides[width_axis]] =
            convert<T>(sum_of_parts(sums, job.parts, job.out_channels * kernel_h * kernel_w));
  }
}

template <class T>
void store_biases(const Plan& plan, const double* sums) {
  const WeightGradient& job = plan.weight_gradient;
  for (int64_t o = 0; o < job.out_channels; ++o)
    static_cast<T*>(plan.problem.b.data)[o * plan.problem.b.strides[0]] =
        convert<T>(sum_of_parts(sums + o, job.parts, job.out_channels));
}

}  // namespace

void count_execution(const Kernels* kernels) {
  for (int i = 0; i < target_count; ++i)
    if (targets[i].kernels == kernels) executed[i].fetch_add(1, std::memory_order_relaxed);
}

int64_t executions(int target) { return executed[target]; }

void execute(const Plan& plan, Executor& executor) {
  count_execution(&plan.considered.k);
  if (plan.clears) clear(plan, executor);
  if (plan.correlate) return run(*plan.correlate, plan.correlation, plan, executor);
  WeightGradient job = plan.weight_gradient;
  const int64_t outs = job.parts * job.out_channels, taps = job.kernel_lines * job.kernel_cross;
  const int64_t weights = job.gW ? 0 : outs * taps, biases = plan.problem.b.data ? outs : 0;
  const std::unique_ptr<double[]> memory(weights + biases ? new double[static_cast<size_t>(weights + biases)]
                                                          : nullptr);
  job.sums = memory.get();
  job.gb_sums = biases ? job.sums + weights : nullptr;
  run(*plan.sum_products, job, plan, executor);
  if (weights)
    with_type(plan.problem.W.dtype, [&](auto type) { store_weights<typename decltype(type)::type>(plan, job.sums); });
  if (biases)
    with_type(plan.problem.b.dtype, [&](auto type) { store_biases<typename decltype(type)::type>(plan, job.gb_sums); });
}

}  // namespace depthwise
