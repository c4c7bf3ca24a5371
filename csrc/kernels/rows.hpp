// The loop under every correlation whose lanes hold columns: chunks of taps, over the row tiles of planes.
//
// Planes and vectors are loops of one function, because a plane of 14 by 14 takes but a hundred multiply-adds of
// vectors, and a call costs as much.
#pragma once
#include "job.hpp"
#include "require.hpp"
#include "tile.hpp"
#include "walk.hpp"

namespace {

// Targets that take even and odd elements apart with fewer shuffles in an order of their own.
template <class S>
concept SplitsOutOfOrder = requires(typename S::V v) { S::split_order(v); };

// Lanes that lie two elements apart in memory. Whole vectors read one element more than they need. Lanes have the
// target's order until they are stored.
template <class S>
struct EveryOther : S {
  using E = typename S::E;
  using V = typename S::V;
  using M = typename S::M;
  static constexpr int max_taps = S::max_taps < depthwise::taps_of_pairs ? S::max_taps : depthwise::taps_of_pairs,
                       most_chunk_taps = max_taps;
  // Of elements [first, last), which lie around that of lane 0.
  static M mask(int64_t first, int64_t last) {
    const M lanes = S::mask((first + 1) >> 1, (last + 1) >> 1);
    if constexpr (SplitsOutOfOrder<S>)
      return S::split_order(lanes);
    else
      return lanes;
  }
  // What the taps of two neighbouring columns read. GCC would else load both vectors twice.
  static void load_both(const E* p, V& first, V& second) {
    const V low = S::pin(S::load(p)), high = S::pin(S::load(p + S::N));
    if constexpr (SplitsOutOfOrder<S>)
      S::split(low, high, first, second);
    else
      S::deinterleave(low, high, first, second);
  }
  // One lane further down, where the element behind them is at p.
  static V shift(V v, const E* p) {
    if constexpr (SplitsOutOfOrder<S>)
      return S::split_shift_in(v, p);
    else
      return S::shift_in(v, p);
  }
  static V load(const E* p) {
    V even, odd;
    load_both(p, even, odd);
    return even;
  }
};
template <class S>
constexpr bool pairs_columns<EveryOther<S>> = true;

// The same of lines that lie two apart: a stride of two in both directions.
template <class S>
struct StrideTwo : EveryOther<S> {
  static constexpr int max_taps = S::max_taps;
};
template <class S>
constexpr bool pairs_columns<StrideTwo<S>> = true;
template <class S>
constexpr int lines_per_out<StrideTwo<S>> = 2;

// Lanes from the order that they lie in to that of the sums, or back.
template <class S, class Lanes>
DEPTHWISE_INLINE Lanes in_order(Lanes v) {
  if constexpr (pairs_columns<S> && SplitsOutOfOrder<S>)
    return S::split_order(v);
  else
    return v;
}

// Outputs of two phases that take turns along the row: the columns of a strided input gradient.
template <class S>
struct Interleaved : S {
  static constexpr int max_taps = depthwise::taps_of_phases, most_chunk_taps = max_taps;
};
// Taps of a chunk at most.
template <class S>
constexpr int chunk_taps = S::max_taps;
template <class S>
  requires requires { S::most_chunk_taps; }
constexpr int chunk_taps<S> = S::most_chunk_taps;
template <class S>
constexpr int phases_of = 1;
template <class S>
constexpr int phases_of<Interleaved<S>> = 2;

// Where there are registers for nine weights, and vectors are long, they stay in them (AVX-512, EPYC of the fourth
// generation, one thread: 512x14x14 29 us by columns, 23 so).
template <class S>
constexpr bool keeps_nine_weights = S::registers >= 32;
// Sums of three by three taps then go line by line, all others column by column.
template <class S>
constexpr bool sums_nine_by_lines = keeps_nine_weights<S> && S::N > 4 && phases_of<S> == 1;

// Neighbouring output rows of a plane; the same for all planes.
struct RowTile {
  int64_t index;
  const depthwise::LinePhase* rows;
  int64_t t0, lines;
  Chunk* chunks;        // as many for each tile of a phase, some with no live line
  Step y;               // elements from the plane's start to the tile's first row
  Step ahead, y_ahead;  // ... of x and y, to what is fetched meanwhile for a tile to come
};

template <class S>
struct Rows {
  using E = typename S::E;
  const E *x, *w, *bias;  // no bias: null
  E* y;
  Step x_plane, w_plane, bias_plane, y_plane;  // steps from plane to plane
  int64_t planes;
  const RowTile* tiles;  // of one phase and one height
  int64_t tile_count;
  Range chunks;                     // of each tile
  bool adds;                        // to what y holds, else to the bias
  bool three_columns;               // of taps, whether or not a lane meets each
  Taps<S> taps[phases_of<S>];       // their masks are those of the first vector
  Step y_line, x_vector, y_vector;  // elements from line to line, and from vector to vector
  Step masks_vector[phases_of<S>];
  int64_t vectors, last_lanes;  // all but the last vector are stored whole
  int64_t fetch_bytes;          // of x for each output line of a vector, or 0: see Plan
  bool fetch_y;
};

// Under EveryOther a load takes every other element, but sums are stored as neighbours.
template <class S>
struct Stored {
  using type = S;
};
template <class S>
struct Stored<EveryOther<S>> {
  using type = S;
};
template <class S>
struct Stored<StrideTwo<S>> {
  using type = S;
};

// The first `count` lanes of the lines, or all.
template <class S, int T>
DEPTHWISE_INLINE void store_lines(typename S::E* y, Step y_line, int64_t count, const typename S::V (&sum)[T]) {
  using Out = typename Stored<S>::type;
  Walk<typename S::E> walk(y, y_line);
  if (count >= S::N) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) Out::store(const_cast<typename S::E*>(walk.line(t)), in_order<S>(sum[t]));
  } else {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) Out::store_first(const_cast<typename S::E*>(walk.line(t)), in_order<S>(sum[t]), count);
  }
}
template <class S, int T>
DEPTHWISE_INLINE void store_lines(typename S::E* y, Step y_line, int64_t count, typename S::V (&sum)[1][T]) {
  store_lines<S, T>(y, y_line, count, sum[0]);
}
template <class S, int T>
DEPTHWISE_INLINE void store_lines(typename S::E* y, Step y_line, int64_t count, typename S::V (&sum)[2][T]) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) S::interleave(sum[0][t], sum[1][t], sum[0][t], sum[1][t]);
  store_lines<S, T>(y, y_line, count, sum[0]);
  if (count > S::N) store_lines<S, T>(y + S::N, y_line, count - S::N, sum[1]);
}

// The sums that earlier chunks left in y.
template <class S, int T>
DEPTHWISE_INLINE void load_lines(const typename S::E* y, Step y_line, int64_t count, typename S::V (&sum)[T]) {
  using Out = typename Stored<S>::type;
  const typename S::M mask = Out::mask(0, count);
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t)
    sum[t] = in_order<S>(count >= S::N ? Out::load(y + t * y_line) : Out::load(y + t * y_line, mask));
}
template <class S, int T>
DEPTHWISE_INLINE void load_lines(const typename S::E* y, Step y_line, int64_t count, typename S::V (&sum)[1][T]) {
  load_lines<S, T>(y, y_line, count, sum[0]);
}
template <class S, int T>
DEPTHWISE_INLINE void load_lines(const typename S::E* y, Step y_line, int64_t count, typename S::V (&sum)[2][T]) {
  load_lines<S, T>(y, y_line, count, sum[0]);
  if (count > S::N)
    load_lines<S, T>(y + S::N, y_line, count - S::N, sum[1]);
  else
    for (int t = 0; t < T; ++t) sum[1][t] = S::zero();
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) S::deinterleave(sum[0][t], sum[1][t], sum[0][t], sum[1][t]);
}

// What an innermost function does: a tile's rows under some of its chunks, in all planes.
// They are not inlined, because GCC then keeps what they need in registers.
template <class S>
struct RowRun {
  using E = typename S::E;
  const Rows<S>* rows;
  const RowTile* tile;
  const Chunk *chunks, *chunks_end;
  bool adds;  // to what y holds
};

// What lies behind a tile in a plane, of x and, to be written, of y; each of the tile's vectors fetches its share.
template <class S, int T>
class Behind {
 public:
  DEPTHWISE_INLINE Behind(const RowRun<S>& run, int64_t plane)
      : x_(reinterpret_cast<const char*>(run.rows->x + plane * run.rows->x_plane + run.tile->ahead)),
        y_(reinterpret_cast<const char*>(run.rows->y + plane * run.rows->y_plane + run.tile->y_ahead)),
        x_bytes_(T * run.rows->fetch_bytes),
        y_bytes_(run.rows->fetch_y ? T * phases_of<S> * S::N * Step{sizeof(typename S::E)} : 0) {}

  DEPTHWISE_INLINE void fetch() {
    fetch_span(x_, x_bytes_, 0, false);
    fetch_span(y_, y_bytes_, 0, true);
    x_ += x_bytes_;
    y_ += y_bytes_;
  }

 private:
  const char *x_, *y_;
  const int64_t x_bytes_, y_bytes_;
};

// Chunks one by one, since their numbers of taps differ.
template <class S, Lanes L, Ask ask, int T, int A>
DEPTHWISE_NOINLINE void add_chunk(const RowRun<S>& run) {
  constexpr int phases = phases_of<S>;
  const Rows<S>& r = *run.rows;
  const Chunk chunk = *run.chunks;
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    Behind<S, T> behind(run, plane);
    Taps<S> taps[phases];
    for (int i = 0; i < phases; ++i) taps[i] = r.taps[i];
    const auto *x = r.x + plane * r.x_plane + chunk.x, *w = r.w + plane * r.w_plane + chunk.w;
    auto* y = r.y + plane * r.y_plane + run.tile->y;
    const typename S::V start = r.bias ? S::set1(r.bias[plane * r.bias_plane]) : S::zero();
    int64_t lanes = (r.vectors - 1) * S::N * phases + r.last_lanes;  // left in the row
    for (int64_t v = 0; v < r.vectors; ++v, lanes -= S::N * phases) {
      if (r.fetch_bytes) behind.fetch();
      typename S::V sum[phases][T];
      if (run.adds) {
        load_lines<S, T>(y, r.y_line, lanes, sum);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < phases * T; ++i) sum[i / T][i % T] = start;
      }
#pragma GCC unroll 2
      for (int i = 0; i < phases; ++i) {
        add_live_lines<S, L, ask, T, A>(sum[i], chunk, taps[i], x, w);
        taps[i].masks += r.masks_vector[i];
      }
      store_lines<S, T>(y, r.y_line, lanes, sum);
      x += r.x_vector;
      y += r.y_vector;
    }
  }
}

// All chunks of a tile, vector by vector, so that the sums stay in registers.
template <class S, int T>
DEPTHWISE_NOINLINE void add_chunks(const RowRun<S>& run) {
  constexpr int phases = phases_of<S>, most = chunk_taps<S>;
  const Rows<S>& r = *run.rows;
  for (int64_t plane = 0; plane < r.planes; ++plane) {
    Behind<S, T> behind(run, plane);
    const auto *x = r.x + plane * r.x_plane, *w = r.w + plane * r.w_plane;
    auto* y = r.y + plane * r.y_plane + run.tile->y;
    const typename S::V start = r.bias ? S::set1(r.bias[plane * r.bias_plane]) : S::zero();
    int64_t lanes = (r.vectors - 1) * S::N * phases + r.last_lanes;  // left in the row
    for (int64_t v = 0; v < r.vectors; ++v, lanes -= S::N * phases) {
      if (r.fetch_bytes) behind.fetch();
      typename S::V sums[phases][T];
      if (run.adds) {
        load_lines<S, T>(y, r.y_line, lanes, sums);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < phases * T; ++i) sums[i / T][i % T] = start;
      }
      for (int i = 0; i < phases; ++i) {
        const Taps<S>& taps = r.taps[i];
        const auto* masks = taps.masks + v * r.masks_vector[i];
        const Range whole = taps.whole(v);
        typename S::V sum[T];
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sum[t] = sums[i][t];
        for (const Chunk* next = run.chunks; next < run.chunks_end; ++next)
          with_number<most>(next->taps, [&](auto A) __attribute__((always_inline)) {
            add_columns<S, Lanes::columns, T, decltype(A)::value>(sum, *next, taps, whole, masks, x + next->x,
                                                                  w + next->w);
          });
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sums[i][t] = sum[t];
      }
      store_lines<S, T>(y, r.y_line, lanes, sums);
      x += r.x_vector;
      y += r.y_vector;
    }
  }
}

}  // namespace
