// What the activations do to a vector x of the accumulator's type, and to gy, the gradient with respect to their
// values. docs/numerics.md has the errors, and what becomes of infinities and NaN.
#pragma once
#include "exponential.hpp"

namespace {

struct Identity {
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V value(V x) {
    return x;
  }
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V, V gy) {
    return gy;
  }
};

struct Relu {
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V value(V x) {
    return S::max(x, S::zero());
  }
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V x, V gy) {
    return S::select(S::less(S::zero(), x), gy, S::zero());
  }
};

struct Relu6 {
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V value(V x) {
    return S::min(Relu::value<S>(x), S::set1(6));
  }
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V x, V gy) {
    return S::select(S::less(x, S::set1(6)), Relu::gradient<S>(x, gy), S::zero());
  }
};

// x relu6(x + 3) / 6, and x itself from 3 on, where the product could overflow.
struct Hardswish {
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V value(V x) {
    const V three = S::set1(3), six = S::set1(6);
    const V share = S::max(S::add(x, three), S::zero());
    return S::select(S::less(x, three), S::div(S::mul(x, share), six), x);
  }
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V x, V gy) {
    const V three = S::set1(3), inside = S::add(S::div(x, three), S::set1(static_cast<typename S::E>(0.5)));
    // At and beyond the corners 0 and 1, or the NaN that x is.
    const V below = S::select(S::less(S::set1(-3), x), inside, S::max(x, S::zero()));
    return S::mul(gy, S::select(S::less(x, three), below, S::min(x, S::set1(1))));
  }
};

template <class E>
struct SigmoidOf;

template <>
struct SigmoidOf<float> {
  static constexpr int shift = -32;
  static constexpr float small = 0x1p-32f;
  static constexpr float most = 20, least = -110.2f;
};

template <>
struct SigmoidOf<double> {
  static constexpr int shift = -64;
  static constexpr double small = 0x1p-64;
  static constexpr double most = 40, least = -753.4;
};

// x / (1 + e^-a), of 2^-32 (2^-64) times that power, with a from `least` to about `most`, beyond which it is x. Both
// sides of the bar are made smaller, so that e^-a does not overflow while the quotient is a number; one that is not
// normal is rounded a second time.
template <class S, class V = typename S::V>
DEPTHWISE_INLINE V times_sigmoid(V x, const Exponential<S>& power) {
  const V small = S::set1(SigmoidOf<typename S::E>::small);
  // What is lost of the sum of two powers of two is added to a product that is exact where nothing is lost.
  const V sum = S::add(power.scale, small), lost = S::sub(small, S::sub(sum, power.scale));
  return S::mul(S::div(x, S::add(sum, S::fma(power.scale, power.rest, lost))), small);
}

// Of -inf a NaN, -inf * 0, as the definitions have it and PyTorch; of all else up to `most` 0, or -0 where x is
// negative.
template <class S, class V = typename S::V>
DEPTHWISE_INLINE V nothing(V x, typename S::E most) {
  return S::mul(S::min(x, S::set1(most)), S::zero());
}

// sigmoid(a), and what it lacks of 1.
template <class S>
struct Sigmoid {
  typename S::V share, rest;

  DEPTHWISE_INLINE explicit Sigmoid(typename S::V a) {
    using V = typename S::V;
    const V size = S::min(magnitude<S>(a), S::set1(ExponentialOf<typename S::E>::zero_from));
    const V one = S::set1(1), power = Exponential<S>(size, 0).value();
    const V larger = S::div(one, S::add(one, power)), smaller = S::mul(power, larger);
    const auto negative = S::less(a, S::zero());
    share = S::select(negative, smaller, larger);
    rest = S::select(negative, larger, smaller);
  }
};

struct Silu {
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V value(V x) {
    using Of = SigmoidOf<typename S::E>;
    const V most = S::set1(Of::most), low = S::max(x, S::set1(Of::least));
    const Exponential<S> power(S::min(low, most), Of::shift);
    return S::select(S::less(most, x), x, S::add(times_sigmoid<S>(low, power), nothing<S>(x, Of::most)));
  }
  // sigmoid(x) (1 + x (1 - sigmoid(x)))
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V x, V gy) {
    const Sigmoid<S> s(x);
    const V bounded = between<S>(x, ExponentialOf<typename S::E>::zero_from);
    return S::mul(gy, S::mul(s.share, S::fma(bounded, s.rest, S::set1(1))));
  }
};

// e^(-t^2 / 2) / Phi(-t) = 2 + sqrt(2 pi) t - t P(t) / Q(t) for 0 <= t <= 14.6 (38.9), Phi the distribution function of
// the normal distribution: what is subtracted is at most a fifth, and so are its errors. P and Q by a rational Remez
// exchange in 50 digits for the relative error of the whole: 6.3e-9 in float32, 2.0e-18 in float64. All their
// coefficients are positive, so that no digit cancels.
template <class E>
struct NormalOf;

template <>
struct NormalOf<float> {
  static constexpr int shift = 64;
  static constexpr float small = 0x1p-64f;
  static constexpr float to_grid = 0x1.8p15f;  // a sum with it is rounded to multiples of 2^-8, whose square is exact
  static constexpr float most = 14.5f;         // x Phi(x) rounds to -0 at -most, and to x at most
  static constexpr float zero_from = 13.27f;   // e^(-t^2 / 2) without a shift is 0
  static constexpr float root = 0x1.40d932p1f, density = 0x1.988454p-2f;  // sqrt(2 pi), 1 / sqrt(2 pi)
  static constexpr float P[] = {0.910858578153f, 0.524303320022f, 0.141748150383f, 0.0163585785646f, 2.41639765739e-7f};
  static constexpr float Q[] = {1, 0.875585855872f, 0.365673154303f, 0.0809822252049f, 0.00818579894186f};
};

template <>
struct NormalOf<double> {
  static constexpr int shift = 128;
  static constexpr double small = 0x1p-128;
  static constexpr double to_grid = 0x1.8p32;  // multiples of 2^-20
  static constexpr double most = 38.7;
  static constexpr double zero_from = 37.658;
  static constexpr double root = 0x1.40d931ff62706p1, density = 0x1.9884533d43651p-2;
  static constexpr double P[] = {0.910859153025269409955,     1.25184631041794313404,     0.854860539473413688027,
                                 0.372812571413924450714,     0.113319493677842240728,    0.0247870892638646919943,
                                 0.0038992905539321963315,    0.000426583749391905927968, 0.0000296520807246626030948,
                                 0.00000101134185044470364794};
  static constexpr double Q[] = {1,
                                 1.67433773936152215718,
                                 1.388148662488228481,
                                 0.737068079288295801086,
                                 0.275091495467743884842,
                                 0.0750858634861455017673,
                                 0.0151621959791258506913,
                                 0.00223998367140588986017,
                                 0.000232667866769518186456,
                                 0.0000154598048811624908367,
                                 5.0567092522510628043e-7};
};

template <class S, class V = typename S::V>
DEPTHWISE_INLINE V bell_over_tail(V t) {
  using Of = NormalOf<typename S::E>;
  const V less = S::div(S::mul(t, polynomial<S>(Of::P, t)), polynomial<S>(Of::Q, t));
  return S::fma(t, S::set1(Of::root), S::sub(S::set1(2), less));
}

// e^(-t^2 / 2) of 0 <= t. The square is taken of a neighbour with few digits, and the rest is added to it apart, since
// an error in the exponent would be multiplied by it.
template <class S, class V = typename S::V>
DEPTHWISE_INLINE Exponential<S> bell(V t, int shift) {
  const V grid = S::set1(NormalOf<typename S::E>::to_grid), half = S::set1(static_cast<typename S::E>(0.5));
  const V near = S::sub(S::add(t, grid), grid);
  return Exponential<S>(S::mul(S::mul(near, near), half), S::mul(S::mul(S::sub(t, near), S::add(t, near)), half),
                        shift);
}

// x Phi(x)
struct Gelu {
  // max(x, 0) - |x| Phi(-|x|), the second term 2^64 (2^128) times as large until it is subtracted.
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V value(V x) {
    using Of = NormalOf<typename S::E>;
    const V t = magnitude<S>(between<S>(x, Of::most));
    const Exponential<S> power = bell<S>(t, Of::shift);
    const V product = S::mul(t, power.scale);
    const V tail = S::div(S::fma(product, power.rest, product), bell_over_tail<S>(t));
    const V line = S::add(S::max(x, S::set1(-typename S::E{0})), nothing<S>(x, Of::most));
    return S::fma(tail, S::set1(-Of::small), line);
  }
  // Phi(x) + x e^(-x^2 / 2) / sqrt(2 pi)
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V x, V gy) {
    using Of = NormalOf<typename S::E>;
    const V bounded = between<S>(x, Of::zero_from), t = magnitude<S>(bounded);
    const V power = bell<S>(t, 0).value();
    const V tail = S::div(power, bell_over_tail<S>(t));
    const V share = S::select(S::less(x, S::zero()), tail, S::sub(S::set1(1), tail));
    return S::mul(gy, S::fma(S::mul(bounded, power), S::set1(Of::density), share));
  }
};

// a = 2 sqrt(2 / pi) (x + 0.044715 x^3) = x (linear + cubic x^2)
template <class E>
struct GeluTanhOf;

template <>
struct GeluTanhOf<float> {
  static constexpr float linear = 0x1.988454p0f, cubic = 0x1.2444f2p-4f;
  // The same in two parts each, the first so short that it is added and multiplied exactly.
  static constexpr float linear_high = 0x1.98846p0f, linear_low = -0x1.985794p-21f;
  static constexpr float cubic_high = 0x1.24p-4f, cubic_low = 0x1.13ca94p-14f;
  // Sums with them are rounded to multiples of 2^-4 and 2^-12.
  static constexpr float to_grid = 0x1.8p19f, to_fine_grid = 0x1.8p11f;
  // x sigmoid(a) rounds to -0 at `least`, and to x at `most`.
  static constexpr float least = -10.84f, most = 5.5f;
};

template <>
struct GeluTanhOf<double> {
  static constexpr double linear = 0x1.9884533d43651p0, cubic = 0x1.2444f2a4d8b4bp-4;
  static constexpr double linear_high = 0x1.9884533d436p0, linear_low = 0x1.42343f2cf1403p-46;
  static constexpr double cubic_high = 0x1.2445p-4, cubic_low = -0x1.ab64e96a16c84p-25;
  static constexpr double to_grid = 0x1.8p40, to_fine_grid = 0x1.8p22;  // 2^-12 and 2^-30
  static constexpr double least = -21.6, most = 7.4;
};

// x sigmoid(a), the same as x (1 + tanh(a / 2)) / 2 without its cancellation.
struct GeluTanh {
  // a is computed in two parts, since an error in an exponent is multiplied by it: of a neighbour with few digits,
  // exactly, and the rest.
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V value(V x) {
    using Of = GeluTanhOf<typename S::E>;
    const V most = S::set1(Of::most), low = S::max(x, S::set1(Of::least)), bounded = S::min(low, most);
    const V grid = S::set1(Of::to_grid), fine_grid = S::set1(Of::to_fine_grid);
    const V near = S::sub(S::add(bounded, grid), grid), square = S::mul(near, near);
    const V slope = S::fma(square, S::set1(Of::cubic_high), S::set1(Of::linear_high));
    const V slope_high = S::sub(S::add(slope, fine_grid), fine_grid);
    const V slope_low =
        S::add(S::sub(slope, slope_high), S::fma(square, S::set1(Of::cubic_low), S::set1(Of::linear_low)));
    // (x^3 - near^3) / (x - near)
    const V squares = S::fma(bounded, S::add(bounded, near), square);
    const V beside = S::mul(S::sub(bounded, near), S::fma(squares, S::set1(Of::cubic), S::set1(Of::linear)));
    const Exponential<S> power(S::mul(near, slope_high), S::fma(near, slope_low, beside),
                               SigmoidOf<typename S::E>::shift);
    return S::select(S::less(most, x), x, S::add(times_sigmoid<S>(low, power), nothing<S>(x, Of::most)));
  }
  // sigmoid(a) (1 + x (1 - sigmoid(a)) a')
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V x, V gy) {
    using E = typename S::E;
    using Of = GeluTanhOf<E>;
    const V bounded = between<S>(x, -Of::least), square = S::mul(bounded, bounded);
    const V linear = S::set1(Of::linear), cubic = S::set1(Of::cubic);
    const Sigmoid<S> s(S::mul(bounded, S::fma(square, cubic, linear)));
    const V slope = S::fma(S::mul(square, S::set1(3)), cubic, linear);
    return S::mul(gy, S::mul(s.share, S::fma(S::mul(bounded, slope), s.rest, S::set1(1))));
  }
};

}  // namespace
