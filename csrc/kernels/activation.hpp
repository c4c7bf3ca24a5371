// Activations by name: of a vector, of a span.
#pragma once
#include "../problem.hpp"
#include "activation_functions.hpp"

namespace {

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
      return f(Gelu{});
    case Activation::gelu_tanh:
      return f(GeluTanh{});
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
