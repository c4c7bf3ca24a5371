// The register tile under a weight gradient whose lanes hold channels: the sums of A x O taps stay in registers while
// gy and x stream past.
//
// A tile is T neighbouring lines of gy, image columns, one vector each, held in registers. Each x line is loaded once
// for each of O taps of the axis across the lines, and meets every gy line t with t + a == s, where a is one of A taps
// along the lines.
#pragma once
#include "require.hpp"
#include "tile.hpp"

namespace {

// gy lines in the next tile, of those left.
inline int product_lines(int64_t left) {
  constexpr int most = max_lines;
  if (left % (most - 1) == 0 && left % most != 0) return most - 1;
  return left >= most ? most : left >= 4 ? 4 : left >= 2 ? 2 : 1;
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
  Step x_row, g_row, rows;    // steps from row to row of tiles, and how many
  Step vectors, sums_vector;  // the same for so many vectors side by side, with sums so many elements apart
  Step g_line, x_line;        // elements between lines
  const Step* x_offset;       // elements to each of the O taps
  E* sums;                    // vectors [O][A]
  Step sums_cross, sums_tap;  // elements between them
  int64_t lanes;              // edge: so many count
  // Runs of pixels that are fetched meanwhile, so many bytes of each for a tile of a vector.
  const E* spans[3];
  Step spans_ahead, span_bytes[3];
};

template <class S, int T, int A, int O, bool Edge>
DEPTHWISE_NOINLINE void add_products(const Products<typename S::E>& p) {
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
      for (int a = 0; a < A; ++a) sum[o][a] = S::load(sums + o * p.sums_cross + a * p.sums_tap);
    for (const PixelTile* tile = p.tiles; tile < p.tiles + p.tile_count; ++tile) {
      for (Step span = 0; span < p.spans_ahead; ++span)
        fetch_span(p.spans[span], p.span_bytes[span], vector * p.tile_count + (tile - p.tiles), false);
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
      for (int a = 0; a < A; ++a) S::store(sums + o * p.sums_cross + a * p.sums_tap, sum[o][a]);
  }
}

// The products of tiles of `lines` gy lines under `taps` by `cross_taps` taps.
template <class S, bool Edge>
inline void add_products_of(int lines, int taps, int cross_taps, const Products<typename S::E>& p) {
  DEPTHWISE_REQUIRE(taps > 0 && taps <= S::max_taps && cross_taps > 0 && cross_taps <= most_cross_taps<S>(taps),
                    "the sums fit the registers");
  with_number<S::max_taps>(taps, [&](auto A) {
    with_number<Edge ? 1 : most_cross_taps<S>(decltype(A)::value)>(cross_taps, [&](auto O) {
      const auto with_lines = [&](auto T) {
        add_products<S, decltype(T)::value, decltype(A)::value, decltype(O)::value, Edge>(p);
      };
      if (lines == max_lines) return with_lines(Number<max_lines>());
      if (lines == max_lines - 1) return with_lines(Number<max_lines - 1>());
      if constexpr (max_lines > 4)
        if (lines == 4) return with_lines(Number<4>());
      return lines == 2 ? with_lines(Number<2>()) : with_lines(Number<1>());
    });
  });
}

}  // namespace
