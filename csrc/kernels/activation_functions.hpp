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

// x / (1 + e^-a) for a from `least` on; beyond `most` it is x. Both sides of the bar are made smaller by 2^-32 (2^-64),
// so that e^-a does not overflow while the quotient is a number; one that is not normal is rounded a second time.
template <class S, class V = typename S::V>
DEPTHWISE_INLINE V times_sigmoid(V x, V a) {
  using Of = SigmoidOf<typename S::E>;
  const V small = S::set1(Of::small);
  const Exponential<S> power(S::min(a, S::set1(Of::most)), Of::shift);
  // What is lost of the sum of two powers of two is added to a product that is exact where nothing is lost.
  const V sum = S::add(power.scale, small), lost = S::sub(small, S::sub(sum, power.scale));
  return S::mul(S::div(x, S::add(sum, S::fma(power.scale, power.rest, lost))), small);
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
    const V most = S::set1(Of::most), bounded = S::max(x, S::set1(Of::least));
    // The second term is -0 or 0, or of -inf a NaN: -inf * 0, as the definition has it and PyTorch.
    const V inside = S::add(times_sigmoid<S>(bounded, bounded), S::mul(S::min(x, most), S::zero()));
    return S::select(S::less(most, x), x, inside);
  }
  // sigmoid(x) (1 + x (1 - sigmoid(x)))
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V x, V gy) {
    const Sigmoid<S> s(x);
    const V bounded = between<S>(x, ExponentialOf<typename S::E>::zero_from);
    return S::mul(gy, S::mul(s.share, S::fma(bounded, s.rest, S::set1(1))));
  }
};

// P / Q is e^(t^2 / 2) Phi(-t) for 0 <= t <= 14.6 (38.9), Phi the distribution function of the normal distribution, by
// a rational Remez exchange in 50 digits for the relative error: 6.0e-9 in float32, 9.2e-19 in float64. All
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
  static constexpr float density = 0.398942280401f;  // 1 / sqrt(2 pi)
  static constexpr float P[] = {0.500000002993f, 0.438495925228f, 0.183384185776f, 0.0406835166417f, 0.00412378657931f};
  static constexpr float Q[] = {
      1.0f, 1.67487683680f, 1.20312189755f, 0.469864145282f, 0.101984831769f, 0.0103366819779f};
};

template <>
struct NormalOf<double> {
  static constexpr int shift = 128;
  static constexpr double small = 0x1p-128;
  static constexpr double to_grid = 0x1.8p32;  // multiples of 2^-20
  static constexpr double most = 38.7;
  static constexpr double zero_from = 37.658;
  static constexpr double density = 0.398942280401432677940;
  static constexpr double P[] = {0.500000000000000000458,   0.82787529679565615064,    0.679532897206701046321,
                                 0.357286910444250961115,   0.132018117271087658162,   0.0356583693910936654642,
                                 0.007120597312053302746,   0.00103931952536378685885, 0.000106524814137752622265,
                                 6.97228497240905998612e-6, 2.24043934318718067246e-7};
  static constexpr double Q[] = {1.0,
                                 2.4536351543941778676,
                                 2.81678340194766359019,
                                 2.00118575149896141769,
                                 0.979932283831926824896,
                                 0.348240608539458875441,
                                 0.0919525110920096084432,
                                 0.018114585466917979117,
                                 0.00262266463550918543146,
                                 0.000267579705924835982644,
                                 0.0000174769266506554862424,
                                 5.61594860522739756909e-7};
};

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
    const V product = S::mul(S::mul(t, power.scale), polynomial<S>(Of::P, t));
    const V tail = S::div(S::fma(product, power.rest, product), polynomial<S>(Of::Q, t));
    // Of -inf it is a NaN: -inf * 0, as the definition has it and PyTorch.
    const V line = S::fma(S::min(x, S::set1(Of::most)), S::zero(), S::max(x, S::set1(-typename S::E{0})));
    return S::fma(tail, S::set1(-Of::small), line);
  }
  // Phi(x) + x e^(-x^2 / 2) / sqrt(2 pi)
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V x, V gy) {
    using Of = NormalOf<typename S::E>;
    const V bounded = between<S>(x, Of::zero_from), t = magnitude<S>(bounded);
    const V power = bell<S>(t, 0).value();
    const V tail = S::div(S::mul(power, polynomial<S>(Of::P, t)), polynomial<S>(Of::Q, t));
    const V share = S::select(S::less(x, S::zero()), tail, S::sub(S::set1(1), tail));
    return S::mul(gy, S::fma(S::mul(bounded, power), S::set1(Of::density), share));
  }
};

// x sigmoid(a), a = 2 sqrt(2 / pi) (x + 0.044715 x^3): the same as x (1 + tanh(a / 2)) / 2, without its cancellation.
struct GeluTanh {
  static constexpr double linear = 1.59576912160573071176, cubic = linear * 0.044715;

  template <class E>
  static constexpr E most = sizeof(E) == 4 ? static_cast<E>(10.84) : static_cast<E>(21.6);

  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V value(V x) {
    using E = typename S::E;
    const V low = between<S>(x, most<E>);
    const V a = S::mul(low, S::fma(S::mul(low, low), S::set1(E{cubic}), S::set1(E{linear})));
    const V inside = S::add(times_sigmoid<S>(low, a), S::mul(S::min(x, S::set1(most<E>)), S::zero()));
    return S::select(S::less(S::set1(most<E>), x), x, inside);
  }
  // sigmoid(a) (1 + x (1 - sigmoid(a)) a')
  template <class S, class V = typename S::V>
  static DEPTHWISE_INLINE V gradient(V x, V gy) {
    using E = typename S::E;
    const V bounded = between<S>(x, most<E>), square = S::mul(bounded, bounded);
    const Sigmoid<S> s(S::mul(bounded, S::fma(square, S::set1(E{cubic}), S::set1(E{linear}))));
    const V slope = S::fma(square, S::set1(E{3 * cubic}), S::set1(E{linear}));
    return S::mul(gy, S::mul(s.share, S::fma(S::mul(bounded, slope), s.rest, S::set1(1))));
  }
};

}  // namespace
