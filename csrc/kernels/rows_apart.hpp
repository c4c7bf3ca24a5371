// The loop under correlations of packed rows whose taps share few lines, as a larger stride leaves them. Nothing is
// gained from a line that is loaded for several outputs, and each chunk of taps has but a line or two: so all chunks of
// a tile are added while its sums stay in registers (AVX2, EPYC of the fourth generation, one thread, forward:
// 64x56x56 with 3x3 and stride 3 246 us chunk by chunk and 212 so, packing included, 96x8x56x56 with 3x3x3 and stride
// 1x8x8 1.78 ms and 1.45).
#pragma once
#include "rows.hpp"
#include "walk.hpp"

namespace {

// One tap of all columns: `live` has a bit for each line, `all` whether every one is set.
template <class S, int T, bool all>
DEPTHWISE_INLINE void add_tap(typename S::V (&sum)[T], const typename S::E* x, const typename S::E* w,
                              const Taps<S>& taps, uint32_t live) {
  for (int64_t o = 0; o < taps.count; ++o) {
    const typename S::V weight = S::set1(w[taps.w_offset[o]]);
    Walk<typename S::E> walk(x + taps.x_offset[o], taps.x_line);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      const typename S::E* line = walk.line(t);
      if (!all && !(live >> t & 1)) continue;
      if constexpr (S::masked_fma)
        sum[t] = S::fma(S::load(line), weight, sum[t], taps.masks[o]);
      else
        sum[t] = S::fma(S::load(line), weight, sum[t]);
    }
  }
}

// One tile, one plane; beside the row are zeros.
template <class S, int T>
DEPTHWISE_NOINLINE void run_rows_apart(const Rows<S>& r, Range chunks) {
  using E = typename S::E;
  constexpr uint32_t every = (1u << T) - 1u;
  const RowTile& tile = *r.tiles;
  const typename S::V start = r.bias ? S::set1(*r.bias) : S::zero();
  Taps<S> taps = r.taps[0];
  for (int64_t v = 0; v < r.vectors; ++v) {
    const int64_t lanes = v + 1 < r.vectors ? S::N : r.last_lanes;
    E* y = r.y + tile.y + v * r.y_vector;
    typename S::V sum[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) sum[t] = start;
    if (r.adds) load_lines<S, T>(y, r.y_line, lanes, sum);
    for (const Chunk* chunk = tile.chunks + chunks.begin; chunk < tile.chunks + chunks.end; ++chunk)
      for (int a = 0; a < chunk->taps; ++a) {
        const uint32_t live = chunk->live >> a & every;
        const E* x = r.x + v * r.x_vector + chunk->x + a * taps.x_line;
        const E* w = r.w + chunk->w + a * chunk->w_tap;
        if (live == every)
          add_tap<S, T, true>(sum, x, w, taps, live);
        else if (live)
          add_tap<S, T, false>(sum, x, w, taps, live);
      }
    store_lines<S, T>(y, r.y_line, lanes, sum);
    taps.masks += r.masks_vector[0];
  }
}

}  // namespace
