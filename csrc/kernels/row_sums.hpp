// Sums along one row with lanes along its columns: y[j] = start + the sum over k of w[k] * x[j + k * step], in the
// order of k whatever the number of taps, so that no bit hangs on where a row is cut.
//
// Neighbouring taps read almost the same elements, at any alignment: to load them again, as the multiply-add's operand,
// costs no instruction. So a few taps keep their weights in registers and many vectors of sums pass by; many taps keep
// the sums.
#pragma once
#include "cut.hpp"

namespace {

constexpr int few_taps = 8;

template <class S>
struct RowSums {
  using E = typename S::E;
  const E *x, *w;
  Step step;  // elements from tap to tap
  int64_t taps;
  const E* bias;  // null: none
  bool adds;      // to what y holds, else to the bias
  E* y;
  int64_t vectors;
};

// `count` vectors from element `at` on, with `taps` weights in registers.
template <class S, bool neighbours, int taps, int count>
DEPTHWISE_INLINE void sum_few(const RowSums<S>& r, Step at, typename S::V start, const typename S::V (&weight)[taps]) {
  typename S::V sum[count];
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i) sum[i] = r.adds ? S::load(r.y + at + i * S::N) : start;
#pragma GCC unroll 8
  for (int k = 0; k < taps; ++k) {
    const auto* x = r.x + at + (neighbours ? k : k * r.step);
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i) sum[i] = S::fma(S::load(x + i * S::N), weight[k], sum[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i) S::store(r.y + at + i * S::N, sum[i]);
}

template <class S, bool neighbours, int taps>
DEPTHWISE_NOINLINE void sum_few(const RowSums<S>& r) {
  const typename S::V start = r.bias ? S::set1(*r.bias) : S::zero();
  typename S::V weight[taps];
#pragma GCC unroll 8
  for (int k = 0; k < taps; ++k) weight[k] = S::pin(S::set1(r.w[k]));
  int64_t v = 0;
  for (; v + 4 <= r.vectors; v += 4) sum_few<S, neighbours, taps, 4>(r, v * S::N, start, weight);
  for (; v < r.vectors; ++v) sum_few<S, neighbours, taps, 1>(r, v * S::N, start, weight);
}

template <class S, int count>
DEPTHWISE_INLINE void sum_many(const RowSums<S>& r, Step at, typename S::V start) {
  typename S::V sum[count];
#pragma GCC unroll 16
  for (int i = 0; i < count; ++i) sum[i] = r.adds ? S::load(r.y + at + i * S::N) : start;
  const auto* x = r.x + at;
  for (int64_t k = 0; k < r.taps; ++k, x += r.step) {
    const typename S::V weight = S::pin(S::set1(r.w[k]));
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) sum[i] = S::fma(S::load(x + i * S::N), weight, sum[i]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < count; ++i) S::store(r.y + at + i * S::N, sum[i]);
}

// In nearly equal shares: alone, a few sums would wait for one another.
template <class S>
DEPTHWISE_NOINLINE void sum_many(const RowSums<S>& r) {
  constexpr int most = S::registers - 4;
  const typename S::V start = r.bias ? S::set1(*r.bias) : S::zero();
  const Cut shares = fewest_pieces(r.vectors, most);
  for (int64_t i = 0; i < shares.count; ++i)
    with_number<most>(shares.length(i), [&](auto count) __attribute__((always_inline)) {
      sum_many<S, decltype(count)::value>(r, shares.begin(i) * S::N, start);
    });
}

// With few taps outputs that read beside the row leave out what is not there, lane by lane: x is column `column` of a
// row of `size` columns, and only `count` outputs are stored.
template <class S>
DEPTHWISE_NOINLINE void sum_beside(const RowSums<S>& r, int64_t column, int64_t size, int64_t count) {
  const typename S::V start = r.bias ? S::set1(*r.bias) : S::zero();
  for (int64_t i = 0; i < count; i += S::N) {
    const int64_t lanes = at_most(S::N, count - i);
    typename S::V sum = r.adds ? S::load(r.y + i, S::mask(0, lanes)) : start;
    for (int64_t k = 0; k < r.taps; ++k) {
      const int64_t at = column + i + k * r.step;
      const typename S::M mask = S::mask(-at, at_most(lanes, size - at));
      sum = S::fma(S::load(r.x + i + k * r.step, mask), S::set1(r.w[k]), sum, mask);
    }
    S::store_first(r.y + i, sum, lanes);
  }
}

template <class S>
inline void sum_row(const RowSums<S>& r) {
  if (r.taps < 1 || r.taps > few_taps) return sum_many(r);
  with_number<few_taps>(r.taps, [&](auto taps) {
    if (r.step == 1)
      sum_few<S, true, decltype(taps)::value>(r);
    else
      sum_few<S, false, decltype(taps)::value>(r);
  });
}

}  // namespace
