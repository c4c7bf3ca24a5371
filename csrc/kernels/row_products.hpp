// The loop under a weight gradient whose lanes hold columns: the products of gy rows and x rows under A by O taps, over
// the vectors, row tiles, images and planes of a call.
//
// The sums of all those taps stay in registers meanwhile, and so do the gy rows, a vector of each, that an x row meets:
// going down the rows, each step loads a row of gy in place of the one that no x row meets any more, and the x rows
// that begin under it, one vector for each of the O columns of taps. So an x vector is loaded once for A products, and
// a gy vector once for all of them. Where rows of gy run out, above and below a tile, fewer taps are met.
#pragma once
#include "require.hpp"
#include "rows.hpp"

namespace {

// How lanes whose x lies beside the row are kept out of the sums.
enum class Beside {
  zero,    // x is zero there: right while gy is finite
  masked,  // their products are left out
};

// Rows [begin, end) of a phase in tiles of so many at most.
struct TilesOfRows {
  int64_t first;
  depthwise::Heights heights;
  TilesOfRows(int64_t begin, int64_t end, int64_t most) : first(begin), heights(end - begin, most) {}
  int64_t count() const { return heights.count(); }
  int64_t begin(int64_t tile) const { return first + heights.begin(tile); }
  int64_t lines(int64_t tile) const { return heights.height(tile); }
  int64_t least() const { return lines(count() - 1); }
};

// Neighbouring gy rows, one fewer than are held at least. The x rows of a step are those that its gy row meets first.
// The others than those of `head` and `tail` are all in the image.
struct ProductTile {
  Step x, g;   // elements from the plane's start to the first x row, and to the first gy row
  Step lines;  // gy rows
  uint32_t head,
      tail;  // bit i: the i-th x row of the first steps, and of those behind the last gy row, is in the image
};

// A tile's vector: `x` and `g` are where it begins.
struct ProductRun : ProductTile {
  const void* masks;  // for each column of taps the lanes that count; null: all
  int64_t vector;     // of the tile's rows, from the first that counts on
};

template <class E>
struct RowProducts {
  const E *x, *g;
  Step x_plane, g_plane, planes;
  const ProductRun *runs, *runs_end;  // of each plane, in all images
  Step x_line, g_line;
  const Step* x_offset;  // elements to each of the O columns of taps
  Step masks_g;          // steps from a run's masks to the lanes that gy has
  // Vectors [O][A] of sums, added to; or, where each plane is done by this call alone, its totals.
  E* sums;
  Step sums_cross, sums_tap, totals_plane, totals_cross, totals_tap;
  E* totals;
  bool fetch;  // the lines behind those of a tile meanwhile
};

// gy rows that an x row meets under A taps at most.
template <class S, int A>
constexpr int rows_held = (A + lines_per_out<S> - 1) / lines_per_out<S>;

// Most rows of taps at once: the sums of two columns of them, the gy rows that they meet and masks fit the registers.
template <class S>
constexpr int most_product_rows = [] {
  constexpr int fit = lines_per_out<S> == 2 ? S::max_taps : (S::registers - 4) / 3;
  return fit < S::max_taps ? fit : S::max_taps;
}();

// Most columns of taps whose sums fit the registers beside the gy rows and what is loaded of x.
template <class S, int A>
constexpr int most_product_columns = [] {
  constexpr int apart = lines_per_out<S>, most = apart == 2 ? 4 : A == 1 ? 8 : A == 2 ? 6 : 4;
  constexpr int fit = (S::registers - rows_held<S, A> - (2 * apart - 1)) / A;
  return fit > most ? most : fit < 1 ? 1 : fit;
}();

// f(Number<i>()) for i from 0 on, until it is true or there are `n`.
template <int n, int i = 0, class F>
DEPTHWISE_INLINE bool any_number(const F& f) {
  if constexpr (i < n)
    return f(Number<i>()) || any_number<n, i + 1>(f);
  else
    return false;
}

// Targets that add the lanes of as many vectors as one has lanes together, in the order of `sum`.
template <class S>
concept SumsEach = requires(const typename S::V (&v)[S::N]) { S::sum_each(v); };

// The totals of a plane's sums. `finite` is zero while all totals are finite.
template <class S, int A, int O>
DEPTHWISE_INLINE void store_totals(const RowProducts<typename S::E>& p, typename S::E* to,
                                   const typename S::V (&sum)[O][A], typename S::V& finite) {
  using E = typename S::E;
  using G = typename Stored<S>::type;
  constexpr int count = O * A, together = SumsEach<S> ? count / S::N * S::N : 0;
  E total[count];
  const bool dense = p.totals_cross == 1 && p.totals_tap == O;
#pragma GCC unroll 4
  for (int i = 0; i < together; i += S::N) {
    typename S::V v[S::N];
#pragma GCC unroll 16
    for (int k = 0; k < S::N; ++k) v[k] = sum[(i + k) % O][(i + k) / O];
    if constexpr (together > 0) v[0] = S::sum_each(v);
    finite = S::fma(v[0], S::zero(), finite);
    G::store(dense ? to + i : total + i, v[0]);
  }
  E others = 0;
#pragma GCC unroll 16
  for (int i = together; i < count; ++i) {
    total[i] = S::sum(sum[i % O][i / O]);
    others += total[i];
    if (dense) to[i] = total[i];
  }
  if (together < count) finite = S::fma(S::set1(others), S::zero(), finite);
  if (dense) return;
  for (int a = 0, i = 0; a < A; ++a)
    for (int o = 0; o < O; ++o, ++i) to[o * p.totals_cross + a * p.totals_tap] = total[i];
}

// What lies behind a tile's lines, the share of one vector.
template <class S>
DEPTHWISE_NOINLINE void fetch_next_rows(const RowProducts<typename S::E>& p, const ProductRun& run,
                                        const typename S::E* x, const typename S::E* gy) {
  constexpr int apart = lines_per_out<S>;
  const Step lanes = S::N * run.vector, bytes = run.lines * S::N * Step{sizeof(typename S::E)};
  fetch_span(x - lanes * apart + run.lines * apart * p.x_line, bytes * apart * apart, run.vector, false);
  fetch_span(gy - lanes + run.lines * p.g_line, bytes, run.vector, false);
  asm volatile("");  // GCC takes a function that but fetches for one that does nothing
}

// The products of a run, from `line` of x and `gy` on.
template <class S, Beside B, bool masked, int A, int O>
DEPTHWISE_INLINE void add_run(const RowProducts<typename S::E>& p, const ProductRun& run, const typename S::E* line,
                              const typename S::E* gy, typename S::V (&sum)[O][A]) {
  using V = typename S::V;
  using M = typename S::M;
  using G = typename Stored<S>::type;
  constexpr int apart = lines_per_out<S>, held = rows_held<S, A>;
  // Made anew for each run, or GCC would keep their multiples on the stack.
  Step x_line = p.x_line, g_line = p.g_line;
  DEPTHWISE_PIN_INTEGER(x_line);
  DEPTHWISE_PIN_INTEGER(g_line);
  const M* masks = static_cast<const M*>(run.masks);
  M mask[O] = {}, lanes = {};
  constexpr bool masks_stay = S::masked_fma || O * A + held + O + 2 * apart <= S::registers + 1;
  if constexpr (masked) {
    lanes = masks[p.masks_g];
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) mask[o] = pinned<S>(masks[o]);
  }
  V g[held];
  const auto enter = [&](V& row) __attribute__((always_inline)) {
    if constexpr (masked && !masks_stay) {
      DEPTHWISE_PIN_INTEGER(masks);  // or sums would be on the stack
      lanes = masks[p.masks_g];
    }
    if constexpr (masked)
      row = S::pin(in_order<S>(G::load(gy, lanes)));
    else
      row = S::pin(in_order<S>(G::load(gy)));
    gy += g_line;
  };
  // The products of an x row, the j-th of its step, with gy rows that entered `from` to `to` steps ago. The gy row of
  // this step has its place at `slot`.
  const auto add = [&](auto slot, auto j, auto from, auto to) __attribute__((always_inline)) {
    V loaded[O < 2 ? 2 : O], value[O];
    // Under a stride of two, columns that are neighbours share two loads, and those two columns on have them shifted.
    if constexpr (apart == 2) S::load_both(line + p.x_offset[0], loaded[0], loaded[1]);
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      if constexpr (apart == 1)
        loaded[o] = S::load(line + p.x_offset[o]);
      else if (o > 1)
        loaded[o] = S::shift(loaded[o - 2], line + p.x_offset[0] + 2 * S::N + o - 2);
      value[o] = loaded[o];
      if constexpr (masked && !masks_stay) {
        DEPTHWISE_PIN_INTEGER(masks);
        mask[o] = masks[o];
      }
      if constexpr (masked && B == Beside::zero) value[o] = S::keep(value[o], mask[o]);
      value[o] = S::pin(value[o]);
#pragma GCC unroll 16
      for (int i = decltype(from)::value; i < decltype(to)::value; ++i) {
        const int a = apart * i + decltype(j)::value;
        if (a >= A) continue;
        const V& row = g[(decltype(slot)::value - i + held) % held];
        if constexpr (masked && B == Beside::masked)
          sum[o][a] = S::fma(value[o], row, sum[o][a], mask[o]);
        else
          sum[o][a] = S::fma(value[o], row, sum[o][a]);
      }
    }
  };
  // The x rows of a step at one of the tile's ends.
  const auto add_asked = [&](uint32_t live, auto slot, auto from, auto to) __attribute__((always_inline)) {
    any_number<apart>([&](auto j) __attribute__((always_inline)) {
      constexpr bool meets = apart * decltype(from)::value + decltype(j)::value < A;
      if (meets && (live & 1u << decltype(j)::value)) add(slot, j, from, to);
      line += x_line;
      return false;
    });
  };
  uint32_t head = run.head;
  DEPTHWISE_PIN_INTEGER(head);
  any_number<held - 1>([&](auto k) __attribute__((always_inline)) {
    enter(g[decltype(k)::value]);
    add_asked(head >> decltype(k)::value * apart, k, Number<0>(), Number<decltype(k)::value + 1>());
    return false;
  });
  Step left = run.lines - (held - 1);
  const auto step = [&](auto phase) __attribute__((always_inline)) {
    constexpr int slot = (held - 1 + decltype(phase)::value) % held;
    if (left == 0) {
      uint32_t tail = run.tail;
      DEPTHWISE_PIN_INTEGER(tail);
      any_number<held - 1>([&](auto e) __attribute__((always_inline)) {
        constexpr int i = decltype(e)::value;
        add_asked(tail >> i * apart, Number<(slot + i) % held>(), Number<i + 1>(), Number<held>());
        return false;
      });
      return true;
    }
    --left;
    enter(g[slot]);
    any_number<apart>([&](auto j) __attribute__((always_inline)) {
      if constexpr (decltype(j)::value < A) add(Number<slot>(), j, Number<0>(), Number<held>());
      line += x_line;
      return false;
    });
    return false;
  };
  while (!any_number<held>(step)) {
  }
}

// False where a total is not finite.
template <class S, Beside B, int A, int O>
DEPTHWISE_NOINLINE bool add_row_products(const RowProducts<typename S::E>& p) {
  using E = typename S::E;
  using V = typename S::V;
  using G = typename Stored<S>::type;
  V finite = S::zero();
  const E *x = p.x, *gy = p.g;
  E* totals = p.totals;
  for (Step planes = p.planes; planes > 0; --planes) {
    V sum[O][A];
    if (p.totals) {
#pragma GCC unroll 16
      for (int i = 0; i < O * A; ++i) sum[i / A][i % A] = S::zero();
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < O * A; ++i) sum[i / A][i % A] = G::load(p.sums + i / A * p.sums_cross + i % A * p.sums_tap);
    }
    for (const ProductRun* run = p.runs; run < p.runs_end; ++run) {
      if (__builtin_expect(p.fetch, 0)) fetch_next_rows<S>(p, *run, x + run->x, gy + run->g);
      if (!S::masked_fma && !run->masks)
        add_run<S, B, false, A, O>(p, *run, x + run->x, gy + run->g, sum);
      else
        add_run<S, B, true, A, O>(p, *run, x + run->x, gy + run->g, sum);
    }
    x += p.x_plane;
    gy += p.g_plane;
    if (p.totals) {
      store_totals<S, A, O>(p, totals, sum, finite);
      totals += p.totals_plane;
      continue;
    }
#pragma GCC unroll 16
    for (int i = 0; i < O * A; ++i) G::store(p.sums + i / A * p.sums_cross + i % A * p.sums_tap, sum[i / A][i % A]);
  }
  return S::sum(finite) == 0;
}

// Most columns at once of so many rows of taps, of which there are `most` at most.
template <class S, Beside B, int most>
int64_t product_columns(int64_t taps) {
  int64_t columns = 1;
  if constexpr (B == Beside::zero || S::masked_fma)
    with_number<most>(taps, [&](auto A) { columns = most_product_columns<S, decltype(A)::value>; });
  return columns;
}

template <class S, Beside B, int most>
inline bool add_row_products(int64_t taps, int64_t columns, const RowProducts<typename S::E>& p) {
  const int64_t most_at_once = product_columns<S, B, most>(taps);
  DEPTHWISE_REQUIRE(taps >= 1 && taps <= most && columns >= 1 && columns <= most_at_once, "it is compiled");
  constexpr bool one_column = B == Beside::masked && !S::masked_fma;
  bool finite = true;
  with_number<most>(taps, [&](auto A) {
    with_number<one_column ? 1 : most_product_columns<S, decltype(A)::value>>(
        columns, [&](auto O) { finite = add_row_products<S, B, decltype(A)::value, decltype(O)::value>(p); });
  });
  return finite;
}

}  // namespace
