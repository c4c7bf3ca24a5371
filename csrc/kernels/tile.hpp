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
  columns_edge,   // some lanes beside the row: their loads are masked
  columns_inner,  // the same where loads beside the row stay inside the array: their products are masked
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
  Step x_line, y_line;  // elements from line to line
  // Steps from vector to vector, and how many; they follow one another along the lanes, or across the lines.
  Step x_vector, y_vector, w_vector, bias_vector, vectors;
  // Where the tile that comes next reads and writes: fetched meanwhile, since short rows at ten places at once defeat
  // the hardware's own prefetching (3x3 on 32x112x112: 0.50 of the limit without, 0.57 with, over nine large layers).
  Step x_ahead[4], places_ahead, y_ahead;
  bool fetch;  // not where both lie in the cache already
  const Chunk* chunks;
  int64_t chunk_count;
  const Step *x_offset, *w_offset;  // elements to each tap of the axis across the lines
  int64_t offsets;
  const typename S::M* masks;  // columns_edge, columns_inner: for each of these taps, the lanes inside the row
  int64_t lanes;               // edges: lanes to store
};

// Walks over evenly spaced lines with three registers, where the compiler would keep a multiple of the step for each.
template <class E>
class Walk {
 public:
  DEPTHWISE_INLINE Walk(const E* start, Step step)
      : at_(reinterpret_cast<const char*>(start)), step_(step * Step{sizeof(E)}), three_(3 * step_) {
    DEPTHWISE_PIN_INTEGER(at_);
    DEPTHWISE_PIN_INTEGER(step_);
    DEPTHWISE_PIN_INTEGER(three_);
  }
  // Line s, to be asked for in order.
  DEPTHWISE_INLINE const E* line(int s) {
    if (s && s % 4 == 0) {
      at_ += 4 * step_;
      DEPTHWISE_PIN_INTEGER(at_);
    }
    return reinterpret_cast<const E*>(s % 4 == 3 ? at_ + three_ : at_ + s % 4 * step_);
  }

 private:
  const char* at_;
  Step step_, three_;
};

// Unless Clip, all lines are live. O: the number of taps across the lines, or 0 where it is known at run time only. The
// registers are pinned because GCC would else load a line again for each tap.
template <class S, Lanes L, bool Clip, int T, int A, int O>
DEPTHWISE_INLINE void add_chunk(typename S::V (&sum)[T], const Chunk& c, const Tile<S>& tile, const typename S::E* x,
                                const typename S::E* w) {
  using V = typename S::V;
  const Step x_line = tile.x_line, w_tap = c.w_tap;
  const int64_t offsets = O ? O : tile.offsets;
#pragma GCC unroll 3
  for (int64_t o = 0; o < offsets; ++o) {
    const auto* xo = x + tile.x_offset[o];
    const auto* wo = w + tile.w_offset[o];
    uint32_t live = c.live;
    DEPTHWISE_PIN_INTEGER(live);
    typename S::M mask{};
    if constexpr (L == Lanes::columns_edge || L == Lanes::columns_inner) mask = tile.masks[o];
    if constexpr (L == Lanes::channels_edge) mask = S::mask(0, tile.lanes);
    V weight[A];
    Walk<typename S::E> weights(wo, w_tap), lines(xo, x_line);
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a) {
      if constexpr (L == Lanes::channels || L == Lanes::channels_edge)
        weight[a] = S::load(weights.line(a));
      else
        weight[a] = S::set1(*weights.line(a));
      weight[a] = S::pin(weight[a]);
    }
#pragma GCC unroll 16
    for (int s = 0; s < T + A - 1; ++s) {
      const auto* line = lines.line(s);
      if (Clip && !(live & (1u << s))) continue;
      V v;
      if constexpr (L == Lanes::columns_edge || L == Lanes::channels_edge)
        v = S::pin(S::load(line, mask));
      else
        v = S::pin(S::load(line));
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a) {
        if (s - a < 0 || s - a >= T) continue;
        if constexpr (L == Lanes::columns_inner)
          sum[s - a] = S::fma(v, weight[a], sum[s - a], mask);
        else
          sum[s - a] = S::fma(v, weight[a], sum[s - a]);
      }
    }
  }
}

// The loop over the taps across the lines is unrolled for kernels of 3 by 3, where its end costs a fifth (AVX-512, Xeon
// of the fourth generation: 22 against 31 ns a tile, 25 against 35 at an edge).
template <class S, Lanes L, bool Clip, int T, int A>
DEPTHWISE_INLINE void add_chunk_of(typename S::V (&sum)[T], const Chunk& c, const Tile<S>& tile, const typename S::E* x,
                                   const typename S::E* w) {
  if constexpr (A <= 3 && S::N > 4)
    if (tile.offsets == 3) return add_chunk<S, L, Clip, T, A, 3>(sum, c, tile, x, w);
  add_chunk<S, L, Clip, T, A, 0>(sum, c, tile, x, w);
}

template <int T, int write, class E>
DEPTHWISE_INLINE void fetch_lines(const E* at, Step line) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t, at += line) __builtin_prefetch(at, write);
}

template <class S, Lanes L, bool Clip, int T>
void run_tile(const Tile<S>& tile) {
  constexpr bool per_channel = L == Lanes::channels || L == Lanes::channels_edge;
  const auto *x_start = tile.x, *w_start = tile.w, *bias = tile.bias;
  auto* y = tile.y;
  for (Step left = tile.vectors; left > 0; --left) {
    typename S::V sum[T];
    typename S::V start = S::zero();
    if (bias) {
      if constexpr (per_channel)
        start = S::load(bias);
      else
        start = S::set1(*bias);
      bias += tile.bias_vector;
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) sum[t] = start;
    if (tile.fetch) {
      for (Step place = 0; place < tile.places_ahead; ++place)
        fetch_lines<T, 0>(x_start + tile.x_ahead[place], tile.x_line);
      fetch_lines<T, 1>(y + tile.y_ahead, tile.y_line);
    }
    for (int64_t i = 0; i < tile.chunk_count; ++i) {
      const Chunk& c = tile.chunks[i];
      const auto* x = x_start + c.x;
      const auto* w = w_start + c.w;
      switch (c.taps) {
        case 1:
          add_chunk_of<S, L, Clip, T, 1>(sum, c, tile, x, w);
          break;
        case 2:
          add_chunk_of<S, L, Clip, T, 2>(sum, c, tile, x, w);
          break;
        case 3:
          add_chunk_of<S, L, Clip, T, 3>(sum, c, tile, x, w);
          break;
      }
      if constexpr (S::max_taps > 3) switch (c.taps) {
          case 4:
            add_chunk_of<S, L, Clip, T, 4>(sum, c, tile, x, w);
            break;
          case 5:
            add_chunk_of<S, L, Clip, T, 5>(sum, c, tile, x, w);
            break;
        }
      if constexpr (S::max_taps > 5) switch (c.taps) {
          case 6:
            add_chunk_of<S, L, Clip, T, 6>(sum, c, tile, x, w);
            break;
          case 7:
            add_chunk_of<S, L, Clip, T, 7>(sum, c, tile, x, w);
            break;
          case 8:
            add_chunk_of<S, L, Clip, T, 8>(sum, c, tile, x, w);
            break;
        }
    }
    Walk<typename S::E> lines(y, tile.y_line);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      auto* line = const_cast<typename S::E*>(lines.line(t));
      if constexpr (L == Lanes::columns || L == Lanes::channels)
        S::store(line, sum[t]);
      else
        S::store(line, sum[t], S::mask(0, tile.lanes));
    }
    x_start += tile.x_vector;
    w_start += tile.w_vector;
    y += tile.y_vector;
  }
}

template <class S, Lanes L, bool Clip>
struct TileTable {
  using Run = void (*)(const Tile<S>&);
  // Tiles of few lines are all compiled in the clipping kind, which costs them little.
  static constexpr Run run[max_lines + 1] = {nullptr,
                                             run_tile<S, L, true, 1>,
                                             run_tile<S, L, true, 2>,
                                             run_tile<S, L, true, 3>,
                                             run_tile<S, L, true, 4>,
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
    case Lanes::columns_inner:
      if constexpr (S::masked_fma) return TileTable<S, Lanes::columns_inner, true>::run[T](tile);
      [[fallthrough]];
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
