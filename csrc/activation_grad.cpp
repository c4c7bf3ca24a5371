#include "activation_grad.hpp"

#include <algorithm>
#include <cstdlib>
#include <tuple>
#include <utility>
#include <vector>

#include "plan/numbers.hpp"

namespace depthwise {
namespace {

// Both operands of a piece lie in the first-level cache.
constexpr int64_t piece_elements = 1024;
// What an element costs, as so many operations of a sum.
constexpr double flop_an_element = 32;

struct Loop {
  int64_t size, z, gy, gz;  // strides in elements

  bool continues(const Loop& inner) const {
    return z == inner.size * inner.z && gy == inner.size * inner.gy && gz == inner.size * inner.gz;
  }
};

// Fills in sizes and strides: axes as the result's memory lies, those that lie as one merged.
void set_loops(ActivationGradient& job, std::vector<Loop> loops) {
  std::sort(loops.begin(), loops.end(), [](const Loop& a, const Loop& b) {
    const auto key = [](const Loop& l) { return std::make_tuple(std::abs(l.gz), std::abs(l.z), std::abs(l.gy)); };
    return key(a) > key(b);
  });
  int axis = array_axes;
  for (; !loops.empty(); loops.pop_back()) {
    const Loop& loop = loops.back();
    if (axis < array_axes &&
        loop.continues({job.sizes[axis], job.z.strides[axis], job.gy.strides[axis], job.gz.strides[axis]})) {
      job.sizes[axis] *= loop.size;
      continue;
    }
    --axis;
    job.sizes[axis] = loop.size;
    job.z.strides[axis] = loop.z;
    job.gy.strides[axis] = loop.gy;
    job.gz.strides[axis] = loop.gz;
  }
  while (axis-- > 0) {
    job.sizes[axis] = 1;
    job.z.strides[axis] = job.gy.strides[axis] = job.gz.strides[axis] = 0;
  }
}

}  // namespace

void activation_grad(Activation activation, const int64_t (&sizes)[array_axes], const Array& z, const Array& gy,
                     const Array& gz, const Target& target, int threads, Executor& executor) {
  ActivationGradient job{.activation = activation, .z = z, .gy = gy, .gz = gz};
  std::vector<Loop> loops;
  int64_t elements = 1;
  for (int i = 0; i < array_axes; ++i) {
    elements *= sizes[i];
    if (sizes[i] != 1) loops.push_back({sizes[i], z.strides[i], gy.strides[i], gz.strides[i]});
  }
  if (elements == 0) return;
  set_loops(job, std::move(loops));
  const int64_t row = job.sizes[array_axes - 1];
  job.piece = std::min(row, piece_elements);
  job.pieces = (row + job.piece - 1) / job.piece;
  job.units = elements / row * job.pieces;
  if (static_cast<double>(elements) * flop_an_element < numbers.machine.serial_flop) threads = 1;

  struct Call {
    const Kernel<ActivationGradient>& kernel;
    const ActivationGradient& job;
  } call{target.kernels->activation_grad[z.dtype == DType::f64 || gy.dtype == DType::f64], job};
  parallel_for(
      job.units, threads, call.kernel.scratch_bytes(job),
      [](const void* c, int64_t begin, int64_t end, void* scratch) {
        const Call& it = *static_cast<const Call*>(c);
        it.kernel.run(it.job, begin, end, scratch);
      },
      &call, executor);
}

}  // namespace depthwise
