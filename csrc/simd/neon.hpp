// AArch64 Advanced SIMD: 128-bit vectors, fused multiply-add, no masks.
#pragma once
#include <arm_neon.h>

#include "common.hpp"

namespace {

// Lines of a register tile at most.
constexpr int max_lines = 8;

struct F32 {
  using E = float;
  using V = float32x4_t;
  using M = uint32x4_t;  // all bits of a lane or none
  static constexpr int N = 4, max_taps = 5, registers = 32;
  static constexpr bool masked_fma = false;

  static V zero() { return vdupq_n_f32(0); }
  static V set1(E v) { return vdupq_n_f32(v); }
  static V load(const E* p) { return vld1q_f32(p); }
  static void store(E* p, V v) { vst1q_f32(p, v); }
  static M mask(int64_t first, int64_t last) {
    const int32_t lanes[N] = {0, 1, 2, 3};
    const int32x4_t lane = vld1q_s32(lanes);
    return vandq_u32(vcgeq_s32(lane, vdupq_n_s32(static_cast<int>(clamp(first, 0, N)))),
                     vcltq_s32(lane, vdupq_n_s32(static_cast<int>(clamp(last, 0, N)))));
  }
  static V load(const E* p, M m) { return load_lanes<F32>(p, m); }
  // The lanes of a mask, the others zero.
  static V keep(V v, M m) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), m)); }
  // The first `count` lanes, 1 to N.
  static void store_first(E* p, V v, int64_t count) { store_lanes<F32>(p, v, count); }
  // Even and odd elements of a followed by b.
  static void deinterleave(V a, V b, V& even, V& odd) {
    even = vuzp1q_f32(a, b);
    odd = vuzp2q_f32(a, b);
  }
  // The way back.
  static void interleave(V even, V odd, V& a, V& b) {
    a = vzip1q_f32(even, odd);
    b = vzip2q_f32(even, odd);
  }
  static V reversed(V v) {
    const V pairs = vrev64q_f32(v);
    return vextq_f32(pairs, pairs, 2);
  }
  // The elements one lane further down, and the one at p behind them.
  static V shift_in(V v, const E* p) { return vextq_f32(v, vld1q_dup_f32(p), 1); }
  // No stores past the caches here.
  static void store_non_temporal(E* p, V v) { store(p, v); }
  static void fence() {}
  // Elements `step` apart.
  static V gather(const E* p, Step step) {
    const E lanes[N] = {p[0], p[step], p[2 * step], p[3 * step]};
    return vld1q_f32(lanes);
  }
  template <class Half>
  static V gather(const Half* p, Step step) {
    const Half lanes[N] = {p[0], p[step], p[2 * step], p[3 * step]};
    return load(lanes);
  }
  static V pin(V v) {
    asm("" : "+w"(v));
    return v;
  }
  // Blocks of `block` neighbouring elements, `step` apart: N / block of them make a vector.
  static constexpr int block = 4;
  static V load_blocks(const E* p, Step) { return load(p); }
  static void store_blocks(E* p, Step, V v) { store(p, v); }
  // Element i of a block of v[j] and element j of that block of v[i] change places.
  static void transpose_blocks(V (&v)[block]) {
    const V a = vtrn1q_f32(v[0], v[1]), b = vtrn2q_f32(v[0], v[1]);
    const V c = vtrn1q_f32(v[2], v[3]), d = vtrn2q_f32(v[2], v[3]);
    v[0] = vcombine_f32(vget_low_f32(a), vget_low_f32(c));
    v[1] = vcombine_f32(vget_low_f32(b), vget_low_f32(d));
    v[2] = vcombine_f32(vget_high_f32(a), vget_high_f32(c));
    v[3] = vcombine_f32(vget_high_f32(b), vget_high_f32(d));
  }
  static V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
  static V fma(V a, V b, V c, M m) { return vbslq_f32(m, fma(a, b, c), c); }  // c where m is not set
  static V add(V a, V b) { return vaddq_f32(a, b); }
  static V sub(V a, V b) { return vsubq_f32(a, b); }
  static V mul(V a, V b) { return vmulq_f32(a, b); }
  static V div(V a, V b) { return vdivq_f32(a, b); }
  // Of two numbers the greater, or the lesser: v itself where they are equal, and where v is NaN.
  static V max(V v, V bound) { return select(less(v, bound), bound, v); }
  static V min(V v, V bound) { return select(less(bound, v), bound, v); }
  static M less(V a, V b) { return vcltq_f32(a, b); }
  static V select(M m, V set, V unset) { return vbslq_f32(m, set, unset); }
  // 2^n, where the lowest bits of v, as an integer, are n and the exponent's bias: infinity and 0 at the ends.
  static V power_of_two(V v) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(v), 23)); }
  static E sum(V v) { return vaddvq_f32(v); }
  static V load(const f16* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p))));
  }
  static V load(const bf16* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)), 16));
  }
  static void store(f16* p, V v) { vst1_u16(reinterpret_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(v))); }
  static void store(bf16* p, V v) {
    float lanes[N];
    store(lanes, v);
    for (int i = 0; i < N; ++i) p[i] = narrow_bf16(lanes[i]);
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

struct F64 {
  using E = double;
  using V = float64x2_t;
  using M = uint64x2_t;
  static constexpr int N = 2, max_taps = 3, registers = 32;
  static constexpr bool masked_fma = false;

  static V zero() { return vdupq_n_f64(0); }
  static V set1(E v) { return vdupq_n_f64(v); }
  static V load(const E* p) { return vld1q_f64(p); }
  static void store(E* p, V v) { vst1q_f64(p, v); }
  static M mask(int64_t first, int64_t last) {
    const int64_t lanes[N] = {0, 1};
    const int64x2_t lane = vld1q_s64(lanes);
    return vandq_u64(vcgeq_s64(lane, vdupq_n_s64(first)), vcltq_s64(lane, vdupq_n_s64(last)));
  }
  static V load(const E* p, M m) { return load_lanes<F64>(p, m); }
  static V keep(V v, M m) { return vreinterpretq_f64_u64(vandq_u64(vreinterpretq_u64_f64(v), m)); }
  static void store_first(E* p, V v, int64_t count) { store_lanes<F64>(p, v, count); }
  static void deinterleave(V a, V b, V& even, V& odd) {
    even = vuzp1q_f64(a, b);
    odd = vuzp2q_f64(a, b);
  }
  static void interleave(V even, V odd, V& a, V& b) { deinterleave(even, odd, a, b); }
  static V reversed(V v) { return vextq_f64(v, v, 1); }
  static V shift_in(V v, const E* p) { return vextq_f64(v, vld1q_dup_f64(p), 1); }
  static void store_non_temporal(E* p, V v) { store(p, v); }
  static void fence() {}
  static V gather(const E* p, Step step) {
    const E lanes[N] = {p[0], p[step]};
    return vld1q_f64(lanes);
  }
  static V pin(V v) {
    asm("" : "+w"(v));
    return v;
  }
  static constexpr int block = 2;
  static V load_blocks(const E* p, Step) { return load(p); }
  static void store_blocks(E* p, Step, V v) { store(p, v); }
  static void transpose_blocks(V (&v)[block]) {
    const V a = vzip1q_f64(v[0], v[1]), b = vzip2q_f64(v[0], v[1]);
    v[0] = a;
    v[1] = b;
  }
  static V fma(V a, V b, V c) { return vfmaq_f64(c, a, b); }
  static V fma(V a, V b, V c, M m) { return vbslq_f64(m, fma(a, b, c), c); }
  static V add(V a, V b) { return vaddq_f64(a, b); }
  static V sub(V a, V b) { return vsubq_f64(a, b); }
  static V mul(V a, V b) { return vmulq_f64(a, b); }
  static V div(V a, V b) { return vdivq_f64(a, b); }
  static V max(V v, V bound) { return select(less(v, bound), bound, v); }
  static V min(V v, V bound) { return select(less(bound, v), bound, v); }
  static M less(V a, V b) { return vcltq_f64(a, b); }
  static V select(M m, V set, V unset) { return vbslq_f64(m, set, unset); }
  static V power_of_two(V v) { return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(v), 52)); }
  static E sum(V v) { return vaddvq_f64(v); }
};

}  // namespace
