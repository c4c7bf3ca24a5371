// Sums along rows with lanes along their columns: y[j] = start + the sum over k of w[k] * x[j + offsets[k]], in the
// order of k whatever the number of taps, so that no bit hangs on where a row is cut.
//
// Neighbouring taps read almost the same elements, at any alignment: to load them again, as the multiply-add's operand,
// costs no instruction. So a few taps keep their weights in registers and many vectors of sums pass by; many taps keep
// the sums.
#pragma once
#include "cut.hpp"
#include "row_edges.hpp"

namespace {

using depthwise::few_taps;

// What is copied, staged and summed of rows that are done together stays in a first-level cache.
constexpr int64_t rows_together_bytes = 12 << 10;

inline bool are_neighbours(const Step* offsets, int64_t count) {
  for (int64_t k = 1; k < count; ++k)
    if (offsets[k] != offsets[0] + k) return false;
  return true;
}

// Rows of neighbouring channels, of few taps: a row may be shorter than a call.
template <class S>
struct SumsOfRows {
  using E = typename S::E;
  const E* x;
  Step x_channel, share, sharing;  // so many outputs share a row of x, and the first is so far in its share
  const Step* offsets;
  const E* w;  // of each channel a tap after another
  Step w_channel;
  const E* bias;  // one a channel
  RowEdges<S> edges;
  E* y;
  Step y_channel, channels;
};

template <class S, bool neighbours, int taps>
struct FewTaps {
  using E = typename S::E;
  using V = typename S::V;
  V weight[taps], start;
  Step offset[taps];  // from the first tap

  template <int count>
  DEPTHWISE_INLINE void sum(const E* x, E* y) const {
    V sum[count];
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i) sum[i] = start;
#pragma GCC unroll 8
    for (int k = 0; k < taps; ++k) {
      const E* at = x + (neighbours ? k : offset[k]);
#pragma GCC unroll 8
      for (int i = 0; i < count; ++i) sum[i] = S::fma(S::load(at + i * S::N), weight[k], sum[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i) S::store(y + i * S::N, sum[i]);
  }

  // Lanes that read beside the row leave out what is not there: zero times a weight that is not finite would not be.
  DEPTHWISE_INLINE void sum_edge(const E* x, E* y, const typename S::M* mask, int64_t lanes) const {
    V sum = start;
#pragma GCC unroll 8
    for (int k = 0; k < taps; ++k)
      sum = S::fma(S::load(x + (neighbours ? k : offset[k]), mask[k]), S::keep(weight[k], mask[k]), sum);
    if (lanes == S::N)
      S::store(y, sum);
    else
      S::store_first(y, sum, lanes);
  }
};

template <class S, bool neighbours, int taps>
DEPTHWISE_NOINLINE void sum_rows(const SumsOfRows<S>& p) {
  using E = typename S::E;
  FewTaps<S, neighbours, taps> few;
#pragma GCC unroll 8
  for (int k = 0; k < taps; ++k) few.offset[k] = p.offsets[k] - p.offsets[0];
  const E *x = p.x + p.offsets[0], *w = p.w;
  E* y = p.y;
  Step share = p.share;
  for (Step channel = 0; channel < p.channels; ++channel) {
    few.start = S::set1(p.bias[channel]);
#pragma GCC unroll 8
    for (int k = 0; k < taps; ++k) few.weight[k] = S::pin(S::set1(w[k]));
    const typename S::M* mask = p.edges.masks;
    for (const RowEdge* e = p.edges.edges; e < p.edges.edges + p.edges.count; ++e, mask += taps)
      few.sum_edge(x + e->at, y + e->at, mask, e->lanes);
    Step at = p.edges.inner.begin;
    for (; at + 4 * S::N <= p.edges.inner.end; at += 4 * S::N) few.template sum<4>(x + at, y + at);
    for (; at < p.edges.inner.end; at += S::N) few.template sum<1>(x + at, y + at);
    w += p.w_channel;
    y += p.y_channel;
    if (++share == p.sharing) {
      share = 0;
      x += p.x_channel;
    }
  }
}

template <class S>
inline void sum_rows(int64_t taps, const SumsOfRows<S>& p) {
  with_number<few_taps>(taps, [&](auto number) {
    constexpr int n = decltype(number)::value;
    if (are_neighbours(p.offsets, n))
      sum_rows<S, true, n>(p);
    else
      sum_rows<S, false, n>(p);
  });
}

// One row, of any number of taps.
template <class S>
struct RowSums {
  using E = typename S::E;
  const E* x;
  const Step* offsets;
  bool neighbours;  // whether the offsets are
  const E* w;
  int64_t taps;
  E start;
  bool adds;  // to what y holds, else to `start`
  E* y;
  int64_t outs;
  bool laps;  // the last vector laps over the one before, else there is room behind the outputs
};

template <class S, int count>
DEPTHWISE_INLINE void sum_many(const RowSums<S>& r, Step at) {
  const Step end = at + (count - 1) * S::N, last = r.laps ? at_most(end, r.outs - S::N) - at : end - at;
  auto* const y = r.y + at;
  typename S::V sum[count];
#pragma GCC unroll 16
  for (int i = 0; i < count; ++i) sum[i] = r.adds ? S::load(y + (i + 1 < count ? i * S::N : last)) : S::set1(r.start);
  for (int64_t k = 0; k < r.taps; ++k) {
    const auto* x = r.x + at + r.offsets[k];
    DEPTHWISE_PIN_INTEGER(x);  // GCC would keep an address for each vector
    const typename S::V weight = S::pin(S::set1(r.w[k]));
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) sum[i] = S::fma(S::load(x + (i + 1 < count ? i * S::N : last)), weight, sum[i]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < count; ++i) S::store(y + (i + 1 < count ? i * S::N : last), sum[i]);
}

// In nearly equal shares: alone, a few sums would wait for one another.
template <class S>
DEPTHWISE_NOINLINE void sum_many(const RowSums<S>& r) {
  constexpr int most = S::registers - 4;
  const Cut shares = fewest_pieces(divide_up(r.outs, S::N), most);
  for (int64_t i = 0; i < shares.count; ++i)
    with_number<most>(shares.length(i), [&](auto count) __attribute__((always_inline)) {
      sum_many<S, decltype(count)::value>(r, shares.begin(i) * S::N);
    });
}

}  // namespace
