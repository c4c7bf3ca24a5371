// e^-a of vectors, in two parts that a caller puts together without a rounding of its own.
#pragma once
#include "../simd/common.hpp"

namespace {

// c[0] + c[1] x + c[2] x^2 + ...
template <class S, size_t terms>
DEPTHWISE_INLINE typename S::V polynomial(const typename S::E (&c)[terms], typename S::V x) {
  typename S::V sum = S::set1(c[terms - 1]);
  for (size_t i = terms - 1; i-- > 0;) sum = S::fma(sum, x, S::set1(c[i]));
  return sum;
}

// x between -bound and bound; NaN stays.
template <class S>
DEPTHWISE_INLINE typename S::V between(typename S::V x, typename S::E bound) {
  return S::min(S::max(x, S::set1(-bound)), S::set1(bound));
}

// |x|: of -0 it is 0.
template <class S>
DEPTHWISE_INLINE typename S::V magnitude(typename S::V x) {
  return S::max(S::sub(S::zero(), x), x);
}

// `tail` is q of e^-r = 1 - r + r^2 q(r) for |r| <= 1.01 ln(2) / 2, by Remez' exchange in 60 digits with the weight
// r^2 e^r, so that the error of e^-r is relative: 3.3e-9 in float32, 4.1e-18 in float64.
template <class E>
struct ExponentialOf;

template <>
struct ExponentialOf<float> {
  static constexpr float to_integer = 0x1.8p23f;  // a sum with it has its integer part in its lowest bits
  static constexpr float log2_e = 0x1.715476p0f;
  static constexpr float ln2 = 0x1.62e4p-1f, ln2_rest = 0x1.7f7d1cp-20f;  // n * ln2 is exact
  static constexpr int bias = 127;
  static constexpr float zero_from = 88.03f;
  static constexpr float tail[] = {0.499999930508f, -0.166665147915f, 0.0416684567695f, -0.00836941882964f,
                                   0.00138131452566f};
};

template <>
struct ExponentialOf<double> {
  static constexpr double to_integer = 0x1.8p52;
  static constexpr double log2_e = 0x1.71547652b82fep0;
  static constexpr double ln2 = 0x1.62e42feep-1, ln2_rest = 0x1.a39ef35793c76p-33;
  static constexpr int bias = 1023;
  static constexpr double zero_from = 709.09;
  static constexpr double tail[] = {0.50000000000000117009,     -0.16666666666666386305,   0.041666666666519154913,
                                    -0.0083333333335076603438,  0.0013888888946919590272,  -0.00019841269486162959686,
                                    0.000024801489352590993375, -2.7557597185019758903e-6, 2.7631687247598387113e-7,
                                    -2.4998993346829716754e-8};
};

// 2^shift e^-a = scale * (1 + rest), the scale a power of two and |rest| < 0.42. The scale's exponent, about
// shift - a / ln(2), must be that of a normal number, or one less, which makes the scale 0: without a shift that is so
// from -86 (-708) up to `zero_from`.
template <class S>
struct Exponential {
  using V = typename S::V;
  using Of = ExponentialOf<typename S::E>;

  V scale, rest;

  DEPTHWISE_INLINE Exponential(V a, int shift) {
    const V n = set_scale(a, shift);
    set_rest(reduced(a, n));
  }
  // Of a sum whose second part is small: a is not rounded.
  DEPTHWISE_INLINE Exponential(V a, V small, int shift) {
    const V n = set_scale(S::add(a, small), shift);
    set_rest(S::add(reduced(a, n), small));
  }
  DEPTHWISE_INLINE V value() const { return S::fma(scale, rest, scale); }

 private:
  DEPTHWISE_INLINE V set_scale(V a, int shift) {
    const V origin = S::set1(Of::to_integer + static_cast<typename S::E>(Of::bias + shift));
    const V shifted = S::fma(a, S::set1(-Of::log2_e), origin);
    scale = S::power_of_two(shifted);
    return S::sub(shifted, origin);
  }
  // a + n ln(2), at most half of ln(2) away from 0.
  static DEPTHWISE_INLINE V reduced(V a, V n) {
    return S::fma(n, S::set1(Of::ln2_rest), S::fma(n, S::set1(Of::ln2), a));
  }
  DEPTHWISE_INLINE void set_rest(V r) { rest = S::sub(S::mul(S::mul(r, r), polynomial<S>(Of::tail, r)), r); }
};

}  // namespace
