// The innermost functions for kernels of three by three and five by five, which networks are made of.
#pragma once
#include "rows.hpp"

namespace {

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

// Columns of K taps, one after the other: all weights beside the sums would be spilled. The taps of a line read
// neighbouring elements. Under all of the run's chunks K / 2 lines `above` and `below` a tile lie beside the image, or
// none.
template <class S, int K, bool above, bool below, bool one_chunk, int T>
DEPTHWISE_NOINLINE void add_square(const RowRun<S>& run) {
  constexpr int lines_in = T + K - 1;
  constexpr int first = above ? K / 2 : 0, last = lines_in - (below ? K / 2 : 0);
  const Rows<S>& r = *run.rows;
  const Taps<S>& taps = r.taps[0];
  const Step x_line = taps.x_line, y_line = r.y_line, w_column = taps.w_offset[1] - taps.w_offset[0];
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    Behind<S, T> behind(run, plane);
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
      if (r.fetch_bytes) behind.fetch();
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
#pragma GCC unroll 8
        for (int o = 0; o < K; ++o) {
          typename S::V weight[K];
          DEPTHWISE_PIN_INTEGER(w);
#pragma GCC unroll 16
          for (int a = 0; a < K; ++a)
            weight[a] =
                S::pin(S::set1(*reinterpret_cast<const typename S::E*>(reinterpret_cast<const char*>(w) + a * w_line)));
          w += w_column;
          const typename S::M mask = masks[o];
          Walk<typename S::E> lines(column + o + first * x_line, x_line);
#pragma GCC unroll 32
          for (int s = first; s < last; ++s) {
            const typename S::V v = S::pin(S::keep(S::load(lines.line(s - first)), mask));
#pragma GCC unroll 16
            for (int a = 0; a < K; ++a) {
              if (s - a < 0 || s - a >= T) continue;
              sum[s - a] = S::fma(v, weight[a], sum[s - a]);
            }
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

// A tile's vectors in all planes: enter(plane) before the first of a plane, and add(inner, v, plane's x, sum) for each,
// where `inner` says whether no lane of it lies beside the row.
template <class S, int T, class Enter, class Add>
DEPTHWISE_INLINE void each_vector(const RowRun<S>& run, const Enter& enter, const Add& add) {
  const Rows<S>& r = *run.rows;
  const InnerVectors inner = r.taps[0].inner;
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    Behind<S, T> behind(run, plane);
    const auto* x = r.x + plane * r.x_plane + r.taps[0].x_offset[0];
    auto* y = r.y + plane * r.y_plane + run.tile->y;
    const typename S::V start = r.bias ? S::set1(r.bias[plane * r.bias_plane]) : S::zero();
    enter(r.w + plane * r.w_plane);
    const auto run_vector = [&](auto is_inner, int64_t v) __attribute__((always_inline)) {
      const int64_t lanes = v + 1 < r.vectors ? S::N : r.last_lanes;
      if (r.fetch_bytes) behind.fetch();
      typename S::V sum[T];
      if (__builtin_expect(run.adds, 0)) {
        load_lines<S, T>(y, r.y_line, lanes, sum);
      } else {
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sum[t] = start;
      }
      add(is_inner, r.taps[0].masks + v * r.masks_vector[0], x, sum);
      store_lines<S, T>(y, r.y_line, lanes, sum);
      x += r.x_vector;
      y += r.y_vector;
    };
    for (int64_t v = 0; v < r.vectors; ++v) inner.has(v) ? run_vector(Number<1>(), v) : run_vector(Number<0>(), v);
  }
}

// The same with stride two. Of the K taps those of even lines are a chunk, and those of odd lines another; neighbouring
// columns share their loads.
template <class S, int K, int T>
DEPTHWISE_NOINLINE void add_strided_square(const RowRun<S>& run) {
  using E = typename S::E;
  using V = typename S::V;
  const Taps<S>& taps = run.rows->taps[0];
  const Step x_line = taps.x_line;
  V weights[K][K];
  each_vector<S, T>(
      run,
      [&](const E* plane) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int o = 0; o < K; ++o)
#pragma GCC unroll 8
          for (int a = 0; a < K; ++a) {
            const Chunk& chunk = run.chunks[a % 2];
            weights[a][o] = S::set1(plane[chunk.w + taps.w_offset[o] + a / 2 * chunk.w_tap]);
          }
      },
      [&](auto inner, const typename S::M* masks, const E* x, V(&sum)[T]) __attribute__((always_inline)) {
        const auto add_columns = [&](auto odd, auto column) __attribute__((always_inline)) {
          constexpr int parity = decltype(odd)::value, o0 = decltype(column)::value - 1;
          constexpr int A = (K + 1 - parity) / 2, O = o0 + 1 < K ? 2 : 1;
          constexpr uint32_t middle = K % 2 && o0 == K / 2 ? 1 : K % 2 && o0 + 1 == K / 2 ? 2 : 0;
          constexpr uint32_t masked = decltype(inner)::value ? 0 : 3 & ~middle;
          const Chunk& chunk = run.chunks[parity];
          uint32_t live = chunk.live;
          DEPTHWISE_PIN_INTEGER(live);
          V weight[A][O];
          typename S::M mask[O] = {};
          Step offset[O];
#pragma GCC unroll 8
          for (int o = 0; o < O; ++o) {
            offset[o] = o;
            if (masked >> o & 1u) mask[o] = masks[o0 + o];
#pragma GCC unroll 8
            for (int a = 0; a < A; ++a) weight[a][o] = S::pin(weights[2 * a + parity][o0 + o]);
          }
          Walk<E> lines(x + chunk.x + o0, x_line);
#pragma GCC unroll 32
          for (int s = 0; s < T + A - 1; ++s) {
            const E* line = lines.line(s);
            const bool asks = !(lines_of_all_taps(T, A) & (1u << s));
            if (asks && __builtin_expect(!(live & (1u << s)), 0)) continue;
            V v[O];
            load_taps<S, Lanes::columns, O, masked>(line, offset, mask, v);
#pragma GCC unroll 8
            for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
              for (int a = 0; a < A; ++a) {
                if (s - a < 0 || s - a >= T) continue;
                sum[s - a] = masked >> o & 1u ? multiply_add<S, Lanes::columns>(v[o], weight[a][o], sum[s - a], mask[o])
                                              : S::fma(v[o], weight[a][o], sum[s - a]);
              }
          }
        };
        const auto add_parity = [&](auto odd) __attribute__((always_inline)) {
          add_columns(odd, Number<1>());
          add_columns(odd, Number<3>());
          if constexpr (K == 5) add_columns(odd, Number<5>());
        };
        add_parity(Number<0>());
        add_parity(Number<1>());
      });
}

// The input gradient of stride two: one chunk of A taps, which C0 columns of the even phase meet and C1 of the odd one.
template <class S, int A, int C0, int C1, int T>
DEPTHWISE_NOINLINE void add_interleaved(const RowRun<S>& run) {
  using E = typename S::E;
  using V = typename S::V;
  const Rows<S>& r = *run.rows;
  const Chunk& chunk = *run.chunks;
  const Step x_line = r.taps[0].x_line;
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    Behind<S, T> behind(run, plane);
    const E *x = r.x + plane * r.x_plane + chunk.x, *w = r.w + plane * r.w_plane + chunk.w;
    E* y = r.y + plane * r.y_plane + run.tile->y;
    const V start = r.bias ? S::set1(r.bias[plane * r.bias_plane]) : S::zero();
    V weights[C0 + C1][A];
#pragma GCC unroll 8
    for (int o = 0; o < C0 + C1; ++o)
#pragma GCC unroll 8
      for (int a = 0; a < A; ++a)
        weights[o][a] = S::set1(w[(o < C0 ? r.taps[0].w_offset[o] : r.taps[1].w_offset[o - C0]) + a * chunk.w_tap]);
    const auto run_vector = [&](auto inner, int64_t v) __attribute__((always_inline)) {
      const int64_t lanes = v + 1 < r.vectors ? 2 * S::N : r.last_lanes;
      if (r.fetch_bytes) behind.fetch();
      V sum[2][T];
      if (__builtin_expect(run.adds, 0)) {
        load_lines<S, T>(y, r.y_line, lanes, sum);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < 2 * T; ++i) sum[i / T][i % T] = start;
      }
#pragma GCC unroll 8
      for (int o = 0; o < C0 + C1; ++o) {
        const int phase = o < C0 ? 0 : 1, column = o - phase * C0;
        const Taps<S>& taps = r.taps[phase];
        V weight[A];
#pragma GCC unroll 8
        for (int a = 0; a < A; ++a) weight[a] = S::pin(weights[o][a]);
        typename S::M mask = {};
        if (!decltype(inner)::value) mask = taps.masks[v * r.masks_vector[phase] + column];
        uint32_t live = chunk.live;
        DEPTHWISE_PIN_INTEGER(live);
        Walk<E> lines(x + taps.x_offset[column], x_line);
#pragma GCC unroll 32
        for (int s = 0; s < T + A - 1; ++s) {
          const E* line = lines.line(s);
          const bool asks = !(lines_of_all_taps(T, A) & (1u << s));
          if (asks && __builtin_expect(!(live & (1u << s)), 0)) continue;
          V in[1];
          load_taps<S, Lanes::columns, 1, decltype(inner)::value ? 0u : 1u>(line, {0}, {mask}, in);
#pragma GCC unroll 8
          for (int a = 0; a < A; ++a) {
            if (s - a < 0 || s - a >= T) continue;
            V& to = sum[phase][s - a];
            to = decltype(inner)::value ? S::fma(in[0], weight[a], to)
                                        : multiply_add<S, Lanes::columns>(in[0], weight[a], to, mask);
          }
        }
      }
      store_lines<S, T>(y, r.y_line, lanes, sum);
      x += r.x_vector;
      y += r.y_vector;
    };
    for (int64_t v = 0; v < r.vectors; ++v)
      r.taps[0].inner.has(v) && r.taps[1].inner.has(v) ? run_vector(Number<1>(), v) : run_vector(Number<0>(), v);
  }
}

}  // namespace
