// The loop under every correlation whose lanes hold columns: one chunk of taps, over the row tiles of planes.
//
// Planes, tiles and vectors are loops of one function, because a plane of 14 by 14 takes but a hundred multiply-adds
// of vectors, and a call costs as much (AVX-512, EPYC of the fourth generation, one thread: 512x14x14 with 3x3 36 us by
// transposing for lanes of channels, 23 in this way).
#pragma once
#include "job.hpp"
#include "require.hpp"
#include "tile.hpp"

namespace {

// Lanes that lie two elements apart in memory, lines that lie two apart: a stride of two. Whole vectors read one
// element more than they need.
template <class S>
struct StrideTwo : S {
  using E = typename S::E;
  using M = typename S::M;
  // Of elements [first, last), which lie around that of lane 0.
  static M mask(int64_t first, int64_t last) { return S::mask((first + 1) >> 1, (last + 1) >> 1); }
  static typename S::V load(const E* p) {
    typename S::V even, odd;
    S::deinterleave(S::load(p), S::load(p + S::N), even, odd);
    return even;
  }
  // What the taps of two neighbouring columns read.
  static void deinterleave_both(const E* p, typename S::V& first, typename S::V& second) {
    S::deinterleave(S::load(p), S::load(p + S::N), first, second);
    first = S::pin(first);
    second = S::pin(second);
  }
};
template <class S>
constexpr int lines_per_out<StrideTwo<S>> = 2;

// Outputs of two phases that take turns along the row: the columns of a strided input gradient.
template <class S>
struct Interleaved : S {
  static constexpr int max_taps = 3;
};
template <class S>
constexpr int phases_of = 1;
template <class S>
constexpr int phases_of<Interleaved<S>> = 2;

// Neighbouring output rows of a plane; the same for all planes.
struct RowTile {
  int64_t index;
  const depthwise::LinePhase* rows;
  int64_t t0, lines;
  Chunk* chunks;         // as many for each tile of a phase, some with no live line
  Step y;                // elements from the plane's start to the tile's first row
  Step ahead, y_ahead;   // ... of x and y, to what is fetched meanwhile for a tile to come
  Step lowest, highest;  // ... of x, to column 0 of the lowest and the highest line that is read
};

template <class S>
struct Rows {
  using E = typename S::E;
  const E *x, *w, *bias;  // no bias: null
  E* y;
  Step x_plane, w_plane, bias_plane, y_plane;  // steps from plane to plane
  int64_t planes;
  const RowTile* tiles;  // of one phase
  int64_t tile_count, chunk;
  bool adds;                        // to what y holds, else to the bias
  Taps<S> taps[phases_of<S>];       // their masks are those of the first vector
  Step y_line, x_vector, y_vector;  // elements from line to line, and from vector to vector
  Step masks_vector[phases_of<S>];
  int64_t vectors, last_lanes;  // all but the last vector are stored whole
  int64_t fetch_bytes;          // of x for each output line of a vector, or 0: see Plan
  bool fetch_y;
};

// The first `count` lanes of the lines, or all.
template <class S, int T>
DEPTHWISE_INLINE void store_lines(typename S::E* y, Step y_line, int64_t count, const typename S::V (&sum)[T]) {
  Walk<typename S::E> walk(y, y_line);
  if (count >= S::N) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) S::store(const_cast<typename S::E*>(walk.line(t)), sum[t]);
  } else {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) S::store_first(const_cast<typename S::E*>(walk.line(t)), sum[t], count);
  }
}

// The sums that an earlier chunk left in y.
template <class S, int T>
DEPTHWISE_INLINE void load_lines(const typename S::E* y, Step y_line, int64_t count, typename S::V (&sum)[T]) {
  const typename S::M mask = S::mask(0, count);
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) sum[t] = count >= S::N ? S::load(y + t * y_line) : S::load(y + t * y_line, mask);
}

// Under StrideTwo a masked load takes every other element, but sums are stored as neighbours.
template <class S>
struct Stored {
  using type = S;
};
template <class S>
struct Stored<StrideTwo<S>> {
  using type = S;
};

template <class S, Lanes L, int T, int A>
DEPTHWISE_NOINLINE void run_rows(const Rows<S>& r) {
  using E = typename S::E;
  using Out = typename Stored<S>::type;
  constexpr int phases = phases_of<S>;
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    const E* x_plane = r.x + plane * r.x_plane;
    const E* w = r.w + plane * r.w_plane;
    const typename S::V start = r.bias ? S::set1(r.bias[plane * r.bias_plane]) : S::zero();
    for (const RowTile* tile = r.tiles; tile < r.tiles + r.tile_count; ++tile) {
      const Chunk chunk = tile->chunks[r.chunk];
      if (r.adds && !chunk.live) continue;
      const E* x = x_plane + chunk.x;
      E* y = r.y + plane * r.y_plane + tile->y;
      Taps<S> taps[phases];
      for (int i = 0; i < phases; ++i) taps[i] = r.taps[i];
      int64_t lanes = (r.vectors - 1) * S::N * phases + r.last_lanes;  // left in the row
      for (int64_t v = 0; v < r.vectors; ++v) {
        if (r.fetch_bytes) {
          fetch_span(x_plane + tile->ahead, T * r.fetch_bytes, v, false);
          if (r.fetch_y) fetch_span(r.y + plane * r.y_plane + tile->y_ahead, T * S::N * Step{sizeof(E)}, v, true);
        }
        typename S::V sum[T];
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sum[t] = start;
        if constexpr (phases == 1)
          if (r.adds) load_lines<Out, T>(y, r.y_line, lanes, sum);
        if constexpr (phases == 1) {
          add_chunk<S, L, T, A>(sum, chunk, taps[0], x, w + chunk.w);
          store_lines<Out, T>(y, r.y_line, lanes, sum);
        } else {
          typename S::V odd[T];
#pragma GCC unroll 16
          for (int t = 0; t < T; ++t) odd[t] = start;
          if (r.adds) {
#pragma GCC unroll 16
            for (int t = 0; t < T; ++t) {
              const E* line = y + t * r.y_line;
              S::deinterleave(lanes >= S::N ? S::load(line) : S::load(line, S::mask(0, lanes)),
                              lanes >= 2 * S::N ? S::load(line + S::N)
                              : lanes > S::N    ? S::load(line + S::N, S::mask(0, lanes - S::N))
                                                : S::zero(),
                              sum[t], odd[t]);
            }
          }
          add_chunk<S, L, T, A>(sum, chunk, taps[0], x, w + chunk.w);
          add_chunk<S, L, T, A>(odd, chunk, taps[1], x, w + chunk.w);
#pragma GCC unroll 16
          for (int t = 0; t < T; ++t) S::interleave(sum[t], odd[t], sum[t], odd[t]);
          store_lines<S, T>(y, r.y_line, lanes, sum);
          if (lanes > S::N) store_lines<S, T>(y + S::N, r.y_line, lanes - S::N, odd);
        }
        x += r.x_vector;
        y += r.y_vector;
        lanes -= S::N * phases;
        for (int i = 0; i < phases; ++i) taps[i].masks += r.masks_vector[i];
      }
    }
  }
}

// The same for kernels of three by three, whose weights all stay in registers where there are enough of these (AVX-512,
// EPYC of the fourth generation, one thread: 512x14x14 29 us by run_rows, 23 here).
template <class S, Lanes L, int T, int A>
DEPTHWISE_NOINLINE void run_rows_of_three(const Rows<S>& r) {
  using E = typename S::E;
  using V = typename S::V;
  using Out = typename Stored<S>::type;
  const Taps<S>& taps = r.taps[0];
  const Step x_line = taps.x_line, offset[3] = {taps.x_offset[0], taps.x_offset[1], taps.x_offset[2]};
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    const E* w = r.w + plane * r.w_plane + r.tiles->chunks[r.chunk].w;
    V weight[A][3];
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a)
#pragma GCC unroll 16
      for (int o = 0; o < 3; ++o) weight[a][o] = S::set1(w[a * r.tiles->chunks[r.chunk].w_tap + taps.w_offset[o]]);
    const V start = r.bias ? S::set1(r.bias[plane * r.bias_plane]) : S::zero();
    const E* x_plane = r.x + plane * r.x_plane;
    E* y_plane = r.y + plane * r.y_plane;
    for (const RowTile* tile = r.tiles; tile < r.tiles + r.tile_count; ++tile) {
      const Chunk& chunk = tile->chunks[r.chunk];
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
        if (r.adds) load_lines<Out, T>(y, r.y_line, lanes, sum);
        const typename S::M mask[3] = {pinned<S>(masks[0]), pinned<S>(masks[1]), pinned<S>(masks[2])};
        add_three<S, L, T, A>(sum, chunk.live, x, x_line, offset, mask, weight);
        store_lines<Out, T>(y, r.y_line, lanes, sum);
        x += r.x_vector;
        y += r.y_vector;
        lanes -= S::N;
        masks += r.masks_vector[0];
      }
    }
  }
}

// Tiles of so many lines, under a chunk of so many taps, of `most` at most.
template <class S, Lanes L, int most>
inline void run_rows(int64_t lines, int64_t taps, const Rows<S>& rows) {
  DEPTHWISE_REQUIRE(depthwise::is_tile_height(lines, max_lines) && taps >= 1 && taps <= most, "it is compiled");
  if constexpr (most >= 3 && phases_of<S> == 1 && S::N > 4)
    if (taps == 3 && rows.taps[0].count == 3)
      return with_height(lines, [&](auto T) { run_rows_of_three<S, L, decltype(T)::value, 3>(rows); });
  with_number<most>(taps, [&](auto A) {
    with_height(lines, [&](auto T) { run_rows<S, L, decltype(T)::value, decltype(A)::value>(rows); });
  });
}

}  // namespace
