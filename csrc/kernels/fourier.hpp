// Discrete Fourier transforms of vectors: each lane has numbers of its own, so that no lane ever meets another.
//
// Stockham's algorithm: passes of radix 2 to 5 from one memory to another, which leave the numbers in order. A number
// is a vector of real parts and one of imaginary parts.
#pragma once
#include "../simd/common.hpp"
#include "job.hpp"

namespace {

using depthwise::FourierAxis;

// Complex numbers `step` elements apart. Where the parts change places a transform is the inverse one.
template <class E>
struct ComplexSpan {
  E *re, *im;
  Step step;
  ComplexSpan swapped() const { return {im, re, step}; }
};

// Complex numbers that follow one another.
template <class S>
inline ComplexSpan<typename S::E> span_at(typename S::E* data) {
  return {data, data + S::N, 2 * S::N};
}

template <class S>
struct Complex {
  typename S::V re, im;
  friend DEPTHWISE_INLINE Complex operator+(Complex a, Complex b) { return {S::add(a.re, b.re), S::add(a.im, b.im)}; }
  friend DEPTHWISE_INLINE Complex operator-(Complex a, Complex b) { return {S::sub(a.re, b.re), S::sub(a.im, b.im)}; }
};

template <class S>
DEPTHWISE_INLINE Complex<S> load_at(const ComplexSpan<typename S::E>& from, Step i) {
  return {S::load(from.re + i * from.step), S::load(from.im + i * from.step)};
}
template <class S>
DEPTHWISE_INLINE void store_at(const ComplexSpan<typename S::E>& to, Step i, Complex<S> v) {
  S::store(to.re + i * to.step, v.re);
  S::store(to.im + i * to.step, v.im);
}
template <class S>
DEPTHWISE_INLINE Complex<S> scaled(Complex<S> a, typename S::V by) {
  return {S::mul(a.re, by), S::mul(a.im, by)};
}
// a + by * b
template <class S>
DEPTHWISE_INLINE Complex<S> add_scaled(Complex<S> a, Complex<S> b, typename S::V by) {
  return {S::fma(b.re, by, a.re), S::fma(b.im, by, a.im)};
}
template <class S>
DEPTHWISE_INLINE Complex<S> product(Complex<S> a, Complex<S> b) {
  return {S::sub(S::mul(a.re, b.re), S::mul(a.im, b.im)), S::fma(a.re, b.im, S::mul(a.im, b.re))};
}
// a times the conjugate of b.
template <class S>
DEPTHWISE_INLINE Complex<S> product_conjugate(Complex<S> a, Complex<S> b) {
  return {S::fma(a.re, b.re, S::mul(a.im, b.im)), S::sub(S::mul(a.im, b.re), S::mul(a.re, b.im))};
}
// a - i * b
template <class S>
DEPTHWISE_INLINE Complex<S> minus_i(Complex<S> a, Complex<S> b) {
  return {S::add(a.re, b.im), S::sub(a.im, b.re)};
}
template <class S>
DEPTHWISE_INLINE Complex<S> plus_i(Complex<S> a, Complex<S> b) {
  return {S::sub(a.re, b.im), S::add(a.im, b.re)};
}

// The transforms of R numbers, in place.
template <class S>
DEPTHWISE_INLINE void transform_all(Complex<S> (&a)[2]) {
  const Complex<S> sum = a[0] + a[1];
  a[1] = a[0] - a[1];
  a[0] = sum;
}
template <class S>
DEPTHWISE_INLINE void transform_all(Complex<S> (&a)[3]) {
  using E = typename S::E;
  const Complex<S> sum = a[1] + a[2], difference = scaled<S>(a[1] - a[2], S::set1(E(0.86602540378443864676)));
  const Complex<S> middle = add_scaled<S>(a[0], sum, S::set1(E(-0.5)));
  a[0] = a[0] + sum;
  a[1] = minus_i<S>(middle, difference);
  a[2] = plus_i<S>(middle, difference);
}
template <class S>
DEPTHWISE_INLINE void transform_all(Complex<S> (&a)[4]) {
  const Complex<S> even = a[0] + a[2], odd = a[0] - a[2], sum = a[1] + a[3], difference = a[1] - a[3];
  a[0] = even + sum;
  a[1] = minus_i<S>(odd, difference);
  a[2] = even - sum;
  a[3] = plus_i<S>(odd, difference);
}
template <class S>
DEPTHWISE_INLINE void transform_all(Complex<S> (&a)[5]) {
  using E = typename S::E;
  const typename S::V cos1 = S::set1(E(0.30901699437494742410)), cos2 = S::set1(E(-0.80901699437494742410));
  const typename S::V sin1 = S::set1(E(0.95105651629515357212)), sin2 = S::set1(E(0.58778525229247312917));
  const Complex<S> outer = a[1] + a[4], inner = a[2] + a[3], over = a[1] - a[4], under = a[2] - a[3];
  const Complex<S> first = add_scaled<S>(add_scaled<S>(a[0], outer, cos1), inner, cos2);
  const Complex<S> second = add_scaled<S>(add_scaled<S>(a[0], outer, cos2), inner, cos1);
  const Complex<S> wide = add_scaled<S>(scaled<S>(over, sin1), under, sin2);
  const Complex<S> narrow = scaled<S>(over, sin2) - scaled<S>(under, sin1);
  a[0] = a[0] + outer + inner;
  a[1] = minus_i<S>(first, wide);
  a[2] = minus_i<S>(second, narrow);
  a[3] = plus_i<S>(second, narrow);
  a[4] = plus_i<S>(first, wide);
}

// One pass over `groups` * R * `apart` numbers. `roots`: for each group R - 1 factors, a real and an imaginary part.
template <class S, int R>
DEPTHWISE_NOINLINE void transform_pass(const ComplexSpan<typename S::E>& from, const ComplexSpan<typename S::E>& to,
                                       Step groups, Step apart, const typename S::E* roots) {
  const Step from_next = groups * apart * from.step, to_next = apart * to.step;
  const auto one = [&](Step in, Step out, const Complex<S>* factors) __attribute__((always_inline)) {
    Complex<S> a[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) a[r] = {S::load(from.re + in + r * from_next), S::load(from.im + in + r * from_next)};
    transform_all<S>(a);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Complex<S> v = r && factors ? product<S>(a[r], factors[r - 1]) : a[r];
      S::store(to.re + out + r * to_next, v.re);
      S::store(to.im + out + r * to_next, v.im);
    }
  };
  // Those of the first group are all one.
  for (Step q = 0; q < apart; ++q) one(q * from.step, q * to.step, nullptr);
  for (Step p = 1; p < groups; ++p) {
    Complex<S> factors[R - 1];
#pragma GCC unroll 8
    for (int r = 0; r < R - 1; ++r)
      factors[r] = {S::set1(roots[2 * ((R - 1) * p + r)]), S::set1(roots[2 * ((R - 1) * p + r) + 1])};
    for (Step q = 0; q < apart; ++q) one((q + apart * p) * from.step, (q + apart * R * p) * to.step, factors);
  }
}

// Transforms of one length.
template <class S>
class Fourier {
  using E = typename S::E;
  using Line = ComplexSpan<E>;

 public:
  explicit Fourier(const FourierAxis& axis) : axis_(axis) {}

  int64_t size() const { return axis_.size; }
  // Numbers that are kept beside those transformed.
  static int64_t scratch_elements(const FourierAxis& axis) { return 2 * axis.size * 2 * S::N; }

  // `to` may be `from`, and `scratch` neither.
  void transform(const Line& from, const Line& to, E* scratch) const {
    const Line turns[2] = {span_at<S>(scratch), span_at<S>(scratch + 2 * S::N * axis_.size)};
    if (!axis_.passes) return store_at<S>(to, 0, load_at<S>(from, 0));
    Line at = from;
    Step groups = axis_.size, apart = 1;
    for (int64_t pass = 0; pass < axis_.passes; ++pass) {
      const Line next = pass + 1 == axis_.passes ? to : turns[pass % 2];
      const int radix = axis_.radix[pass];
      groups /= radix;
      const E* roots = static_cast<const E*>(axis_.roots[pass]);
      if (radix == 2) transform_pass<S, 2>(at, next, groups, apart, roots);
      if (radix == 3) transform_pass<S, 3>(at, next, groups, apart, roots);
      if (radix == 4) transform_pass<S, 4>(at, next, groups, apart, roots);
      if (radix == 5) transform_pass<S, 5>(at, next, groups, apart, roots);
      apart *= radix;
      at = next;
    }
  }

 private:
  const FourierAxis& axis_;
};

}  // namespace
