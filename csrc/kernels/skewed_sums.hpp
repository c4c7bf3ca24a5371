// Sums of many neighbouring taps along a long row: a vector that is loaded is used for several.
//
// Output vectors are N columns apart, and so vector j reads under tap k what vector j + 1 reads under tap k - N. `ages`
// vectors of sums, each N taps behind the one before, pass along the row: what is loaded serves them all, the oldest is
// stored when it has met its last tap, and a new one begins. Sections of the row are done together, for which a weight
// is loaded once. Each sum meets its taps in their order.
#pragma once
#include "row_sums.hpp"

namespace {

template <class S, int ages>
constexpr int sections_of = (S::registers - 4) / ages > 5 ? 5 : (S::registers - 4) / ages;

template <class S, int ages, int sections>
struct SkewedSums {
  typename S::V sum[sections][ages];

  // What one load of each section is used for: by vectors from age `first` on, the oldest being the first.
  template <int first>
  DEPTHWISE_INLINE void add(const typename S::E* x, Step section, const typename S::E* w) {
    typename S::V v[sections];
#pragma GCC unroll 8
    for (int i = 0; i < sections; ++i) v[i] = S::pin(S::load(x + i * section));
#pragma GCC unroll 16
    for (int a = first; a < ages; ++a) {
      const typename S::V weight = S::set1(w[(ages - 1 - a) * S::N]);
#pragma GCC unroll 8
      for (int i = 0; i < sections; ++i) sum[i][a] = S::fma(v[i], weight, sum[i][a]);
    }
  }
};

// The first `sections` times `length` vectors of outputs.
template <class S, int ages>
DEPTHWISE_NOINLINE void sum_skewed(const RowSums<S>& r, int64_t length) {
  constexpr int sections = sections_of<S, ages>;
  const auto* x = r.x + r.offsets[0];
  auto* y = r.y;
  const Step section = length * S::N;
  const int64_t rest = r.taps - (ages - 1) * S::N;  // that the oldest has still to meet
  SkewedSums<S, ages, sections> sums;
  const typename S::V start = S::set1(r.start);
  const auto begin = [&](int64_t vector, int age) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int i = 0; i < sections; ++i)
      sums.sum[i][age] = r.adds ? S::load(r.y + at_most(vector, length - 1) * S::N + i * section) : start;
  };
#pragma GCC unroll 16
  for (int a = 0; a < ages; ++a) begin(0, a);
  for (int64_t step = 0;; ++step) {
    for (int64_t k = 0; k < rest; ++k) sums.template add<0>(x + k, section, r.w + k);
    if (step >= ages - 1) {
#pragma GCC unroll 8
      for (int i = 0; i < sections; ++i) S::store(y + i * section, sums.sum[i][0]);
      y += S::N;
    }
    if (step == length + ages - 2) return;
    for (int64_t k = rest; k < S::N; ++k) sums.template add<1>(x + k, section, r.w + k);
#pragma GCC unroll 8
    for (int i = 0; i < sections; ++i)
#pragma GCC unroll 16
      for (int a = 0; a + 1 < ages; ++a) sums.sum[i][a] = sums.sum[i][a + 1];
    begin(step + 1, ages - 1);
    x += S::N;
  }
}

// So many outputs, the first, are done so, as many as make sections long enough.
template <class S>
int64_t sum_long(RowSums<S> r) {
  constexpr int most = 6;
  if (S::N < 4 || !r.neighbours) return 0;
  const Cut chunks = fewest_pieces(r.taps, most * S::N);
  int64_t done = 0;
  for (int64_t i = 0; i < chunks.count; ++i) {
    RowSums<S> some = r;
    some.offsets += chunks.begin(i);
    some.w += chunks.begin(i);
    some.taps = chunks.length(i);
    some.adds = r.adds || i > 0;
    with_number<most>(divide_up(divide_up(r.taps, chunks.count), S::N), [&](auto number) {
      constexpr int ages = decltype(number)::value, sections = sections_of<S, ages>;
      const int64_t length = r.outs / (S::N * sections);
      if (length < 2 * ages || ages < 2) return;
      done = length * sections * S::N;
      sum_skewed<S, ages>(some, length);
    });
    if (!done) return 0;
  }
  return done;
}

// One row, of any number of taps.
template <class S>
void sum_row(RowSums<S> r) {
  Step done = sum_long(r);
  if (done == r.outs) return;
  if (done && r.laps) done = at_most(done, r.outs - S::N);  // there is a whole vector to do
  r.x += done;
  r.y += done;
  r.outs -= done;
  sum_many(r);
}

}  // namespace
