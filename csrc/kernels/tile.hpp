// The register tile under every correlation: T neighbouring output lines, one vector of lanes each.
//
// A line is what the lanes do not run along: an image row where lanes hold neighbouring columns, an image column
// where they hold neighbouring channels. Taps come in chunks of at most S::max_taps whose weights stay in registers
// while the input lines stream past; line s is loaded once and feeds every output t and tap a with t + a == s. Lines
// that lie in the padding are skipped by their bit in `live`, so no padded tap is computed and no zero is stored.
#pragma once
#include "../heights.hpp"
#include "../simd/common.hpp"

namespace {

// What the lanes hold decides how inputs and weights are loaded.
enum class Lanes {
  columns,          // neighbouring columns, one weight for all: lanes beside the row are masked
  columns_careful,  // the same where some weight is not finite, so that zeros in those lanes would not do
  channels,         // N channels; one weight a lane
  channels_edge,    // fewer than N channels left: loads are masked
};
constexpr bool are_columns(Lanes lanes) { return lanes == Lanes::columns || lanes == Lanes::columns_careful; }

// Lanes beside the row are left out by the multiply-add where the target can or must, else they are loaded as zeros.
template <class S, Lanes L>
constexpr bool masks_products = are_columns(L) && (S::masked_fma || L == Lanes::columns_careful);
template <class S, Lanes L>
constexpr bool keeps_lanes = are_columns(L) && !masks_products<S, L>;

struct Chunk {
  int taps;
  uint32_t live;  // bit s: line s is inside the input
  Step x;         // elements from the tile's x to the chunk's first line
  Step w, w_tap;  // elements from the tile's w to the first weight, and from tap to tap
};

// The taps of the axis across the lines, and how far apart the lines lie.
template <class S>
struct Taps {
  Step x_line;                      // elements from input line to input line
  const Step *x_offset, *w_offset;  // elements to each tap
  int64_t count;                    // how many
  const typename S::M* masks;       // columns: for each of these taps, the lanes inside the row
  int64_t lanes;                    // edges: lanes to store
};

template <class S>
struct Tile : Taps<S> {
  using E = typename S::E;
  const E *x, *w, *bias;
  E* y;
  Step y_line;  // elements from output line to output line
  // Steps from row to row of tiles, and how many; the same for vectors of a row, which lie S::N apart.
  Step x_row, y_row, rows;
  Step w_vector, vectors;
  // Where the tile that comes next reads and writes: fetched meanwhile, since short rows at ten places at once defeat
  // the hardware's own prefetching (3x3 on 32x112x112: 0.50 of the limit without, 0.57 with, over nine large layers).
  Step x_ahead[4], places_ahead, y_ahead;
  bool fetch;  // not where both lie in the cache already
  // Where whole pixels follow one another they are fetched in that order instead, so many bytes of each span for each
  // vector: then the hardware's prefetching joins in.
  const E* x_spans[2];
  Step spans_ahead, span_bytes;
  const Chunk* chunks;
  int64_t chunk_count;
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

// Input lines from one output line to the next, for vectors that take a stride of two themselves.
template <class S>
constexpr int lines_per_out = 1;

// What O taps across the lines read of a line, lanes beside the row as zeros. Where a stride of two is taken
// from neighbouring columns, the first two taps share their loads.
template <class S, Lanes L, int O>
DEPTHWISE_INLINE void load_taps(const typename S::E* line, const Step (&offset)[O], const typename S::M (&mask)[O],
                                typename S::V (&v)[O]) {
  constexpr int shared = lines_per_out<S> == 2 && O > 1 ? 2 : 0;
  if constexpr (shared > 0) S::load_both(line + offset[0], v[0], v[1]);
#pragma GCC unroll 16
  for (int o = 0; o < O; ++o)
    if constexpr (L == Lanes::channels_edge) {
      v[o] = S::pin(S::load(line + offset[o], mask[o]));
    } else {
      if (o >= shared) v[o] = S::load(line + offset[o]);
      v[o] = S::pin(keeps_lanes<S, L> ? S::keep(v[o], mask[o]) : v[o]);
    }
}

template <class S, Lanes L>
DEPTHWISE_INLINE typename S::V multiply_add(typename S::V v, typename S::V weight, typename S::V sum,
                                            const typename S::M& mask) {
  if constexpr (masks_products<S, L>)
    return S::fma(v, weight, sum, mask);
  else
    return S::fma(v, weight, sum);
}

// A tile's first and last lines do not meet all taps of a chunk. They alone lie beside the image, mostly: then the
// others, whose bits these are, need not be asked about.
constexpr uint32_t lines_of_all_taps(int64_t outs, int64_t taps, int64_t apart) {
  const int64_t first = taps - 1, last = (outs - 1) * apart;
  return first > last ? 0 : (1u << (last + 1)) - (1u << first);
}
enum class Ask { of_all, of_ends };

// The products of taps o to o + O across the lines. The registers are pinned because GCC would else load a line again
// for each tap.
template <class S, Lanes L, Ask ask, int T, int A, int O>
DEPTHWISE_INLINE void add_cross_taps(typename S::V (&sum)[T], const Chunk& c, const Taps<S>& taps, int64_t o0,
                                     const typename S::E* x, const typename S::E* w) {
  using V = typename S::V;
  const Step x_line = taps.x_line, w_tap = c.w_tap;
  constexpr int apart = lines_per_out<S>, lines_in = (T - 1) * apart + A;
  uint32_t live = c.live;
  DEPTHWISE_PIN_INTEGER(live);
  typename S::M mask[O] = {};
  V weight[O][A];
  Step offset[O];
#pragma GCC unroll 16
  for (int o = 0; o < O; ++o) {
    offset[o] = taps.x_offset[o0 + o] - taps.x_offset[o0];
    if constexpr (are_columns(L)) mask[o] = taps.masks[o0 + o];
    if constexpr (L == Lanes::channels_edge) mask[o] = S::mask(0, taps.lanes);
    Walk<typename S::E> weights(w + taps.w_offset[o0 + o], w_tap);
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a) {
      if constexpr (L == Lanes::channels || L == Lanes::channels_edge)
        weight[o][a] = S::pin(S::load(weights.line(a)));
      else
        weight[o][a] = S::pin(S::set1(*weights.line(a)));
    }
  }
  Walk<typename S::E> lines(x + taps.x_offset[o0], x_line);
#pragma GCC unroll 32
  for (int s = 0; s < lines_in; ++s) {
    const auto* line = lines.line(s);
    const bool asks = ask == Ask::of_all || !(lines_of_all_taps(T, A, apart) & (1u << s));
    if (asks && __builtin_expect(!(live & (1u << s)), 0)) continue;
    V v[O];
    load_taps<S, L, O>(line, offset, mask, v);
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a) {
        if (s - a < 0 || s - a >= T * apart || (s - a) % apart) continue;
        sum[(s - a) / apart] = multiply_add<S, L>(v[o], weight[o][a], sum[(s - a) / apart], mask[o]);
      }
  }
}

template <class S, Lanes L, Ask ask, int T, int A>
DEPTHWISE_INLINE void add_live_lines(typename S::V (&sum)[T], const Chunk& c, const Taps<S>& taps,
                                     const typename S::E* x, const typename S::E* w) {
  int64_t o = 0;
  if constexpr (lines_per_out<S> == 2)
    for (; o + 2 <= taps.count; o += 2) add_cross_taps<S, L, ask, T, A, 2>(sum, c, taps, o, x, w);
  for (; o < taps.count; ++o) add_cross_taps<S, L, ask, T, A, 1>(sum, c, taps, o, x, w);
}

template <class S, Lanes L, int T, int A>
DEPTHWISE_INLINE void add_chunk(typename S::V (&sum)[T], const Chunk& c, const Taps<S>& taps, const typename S::E* x,
                                const typename S::E* w) {
  constexpr uint32_t not_asked = lines_of_all_taps(T, A, lines_per_out<S>);
  if constexpr (not_asked != 0)
    if ((c.live & not_asked) != not_asked) return add_live_lines<S, L, Ask::of_all, T, A>(sum, c, taps, x, w);
  add_live_lines<S, L, Ask::of_ends, T, A>(sum, c, taps, x, w);
}

// Masks of products stay in their registers, too.
template <class S>
DEPTHWISE_INLINE typename S::M pinned(const typename S::M& mask) {
  if constexpr (S::masked_fma)
    return S::pin(mask);
  else
    return mask;
}

// The same for three taps across the lines, with weights that stand in registers: lines go outermost, so that each is
// asked for once whether it is live.
template <class S, Lanes L, int T, int A>
DEPTHWISE_INLINE void add_three(typename S::V (&sum)[T], uint32_t live, const typename S::E* line, Step x_line,
                                const Step (&offset)[3], const typename S::M (&mask)[3],
                                const typename S::V (&weight)[A][3]) {
  constexpr int apart = lines_per_out<S>, lines_in = (T - 1) * apart + A;
  DEPTHWISE_PIN_INTEGER(live);
#pragma GCC unroll 32
  for (int s = 0; s < lines_in; ++s) {
    DEPTHWISE_PIN_INTEGER(line);
    if (__builtin_expect(live & (1u << s), 1)) {
      typename S::V v[3];
      load_taps<S, L, 3>(line, offset, mask, v);
#pragma GCC unroll 16
      for (int o = 0; o < 3; ++o)
#pragma GCC unroll 16
        for (int a = 0; a < A; ++a) {
          if (s - a < 0 || s - a >= T * apart || (s - a) % apart) continue;
          sum[(s - a) / apart] = multiply_add<S, L>(v[o], weight[a][o], sum[(s - a) / apart], mask[o]);
        }
    }
    line += x_line;
  }
}

// All the taps of a tile of T lines.
template <class S, Lanes L, int T>
DEPTHWISE_INLINE void add_chunks(typename S::V (&sum)[T], const Chunk* chunks, int64_t count, const Taps<S>& taps,
                                 const typename S::E* x_start, const typename S::E* w_start) {
  if constexpr (S::N > 4)
    if (count == 1 && chunks->taps == 3 && taps.count == 3) {
      const Step offset[3] = {taps.x_offset[0], taps.x_offset[1], taps.x_offset[2]};
      typename S::M mask[3] = {};
      if constexpr (L == Lanes::channels_edge) mask[0] = mask[1] = mask[2] = pinned<S>(S::mask(0, taps.lanes));
      typename S::V weight[3][3];
#pragma GCC unroll 16
      for (int a = 0; a < 3; ++a)
#pragma GCC unroll 16
        for (int o = 0; o < 3; ++o) weight[a][o] = S::load(w_start + chunks->w + a * chunks->w_tap + taps.w_offset[o]);
      return add_three<S, L, T, 3>(sum, chunks->live, x_start + chunks->x, taps.x_line, offset, mask, weight);
    }
  for (const Chunk* c = chunks; c < chunks + count; ++c) {
    const auto* x = x_start + c->x;
    const auto* w = w_start + c->w;
    with_number<S::max_taps>(c->taps, [&](auto taps_in) __attribute__((always_inline)) {
      add_chunk<S, L, T, decltype(taps_in)::value>(sum, *c, taps, x, w);
    });
  }
}

template <int T, int write, class E>
DEPTHWISE_INLINE void fetch_lines(const E* at, Step line) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t, at += line) __builtin_prefetch(at, write);
}

// The share of a span of memory that falls to one vector of a tile, `bytes` long.
template <class E>
DEPTHWISE_INLINE void fetch_span(const E* at, int64_t bytes, int64_t vector, bool to_write) {
  const char* from = reinterpret_cast<const char*>(at) + vector * bytes;
  for (int64_t i = 0; i < bytes; i += 64)
    if (to_write)
      __builtin_prefetch(from + i, 1);
    else
      __builtin_prefetch(from + i, 0);
}

template <class S, Lanes L, int T>
DEPTHWISE_NOINLINE void run_tile(const Tile<S>& tile) {
  for (Step row = 0; row < tile.rows; ++row) {
    const auto *x_start = tile.x + row * tile.x_row, *w_start = tile.w, *bias = tile.bias;
    auto* y = tile.y + row * tile.y_row;
    for (Step vector = 0; vector < tile.vectors; ++vector) {
      typename S::V sum[T];
      typename S::V start = S::zero();
      if (bias) {
        start = S::load(bias);
        bias += S::N;
      }
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) sum[t] = start;
      if (tile.fetch) {
        for (Step place = 0; place < tile.places_ahead; ++place)
          fetch_lines<T, 0>(x_start + tile.x_ahead[place], tile.x_line);
        fetch_lines<T, 1>(y + tile.y_ahead, tile.y_line);
      }
      for (Step span = 0; span < tile.spans_ahead; ++span)
        fetch_span(tile.x_spans[span], tile.span_bytes, vector, false);
      add_chunks<S, L, T>(sum, tile.chunks, tile.chunk_count, tile, x_start, w_start);
      Walk<typename S::E> lines(y, tile.y_line);
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) {
        auto* line = const_cast<typename S::E*>(lines.line(t));
        if constexpr (L == Lanes::channels)
          S::store(line, sum[t]);
        else
          S::store_first(line, sum[t], tile.lanes);
      }
      x_start += S::N;
      w_start += tile.w_vector;
      y += S::N;
    }
  }
}

// f(Number<T>()) for the height of a tile.
template <int most = max_lines, class F>
DEPTHWISE_INLINE void with_height(int64_t lines, const F& f) {
  if constexpr (!depthwise::is_tile_height(most, max_lines))
    return with_height<most - 1>(lines, f);
  else if constexpr (most > 1)
    if (lines != most) return with_height<most - 1>(lines, f);
  if constexpr (depthwise::is_tile_height(most, max_lines)) f(Number<most>());
}

template <class S, Lanes L>
inline void run_tile(int64_t lines, const Tile<S>& tile) {
  with_height(lines, [&](auto T) { run_tile<S, L, decltype(T)::value>(tile); });
}

// Most taps across the lines that a weight gradient sums at once: their sums, eight gy lines and an x line fit the
// registers.
template <class S>
constexpr int most_cross_taps(int taps) {
  constexpr int registers = S::registers;
  const int fit = (registers - 9) / taps;
  return fit > 3 ? 3 : fit < 1 ? 1 : fit;
}

// How many tiles of so many chunks are kept once they are worked out.
DEPTHWISE_INLINE int64_t tiles_that_fit(int64_t chunks) {
  constexpr int64_t bytes = 64 << 10;
  return clamp(bytes / at_least(1, chunks * Step{sizeof(Chunk)}), 1, 64);
}

// Bits [first, last) of a chunk's T + taps - 1 lines.
DEPTHWISE_INLINE uint32_t live_lines(int64_t first, int64_t last, int64_t lines) {
  first = clamp(first, 0, lines);
  last = clamp(last, 0, lines);
  return first < last ? ((1u << last) - 1u) & ~((1u << first) - 1u) : 0;
}

}  // namespace
