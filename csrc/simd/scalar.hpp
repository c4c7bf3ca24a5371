// One lane, plain C++: the meaning of the other headers, and the target of last resort.
#pragma once
#include "common.hpp"

namespace {

// Lines of a register tile at most. Few, and one tap at a time: nobody who is in a hurry comes here.
constexpr int max_lines = 2;

template <class Element>
struct Scalar {
  using E = Element;
  using V = Element;
  using M = bool;
  static constexpr int N = 1, max_taps = 1, registers = 16;
  static constexpr bool masked_fma = false;

  static V zero() { return 0; }
  static V set1(E v) { return v; }
  static V load(const E* p) { return *p; }
  static void store(E* p, V v) { *p = v; }
  static M mask(int64_t first, int64_t last) { return first <= 0 && last >= 1; }
  static V load(const E* p, M m) { return m ? *p : E{0}; }
  // The lanes of a mask, the others zero.
  static V keep(V v, M m) { return m ? v : V{0}; }
  // The first `count` lanes: one.
  static void store_first(E* p, V v, int64_t) { *p = v; }
  // Even and odd elements of a followed by b.
  static void deinterleave(V a, V b, V& even, V& odd) {
    even = a;
    odd = b;
  }
  static void interleave(V even, V odd, V& a, V& b) { deinterleave(even, odd, a, b); }
  static V reversed(V v) { return v; }
  // The elements one lane further down, and the one at p behind them.
  static V shift_in(V, const E* p) { return *p; }
  // No stores past the caches here.
  static void store_non_temporal(E* p, V v) { store(p, v); }
  static void fence() {}
  // Elements `step` apart.
  static V gather(const E* p, Step) { return *p; }
  static V pin(V v) { return v; }
  // Blocks of `block` neighbouring elements, `step` apart: N / block of them make a vector.
  static constexpr int block = 1;
  static V load_blocks(const E* p, Step) { return *p; }
  static void store_blocks(E* p, Step, V v) { *p = v; }
  // Element i of a block of v[j] and element j of that block of v[i] change places.
  static void transpose_blocks(V (&)[block]) {}
  static V fma(V a, V b, V c) { return a * b + c; }
  static V fma(V a, V b, V c, M m) { return m ? fma(a, b, c) : c; }
  static V add(V a, V b) { return a + b; }
  static V sub(V a, V b) { return a - b; }
  static V mul(V a, V b) { return a * b; }
  static V div(V a, V b) { return a / b; }
  // Of two numbers the greater, or the lesser: v itself where they are equal, and where v is NaN.
  static V max(V v, V bound) { return v < bound ? bound : v; }
  static V min(V v, V bound) { return bound < v ? bound : v; }
  static M less(V a, V b) { return a < b; }
  static V select(M m, V set, V unset) { return m ? set : unset; }
  // 2^n, where the lowest bits of v, as an integer, are n and the exponent's bias: infinity and 0 at the ends.
  static V power_of_two(V v) {
    if constexpr (sizeof(E) == 4)
      return bits_as<E>(bits_as<uint32_t>(v) << 23);
    else
      return bits_as<E>(bits_as<uint64_t>(v) << 52);
  }
  static E sum(V v) { return v; }
};

struct F32 : Scalar<float> {
  static V load(const f16* p) { return widen(*p); }
  static V load(const bf16* p) { return widen(*p); }
  static void store(f16* p, V v) { *p = narrow_f16(v); }
  static void store(bf16* p, V v) { *p = narrow_bf16(v); }
  using Scalar<float>::load;
  using Scalar<float>::store;
  using Scalar<float>::gather;
  template <class Half>
  static V gather(const Half* p, Step) {
    return load(p);
  }
  template <class Half>
  static V load_blocks(const Half* p, Step) {
    return load(p);
  }
  template <class Half>
  static void store_blocks(Half* p, Step, V v) {
    store(p, v);
  }
};
using F64 = Scalar<double>;

}  // namespace
