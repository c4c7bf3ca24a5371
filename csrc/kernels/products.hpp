// The register tile under the weight gradient: the sums of A x O taps stay in registers while gy and x stream past.
//
// A tile is T neighbouring lines of gy, one vector each, held in registers. Each x line is loaded once for each of O
// taps of the axis across the lines, and meets every gy line t with t + a == s, where a is one of A taps along the
// lines. As in tile.hpp, a line is an image row where lanes hold columns, an image column where they hold channels.
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

template <class E>
struct Products {
  const E *x, *g;
  Step x_tile, g_tile, tiles;  // steps from tile to tile, and how many
  Step g_line;                 // elements between gy lines
  Step x_line;                 // elements between x lines
  uint32_t live;               // bit s: x line s is inside the image
  const Step* x_offset;        // elements to each of the O taps
  E* sums;                     // vectors [O][A]
  Step sums_offset, sums_tap;  // elements between them
  // Edge: lanes [first[o] - column, last[o] - column) and below `lanes` count for tap o.
  const int64_t *first, *last;
  int64_t column, lanes;
};

// Unless Clip, all x lines are live.
template <class S, int T, int A, int O, bool Edge, bool Clip>
void add_products(const Products<typename S::E>& p) {
  using V = typename S::V;
  V sum[O][A];
#pragma GCC unroll 16
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a) sum[o][a] = S::load(p.sums + o * p.sums_offset + a * p.sums_tap);
  const Step x_line = p.x_line;
  for (Step tile = 0; tile < p.tiles; ++tile) {
    const auto* x = p.x + tile * p.x_tile;
    const auto* gy = p.g + tile * p.g_tile;
    typename S::M mask{};
    if constexpr (Edge) {
      // Lanes beside the row are left out of gy too: nothing that is not a product of the sum can reach it.
      mask = S::mask(p.first[0] - p.column, at_most(p.last[0] - p.column, p.lanes));
    }
    V g[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      if constexpr (Edge)
        g[t] = S::pin(S::load(gy + t * p.g_line, mask));
      else
        g[t] = S::pin(S::load(gy + t * p.g_line));
    }
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      Walk<typename S::E> lines(x + p.x_offset[o], x_line);
      uint32_t live = p.live;
      DEPTHWISE_PIN_INTEGER(live);
#pragma GCC unroll 16
      for (int s = 0; s < T + A - 1; ++s) {
        const auto* line = lines.line(s);
        if (Clip && !(live & (1u << s))) continue;
        V v;
        if constexpr (Edge)
          v = S::pin(S::load(line, mask));
        else
          v = S::pin(S::load(line));
#pragma GCC unroll 16
        for (int a = 0; a < A; ++a)
          if (s - a >= 0 && s - a < T) sum[o][a] = S::fma(v, g[s - a], sum[o][a]);
      }
    }
  }
#pragma GCC unroll 16
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a) S::store(p.sums + o * p.sums_offset + a * p.sums_tap, sum[o][a]);
}

template <class S, int T, int A, bool Edge, bool Clip>
DEPTHWISE_INLINE void add_products_of(int offsets, const Products<typename S::E>& p) {
  if constexpr (!Edge) {
    if constexpr (max_offsets<S>(A) >= 3)
      if (offsets == 3) return add_products<S, T, A, 3, false, Clip>(p);
    if constexpr (max_offsets<S>(A) >= 2)
      if (offsets == 2) return add_products<S, T, A, 2, false, Clip>(p);
  }
  add_products<S, T, A, 1, Edge, Clip>(p);
}

template <class S, int T, bool Edge, bool Clip>
void add_products_of(int taps, int offsets, const Products<typename S::E>& p) {
  switch (taps) {
    case 1:
      return add_products_of<S, T, 1, Edge, Clip>(offsets, p);
    case 2:
      return add_products_of<S, T, 2, Edge, Clip>(offsets, p);
    case 3:
      return add_products_of<S, T, 3, Edge, Clip>(offsets, p);
  }
  if constexpr (S::max_taps > 3) switch (taps) {
      case 4:
        return add_products_of<S, T, 4, Edge, Clip>(offsets, p);
      case 5:
        if constexpr (S::max_taps > 4) return add_products_of<S, T, 5, Edge, Clip>(offsets, p);
    }
  if constexpr (S::max_taps > 5) switch (taps) {
      case 6:
        return add_products_of<S, T, 6, Edge, Clip>(offsets, p);
      case 7:
        return add_products_of<S, T, 7, Edge, Clip>(offsets, p);
      case 8:
        if constexpr (S::max_taps > 7) return add_products_of<S, T, 8, Edge, Clip>(offsets, p);
    }
}

template <class S, bool Edge, bool Clip>
inline void add_products_of(int lines, int taps, int offsets, const Products<typename S::E>& p) {
  switch (lines) {
    case 8:
      return add_products_of<S, 8, Edge, Clip>(taps, offsets, p);
    case 7:
      return add_products_of<S, 7, Edge, Clip>(taps, offsets, p);
    case 4:
      return add_products_of<S, 4, Edge, true>(taps, offsets, p);
    case 2:
      return add_products_of<S, 2, Edge, true>(taps, offsets, p);
    default:
      return add_products_of<S, 1, Edge, true>(taps, offsets, p);
  }
}

// The products of a tile of `lines` gy lines under `taps` by `offsets` taps. Edge tiles take one tap across the lines
// at a time: each has lanes of its own beside the row.
template <class S>
inline void add_products_of(bool edge, int lines, int taps, int offsets, Products<typename S::E> p) {
  const bool clip = p.live != (1u << (lines + taps - 1)) - 1u;
  if (!edge)
    return (clip ? add_products_of<S, false, true> : add_products_of<S, false, false>)(lines, taps, offsets, p);
  for (int o = 0; o < offsets; ++o, ++p.x_offset, ++p.first, ++p.last, p.sums += p.sums_offset)
    add_products_of<S, true, true>(lines, taps, 1, p);
}

}  // namespace
