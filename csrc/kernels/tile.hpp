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
  uint32_t live;  // bit s: line s is inside the input
  Step x;         // elements from the tile's x to the chunk's first line
  Step w, w_tap;  // elements from the tile's w to the first weight, and from tap to tap
};

template <class S>
struct Tile {
  using E = typename S::E;
  const E *x, *w, *bias;
  E* y;
  Step x_line, y_line;                         // elements from line to line
  Step x_vector, y_vector, w_vector, vectors;  // steps along the lanes, and how many
  const Chunk* chunks;
  int64_t chunk_count;
  const Step *x_offset, *w_offset;  // elements to each tap of the axis across the lines
  int64_t offsets;
  const typename S::M* masks;  // columns_edge: for each of these taps, the lanes inside the row
  int64_t lanes;               // edges: lanes to store
};

// Unless Clip, all lines are live. The registers are pinned because GCC would else load a line again for each tap.
template <class S, Lanes L, bool Clip, int T, int A>
DEPTHWISE_INLINE void add_chunk(typename S::V (&sum)[T], const Chunk& c, const Tile<S>& tile, const typename S::E* x,
                                const typename S::E* w) {
  using V = typename S::V;
  const Step x_line = tile.x_line, w_tap = c.w_tap;
  for (int64_t o = 0; o < tile.offsets; ++o) {
    const auto* xo = x + tile.x_offset[o];
    const auto* wo = w + tile.w_offset[o];
    uint32_t live = c.live;
    DEPTHWISE_PIN_INTEGER(live);
    typename S::M mask{};
    if constexpr (L == Lanes::columns_edge) mask = tile.masks[o];
    if constexpr (L == Lanes::channels_edge) mask = S::mask(0, tile.lanes);
    V weight[A];
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a) {
      if constexpr (L == Lanes::channels || L == Lanes::channels_edge)
        weight[a] = S::load(wo + a * w_tap);
      else
        weight[a] = S::set1(wo[a * w_tap]);
      weight[a] = S::pin(weight[a]);
    }
#pragma GCC unroll 16
    for (int s = 0; s < T + A - 1; ++s) {
      if (Clip && !(live & (1u << s))) continue;
      V v;
      if constexpr (L == Lanes::columns || L == Lanes::channels)
        v = S::pin(S::load(xo + s * x_line));
      else
        v = S::pin(S::load(xo + s * x_line, mask));
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a)
        if (s - a >= 0 && s - a < T) sum[s - a] = S::fma(v, weight[a], sum[s - a]);
    }
  }
}

template <class S, Lanes L, bool Clip, int T>
void run_tile(const Tile<S>& tile) {
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
          add_chunk<S, L, Clip, T, 1>(sum, c, tile, x, w);
          break;
        case 2:
          add_chunk<S, L, Clip, T, 2>(sum, c, tile, x, w);
          break;
        case 3:
          add_chunk<S, L, Clip, T, 3>(sum, c, tile, x, w);
          break;
        case 4:
          add_chunk<S, L, Clip, T, 4>(sum, c, tile, x, w);
          break;
        case 5:
          add_chunk<S, L, Clip, T, 5>(sum, c, tile, x, w);
          break;
      }
      if constexpr (S::max_taps > 5) switch (c.taps) {
          case 6:
            add_chunk<S, L, Clip, T, 6>(sum, c, tile, x, w);
            break;
          case 7:
            add_chunk<S, L, Clip, T, 7>(sum, c, tile, x, w);
            break;
          case 8:
            add_chunk<S, L, Clip, T, 8>(sum, c, tile, x, w);
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

template <class S, Lanes L, bool Clip>
struct TileTable {
  using Run = void (*)(const Tile<S>&);
  static constexpr Run run[max_lines + 1] = {nullptr,
                                             run_tile<S, L, Clip, 1>,
                                             run_tile<S, L, Clip, 2>,
                                             run_tile<S, L, Clip, 3>,
                                             run_tile<S, L, Clip, 4>,
                                             run_tile<S, L, Clip, 5>,
                                             run_tile<S, L, Clip, 6>,
                                             run_tile<S, L, Clip, 7>,
                                             run_tile<S, L, Clip, 8>};
};

// Runs a tile of T lines. Edges are few enough to be compiled in the clipping kind alone.
template <class S>
inline void run_tile(Lanes lanes, bool clip, int64_t T, const Tile<S>& tile) {
  switch (lanes) {
    case Lanes::columns:
      return (clip ? TileTable<S, Lanes::columns, true>::run : TileTable<S, Lanes::columns, false>::run)[T](tile);
    case Lanes::channels:
      return (clip ? TileTable<S, Lanes::channels, true>::run : TileTable<S, Lanes::channels, false>::run)[T](tile);
    case Lanes::columns_edge:
      return TileTable<S, Lanes::columns_edge, true>::run[T](tile);
    case Lanes::channels_edge:
      return TileTable<S, Lanes::channels_edge, true>::run[T](tile);
  }
}

// Taps [a0, a1) of a part in the i-th of the fewest nearly equal chunks that max_taps allows. The cut depends on the
// taps alone, so that every output is summed in the same order whatever tile it lies in.
template <class S>
DEPTHWISE_INLINE int64_t chunks_of(int64_t taps) {
  return divide_up(taps, S::max_taps);
}

// Bits [first, last) of a chunk's T + taps - 1 lines.
DEPTHWISE_INLINE uint32_t live_lines(int64_t first, int64_t last, int64_t lines) {
  first = clamp(first, 0, lines);
  last = clamp(last, 0, lines);
  return first < last ? ((1u << last) - 1u) & ~((1u << first) - 1u) : 0;
}

}  // namespace
