// The register tile under correlations with lanes along the columns: T neighbouring output rows, the lines, one vector
// each. pixel_sums.hpp has that of lanes along the channels.
//
// Taps come in chunks of at most chunk_taps whose weights stay in registers while the input lines stream past; line s
// is loaded once and feeds every output t and tap a with t + a == s. Lines that lie in the padding are skipped by their
// bit in `live`, so no padded tap is computed and no zero is stored.
#pragma once
#include "../heights.hpp"
#include "../simd/common.hpp"
#include "walk.hpp"

namespace {

// Lanes hold neighbouring columns, with one weight for all: those beside the row are masked.
enum class Lanes {
  columns,
  columns_careful,  // where some weight is not finite, so that zeros in those lanes would not do
};

// Lanes beside the row are left out by the multiply-add where the target can or must, else they are loaded as zeros.
template <class S, Lanes L>
constexpr bool masks_products = S::masked_fma || L == Lanes::columns_careful;
template <class S, Lanes L>
constexpr bool keeps_lanes = !masks_products<S, L>;

struct Chunk {
  int taps;
  uint32_t live;  // bit s: line s is inside the input
  Step x;         // elements from the tile's x to the chunk's first line
  Step w, w_tap;  // elements from the tile's w to the first weight, and from tap to tap
};

// Which of a row's vectors have lanes to be stored beside the row: under the taps before the middle those before
// `left_end`, under the taps behind it those from `right_begin` on, under the middle none unless `middle` is false.
struct InnerVectors {
  int64_t left_end, right_begin;
  bool middle;

  DEPTHWISE_INLINE bool has(int64_t v) const { return middle && v >= left_end && v < right_begin; }
};

// The taps of the axis across the lines, and how far apart the lines lie.
template <class S>
struct Taps {
  Step x_line;                      // elements from input line to input line
  const Step *x_offset, *w_offset;  // elements to each tap
  int64_t count;                    // how many
  const typename S::M* masks;       // for each of these taps, the lanes inside the row
  InnerVectors inner;

  // Those that have all lanes of vector v inside the row.
  DEPTHWISE_INLINE Range whole(int64_t v) const {
    if (!inner.middle) return {0, 0};
    return {v < inner.left_end ? count / 2 : 0, v >= inner.right_begin ? count - count / 2 : count};
  }
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

// Vectors that take a stride of two along the columns themselves, so that two neighbouring taps share their loads.
template <class S>
constexpr bool pairs_columns = false;
// Input lines from one output line to the next, where they take one along the lines, too.
template <class S>
constexpr int lines_per_out = 1;

// What O taps across the lines read of a line, lanes beside the row as zeros under those that are `masked`.
template <class S, Lanes L, int O, uint32_t masked = ~0u>
DEPTHWISE_INLINE void load_taps(const typename S::E* line, const Step (&offset)[O], const typename S::M (&mask)[O],
                                typename S::V (&v)[O]) {
  constexpr int shared = pairs_columns<S> && O > 1 ? 2 : 0;
  if constexpr (shared > 0) S::load_both(line + offset[0], v[0], v[1]);
#pragma GCC unroll 16
  for (int o = 0; o < O; ++o) {
    if (o >= shared) v[o] = S::load(line + offset[o]);
    v[o] = S::pin(keeps_lanes<S, L> && (masked >> o & 1u) ? S::keep(v[o], mask[o]) : v[o]);
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
constexpr uint32_t lines_of_all_taps(int64_t outs, int64_t taps) {
  const int64_t first = taps - 1, last = outs - 1;
  return first > last ? 0 : (1u << (last + 1)) - (1u << first);
}
constexpr bool ends_alone(uint32_t live, int64_t outs, int64_t taps) {
  return (live & lines_of_all_taps(outs, taps)) == lines_of_all_taps(outs, taps);
}
enum class Ask { of_all, of_ends };

// The products of taps o to o + O across the lines. The registers are pinned because GCC would else load a line again
// for each tap.
template <class S, Lanes L, Ask ask, bool inner, int T, int A, int O>
DEPTHWISE_INLINE void add_cross_taps(typename S::V (&sum)[T], const Chunk& c, const Taps<S>& taps, int64_t o0,
                                     const typename S::M* masks, const typename S::E* x, const typename S::E* w) {
  using V = typename S::V;
  const Step x_line = taps.x_line, w_tap = c.w_tap;
  uint32_t live = c.live;
  DEPTHWISE_PIN_INTEGER(live);
  typename S::M mask[O] = {};
  V weight[O][A];
  Step offset[O];
#pragma GCC unroll 16
  for (int o = 0; o < O; ++o) {
    offset[o] = pairs_columns<S> ? o : taps.x_offset[o0 + o] - taps.x_offset[o0];
    if (!inner) mask[o] = masks[o0 + o];
    Walk<typename S::E> weights(w + taps.w_offset[o0 + o], w_tap);
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a) weight[o][a] = S::pin(S::set1(*weights.line(a)));
  }
  Walk<typename S::E> lines(x + taps.x_offset[o0], x_line);
#pragma GCC unroll 32
  for (int s = 0; s < T + A - 1; ++s) {
    const auto* line = lines.line(s);
    const bool asks = ask == Ask::of_all || !(lines_of_all_taps(T, A) & (1u << s));
    if (asks && __builtin_expect(!(live & (1u << s)), 0)) continue;
    V v[O];
    load_taps<S, L, O, inner ? 0u : ~0u>(line, offset, mask, v);
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a) {
        if (s - a < 0 || s - a >= T) continue;
        sum[s - a] = multiply_add<S, L>(v[o], weight[o][a], sum[s - a], mask[o]);
      }
  }
}

template <class S, Lanes L, Ask ask, int T, int A>
DEPTHWISE_INLINE void add_live_lines(typename S::V (&sum)[T], const Chunk& c, const Taps<S>& taps,
                                     const typename S::E* x, const typename S::E* w) {
  for (int64_t o = 0; o < taps.count; ++o) add_cross_taps<S, L, ask, false, T, A, 1>(sum, c, taps, o, taps.masks, x, w);
}

// The same by pairs of taps where these share their loads, and without masks under the taps of `whole`.
template <class S, Lanes L, int T, int A>
DEPTHWISE_INLINE void add_columns(typename S::V (&sum)[T], const Chunk& c, const Taps<S>& taps, Range whole,
                                  const typename S::M* masks, const typename S::E* x, const typename S::E* w) {
  constexpr int together = pairs_columns<S> ? 2 : 1;
  if (masks_products<S, L> || !ends_alone(c.live, T, A)) whole = {0, 0};
  for (int64_t o = 0; o < taps.count; o += together) {
    const bool all = together == 1 || o + together <= taps.count;
    const bool is_whole = !masks_products<S, L> && o >= whole.begin && (all ? o + together : o + 1) <= whole.end;
    if (all)
      is_whole ? add_cross_taps<S, L, Ask::of_ends, true, T, A, together>(sum, c, taps, o, masks, x, w)
               : add_cross_taps<S, L, Ask::of_all, false, T, A, together>(sum, c, taps, o, masks, x, w);
    else
      is_whole ? add_cross_taps<S, L, Ask::of_ends, true, T, A, 1>(sum, c, taps, o, masks, x, w)
               : add_cross_taps<S, L, Ask::of_all, false, T, A, 1>(sum, c, taps, o, masks, x, w);
  }
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
  DEPTHWISE_PIN_INTEGER(live);
#pragma GCC unroll 32
  for (int s = 0; s < T + A - 1; ++s) {
    DEPTHWISE_PIN_INTEGER(line);
    if (__builtin_expect(live & (1u << s), 1)) {
      typename S::V v[3];
      load_taps<S, L, 3>(line, offset, mask, v);
#pragma GCC unroll 16
      for (int o = 0; o < 3; ++o)
#pragma GCC unroll 16
        for (int a = 0; a < A; ++a) {
          if (s - a < 0 || s - a >= T) continue;
          sum[s - a] = multiply_add<S, L>(v[o], weight[a][o], sum[s - a], mask[o]);
        }
    }
    line += x_line;
  }
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

// f(Number<T>()) for the height of a tile.
template <int most = max_lines, class F>
DEPTHWISE_INLINE void with_height(int64_t lines, const F& f) {
  if constexpr (!depthwise::is_tile_height(most, max_lines))
    return with_height<most - 1>(lines, f);
  else if constexpr (most > 1)
    if (lines != most) return with_height<most - 1>(lines, f);
  if constexpr (depthwise::is_tile_height(most, max_lines)) f(Number<most>());
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
