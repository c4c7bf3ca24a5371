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

// Most taps across the lines that are summed at once, and of any target.
constexpr int most_across = 5;
template <class S>
constexpr int most_products_across(int taps, bool edge) {
  if (edge) return 1;  // fewer channels than lanes are not worth a function for each
  constexpr int sums = S::registers >= 32 ? 15 : 10, most = S::registers >= 32 ? 3 : most_across;
  const int fit = sums / taps;
  return fit > most ? most : fit < 1 ? 1 : fit;
}

// A sum waits four cycles for its last addend, and two multiply-adds start in a cycle: so few sums are split, line t of
// gy adding to share t modulo their number.
constexpr int shares_of(int sums) { return sums >= 7 ? 1 : sums >= 4 ? 2 : sums == 3 ? 3 : 4; }

// Lines of gy in a tile at most: as many as stand in registers beside the sums.
template <class S>
constexpr int product_lines(int sums) {
  constexpr int most = S::registers >= 32 ? 8 : 4;
  const int fit = S::registers - 2 - sums * shares_of(sums);
  return fit > max_lines ? max_lines : fit > most ? most : fit < 1 ? 1 : fit;
}

template <class E>
struct Products {
  const E *x, *g;                                      // the first tile's x line under tap 0, and gy line, in row 0
  Step tiles;                                          // how many follow one another
  int64_t first, last;                                 // x lines inside the image, numbered from the first tile's first
  Step x_row, g_row, rows;                             // steps from row to row of tiles, and how many
  Step whole, whole_end;                               // rows in which all O taps are inside the image
  Step inside[most_across], inside_rows[most_across];  // those of each: the first, and how many
  Step vectors;  // the same for so many of them, and the elements from one to the next
  Step x_vector, g_vector, sums_vector;
  Step x_last, g_last;        // elements to the last one, which may lap over the one before
  Step g_line, x_line;        // elements between lines
  const Step* x_offset;       // elements to each of the O taps
  E* sums;                    // vectors [O][A]
  Step sums_cross, sums_tap;  // elements between them
  int64_t lanes;              // edge: so many count
  // What lies so many elements ahead is fetched meanwhile, of x under so many of the last taps; none: nothing.
  Step x_ahead, g_ahead, taps_fetched;
};

// What of a row of a tile is beside the image.
enum class Missing { nothing, lines, taps };

// `apart`: lines of x from one line of gy to the next, 1 or a stride of 2.
template <class S, int T, int A, int O, int apart>
struct TileProducts {
  using E = typename S::E;
  using V = typename S::V;
  static constexpr int shares = shares_of(A * O) < T ? shares_of(A * O) : T;
  static constexpr int lines_in = (T - 1) * apart + A;
  static constexpr uint32_t all = (1u << lines_in) - 1u;
  V sum[shares][O][A];

  DEPTHWISE_INLINE void add_line(V v, const V (&g)[T], int s, int o) {
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a) {
      if (s < a || (s - a) % apart || s - a >= T * apart) continue;
      const int t = (s - a) / apart;
      sum[t % shares][o][a] = S::fma(v, g[t], sum[t % shares][o][a]);
    }
  }

  template <Missing missing, class Load>
  DEPTHWISE_INLINE void add_row(const Products<E>& p, const E* x, const E* gy, uint32_t live, Step row,
                                const Load& load) {
    V g[T];
    Walk<E> g_lines(gy, p.g_line);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) g[t] = S::pin(load(g_lines.line(t)));
    if constexpr (missing != Missing::nothing) DEPTHWISE_PIN_INTEGER(live);
    if constexpr (missing == Missing::taps) {
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) {
        if (static_cast<size_t>(row - p.inside[o]) >= static_cast<size_t>(p.inside_rows[o])) continue;
        Walk<E> lines(x + p.x_offset[o], p.x_line);
#pragma GCC unroll 32
        for (int s = 0; s < lines_in; ++s) {
          const E* line = lines.line(s);
          if (live & (1u << s)) add_line(S::pin(load(line)), g, s, o);
        }
      }
      return;
    }
    const E* from[O];
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) from[o] = x + p.x_offset[o];
    const Step step = p.x_line;
#pragma GCC unroll 32
    for (int s = 0; s < lines_in; ++s) {
      if (missing == Missing::nothing || __builtin_expect(live & (1u << s), 1)) {
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) add_line(S::pin(load(from[o] + s % 2 * step)), g, s, o);
      }
      if (s % 2 == 0) continue;
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) {
        from[o] += 2 * step;
        DEPTHWISE_PIN_INTEGER(from[o]);
      }
    }
  }

  template <Missing missing, class Load>
  DEPTHWISE_INLINE void add_rows(const Products<E>& p, const E* x, const E* gy, uint32_t live, Step row, Step end,
                                 const Load& load) {
    x += row * p.x_row;
    gy += row * p.g_row;
    for (; row < end; ++row, x += p.x_row, gy += p.g_row) {
      if (p.taps_fetched) fetch(p, x, gy);
      add_row<missing>(p, x, gy, live, row, load);
    }
  }

  DEPTHWISE_INLINE void fetch(const Products<E>& p, const E* x, const E* gy) {
    for (int o = O - static_cast<int>(p.taps_fetched); o < O; ++o) {
      const E* ahead = x + (p.x_offset[o] + p.x_ahead);
#pragma GCC unroll 16
      for (int s = 0; s < T * apart; ++s) __builtin_prefetch(ahead + s * p.x_line, 0, 2);
    }
    gy += p.g_ahead;
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) __builtin_prefetch(gy + t * p.g_line, 0, 2);
  }

  template <class Load>
  DEPTHWISE_INLINE void add(const Products<E>& p, const E* x, const E* gy, uint32_t live, const Load& load) {
    for (Step row = 0; row < p.rows;) {
      if (row == p.whole && row < p.whole_end) {
        if (__builtin_expect(live == all, 1))
          add_rows<Missing::nothing>(p, x, gy, all, row, p.whole_end, load);
        else
          add_rows<Missing::lines>(p, x, gy, live, row, p.whole_end, load);
        row = p.whole_end;
      } else {
        const Step end = row < p.whole ? p.whole : p.rows;
        add_rows<Missing::taps>(p, x, gy, live, row, end, load);
        row = end;
      }
    }
  }
};

template <class S, int T, int A, int O, int apart, bool Edge>
DEPTHWISE_NOINLINE void add_products(const Products<typename S::E>& p) {
  using E = typename S::E;
  typename S::M mask{};
  if constexpr (Edge) mask = S::mask(0, p.lanes);
  const auto load = [&](const E* at) __attribute__((always_inline)) {
    if constexpr (Edge)
      return S::load(at, mask);
    else
      return S::load(at);
  };
  for (Step vector = 0; vector < p.vectors; ++vector) {
    TileProducts<S, T, A, O, apart> tile;
    E* sums = p.sums + vector * p.sums_vector;
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a) {
        tile.sum[0][o][a] = S::load(sums + o * p.sums_cross + a * p.sums_tap);
#pragma GCC unroll 16
        for (int i = 1; i < tile.shares; ++i) tile.sum[i][o][a] = S::zero();
      }
    const E *x = p.x + at_most(vector * p.x_vector, p.x_last), *gy = p.g + at_most(vector * p.g_vector, p.g_last);
    for (Step at = 0; at < p.tiles; ++at, x += T * apart * p.x_line, gy += T * p.g_line) {
      const uint32_t live = live_lines(p.first - at * T * apart, p.last - at * T * apart, tile.lines_in);
      if (live) tile.add(p, x, gy, live, load);
    }
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a) {
#pragma GCC unroll 16
        for (int i = 1; i < tile.shares; ++i) tile.sum[0][o][a] = S::add(tile.sum[0][o][a], tile.sum[i][o][a]);
        S::store(sums + o * p.sums_cross + a * p.sums_tap, tile.sum[0][o][a]);
      }
  }
}

// The products of tiles of `lines` gy lines under `taps` by `cross_taps` taps.
template <class S, bool Edge>
inline void add_products_of(int lines, int apart, int taps, int cross_taps, const Products<typename S::E>& p) {
  DEPTHWISE_REQUIRE(
      taps > 0 && taps <= S::max_taps && cross_taps > 0 && cross_taps <= most_products_across<S>(taps, Edge),
      "the sums fit the registers");
  DEPTHWISE_REQUIRE(apart == 1 || (apart == 2 && taps <= 3), "a stride is left to the tile for few taps alone");
  with_number<S::max_taps>(taps, [&](auto A) {
    constexpr int a = decltype(A)::value;
    with_number<most_products_across<S>(a, Edge)>(cross_taps, [&](auto O) {
      constexpr int o = decltype(O)::value;
      with_number<product_lines<S>(a * o)>(lines, [&](auto T) {
        constexpr int t = decltype(T)::value;
        if constexpr (a <= 3)
          if (apart == 2) return add_products<S, t, a, o, 2, Edge>(p);
        add_products<S, t, a, o, 1, Edge>(p);
      });
    });
  });
}

}  // namespace
