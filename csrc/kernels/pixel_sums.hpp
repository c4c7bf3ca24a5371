// The register tile under correlations with lanes along the channels: T neighbouring columns of an output row, one
// vector of channels each, for rows and vectors that follow one another.
//
// As in tile.hpp the weights of some neighbouring taps stay in registers while the columns of an input row stream past;
// here each lane has weights of its own, so that is one row of a kernel. It takes but some twenty multiply-adds, and
// what stands between two such runs decides: where each begins is listed beforehand, steps are kept in registers, and
// columns are asked whether they are live only where one of them is not.
#pragma once
#include "tile.hpp"

namespace {

// Columns of a tile at most. A multiply-add takes four cycles, of which two begin in each: each sum waits for its last,
// and eight sums leave nothing to do meanwhile. Ten, five weights and a column fill sixteen registers.
constexpr int most_columns = max_lines == 8 ? 10 : max_lines;

// Where a vector is half of a cache's line, pixels that crowd the cache push a line out before its other half is asked
// for. Then two vectors of channels are summed at once: sixteen registers hold the sums of four columns, the weights of
// three taps and a column of each.
template <class S>
constexpr bool has_pairs = S::registers == 16 && sizeof(typename S::V) == 32;
template <class S, int P>
constexpr int most_taps_at_once = P == 1 ? S::max_taps : 3;

// Bytes from a tile's input and weights to the first column and the first weight of a run.
struct Run {
  Step x, w;
};

// So many runs, one behind another, of as many taps, of which the same columns are live.
struct Runs {
  int taps;
  uint32_t live;
  Step w_tap;  // bytes from tap to tap
  int64_t count;
};

// What is fetched for a tile to come, while another is summed.
template <class E>
struct Fetched {
  // Where the tile that comes next reads and writes: short rows at ten places at once defeat the hardware's own
  // prefetching (3x3 on 32x112x112: 0.50 of the limit without, 0.57 with, over nine large layers).
  Step x_ahead[4], places = 0, y_ahead;
  bool next_row = false;  // not where both lie in the cache already
  // Where what comes next lies in one piece it is fetched in that order instead: then the hardware's prefetching joins
  // in.
  struct Span {
    const char* at;
    Step bytes;    // ... of it for each vector of each row
    bool is_near;  // into the first-level cache, or the second, which has room for more
  };
  Span spans[2];
  Step span_count = 0;
};

// How lanes take a column's channels.
enum class Reads {
  whole,   // as many as there are lanes
  masked,  // the first of them, and no more are stored
  spread,  // each feeds several neighbouring lanes
};

// Whether S can spread channels over lanes. A block of so many holds those of any vector, whatever the multiplier.
template <class S>
constexpr bool has_spread = requires { S::spread; };
template <class S>
constexpr int spread_block = 0;
template <class S>
  requires requires { S::spread; }
constexpr int spread_block<S> = S::spread;

// Columns of a tile at most. Which lanes take a channel fills one more register.
template <Reads R, int P>
constexpr int columns_at_once = P == 2               ? 4
                                : R == Reads::spread ? max_lines
                                                     : most_columns;

// Where a vector of channels finds those that it is made of.
template <class S>
struct Spread {
  typename S::M lanes;  // which of a block each takes
  Step x;               // elements to the block
};

template <class S>
struct PixelSums {
  using E = typename S::E;
  const E *x, *w, *bias;
  E* y;
  Step x_line, y_line;  // elements from column to column
  Step x_row, y_row, rows;
  Step x_vector, y_vector, w_vector, vectors;  // bytes from vector to vector of channels, and how many there are
  const Run* runs = nullptr;
  const Runs *alike = nullptr, *alike_end = nullptr;
  int64_t lanes = S::N;               // to store, where a vector is not whole
  const Spread<S>* spread = nullptr;  // of each vector
  Fetched<E> fetched;
};

// Places evenly apart, as x86 can address them: the compiler would reach each from the one before.
class EvenPlaces {
 public:
  DEPTHWISE_INLINE explicit EvenPlaces(Step bytes)
      : once_(pinned(bytes)), twice_(pinned(2 * bytes)), thrice_(pinned(3 * bytes)) {}
  // Place i, to be asked for in order; `at` goes along.
  DEPTHWISE_INLINE uintptr_t next(uintptr_t& at, int i) const {
    if (i && i % 4 == 0) at += static_cast<uintptr_t>(4 * once_);
    if (i % 4 == 0) DEPTHWISE_PIN_INTEGER(at);
    return at + static_cast<uintptr_t>(i % 4 == 3 ? thrice_ : i % 4 == 2 ? twice_ : i % 4 ? once_ : 0);
  }

 private:
  static DEPTHWISE_INLINE Step pinned(Step bytes) {
    DEPTHWISE_PIN_INTEGER(bytes);
    return bytes;
  }
  const Step once_, twice_, thrice_;
};

// Which columns of a run may lie beside the image.
enum class Clipped { nowhere, at_the_ends, anywhere };

// Whether column s, of those under T outputs and A taps, is to be asked.
template <Clipped C, int T, int A>
constexpr bool is_asked(int s) {
  return C == Clipped::anywhere || (C == Clipped::at_the_ends && !(lines_of_all_taps(T, A) & (1u << s)));
}

// P vectors of channels at once.
template <class S, Reads R, Clipped C, int P, int T, int A>
DEPTHWISE_INLINE void add_runs(typename S::V (&sum)[P][T], const Run* run, const Run* end, uint32_t live,
                               const EvenPlaces& columns, const EvenPlaces& weights, Step w_vector,
                               const typename S::M& lanes, uintptr_t x, uintptr_t w) {
  using V = typename S::V;
  using E = typename S::E;
  for (; run != end; ++run) {
    V weight[P][A];
    uintptr_t at = x + static_cast<uintptr_t>(run->x);
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) {
      uintptr_t at_weight = w + static_cast<uintptr_t>(run->w + p * w_vector);
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a)
        weight[p][a] = S::pin(S::load(reinterpret_cast<const E*>(weights.next(at_weight, a))));
    }
#pragma GCC unroll 32
    for (int s = 0; s < T + A - 1; ++s) {
      const auto* column = reinterpret_cast<const E*>(columns.next(at, s));
      if (is_asked<C, T, A>(s)) {
        DEPTHWISE_PIN_INTEGER(live);
        if (__builtin_expect(!(live & (1u << s)), 0)) continue;
      }
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) {
        V v;
        if constexpr (R == Reads::masked)
          v = S::load(column, lanes);
        else if constexpr (R == Reads::spread)
          v = S::load_spread(column, lanes);
        else
          v = S::load(column + p * S::N);
        if constexpr (A > 1) v = S::pin(v);
#pragma GCC unroll 16
        for (int a = 0; a < A; ++a)
          if (s - a >= 0 && s - a < T) sum[p][s - a] = S::fma(v, weight[p][a], sum[p][s - a]);
      }
    }
  }
}

template <int T, int write, class E>
DEPTHWISE_INLINE void fetch_lines(const E* at, Step line) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t, at += line) __builtin_prefetch(at, write);
}

// The next piece of each span, for the vectors of a line of the cache.
template <class S>
DEPTHWISE_NOINLINE void fetch_spans(Fetched<typename S::E>& f) {
  for (auto* span = f.spans; span < f.spans + f.span_count; ++span) {
    const Step bytes = vectors_of_line<S> * span->bytes;
    if (span->is_near) {
      fetch_span(span->at, bytes, 0, false);
    } else {
      for (Step i = 0; i < bytes; i += 64) __builtin_prefetch(span->at + i, 0, 2);
    }
    span->at += bytes;
  }
}

// For the vectors of a line of the cache, of which these are the first one's columns.
template <class S, int T>
DEPTHWISE_NOINLINE void fetch(PixelSums<S>& tile, const typename S::E* x, const typename S::E* y) {
  auto& f = tile.fetched;
  if (f.next_row) {
    for (Step place = 0; place < f.places; ++place) fetch_lines<T, 0>(x + f.x_ahead[place], tile.x_line);
    fetch_lines<T, 1>(y + f.y_ahead, tile.y_line);
  }
  if (f.span_count) fetch_spans<S>(f);
  asm volatile("");  // GCC takes a function that but fetches for one that does nothing
}

template <class E>
DEPTHWISE_INLINE const E* moved(const E* at, Step bytes) {
  return reinterpret_cast<const E*>(reinterpret_cast<const char*>(at) + bytes);
}

// Every row and vector of a tile, P vectors at once, whose runs add(sum, x, w, lanes) adds. Steps stay in registers
// meanwhile.
template <class S, Reads R, int P, int T, class Add>
DEPTHWISE_INLINE void sum_pixels(PixelSums<S>& tile, const Add& add) {
  using E = typename S::E;
  const EvenPlaces columns(tile.y_line * Step{sizeof(E)});
  typename S::M lanes = {};
  if constexpr (R == Reads::masked) lanes = S::mask(0, tile.lanes);
  const bool fetches = tile.fetched.next_row || tile.fetched.span_count;
  for (Step row = 0; row < tile.rows; ++row) {
    const E *x = tile.x + row * tile.x_row, *w = tile.w, *bias = tile.bias;
    E* y = tile.y + row * tile.y_row;
    for (Step vector = 0; vector < tile.vectors; vector += P) {
      if (fetches && vector % vectors_of_line<S> == 0) fetch<S, T>(tile, x, y);
      typename S::V sum[P][T];
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) {
        const typename S::V start = S::load(bias + p * S::N);
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sum[p][t] = start;
      }
      if constexpr (R == Reads::spread) lanes = tile.spread[vector].lanes;
      const E* from = R == Reads::spread ? x + tile.spread[vector].x : x;
      add(sum, reinterpret_cast<uintptr_t>(from), reinterpret_cast<uintptr_t>(w), lanes);
      auto at = reinterpret_cast<uintptr_t>(y);
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) {
        auto* column = reinterpret_cast<E*>(columns.next(at, t));
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p)
          if (R == Reads::masked || (R == Reads::spread && tile.lanes < S::N))
            S::store_first(column, sum[p][t], tile.lanes);
          else
            S::store(column + p * S::N, sum[p][t]);
      }
      if constexpr (R != Reads::spread) x = moved(x, P * tile.x_vector);
      w = moved(w, P * tile.w_vector);
      bias += P * S::N;
      y = const_cast<E*>(moved(y, P * tile.y_vector));
    }
  }
}

// All runs are alike: which they are is asked once for all.
template <class S, Clipped C, int P, int T, int A>
DEPTHWISE_NOINLINE void run_alike(PixelSums<S>& tile) {
  constexpr Step item = sizeof(typename S::E);
  const Runs alike = *tile.alike;
  const Run *const first = tile.runs, *const end = first + alike.count;
  const EvenPlaces columns(tile.x_line * item), weights(alike.w_tap);
  const Step w_vector = tile.w_vector;
  sum_pixels<S, Reads::whole, P, T>(
      tile, [&](auto& sum, uintptr_t x, uintptr_t w, const typename S::M& lanes) __attribute__((always_inline)) {
        add_runs<S, Reads::whole, C, P, T, A>(sum, first, end, alike.live, columns, weights, w_vector, lanes, x, w);
      });
}

template <class S, Reads R, int P, int T>
DEPTHWISE_NOINLINE void run_unlike(PixelSums<S>& tile) {
  constexpr Step item = sizeof(typename S::E);
  const EvenPlaces columns(tile.x_line * item);
  const Step w_vector = tile.w_vector;
  sum_pixels<S, R, P, T>(tile, [&](auto& sum, uintptr_t x, uintptr_t w,
                                   const typename S::M& lanes) __attribute__((always_inline)) {
    const Run* run = tile.runs;
    for (const Runs* alike = tile.alike; alike != tile.alike_end; ++alike) {
      const Run *const first = run, *const end = run += alike->count;
      const EvenPlaces weights(alike->w_tap);
      const uint32_t live = alike->live;
      with_number<most_taps_at_once<S, P>>(alike->taps, [&](auto taps) __attribute__((always_inline)) {
        constexpr int A = decltype(taps)::value;
        if (R != Reads::masked && live == (1u << (T + A - 1)) - 1u)
          add_runs<S, R, Clipped::nowhere, P, T, A>(sum, first, end, live, columns, weights, w_vector, lanes, x, w);
        else
          add_runs<S, R, Clipped::anywhere, P, T, A>(sum, first, end, live, columns, weights, w_vector, lanes, x, w);
      });
    }
  });
}

template <class S, int P, int T>
inline void run_pixels(PixelSums<S>& tile) {
  if (tile.alike_end - tile.alike != 1) return run_unlike<S, Reads::whole, P, T>(tile);
  with_number<most_taps_at_once<S, P>>(tile.alike->taps, [&](auto taps) {
    constexpr int A = decltype(taps)::value;
    constexpr uint32_t all = (1u << (T + A - 1)) - 1u, not_asked = lines_of_all_taps(T, A);
    const uint32_t live = tile.alike->live;
    if (live == all) return run_alike<S, Clipped::nowhere, P, T, A>(tile);
    if constexpr (A > 1 && not_asked != 0)
      if ((live & not_asked) == not_asked) return run_alike<S, Clipped::at_the_ends, P, T, A>(tile);
    run_alike<S, Clipped::anywhere, P, T, A>(tile);
  });
}

template <class S, Reads R, int P = 1>
inline void run_pixels(int64_t columns, PixelSums<S>& tile) {
  with_number<columns_at_once<R, P>>(columns, [&](auto T) {
    if constexpr (R == Reads::whole)
      run_pixels<S, P, decltype(T)::value>(tile);
    else
      run_unlike<S, R, P, decltype(T)::value>(tile);
  });
}

}  // namespace
