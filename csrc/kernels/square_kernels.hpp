// The innermost functions for kernels of three by three and five by five, which networks are made of.
#pragma once
#include "rows.hpp"

namespace {

// Where there are registers for nine weights, and vectors are long, they stay in them (AVX-512, EPYC of the fourth
// generation, one thread: 512x14x14 29 us by columns, 23 so).
template <class S>
constexpr bool keeps_nine_weights = S::registers >= 32;

// All planes of a call, for one chunk.
template <class S, Lanes L, int T>
DEPTHWISE_NOINLINE void run_nine_of_chunk(const Rows<S>& r) {
  using E = typename S::E;
  using V = typename S::V;
  const Taps<S>& taps = r.taps[0];
  const Step x_line = taps.x_line, offset[3] = {taps.x_offset[0], taps.x_offset[1], taps.x_offset[2]};
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    const E* w = r.w + plane * r.w_plane + r.tiles->chunks[r.chunks.begin].w;
    V weight[3][3];
#pragma GCC unroll 16
    for (int a = 0; a < 3; ++a)
#pragma GCC unroll 16
      for (int o = 0; o < 3; ++o)
        weight[a][o] = S::set1(w[a * r.tiles->chunks[r.chunks.begin].w_tap + taps.w_offset[o]]);
    const V start = r.bias ? S::set1(r.bias[plane * r.bias_plane]) : S::zero();
    const E* x_plane = r.x + plane * r.x_plane;
    E* y_plane = r.y + plane * r.y_plane;
    for (const RowTile* tile = r.tiles; tile < r.tiles + r.tile_count; ++tile) {
      const Chunk& chunk = tile->chunks[r.chunks.begin];
      if (r.adds && !chunk.live) continue;
      const E* x = x_plane + chunk.x;
      E* y = y_plane + tile->y;
      const typename S::M* masks = taps.masks;
      int64_t lanes = (r.vectors - 1) * S::N + r.last_lanes;  // left in the row
      for (int64_t v = 0; v < r.vectors; ++v) {
        if (r.fetch_bytes) {
          fetch_span(x_plane + tile->ahead, T * r.fetch_bytes, v, false);
          if (r.fetch_y) fetch_span(y_plane + tile->y_ahead, T * S::N * Step{sizeof(E)}, v, true);
        }
        V sum[T];
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sum[t] = start;
        if (r.adds) load_lines<S, T>(y, r.y_line, lanes, sum);
        const typename S::M mask[3] = {pinned<S>(masks[0]), pinned<S>(masks[1]), pinned<S>(masks[2])};
        add_three<S, L, T, 3>(sum, chunk.live, x, x_line, offset, mask, weight);
        store_lines<S, T>(y, r.y_line, lanes, sum);
        x += r.x_vector;
        y += r.y_vector;
        lanes -= S::N;
        masks += r.masks_vector[0];
      }
    }
  }
}

// Columns of K taps, or the two that share their loads, one after the other: all weights beside the sums would be
// spilled. The taps of a line read neighbouring elements. Under all of the run's chunks K / 2 lines `above` and `below`
// a tile lie beside the image, or none.
template <class S, int K, bool above, bool below, bool one_chunk, int T>
DEPTHWISE_NOINLINE void add_square(const RowRun<S>& run) {
  constexpr int apart = lines_per_out<S>, lines_in = (T - 1) * apart + K;
  constexpr int first = above ? K / 2 : 0, last = lines_in - (below ? K / 2 : 0);
  const Rows<S>& r = *run.rows;
  const Taps<S>& taps = r.taps[0];
  const Step x_line = taps.x_line, y_line = r.y_line, w_column = taps.w_offset[1] - taps.w_offset[0];
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    const auto *x = r.x + plane * r.x_plane + taps.x_offset[0], *w_plane = r.w + plane * r.w_plane + taps.w_offset[0];
    auto* y = r.y + plane * r.y_plane + run.tile->y;
    const auto* masks = taps.masks;
    const typename S::V start = r.bias ? S::set1(r.bias[plane * r.bias_plane]) : S::zero();
    const Chunk* chunk = run.chunks;
    if (one_chunk) {
      x += chunk->x;
      w_plane += chunk->w;
    }
    Step w_line = chunk->w_tap * Step{sizeof(typename S::E)};
    int64_t lanes = (r.vectors - 1) * S::N + r.last_lanes;  // left in the row
    for (; lanes > 0; lanes -= S::N) {
      if (r.fetch_bytes) fetch_behind<S, T>(run, plane, r.vectors - divide_up(lanes, S::N));
      typename S::V sum[T];
      if (run.adds) {
        load_lines<S, T>(y, y_line, lanes, sum);
      } else {
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sum[t] = start;
      }
      chunk = run.chunks;
      do {
        const auto *column = x, *w = w_plane;
        if (!one_chunk) {
          column += chunk->x;
          w += chunk->w;
          w_line = chunk->w_tap * Step{sizeof(typename S::E)};
        }
        DEPTHWISE_PIN_INTEGER(w_line);
        const auto add = [&](auto begin, auto columns) __attribute__((always_inline)) {
          constexpr int o0 = decltype(begin)::value, O = decltype(columns)::value;
          typename S::V weight[O][K];
          typename S::M mask[O];
          Step offset[O];
#pragma GCC unroll 16
          for (int o = 0; o < O; ++o) {
            DEPTHWISE_PIN_INTEGER(w);
            offset[o] = o;
            mask[o] = masks[o0 + o];
#pragma GCC unroll 16
            for (int a = 0; a < K; ++a)
              weight[o][a] = S::pin(
                  S::set1(*reinterpret_cast<const typename S::E*>(reinterpret_cast<const char*>(w) + a * w_line)));
            w += w_column;
          }
          Walk<typename S::E> lines(column + o0 + first * x_line, x_line);
#pragma GCC unroll 32
          for (int s = first; s < last; ++s) {
            typename S::V v[O];
            load_taps<S, Lanes::columns, O>(lines.line(s - first), offset, mask, v);
#pragma GCC unroll 16
            for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
              for (int a = 0; a < K; ++a) {
                if (s - a < 0 || s - a >= T * apart || (s - a) % apart) continue;
                sum[(s - a) / apart] = S::fma(v[o], weight[o][a], sum[(s - a) / apart]);
              }
          }
        };
        if constexpr (apart == 2) {
          add(Number<0>(), Number<2>());
          add(Number<2>(), Number<1>());
        } else {
          add(Number<0>(), Number<1>());
          add(Number<1>(), Number<1>());
          add(Number<2>(), Number<1>());
          if constexpr (K == 5) {
            add(Number<3>(), Number<1>());
            add(Number<4>(), Number<1>());
          }
        }
      } while (!one_chunk && ++chunk < run.chunks_end);
      store_lines<S, T>(y, y_line, lanes, sum);
      x += r.x_vector;
      y += r.y_vector;
      masks += r.masks_vector[0];
    }
  }
}

}  // namespace
