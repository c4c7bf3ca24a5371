// The innermost loop of a weight gradient whose lanes hold channels: the sums of A x O taps stay in registers while gy
// and x stream past.
//
// It walks along rows of gy, whose pixels, a vector each, meet the A x O pixels of x under the taps: some neighbours at
// once where all taps are inside the image, so that each pixel of x is loaded once for all of them; else one by one,
// and the multiply-adds read x from memory themselves.
#pragma once
#include "require.hpp"
#include "tile.hpp"

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
// gy adding to one share after another.
constexpr int shares_of(int sums) { return sums >= 7 ? 1 : sums >= 4 ? 2 : sums == 3 ? 3 : 4; }

// Pixels of gy that stand in registers beside the sums, an even number.
template <class S>
constexpr int pixels_together(int sums) {
  constexpr int most = S::registers >= 32 ? 8 : 4;
  const int fit = (S::registers - 1 - sums * shares_of(sums)) & ~1;
  return fit > most ? most : fit;
}

template <class E>
struct Products {
  const E *x, *g;                 // in the first row, the x under the first pixel's tap 0, and the pixel
  Step columns;                   // pixels of gy in a row
  Step whole, whole_end;          // those that have all A taps inside the image
  Step first, last;               // lines of x inside the image, numbered from the first pixel's tap 0
  Step x_line, x_pixel, g_pixel;  // elements from line to line of x, and from pixel to pixel of gy
  Step lines_apart;               // lines of x from one pixel of gy to the next
  Step x_row, g_row, rows;        // elements from row to row, and how many
  Step vectors;                   // the same for so many of them, and the elements from one to the next
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

// Lines that lie ahead, `step` elements apart.
template <class E>
inline void fetch_lines(const E* at, Step step, Step lines) {
  for (; lines > 0; --lines, at += step) __builtin_prefetch(at, 0, 2);
}

// What lies ahead of a row.
template <class E>
DEPTHWISE_NOINLINE void fetch_row(const Products<E>& p, Step taps, const E* x, const E* gy) {
  for (Step o = taps - p.taps_fetched; o < taps; ++o)
    fetch_lines(x + (p.x_offset[o] + p.x_ahead), p.x_line, p.columns * p.lines_apart);
  fetch_lines(gy + p.g_ahead, p.g_pixel, p.columns);
  asm volatile("");  // GCC takes a function that but fetches for one that does nothing
}

// Walks over pixels of gy and what lies under the taps.
template <class S, int A, int O, bool Edge>
class PixelWalk {
  using E = typename S::E;
  using V = typename S::V;
  using M = typename S::M;

 public:
  static constexpr int shares = shares_of(A * O), together = pixels_together<S>(A * O);
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
  DEPTHWISE_INLINE void add_row(Sums& sum) {
    if (p_.whole) add_asked(sum, 0, p_.whole);
    Step left = p_.whole_end - p_.whole;
    if (together > 1 && p_.lines_apart == 1)
      for (; left >= together; left -= together) add_together<1>(sum);
    if (together > 1 && A > 1 && A < 4 && p_.lines_apart == 2)
      for (; left >= together; left -= together) add_together<2>(sum);
    for (; left >= shares; left -= shares)
#pragma GCC unroll 16
      for (int i = 0; i < shares; ++i) {
        const V pixel = S::pin(load(g_));
#pragma GCC unroll 16
        for (int a = 0; a < A; ++a) add_line(sum[i], pixel, a);
        move(p_.x_pixel, p_.g_pixel);
      }
    add_asked(sum, p_.whole_end - left, p_.columns);
  }
  // From the end of a row to the next.
  DEPTHWISE_INLINE void next_row() { move(p_.x_row - p_.columns * p_.x_pixel, p_.g_row - p_.columns * p_.g_pixel); }

 private:
  DEPTHWISE_INLINE V load(const E* at) const {
    if constexpr (Edge)
      return S::load(at, lanes_);
    else
      return S::load(at);
  }
  DEPTHWISE_INLINE void add_line(V (&sum)[O][A], V pixel, int a) const {
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) sum[o][a] = S::fma(load(x_[o] + (a ? line_[a] : 0)), pixel, sum[o][a]);
  }
  // Some pixels whose taps lie so many lines apart: each pixel of x is loaded once for all of them.
  template <int apart>
  DEPTHWISE_INLINE void add_together(Sums& sum) {
    constexpr int lines = together * apart;
    V pixel[together > 1 ? together : 1];
#pragma GCC unroll 16
    for (int t = 0; t < together; ++t) {
      pixel[t] = S::pin(load(g_));
      g_ += p_.g_pixel;
    }
#pragma GCC unroll 32
    for (int s = 0; s < lines + A - apart; ++s) {
      const int behind = s < lines ? s % 2 : s - lines;  // lines from x_, which is two further down after two
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) {
        const V x = S::pin(load(x_[o] + (behind ? line_[behind] : 0)));
#pragma GCC unroll 16
        for (int a = 0; a < A; ++a) {
          const int t = (s - a) / apart;
          if (s >= a && (s - a) % apart == 0 && t < together)
            sum[t % shares][o][a] = S::fma(x, pixel[t], sum[t % shares][o][a]);
        }
      }
      if (s < lines && s % 2) move_x(2 * line_[1]);
    }
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
  // Pixels [begin, end), some of whose taps may be beside the image.
  DEPTHWISE_INLINE void add_asked(Sums& sum, Step begin, Step end) {
    const size_t inside = static_cast<size_t>(p_.last - p_.first);
    Step line = begin * p_.lines_apart - p_.first;
    for (Step t = begin; t < end; ++t, line += p_.lines_apart) {
      const V pixel = S::pin(load(g_));
#pragma GCC unroll 16
      for (int a = 0; a < A; ++a)
        if (static_cast<size_t>(line + a) < inside) add_line(sum[0], pixel, a);
      move(p_.x_pixel, p_.g_pixel);
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
  constexpr Step line = sizeof(typename S::V) < 64 ? Step{64 / sizeof(typename S::V)} : 1;  // of a cache, in vectors
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
    const bool fetches = p.fetches && vector % line == 0;
    Pixels pixels(p, x, gy, lanes);
    for (Step row = 0; row < p.rows; ++row) {
      if (__builtin_expect(fetches, 0)) fetch_row(p, O, x + row * p.x_row, gy + row * p.g_row);
      pixels.add_row(sum);
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
  with_number<S::max_taps>(taps, [&](auto A) {
    constexpr int a = decltype(A)::value;
    with_number<most_products_across<S>(a, Edge)>(cross_taps,
                                                  [&](auto O) { add_products<S, a, decltype(O)::value, Edge>(p); });
  });
}

}  // namespace
