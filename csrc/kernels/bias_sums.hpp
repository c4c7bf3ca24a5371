// Gradient for b: sums of gy over images, rows and columns. The weight gradient's kernels ask for them a unit at a
// time, while that part of gy is still in a cache (32x112x112 with 3x3, planar: 136 us, 186 in two passes).
#pragma once
#include "sums.hpp"

namespace {

using depthwise::Side;

// The sum of `count` elements, `step` apart.
template <class S, class T>
double sum_run(const T* p, Step step, int64_t count) {
  using E = typename S::E;
  double total = 0;
  int64_t i = 0;
  if constexpr (vector_converts<S, T>)
    if (step == 1)
      while (count - i >= S::N) {
        constexpr int chains_of_sums = 4;
        const int64_t vectors = at_most((count - i) / S::N, steps_kept),
                      fours = vectors / chains_of_sums * chains_of_sums;
        typename S::V sum[chains_of_sums] = {S::zero(), S::zero(), S::zero(), S::zero()};
        for (int64_t v = 0; v < fours; v += chains_of_sums, i += chains_of_sums * S::N)
#pragma GCC unroll 4
          for (int k = 0; k < chains_of_sums; ++k) sum[k] = S::add(sum[k], S::load(p + i + k * S::N));
        for (int64_t v = fours; v < vectors; ++v, i += S::N) sum[0] = S::add(sum[0], S::load(p + i));
        if constexpr (__is_same(T, E))
          if (count - i < S::N) {
            sum[1] = S::add(sum[1], S::load(p + i, S::mask(0, count - i)));
            i = count;
          }
        total += static_cast<double>(S::sum(S::add(S::add(sum[0], sum[1]), S::add(sum[2], sum[3]))));
      }
  for (; i < count; ++i) total += static_cast<double>(convert<E>(p[i * step]));
  return total;
}

// The sum of one channel from element `at` on.
template <class S>
double sum_area(const Side& g, Step at, int64_t lines, int64_t cross_size) {
  const auto size = [](Step step) { return step < 0 ? -step : step; };
  const bool along_lines = size(g.line) < size(g.cross);
  const int64_t inner = along_lines ? lines : cross_size, outer = along_lines ? cross_size : lines;
  const Step step = along_lines ? g.line : g.cross, next = along_lines ? g.cross : g.line;
  const bool one = next == inner * step;
  double total = 0;
  with_type(g.dtype, [&](auto type) {
    const auto* p = static_cast<const typename decltype(type)::type*>(g.data) + at;
    for (int64_t i = 0; i < (one ? 1 : outer); ++i)
      total += sum_run<S>(p + i * next, step, one ? inner * outer : inner);
  });
  return total;
}

// Adds `lines` pixels, from element `at` on, to the sums of `vectors` vectors of channels.
template <class S>
void add_pixels(const Side& g, Step at, int64_t lines, Sums<S>& sums, int64_t vectors) {
  with_type(g.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (vector_converts<S, T>)
      for (int64_t v = 0; v < vectors; ++v) {
        const T* p = static_cast<const T*>(g.data) + at + v * S::N;
        for (int64_t i = 0; i < lines;) {
          const int64_t end = at_most(lines, i + steps_kept);
          sums.count(v, end - i);
          typename S::V even = S::load(sums.set(v)), odd = S::zero();
          for (; i + 1 < end; i += 2) {
            even = S::add(even, S::load(p + i * g.line));
            odd = S::add(odd, S::load(p + (i + 1) * g.line));
          }
          if (i < end) even = S::add(even, S::load(p + i++ * g.line));
          S::store(sums.set(v), S::add(even, odd));
        }
      }
  });
}

}  // namespace
