// Rows by the innermost functions that fit them.
#pragma once
#include "square_kernels.hpp"

namespace {

template <class S>
using RunFunction = void (*)(const RowRun<S>&);

// Sides of the kernels that have functions of their own.
template <class S>
constexpr bool has_square(int64_t taps) {
  return S::max_taps >= taps && (taps == 3 || (taps == 5 && lines_per_out<S> == 1));
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
  const int64_t lines_in = (lines - 1) * lines_per_out<S> + K;
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

template <class S, Lanes L, int most>
inline RunFunction<S> chunk_function(const Chunk& chunk, int64_t lines) {
  DEPTHWISE_REQUIRE(depthwise::is_tile_height(lines, max_lines) && chunk.taps >= 1 && chunk.taps <= most,
                    "it is compiled");
  const uint32_t all_taps = lines_of_all_taps(lines, chunk.taps, lines_per_out<S>);
  const bool ends = L == Lanes::columns && (chunk.live & all_taps) == all_taps;
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

// Chunks have `most` taps at most.
template <class S, Lanes L, int most>
void run_rows(const Rows<S>& r) {
  constexpr int phases = phases_of<S>;
  constexpr bool by_columns = L == Lanes::columns && phases == 1 && has_square<S>(3) && !keeps_nine_weights<S>;
  const int64_t lines = r.tiles->lines;
  if constexpr (L == Lanes::columns && phases == 1 && S::N > 4 && keeps_nine_weights<S>)
    if (r.tiles->chunks[r.chunks.begin].taps == 3 && r.taps[0].count == 3) {
      Rows<S> one = r;
      for (int64_t i = r.chunks.begin; i < r.chunks.end; ++i, one.adds = true) {
        one.chunks = {i, i + 1};
        with_height(lines, [&](auto T) { run_nine_of_chunk<S, L, decltype(T)::value>(one); });
      }
      return;
    }
  for (const RowTile* tile = r.tiles; tile < r.tiles + r.tile_count; ++tile) {
    RowRun<S> run{.rows = &r, .tile = tile, .adds = r.adds};
    const Chunk* end = tile->chunks + r.chunks.end;
    for (run.chunks = tile->chunks + r.chunks.begin; run.chunks < end; run.chunks = run.chunks_end) {
      run.chunks_end = run.chunks + 1;
      if (run.adds && !run.chunks->live) continue;
      RunFunction<S> f = nullptr;
      if constexpr (by_columns)
        if (const int64_t together = squares(r, run.chunks, end)) {
          f = together == 1 ? square_function<S, true>(*run.chunks, lines)
                            : square_function<S, false>(*run.chunks, lines);
          if (f) run.chunks_end = run.chunks + together;
        }
      if (!f) f = chunk_function<S, L, most>(*run.chunks, lines);
      f(run);
      run.adds = true;
    }
  }
}

}  // namespace
