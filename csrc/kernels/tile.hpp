// The register tile under every correlation: T neighbouring output lines, one vector of lanes each.
//
// A line is what the lanes do not run along: an image row where lanes hold neighbouring columns, an image column
// where they hold neighbouring channels. Taps come in chunks of at most S::max_taps whose weights stay in registers
// while the input lines stream past; line s is loaded once and feeds every output t and tap a with t + a == s. Lines
// that lie in the padding are skipped by their bit in `live`, so no padded tap is computed and no zero is stored.
#pragma once
#include "../simd/common.hpp"

namespace {

constexpr int max_lines = 8;

// What the lanes hold decides how inputs and weights are loaded.
enum class Lanes {
  columns,        // all N lanes inside the row; one weight for all lanes
  columns_edge,   // some lanes beside the row: masked
  channels,       // N channels; one weight a lane
  channels_edge,  // fewer than N channels left
};

struct Chunk {
  int taps;
  uint32_t live;     // bit s: line s is inside the input
  const Step* line;  // elements from the tile's x to line s
  Step x, w, w_tap;  // elements to the chunk's first line, to its first weight, and from tap to tap
};

template <class E>
struct Tile {
  const E *x, *w, *bias;
  E* y;
  Step y_line;                                 // elements between output lines
  Step x_vector, y_vector, w_vector, vectors;  // steps along the lanes, and how many
  const Chunk* chunks;
  int64_t chunk_count;
  const Step *x_offset, *w_offset;  // elements to each tap of the axis across the lines
  int64_t offsets;
  int64_t column, columns, lanes;  // the edges: column of lane 0 at x, columns in the row, lanes to store
};

template <class S, Lanes L, int T, int A>
DEPTHWISE_INLINE void add_chunk(typename S::V (&sum)[T], const Chunk& c, const Tile<typename S::E>& tile,
                                const typename S::E* x, const typename S::E* w) {
  using V = typename S::V;
  for (int64_t o = 0; o < tile.offsets; ++o) {
    const auto* xo = x + tile.x_offset[o];
    const auto* wo = w + tile.w_offset[o];
    typename S::M mask{};
    if constexpr (L == Lanes::columns_edge) {
      const Step first = tile.column + tile.x_offset[o];
      mask = S::mask(-first, tile.columns - first);
    }
    if constexpr (L == Lanes::channels_edge) mask = S::mask(0, tile.lanes);
    V weight[A];
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a) {
      if constexpr (L == Lanes::channels || L == Lanes::channels_edge)
        weight[a] = S::load(wo + a * c.w_tap);
      else
        weight[a] = S::set1(wo[a * c.w_tap]);
    }
#pragma GCC unroll 16
    for (int s = 0; s < T + A - 1; ++s) {
      if (!(c.live >> s & 1)) continue;
      V v;
      if constexpr (L == Lanes::columns || L == Lanes::channels)
        v = S::load(xo + c.line[s]);
      else
        v = S::load(xo + c.line[s], mask);
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a)
        if (s - a >= 0 && s - a < T) sum[s - a] = S::fma(v, weight[a], sum[s - a]);
    }
  }
}

template <class S, Lanes L, int T>
void run_tile(const Tile<typename S::E>& tile) {
  constexpr bool per_channel = L == Lanes::channels || L == Lanes::channels_edge;
  for (Step v = 0; v < tile.vectors; ++v) {
    typename S::V sum[T];
    typename S::V start = S::zero();
    if (tile.bias) {
      if constexpr (per_channel)
        start = S::load(tile.bias + v * S::N);
      else
        start = S::set1(*tile.bias);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) sum[t] = start;
    for (int64_t i = 0; i < tile.chunk_count; ++i) {
      const Chunk& c = tile.chunks[i];
      const auto* x = tile.x + v * tile.x_vector + c.x;
      const auto* w = tile.w + v * tile.w_vector + c.w;
      switch (c.taps) {
        case 1:
          add_chunk<S, L, T, 1>(sum, c, tile, x, w);
          break;
        case 2:
          add_chunk<S, L, T, 2>(sum, c, tile, x, w);
          break;
        case 3:
          add_chunk<S, L, T, 3>(sum, c, tile, x, w);
          break;
        case 4:
          add_chunk<S, L, T, 4>(sum, c, tile, x, w);
          break;
        case 5:
          add_chunk<S, L, T, 5>(sum, c, tile, x, w);
          break;
      }
      if constexpr (S::max_taps > 5) switch (c.taps) {
          case 6:
            add_chunk<S, L, T, 6>(sum, c, tile, x, w);
            break;
          case 7:
            add_chunk<S, L, T, 7>(sum, c, tile, x, w);
            break;
          case 8:
            add_chunk<S, L, T, 8>(sum, c, tile, x, w);
            break;
        }
    }
    auto* y = tile.y + v * tile.y_vector;
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      if constexpr (L == Lanes::columns || L == Lanes::channels)
        S::store(y + t * tile.y_line, sum[t]);
      else
        S::store(y + t * tile.y_line, sum[t], S::mask(0, tile.lanes));
    }
  }
}

template <class S>
using RunTile = void (*)(const Tile<typename S::E>&);

template <class S, Lanes L>
struct TileTable {
  static constexpr RunTile<S> run[max_lines + 1] = {nullptr,           run_tile<S, L, 1>, run_tile<S, L, 2>,
                                                    run_tile<S, L, 3>, run_tile<S, L, 4>, run_tile<S, L, 5>,
                                                    run_tile<S, L, 6>, run_tile<S, L, 7>, run_tile<S, L, 8>};
};

// The lines of one part of a class, as a tile meets them.
struct PartLines {
  int64_t taps, first, last;  // taps, and the live lines [first, last) counted from the tile's first line
  Step x;                     // elements to the tile's first line
  Step w, w_tap;              // elements to tap 0's weight and from tap to tap
  const Step* line;           // elements to each line from x
};

// Appends the chunks of one part: as few as max_taps allows, of nearly equal size.
template <class S, class E>
inline int64_t cut_chunks(Chunk* chunks, const PartLines& p, int64_t T) {
  const int64_t count = divide_up(p.taps, S::max_taps);
  int64_t made = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t a0 = i * p.taps / count, a1 = (i + 1) * p.taps / count, lines = T + a1 - a0 - 1;
    const int64_t first = clamp(p.first - a0, 0, lines), last = clamp(p.last - a0, 0, lines);
    if (first >= last) continue;
    chunks[made++] = {static_cast<int>(a1 - a0),
                      ((1u << last) - 1u) & ~((1u << first) - 1u),
                      p.line + a0,
                      p.x,
                      p.w + a0 * p.w_tap,
                      p.w_tap};
  }
  return made;
}

}  // namespace
