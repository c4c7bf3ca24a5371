// The loop under a weight gradient whose lanes hold columns: the products of gy rows and x rows under A by O taps, over
// the vectors, row tiles, images and planes of a call.
//
// The sums of all those taps stay in registers meanwhile. T rows of gy, one vector each, are held while the x rows that
// they meet stream past: each is loaded once for each of the O columns of taps and meets every gy row t and tap a with
// t * lines_per_out + a == s.
#pragma once
#include "rows.hpp"

namespace {

// How lanes whose x lies beside the row are kept out of the sums.
enum class Beside {
  zero,    // x is zero there: right while gy is finite, which is looked at on the way
  masked,  // their products are left out
};

// Rows [begin, end) of a phase in tiles.
struct TilesOfRows {
  int64_t first;
  depthwise::Heights heights;
  TilesOfRows(int64_t begin, int64_t end) : first(begin), heights(end - begin, max_lines) {}
  int64_t count() const { return heights.count(); }
  int64_t begin(int64_t tile) const { return first + heights.begin(tile); }
  int64_t lines(int64_t tile) const { return heights.height(tile); }
  // The end of the tiles from this one on that are as high.
  int64_t alike(int64_t tile) const {
    int64_t end = tile + 1;
    while (end < count() && lines(end) == lines(tile)) ++end;
    return end;
  }
};

struct ProductTile {
  Step x, g;      // elements from the plane's start to the first line that it meets, and to its first gy row
  uint32_t live;  // bit s: x line s is inside the image
};

template <class E>
struct RowProducts {
  const E *x, *g;
  Step x_plane, g_plane, planes, x_image, g_image, images;
  const ProductTile* tiles;  // all of as many gy rows
  Step tile_count, x_line, g_line;
  Step x_vector, g_vector, vectors, last_lanes;
  Step inner_begin, inner_end;  // vectors of which no lane of x lies beside the row
  const Step* x_offset;         // elements to each of the O columns of taps
  const void* masks;            // for each of them, the lanes that count: of the first vector, and steps to the next
  Step masks_vector;
  // Vectors [O][A] of sums, added to; or, where each plane is done by this call alone, its totals.
  E* sums;
  Step sums_cross, sums_tap, totals_plane, totals_cross, totals_tap;
  E* totals;
  E* not_finite;  // Beside::zero: a vector that becomes NaN where gy is not finite beside the inner vectors
  bool adds;      // totals are of what the sums hold, too
  bool fetch;     // the lines behind those of a tile meanwhile
};

template <class S, Beside B, int T, int A, int O>
DEPTHWISE_NOINLINE void add_row_products(const RowProducts<typename S::E>& p) {
  using E = typename S::E;
  using V = typename S::V;
  using M = typename S::M;
  using G = typename Stored<S>::type;
  constexpr int apart = lines_per_out<S>, lines_in = (T - 1) * apart + A;
  Step offset[O];
  for (int o = 0; o < O; ++o) offset[o] = p.x_offset[o];
  for (Step plane = 0; plane < p.planes; ++plane) {
    V sum[O][A];
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a)
        sum[o][a] = p.totals && !p.adds ? S::zero() : G::load(p.sums + o * p.sums_cross + a * p.sums_tap);
    for (Step image = 0; image < p.images; ++image) {
      const E* x_start = p.x + plane * p.x_plane + image * p.x_image;
      const E* g_start = p.g + plane * p.g_plane + image * p.g_image;
      for (const ProductTile* tile = p.tiles; tile < p.tiles + p.tile_count; ++tile) {
        const E *x = x_start + tile->x, *gy = g_start + tile->g;
        const M* masks = static_cast<const M*>(p.masks);
        for (Step v = 0; v < p.vectors; ++v) {
          if (p.fetch) {
            fetch_span(x_start + tile->x + lines_in * p.x_line, T * apart * apart * S::N * Step{sizeof(E)}, v, false);
            fetch_span(g_start + tile->g + T * p.g_line, T * S::N * Step{sizeof(E)}, v, false);
          }
          M mask[O];
#pragma GCC unroll 16
          for (int o = 0; o < O; ++o) mask[o] = pinned<S>(in_order<S>(masks[o]));
          V g[T];
          if (v + 1 < p.vectors || p.last_lanes == S::N) {
#pragma GCC unroll 16
            for (int t = 0; t < T; ++t) g[t] = S::pin(in_order<S>(G::load(gy + t * p.g_line)));
          } else {
            const typename G::M lanes = G::mask(0, p.last_lanes);
#pragma GCC unroll 16
            for (int t = 0; t < T; ++t) g[t] = S::pin(in_order<S>(G::load(gy + t * p.g_line, lanes)));
          }
          if constexpr (B == Beside::zero)
            if (v < p.inner_begin || v >= p.inner_end) {
              V not_finite = G::load(p.not_finite);
#pragma GCC unroll 16
              for (int t = 0; t < T; ++t) not_finite = S::fma(g[t], S::zero(), not_finite);
              G::store(p.not_finite, not_finite);
            }
          uint32_t live = tile->live;
          DEPTHWISE_PIN_INTEGER(live);
          const E* line = x;
#pragma GCC unroll 32
          for (int s = 0; s < lines_in; ++s) {
            DEPTHWISE_PIN_INTEGER(line);
            if (__builtin_expect(live & (1u << s), 1)) {
              V value[O];
              constexpr Lanes lanes = B == Beside::zero ? Lanes::columns : Lanes::columns_careful;
              load_taps<S, lanes, O>(line, offset, mask, value);
#pragma GCC unroll 16
              for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
                for (int a = 0; a < A; ++a) {
                  if (s - a < 0 || s - a >= T * apart || (s - a) % apart) continue;
                  if constexpr (B == Beside::masked)
                    sum[o][a] = S::fma(value[o], g[(s - a) / apart], sum[o][a], mask[o]);
                  else
                    sum[o][a] = S::fma(value[o], g[(s - a) / apart], sum[o][a]);
                }
            }
            line += p.x_line;
          }
          x += p.x_vector;
          gy += p.g_vector;
          masks += p.masks_vector;
        }
      }
    }
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a)
        if (p.totals)
          p.totals[plane * p.totals_plane + o * p.totals_cross + a * p.totals_tap] = S::sum(sum[o][a]);
        else
          G::store(p.sums + o * p.sums_cross + a * p.sums_tap, sum[o][a]);
  }
}

// Tiles of fewer lines take one column of taps at a time.
constexpr int low_lines = max_lines / 2;

// So many gy rows, under so many rows and columns of taps, `most` rows of taps at most.
template <class S, Beside B, int most>
inline void add_row_products(int64_t lines, int64_t taps, int64_t columns, const RowProducts<typename S::E>& p) {
  DEPTHWISE_REQUIRE(depthwise::is_tile_height(lines, max_lines) && taps >= 1 && taps <= most, "it is compiled");
  constexpr bool one_column = B == Beside::masked && !S::masked_fma;
  with_number<most>(taps, [&](auto A) {
    with_number<one_column ? 1 : most_cross_taps<S>(decltype(A)::value)>(columns, [&](auto O) {
      with_height(lines, [&](auto T) {
        // Low tiles come one column of taps at a time: they are few.
        constexpr bool low = decltype(T)::value < low_lines;
        add_row_products<S, B, decltype(T)::value, decltype(A)::value, low ? 1 : decltype(O)::value>(p);
      });
    });
  });
}

}  // namespace
