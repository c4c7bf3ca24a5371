// The innermost loop of a weight gradient whose lanes hold channels: the sums of A x O taps stay in registers while gy
// and x stream past.
//
// It walks along rows of gy, whose pixels, a vector each, meet the A x O pixels of x under the taps: four neighbours at
// once, so that each pixel of x is loaded once for all of them, and what is left of a row one by one. Lines of x beside
// the image are left out.
#pragma once
#include "../simd/common.hpp"
#include "require.hpp"

namespace {

// Most taps across the lines that are summed at once.
template <class S>
constexpr int most_products_across(int taps, bool edge) {
  if (edge) return 1;  // fewer channels than lanes are not worth a function for each
  constexpr int sums = S::registers >= 32 ? 15 : 10, most = S::registers >= 32 ? 3 : 5;
  const int fit = sums / taps;
  return fit > most ? most : fit < 1 ? 1 : fit;
}

// A sum waits four cycles for its last addend, and two multiply-adds start in a cycle: so few sums are split, pixels of
// gy adding to one share after another. Beside them stand four pixels in registers.
constexpr int shares_of(int sums) { return sums >= 6 ? 1 : sums >= 4 ? 2 : sums == 3 ? 3 : 4; }
constexpr int pixels_together = 4;
// A stride of two is left to the kernel for so few taps alone.
constexpr int most_taps_two_apart = 3;

template <class E>
struct Products {
  const E *x, *g;           // in the first row, the x under the first pixel's tap 0, and the pixel
  Step columns;             // pixels of gy in a row
  Step first, last;         // lines of x inside the image, numbered from the first pixel's tap 0
  Step x_line, g_pixel;     // elements from line to line of x, and from pixel to pixel of gy
  Step lines_apart;         // lines of x from one pixel of gy to the next
  Step x_row, g_row, rows;  // elements from row to row, and how many
  Step vectors;             // the same for so many of them, and the elements from one to the next
  Step x_vector, g_vector, sums_vector;
  Step x_last, g_last;        // elements to the last one, which may lap over the one before
  const Step* x_offset;       // elements to each of the O taps, inside the image in all rows
  E* sums;                    // vectors [O][A]
  Step sums_cross, sums_tap;  // elements between them
  int64_t lanes;              // edge: so many count
  // What lies so many elements ahead is fetched meanwhile, of x under so many of the last taps.
  bool fetches;
  Step x_ahead, g_ahead, taps_fetched;
};

// Lines `step` elements apart.
template <class E>
DEPTHWISE_INLINE void fetch_apart(const E* at, Step step, Step lines) {
  for (; lines > 0; --lines, at += step) __builtin_prefetch(at, 0, 2);
}

// Walks over pixels of gy and what lies under the taps.
template <class S, int A, int O, bool Edge>
class PixelWalk {
  using E = typename S::E;
  using V = typename S::V;
  using M = typename S::M;

 public:
  static constexpr int shares = shares_of(A * O);
  using Sums = V[shares][O][A];

  DEPTHWISE_INLINE PixelWalk(const Products<E>& p, const E* x, const E* gy, M lanes) : p_(p), g_(gy), lanes_(lanes) {
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) x_[o] = x + p.x_offset[o];
#pragma GCC unroll 16
    for (int a = 1; a < A || a < 2; ++a) {
      line_[a] = a * p.x_line;
      DEPTHWISE_PIN_INTEGER(line_[a]);  // a register each, or GCC would add to a pointer for each load
    }
  }

  // The products of a row.
  DEPTHWISE_INLINE void add_row(Sums& sum, bool fetches) {
    Step left = p_.columns, line = -p_.first;
    for (; left >= pixels_together; left -= pixels_together, line += pixels_together * p_.lines_apart) {
      if (__builtin_expect(fetches, 0)) fetch(pixels_together);
      if constexpr (A <= most_taps_two_apart) {
        if (p_.lines_apart == 2)
          add_together<2>(sum, line);
        else
          add_together<1>(sum, line);
      } else {
        add_together<1>(sum, line);
      }
    }
    if (__builtin_expect(fetches, 0)) fetch(left);
    for (; left > 0; --left, line += p_.lines_apart) add_one(sum[0], line);
  }
  // From the end of a row to the next.
  DEPTHWISE_INLINE void next_row() {
    move(p_.x_row - p_.columns * p_.lines_apart * p_.x_line, p_.g_row - p_.columns * p_.g_pixel);
  }

 private:
  DEPTHWISE_INLINE V load(const E* at) const {
    if constexpr (Edge)
      return S::load(at, lanes_);
    else
      return S::load(at);
  }
  // What lies ahead of so many pixels: few at a time, or what is at hand would wait for it.
  DEPTHWISE_INLINE void fetch(Step pixels) const {
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
      if (O - o <= p_.taps_fetched) fetch_apart(x_[o] + p_.x_ahead, p_.x_line, pixels * p_.lines_apart);
    fetch_apart(g_ + p_.g_ahead, p_.g_pixel, pixels);
  }
  // Whether a line of x, numbered from the first inside the image, is inside it.
  DEPTHWISE_INLINE bool is_inside(Step line) const {
    return static_cast<size_t>(line) < static_cast<size_t>(p_.last - p_.first);
  }
  // A pixel whose tap 0 lies at `line`.
  DEPTHWISE_INLINE void add_one(V (&sum)[O][A], Step line) {
    const V pixel = S::pin(load(g_));
#pragma GCC unroll 16
    for (int a = 0; a < A; ++a) {
      if (!is_inside(line + a)) continue;
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) sum[o][a] = S::fma(load(x_[o] + (a ? line_[a] : 0)), pixel, sum[o][a]);
    }
    move(p_.lines_apart * p_.x_line, p_.g_pixel);
  }
  // Some pixels whose taps lie so many lines apart: each pixel of x is loaded once for all of them.
  template <int apart>
  DEPTHWISE_INLINE void add_together(Sums& sum, Step line) {
    if (__builtin_expect(is_inside(line) && is_inside(line + lines_under<apart> - 1), 1))
      add_together<apart, false>(sum, line);
    else
      add_together<apart, true>(sum, line);
  }
  template <int apart>
  static constexpr int lines_under = (pixels_together - 1) * apart + A;
  template <int apart, bool asks>
  DEPTHWISE_INLINE void add_together(Sums& sum, Step line) {
    constexpr int lines = pixels_together * apart;
    V pixel[pixels_together];
#pragma GCC unroll 16
    for (int t = 0; t < pixels_together; ++t) {
      pixel[t] = S::pin(load(g_));
      g_ += p_.g_pixel;
    }
#pragma GCC unroll 32
    for (int s = 0; s < lines_under<apart>; ++s) {
      const int behind = s < lines ? s % 2 : s - lines;  // lines from x_, which is two further down after two
      if (!asks || is_inside(line + s)) {
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) {
          const V x = S::pin(load(x_[o] + (behind ? line_[behind] : 0)));
#pragma GCC unroll 16
          for (int a = 0; a < A; ++a) {
            const int t = (s - a) / apart;
            if (s >= a && (s - a) % apart == 0 && t < pixels_together)
              sum[t % shares][o][a] = S::fma(x, pixel[t], sum[t % shares][o][a]);
          }
        }
      }
      if (s < lines && s % 2) move_x(2 * line_[1]);
    }
    // Where few taps meet less than the last two lines.
    if (lines_under<apart> < lines) move_x(2 * line_[1]);
  }
  DEPTHWISE_INLINE void move(Step x, Step g) {
    g_ += g;
    DEPTHWISE_PIN_INTEGER(g_);
    move_x(x);
  }
  DEPTHWISE_INLINE void move_x(Step x) {
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      x_[o] += x;
      DEPTHWISE_PIN_INTEGER(x_[o]);
    }
  }

  const Products<E>& p_;
  const E *x_[O], *g_;
  Step line_[A > 1 ? A : 2];
  const M lanes_;
};

template <class S, int A, int O, bool Edge>
DEPTHWISE_NOINLINE void add_products(const Products<typename S::E>& p) {
  using E = typename S::E;
  using Pixels = PixelWalk<S, A, O, Edge>;
  typename S::M lanes{};
  if constexpr (Edge) lanes = S::mask(0, p.lanes);
  for (Step vector = 0; vector < p.vectors; ++vector) {
    typename Pixels::Sums sum;
    E* sums = p.sums + vector * p.sums_vector;
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a) {
        sum[0][o][a] = S::load(sums + o * p.sums_cross + a * p.sums_tap);
#pragma GCC unroll 16
        for (int i = 1; i < Pixels::shares; ++i) sum[i][o][a] = S::zero();
      }
    const E *x = p.x + at_most(vector * p.x_vector, p.x_last), *gy = p.g + at_most(vector * p.g_vector, p.g_last);
    const bool fetches = p.fetches && vector % vectors_of_line<S> == 0;
    Pixels pixels(p, x, gy, lanes);
    for (Step row = 0; row < p.rows; ++row) {
      pixels.add_row(sum, fetches);
      pixels.next_row();
    }
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a) {
#pragma GCC unroll 16
        for (int i = 1; i < Pixels::shares; ++i) sum[0][o][a] = S::add(sum[0][o][a], sum[i][o][a]);
        S::store(sums + o * p.sums_cross + a * p.sums_tap, sum[0][o][a]);
      }
  }
}

// The products under `taps` by `cross_taps` taps.
template <class S, bool Edge>
inline void add_products_of(int taps, int cross_taps, const Products<typename S::E>& p) {
  DEPTHWISE_REQUIRE(
      taps > 0 && taps <= S::max_taps && cross_taps > 0 && cross_taps <= most_products_across<S>(taps, Edge),
      "the sums fit the registers");
  DEPTHWISE_REQUIRE(p.lines_apart == 1 || (p.lines_apart == 2 && taps <= most_taps_two_apart), "it is compiled");
  with_number<S::max_taps>(taps, [&](auto A) {
    constexpr int a = decltype(A)::value;
    with_number<most_products_across<S>(a, Edge)>(cross_taps,
                                                  [&](auto O) { add_products<S, a, decltype(O)::value, Edge>(p); });
  });
}

}  // namespace
