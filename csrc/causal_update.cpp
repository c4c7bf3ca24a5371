// Makes a job of a decode step and hands its units to threads.
#include "causal_update.hpp"

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine.hpp"
#include "plan/numbers.hpp"

namespace depthwise {
namespace {

constexpr int64_t most_columns = 64;      // of what is new, at once
constexpr int64_t unit_bytes = 24 << 10;  // scratch memory of a unit: what a first-level cache holds beside arrays
constexpr int64_t most_vectors = 32;      // of a unit

std::vector<int64_t> read(const Integers& from, int64_t count) {
  std::vector<int64_t> all(from.data ? static_cast<size_t>(count) : 0);
  for (size_t i = 0; i < all.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i) * from.stride;
    all[i] = from.bytes == 8 ? static_cast<const int64_t*>(from.data)[at] : static_cast<const int32_t*>(from.data)[at];
  }
  return all;
}

Side side(const Array& a, int64_t batch, int64_t channel, int64_t line) {
  return {.data = a.data, .dtype = a.dtype, .batch = batch, .channel = channel, .line = line};
}

// First and last byte of an array of these sizes.
std::pair<uintptr_t, uintptr_t> extent(const Array& a, std::initializer_list<int64_t> shape) {
  int64_t low = 0, high = 0, axis = 0;
  for (const int64_t size : shape) {
    const int64_t reach = (size - 1) * a.strides[axis++];
    (reach < 0 ? low : high) += reach;
  }
  const int64_t item = item_bytes(a.dtype);
  const auto start = reinterpret_cast<uintptr_t>(a.data);
  return {start + static_cast<uintptr_t>(low * item), start + static_cast<uintptr_t>((high + 1) * item - 1)};
}

bool meets_state(const CausalUpdateProblem& p, const Array& a, std::initializer_list<int64_t> shape) {
  if (!a.data || !p.state_length) return false;
  const auto [first, last] = extent(a, shape);
  const auto [state_first, state_last] = extent(p.state, {p.states, p.channels, p.state_length});
  return first <= state_last && state_first <= last;
}

// Whether some elements of an array may be one: none are where each stride is longer than all shorter ones reach.
bool shares_memory(const int64_t* strides, std::initializer_list<int64_t> shape) {
  std::vector<std::pair<int64_t, int64_t>> axes;  // stride, size
  for (const int64_t size : shape) {
    if (!size) return false;
    if (size > 1) axes.emplace_back(std::abs(*strides), size);
    ++strides;
  }
  std::sort(axes.begin(), axes.end());
  int64_t reach = 0;
  for (const auto& [stride, size] : axes) {
    if (stride <= reach) return true;
    reach += stride * (size - 1);
  }
  return false;
}

}  // namespace

bool update_causally(const CausalUpdateProblem& p, const Target& target, int threads, Executor& executor) {
  if (!p.batch || !p.channels || !p.length) return true;
  const std::vector<int64_t> rows = read(p.rows, p.batch), starts = read(p.starts, p.batch);
  for (const int64_t row : rows)
    if (row >= p.states)
      throw std::out_of_range("conv_state_indices has " + std::to_string(row) + ", but conv_state has only " +
                              std::to_string(p.states) + " states");
  if (shares_memory(p.state.strides, {p.states, p.channels, p.state_length}))
    throw std::invalid_argument("conv_state has elements that share memory: it cannot be updated in place");
  if (meets_state(p, p.x, {p.batch, p.channels, p.length}) || meets_state(p, p.W, {p.channels, p.width}) ||
      meets_state(p, p.b, {p.channels}))
    return false;

  const Kernels& kernels = *target.kernels;
  bool wide = false;
  for (const Array& a : {p.x, p.state, p.W}) wide |= a.dtype == DType::f64;
  const int64_t lanes = kernels.lanes[wide], vectors = (p.channels + lanes - 1) / lanes;
  const auto [x, state, W, b, y] = std::tie(p.x, p.state, p.W, p.b, p.y);
  CausalUpdate job{.x = side(x, x.strides[0], x.strides[1], x.strides[2]),
                   .state = side(state, state.strides[0], state.strides[1], state.strides[2]),
                   .W = side(W, 0, W.strides[0], W.strides[1]),
                   .b = side(b, 0, b.strides[0], 0),
                   .y = side(y, y.strides[0], y.strides[1], y.strides[2]),
                   .batch = p.batch,
                   .channels = p.channels,
                   .length = p.length,
                   .width = p.width,
                   .state_length = p.state_length,
                   .starts = p.starts.data && p.state_length ? starts.data() : nullptr,
                   .rows = p.rows.data ? rows.data() : nullptr,
                   .activation = p.activation};
  job.piece = std::min(p.length, most_columns);
  const int64_t vector_bytes = lanes * (wide ? 8 : 4) * (2 * p.state_length + 2 * p.width + 2 * job.piece);
  const int64_t shared = (vectors + threads - 1) / threads;
  job.group = std::clamp<int64_t>(unit_bytes / vector_bytes, 1, std::min(most_vectors, shared));
  const int64_t units = (vectors + job.group - 1) / job.group;
  const double moved = static_cast<double>(p.batch * p.channels) *
                       static_cast<double>(2 * p.state_length + p.length * (2 * p.width + 2));
  if (moved < numbers.machine.serial_flop) threads = 1;

  count_execution(target.kernels);
  const Kernel<CausalUpdate>& kernel = kernels.causal_update[wide];
  struct Call {
    const Kernel<CausalUpdate>& kernel;
    const CausalUpdate& job;
  } call{kernel, job};
  parallel_for(
      units, threads, kernel.scratch_bytes(job),
      [](const void* c, int64_t begin, int64_t end, void* scratch) {
        const Call& it = *static_cast<const Call*>(c);
        it.kernel.run(it.job, begin, end, scratch);
      },
      &call, executor);
  return true;
}

}  // namespace depthwise
