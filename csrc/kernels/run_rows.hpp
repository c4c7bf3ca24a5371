// Rows by the innermost functions that fit them.
#pragma once
#include "square_kernels.hpp"

namespace {

template <class S>
using RunFunction = void (*)(const RowRun<S>&);

// Sides of the kernels that have functions of their own.
template <class S>
constexpr bool has_square(int64_t taps) {
  return chunk_taps<S> >= taps && !pairs_columns<S> && (taps == 3 || taps == 5);
}

// How many chunks, from the first of some on, are square kernels of one side with the same lines beside the image.
template <class S>
inline int64_t squares(const Rows<S>& r, const Chunk* first, const Chunk* end) {
  const Taps<S>& taps = r.taps[0];
  if (!has_square<S>(first->taps) || taps.count != first->taps) return 0;
  const Step w_step = taps.w_offset[1] - taps.w_offset[0];
  for (int64_t o = 1; o < taps.count; ++o)
    if (taps.x_offset[o] - taps.x_offset[o - 1] != 1 || taps.w_offset[o] - taps.w_offset[o - 1] != w_step) return 0;
  const Chunk* next = first + 1;
  while (next < end && next->taps == first->taps && next->live == first->live) ++next;
  return next - first;
}

// Null where more lines, or fewer, lie beside the image than the functions are made for.
template <class S, int K, bool one_chunk>
inline RunFunction<S> square_function(uint32_t live, int64_t lines) {
  const int64_t lines_in = lines + K - 1;
  const bool above = !(live & 1u), below = !(live >> (lines_in - 1) & 1u);
  if (live != live_lines(above ? K / 2 : 0, lines_in - (below ? K / 2 : 0), lines_in)) return nullptr;
  RunFunction<S> f = nullptr;
  with_height(lines, [&](auto height) {
    constexpr int T = decltype(height)::value;
    if (above)
      f = below ? add_square<S, K, true, true, one_chunk, T> : add_square<S, K, true, false, one_chunk, T>;
    else
      f = below ? add_square<S, K, false, true, one_chunk, T> : add_square<S, K, false, false, one_chunk, T>;
  });
  return f;
}

template <class S, bool one_chunk>
inline RunFunction<S> square_function(const Chunk& chunk, int64_t lines) {
  if constexpr (has_square<S>(5))
    if (chunk.taps == 5) return square_function<S, 5, one_chunk>(chunk.live, lines);
  return square_function<S, 3, one_chunk>(chunk.live, lines);
}

// Null where there is none for these chunks.
template <class S>
inline RunFunction<S> strided_square_function(const Rows<S>& r, const Chunk* first, const Chunk* end, int64_t lines) {
  const Taps<S>& taps = r.taps[0];
  const int64_t K = taps.count;
  if (!taps.inner.middle || end != first + 2 || K < 3 || K > 5 || first[0].taps != (K + 1) / 2 ||
      first[1].taps != K / 2)
    return nullptr;
  for (int64_t o = 1; o < K; ++o)
    if (taps.x_offset[o] - taps.x_offset[o - 1] != 1) return nullptr;
  for (const Chunk* chunk = first; chunk < end; ++chunk)
    if (!ends_alone(chunk->live, lines, chunk->taps)) return nullptr;
  RunFunction<S> f = nullptr;
  with_height(lines, [&](auto height) {
    constexpr int T = decltype(height)::value;
    f = K == 3 ? add_strided_square<S, 3, T> : K == 4 ? add_strided_square<S, 4, T> : add_strided_square<S, 5, T>;
  });
  return f;
}

// For one chunk.
template <class S, Lanes L>
inline RunFunction<S> chunk_function(const Chunk& chunk, int64_t lines) {
  constexpr int most = L == Lanes::columns_careful ? 1 : S::max_taps;
  DEPTHWISE_REQUIRE(depthwise::is_tile_height(lines, max_lines) && chunk.taps >= 1 && chunk.taps <= most,
                    "it is compiled");
  const bool ends = L == Lanes::columns && ends_alone(chunk.live, lines, chunk.taps);
  RunFunction<S> f = nullptr;
  with_number<most>(chunk.taps, [&](auto A) {
    with_height(lines, [&](auto T) {
      f = add_chunk<S, L, Ask::of_all, decltype(T)::value, decltype(A)::value>;
      if constexpr (L == Lanes::columns)
        if (ends) f = add_chunk<S, L, Ask::of_ends, decltype(T)::value, decltype(A)::value>;
    });
  });
  return f;
}

// Null unless chunks are longer than those that have a function each, or taps share their loads: then all are summed
// together.
template <class S>
inline RunFunction<S> long_chunks_function(const Chunk* first, const Chunk* end, int64_t lines) {
  bool is_long = pairs_columns<S>;
  for (const Chunk* chunk = first; chunk < end; ++chunk) is_long |= chunk->taps > S::max_taps;
  RunFunction<S> f = nullptr;
  if (is_long) with_height(lines, [&](auto T) { f = add_chunks<S, decltype(T)::value>; });
  return f;
}

// Where there are no vectors kernels of more than three columns go the general way.
template <class S, int A, int C0, int C1>
inline void interleaved_function(RunFunction<S>& f, int64_t lines) {
  if constexpr (C0 + C1 <= 3 || S::N > 1)
    with_height(lines, [&](auto T) { f = add_interleaved<S, A, C0, C1, decltype(T)::value>; });
}

// Null where there is none for these chunks: kernels of three to five columns have functions.
template <class S>
inline RunFunction<S> interleaved_function(const Rows<S>& r, const Chunk* first, const Chunk* end, int64_t lines) {
  if (end != first + 1 || !ends_alone(first->live, lines, first->taps)) return nullptr;
  const auto is = [&](int64_t taps, int64_t even, int64_t odd) {
    return first->taps == taps && r.taps[0].count == even && r.taps[1].count == odd;
  };
  RunFunction<S> f = nullptr;
  if (is(1, 1, 2)) interleaved_function<S, 1, 1, 2>(f, lines);
  if (is(2, 1, 2)) interleaved_function<S, 2, 1, 2>(f, lines);
  if (is(1, 2, 1)) interleaved_function<S, 1, 2, 1>(f, lines);
  if (is(2, 2, 1)) interleaved_function<S, 2, 2, 1>(f, lines);
  if (is(2, 2, 2)) interleaved_function<S, 2, 2, 2>(f, lines);
  if (is(2, 3, 2)) interleaved_function<S, 2, 3, 2>(f, lines);
  if (is(3, 3, 2)) interleaved_function<S, 3, 3, 2>(f, lines);
  if (is(2, 2, 3)) interleaved_function<S, 2, 2, 3>(f, lines);
  if (is(3, 2, 3)) interleaved_function<S, 3, 2, 3>(f, lines);
  return f;
}

template <class S>
inline bool all_have_nine_taps(const Rows<S>& r) {
  for (int64_t i = r.chunks.begin; i < r.chunks.end; ++i)
    if (r.tiles->chunks[i].taps != 3) return false;
  return r.three_columns;
}

template <class S, Lanes L>
void run_rows(const Rows<S>& r) {
  constexpr int phases = phases_of<S>;
  constexpr bool by_columns = L == Lanes::columns && phases == 1 && has_square<S>(3) && !keeps_nine_weights<S>;
  const int64_t lines = r.tiles->lines;
  if constexpr (L == Lanes::columns && sums_nine_by_lines<S>)
    if (all_have_nine_taps(r)) {
      Rows<S> one = r;
      for (int64_t i = r.chunks.begin; i < r.chunks.end; ++i, one.adds = true) {
        one.chunks = {i, i + 1};
        with_height(lines, [&](auto T) { run_nine_of_chunk<S, L, decltype(T)::value>(one); });
      }
      return;
    }
  for (const RowTile* tile = r.tiles; tile < r.tiles + r.tile_count; ++tile) {
    const Chunk *chunks = tile->chunks + r.chunks.begin, *end = tile->chunks + r.chunks.end;
    RunFunction<S> f = nullptr;
    if constexpr (L == Lanes::columns && pairs_columns<S>) f = strided_square_function(r, chunks, end, lines);
    if constexpr (L == Lanes::columns && phases == 2) f = interleaved_function(r, chunks, end, lines);
    if constexpr (by_columns)
      if (squares(r, chunks, end) == end - chunks)
        f = end == chunks + 1 ? square_function<S, true>(*chunks, lines) : square_function<S, false>(*chunks, lines);
    if constexpr (L == Lanes::columns && (pairs_columns<S> || chunk_taps<S> > S::max_taps))
      if (!f) f = long_chunks_function<S>(chunks, end, lines);
    RowRun<S> run{.rows = &r, .tile = tile, .chunks = chunks, .chunks_end = end, .adds = r.adds};
    if constexpr (L == Lanes::columns && pairs_columns<S>) {
      f(run);
    } else if (f) {
      f(run);
    } else {
      for (; run.chunks < end; ++run.chunks) {
        if (run.adds && !run.chunks->live) continue;
        chunk_function<S, L>(*run.chunks, lines)(run);
        run.adds = true;
      }
    }
  }
}

}  // namespace
