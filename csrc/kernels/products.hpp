// The register tile under a weight gradient whose lanes hold channels: the sums of A x O taps stay in registers while
// gy and x stream past.
//
// A tile is T neighbouring lines of gy, image columns, one vector each, held in registers. Each x line is loaded once
// for each of O taps of the axis across the lines, and meets every gy line t with t + a == s, where a is one of A taps
// along the lines.
#pragma once
#include "tile.hpp"

namespace {

// gy lines in the next tile, of those left.
inline int product_lines(int64_t left) {
  if (left % 7 == 0 && left % 8 != 0) return 7;
  return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// Most taps across the lines that are summed at once: their sums, eight gy lines and an x line fit the registers.
template <class S>
constexpr int max_offsets(int taps) {
  constexpr int registers = S::registers;
  const int fit = (registers - 9) / taps;
  return fit > 3 ? 3 : fit < 1 ? 1 : fit;
}

struct PixelTile {
  Step x, g;      // elements to the first x line and gy line
  uint32_t live;  // bit s: x line s is inside the image
};

template <class E>
struct Products {
  const E *x, *g;
  const PixelTile* tiles;  // all of as many gy lines
  Step tile_count;
  Step x_row, g_row, rows;     // steps from row to row of tiles, and how many
  Step vectors, sums_vector;   // the same for so many vectors side by side, with sums so many elements apart
  Step g_line, x_line;         // elements between lines
  const Step* x_offset;        // elements to each of the O taps
  E* sums;                     // vectors [O][A]
  Step sums_offset, sums_tap;  // elements between them
  int64_t lanes;               // edge: so many count
  // Runs of pixels that are fetched meanwhile, so many bytes of each for a tile of a vector.
  const E* runs[3];
  Step runs_ahead, run_bytes[3];
};

template <class S, int T, int A, int O, bool Edge>
void add_products(const Products<typename S::E>& p) {
  using E = typename S::E;
  using V = typename S::V;
  const Step x_line = p.x_line;
  typename S::M mask{};
  if constexpr (Edge) mask = S::mask(0, p.lanes);
  const auto load = [&](const E* at) {
    if constexpr (Edge)
      return S::pin(S::load(at, mask));
    else
      return S::pin(S::load(at));
  };
  for (Step vector = 0; vector < p.vectors; ++vector) {
    E* sums = p.sums + vector * p.sums_vector;
    V sum[O][A];
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a) sum[o][a] = S::load(sums + o * p.sums_offset + a * p.sums_tap);
    for (const PixelTile* tile = p.tiles; tile < p.tiles + p.tile_count; ++tile) {
      for (Step run = 0; run < p.runs_ahead; ++run)
        fetch_run(p.runs[run], p.run_bytes[run], vector * p.tile_count + (tile - p.tiles), false);
      const E *x = p.x + vector * S::N + tile->x, *gy = p.g + vector * S::N + tile->g;
      for (Step row = 0; row < p.rows; ++row, x += p.x_row, gy += p.g_row) {
        V g[T];
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) g[t] = load(gy + t * p.g_line);
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) {
          Walk<E> lines(x + p.x_offset[o], x_line);
          uint32_t live = tile->live;
          DEPTHWISE_PIN_INTEGER(live);
#pragma GCC unroll 16
          for (int s = 0; s < T + A - 1; ++s) {
            const E* line = lines.line(s);
            if (__builtin_expect(!(live & (1u << s)), 0)) continue;
            const V v = load(line);
#pragma GCC unroll 16
            for (int a = 0; a < A; ++a)
              if (s - a >= 0 && s - a < T) sum[o][a] = S::fma(v, g[s - a], sum[o][a]);
          }
        }
      }
    }
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a) S::store(sums + o * p.sums_offset + a * p.sums_tap, sum[o][a]);
  }
}

template <class S, int T, int A, bool Edge>
DEPTHWISE_INLINE void add_products_of(int offsets, const Products<typename S::E>& p) {
  if constexpr (!Edge) {
    if constexpr (max_offsets<S>(A) >= 3)
      if (offsets == 3) return add_products<S, T, A, 3, false>(p);
    if constexpr (max_offsets<S>(A) >= 2)
      if (offsets == 2) return add_products<S, T, A, 2, false>(p);
  }
  add_products<S, T, A, 1, Edge>(p);
}

template <class S, int T, bool Edge>
void add_products_of(int taps, int offsets, const Products<typename S::E>& p) {
  switch (taps) {
    case 1:
      return add_products_of<S, T, 1, Edge>(offsets, p);
    case 2:
      return add_products_of<S, T, 2, Edge>(offsets, p);
    case 3:
      return add_products_of<S, T, 3, Edge>(offsets, p);
  }
  if constexpr (S::max_taps > 3) switch (taps) {
      case 4:
        return add_products_of<S, T, 4, Edge>(offsets, p);
      case 5:
        if constexpr (S::max_taps > 4) return add_products_of<S, T, 5, Edge>(offsets, p);
    }
  if constexpr (S::max_taps > 5) switch (taps) {
      case 6:
        return add_products_of<S, T, 6, Edge>(offsets, p);
      case 7:
        return add_products_of<S, T, 7, Edge>(offsets, p);
      case 8:
        if constexpr (S::max_taps > 7) return add_products_of<S, T, 8, Edge>(offsets, p);
    }
}

// The products of tiles of `lines` gy lines under `taps` by `offsets` taps.
template <class S, bool Edge>
inline void add_products_of(int lines, int taps, int offsets, const Products<typename S::E>& p) {
  switch (lines) {
    case 8:
      return add_products_of<S, 8, Edge>(taps, offsets, p);
    case 7:
      return add_products_of<S, 7, Edge>(taps, offsets, p);
    case 4:
      return add_products_of<S, 4, Edge>(taps, offsets, p);
    case 2:
      return add_products_of<S, 2, Edge>(taps, offsets, p);
    default:
      return add_products_of<S, 1, Edge>(taps, offsets, p);
  }
}

}  // namespace
