// The activations on vectors of the accumulator's type, and their gradients. docs/numerics.md has their errors.
#pragma once
#include "../problem.hpp"
#include "exponential.hpp"

namespace {

struct Identity {
  template <class S>
  static DEPTHWISE_INLINE typename S::V value(typename S::V x) {
    return x;
  }
};

struct Relu {
  template <class S>
  static DEPTHWISE_INLINE typename S::V value(typename S::V x) {
    return S::max(x, S::zero());
  }
};

struct Relu6 {
  template <class S>
  static DEPTHWISE_INLINE typename S::V value(typename S::V x) {
    return S::min(S::max(x, S::zero()), S::set1(6));
  }
};

// x relu6(x + 3) / 6, and x itself from 3 on, where the product could overflow.
struct Hardswish {
  template <class S>
  static DEPTHWISE_INLINE typename S::V value(typename S::V x) {
    const auto three = S::set1(3), six = S::set1(6);
    const auto share = S::min(S::max(S::add(x, three), S::zero()), six);
    return S::select(S::less(x, three), S::div(S::mul(x, share), six), x);
  }
};

template <class E>
struct SiluOf;

template <>
struct SiluOf<float> {
  static constexpr int shift = -32;
  static constexpr float small = 0x1p-32f;
  // Beyond them silu(x) is x, or rounds to -0.
  static constexpr float most = 20, least = -110.2f;
};

template <>
struct SiluOf<double> {
  static constexpr int shift = -64;
  static constexpr double small = 0x1p-64;
  static constexpr double most = 40, least = -753.4;
};

// x / (1 + e^-x). Both sides of the bar are made smaller by 2^-32 (2^-64), so that e^-x does not overflow while x e^x
// is a number; a quotient that is not normal is rounded a second time.
struct Silu {
  template <class S>
  static DEPTHWISE_INLINE typename S::V value(typename S::V x) {
    using Of = SiluOf<typename S::E>;
    const auto most = S::set1(Of::most), small = S::set1(Of::small);
    const auto low = S::max(x, S::set1(Of::least)), upper = S::min(x, most);
    const Exponential<S> power(S::min(low, most), Of::shift);
    // What is lost of the sum of two powers of two is added to a product that is exact where nothing is lost.
    const auto sum = S::add(power.scale, small), lost = S::sub(small, S::sub(sum, power.scale));
    const auto divisor = S::add(sum, S::fma(power.scale, power.rest, lost));
    // Adds -0 or 0, or of -inf a NaN: -inf * 0, as the definition has it and PyTorch.
    const auto quotient = S::fma(S::div(low, divisor), small, S::mul(upper, S::zero()));
    return S::select(S::less(most, x), x, quotient);
  }
};

// f of the type of an activation.
template <class F>
DEPTHWISE_INLINE void with_activation(depthwise::Activation kind, const F& f) {
  using depthwise::Activation;
  switch (kind) {
    case Activation::none:
      return f(Identity{});
    case Activation::silu:
      return f(Silu{});
    case Activation::relu:
      return f(Relu{});
    case Activation::relu6:
      return f(Relu6{});
    case Activation::hardswish:
      return f(Hardswish{});
    case Activation::gelu:
    case Activation::gelu_tanh:
      return f(Identity{});
  }
}

template <class S>
DEPTHWISE_INLINE typename S::V activate(depthwise::Activation kind, typename S::V x) {
  with_activation(kind, [&](auto activation) { x = decltype(activation)::template value<S>(x); });
  return x;
}

// values[i] = activate(values[i]) for i < count. No bit hangs on a value's place.
template <class S>
DEPTHWISE_NOINLINE void activate_span(depthwise::Activation kind, typename S::E* values, int64_t count) {
  if (kind == depthwise::Activation::none) return;
  with_activation(kind, [&](auto activation) {
    using A = decltype(activation);
    int64_t i = 0;
    for (; i + S::N <= count; i += S::N) S::store(values + i, A::template value<S>(S::load(values + i)));
    if (i == count) return;
    const auto rest = S::load(values + i, S::mask(0, count - i));
    S::store_first(values + i, A::template value<S>(rest), count - i);
  });
}

}  // namespace
