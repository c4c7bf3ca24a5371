// x86 SSE4.1: 128-bit vectors, no fused multiply-add, no masks.
#pragma once
#include <immintrin.h>

#include "common.hpp"

namespace {

// Lines of a register tile at most.
constexpr int max_lines = 4;

struct F32 {
  using E = float;
  using V = __m128;
  using M = __m128i;  // all bits of a lane or none
  static constexpr int N = 4, max_taps = 2, registers = 16;
  static constexpr bool masked_fma = false;

  static V zero() { return _mm_setzero_ps(); }
  static V set1(E v) { return _mm_set1_ps(v); }
  static V load(const E* p) { return _mm_loadu_ps(p); }
  static void store(E* p, V v) { _mm_storeu_ps(p, v); }
  static M mask(int64_t first, int64_t last) {
    const __m128i lane = _mm_setr_epi32(0, 1, 2, 3);
    const __m128i behind = _mm_cmpgt_epi32(lane, _mm_set1_epi32(static_cast<int>(clamp(first, 0, N)) - 1));
    return _mm_and_si128(behind, _mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(clamp(last, 0, N))), lane));
  }
  static V load(const E* p, M m) { return load_lanes<F32>(p, m); }
  // The lanes of a mask, the others zero.
  static V keep(V v, M m) { return _mm_and_ps(v, _mm_castsi128_ps(m)); }
  // The first `count` lanes, 1 to N.
  static void store_first(E* p, V v, int64_t count) { store_lanes<F32>(p, v, count); }
  // Even and odd elements of a followed by b.
  static void deinterleave(V a, V b, V& even, V& odd) {
    even = _mm_shuffle_ps(a, b, 0x88);
    odd = _mm_shuffle_ps(a, b, 0xdd);
  }
  // The way back.
  static void interleave(V even, V odd, V& a, V& b) {
    a = _mm_unpacklo_ps(even, odd);
    b = _mm_unpackhi_ps(even, odd);
  }
  static V reversed(V v) { return _mm_shuffle_ps(v, v, 0x1b); }
  // The elements one lane further down, and the one at p behind them.
  static V shift_in(V v, const E* p) {
    const V down = _mm_move_ss(v, _mm_load_ss(p));
    return _mm_shuffle_ps(down, down, 0x39);
  }
  // To memory past the caches; `fence` ends a run of such stores.
  static void store_non_temporal(E* p, V v) { _mm_stream_ps(p, v); }
  static void fence() { _mm_sfence(); }
  // Elements `step` apart.
  static V gather(const E* p, Step step) { return _mm_setr_ps(p[0], p[step], p[2 * step], p[3 * step]); }
  template <class Half>
  static V gather(const Half* p, Step step) {
    return _mm_setr_ps(widen(p[0]), widen(p[step]), widen(p[2 * step]), widen(p[3 * step]));
  }
  static V pin(V v) {
    asm("" : "+x"(v));
    return v;
  }
  // Blocks of `block` neighbouring elements, `step` apart: N / block of them make a vector.
  static constexpr int block = 4;
  static V load_blocks(const E* p, Step) { return load(p); }
  static void store_blocks(E* p, Step, V v) { store(p, v); }
  // Element i of a block of v[j] and element j of that block of v[i] change places.
  static void transpose_blocks(V (&v)[block]) { _MM_TRANSPOSE4_PS(v[0], v[1], v[2], v[3]); }
  static V fma(V a, V b, V c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
  static V fma(V a, V b, V c, M m) {
    return _mm_blendv_ps(c, fma(a, b, c), _mm_castsi128_ps(m));
  }  // c where m is not set
  static V add(V a, V b) { return _mm_add_ps(a, b); }
  static V sub(V a, V b) { return _mm_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm_mul_ps(a, b); }
  static V div(V a, V b) { return _mm_div_ps(a, b); }
  // Of two numbers the greater, or the lesser: v itself where they are equal, and where v is NaN.
  static V max(V v, V bound) { return _mm_max_ps(bound, v); }
  static V min(V v, V bound) { return _mm_min_ps(bound, v); }
  static M less(V a, V b) { return _mm_castps_si128(_mm_cmplt_ps(a, b)); }
  static V select(M m, V set, V unset) { return _mm_blendv_ps(unset, set, _mm_castsi128_ps(m)); }
  // 2^n, where the lowest bits of v, as an integer, are n and the exponent's bias: infinity and 0 at the ends.
  static V power_of_two(V v) { return _mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(v), 23)); }
  static E sum(V v) {
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps(v, v, 1)));
  }
  static V load(const bf16* p) {
    return _mm_castsi128_ps(
        _mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))), 16));
  }
  static V load(const f16* p) { return _mm_setr_ps(widen(p[0]), widen(p[1]), widen(p[2]), widen(p[3])); }
  template <class H>
  static void store_half(H* p, V v) {
    float lanes[N];
    store(lanes, v);
    for (int i = 0; i < N; ++i) p[i] = convert<H>(lanes[i]);
  }
  static void store(f16* p, V v) { store_half(p, v); }
  static void store(bf16* p, V v) { store_half(p, v); }
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
  using V = __m128d;
  using M = __m128i;  // all bits of a lane or none
  static constexpr int N = 2, max_taps = 2, registers = 16;
  static constexpr bool masked_fma = false;

  static V zero() { return _mm_setzero_pd(); }
  static V set1(E v) { return _mm_set1_pd(v); }
  static V load(const E* p) { return _mm_loadu_pd(p); }
  static void store(E* p, V v) { _mm_storeu_pd(p, v); }
  static M mask(int64_t first, int64_t last) {
    return _mm_set_epi64x(-int64_t{first <= 1 && last > 1}, -int64_t{first <= 0 && last > 0});
  }
  static V load(const E* p, M m) { return load_lanes<F64>(p, m); }
  static V keep(V v, M m) { return _mm_and_pd(v, _mm_castsi128_pd(m)); }
  static void store_first(E* p, V v, int64_t count) { store_lanes<F64>(p, v, count); }
  static void deinterleave(V a, V b, V& even, V& odd) {
    even = _mm_unpacklo_pd(a, b);
    odd = _mm_unpackhi_pd(a, b);
  }
  static void interleave(V even, V odd, V& a, V& b) { deinterleave(even, odd, a, b); }
  static V reversed(V v) { return _mm_shuffle_pd(v, v, 1); }
  static V shift_in(V v, const E* p) { return _mm_shuffle_pd(v, _mm_load_sd(p), 1); }
  static void store_non_temporal(E* p, V v) { _mm_stream_pd(p, v); }
  static void fence() { _mm_sfence(); }
  static V gather(const E* p, Step step) { return _mm_setr_pd(p[0], p[step]); }
  static V pin(V v) {
    asm("" : "+x"(v));
    return v;
  }
  static constexpr int block = 2;
  static V load_blocks(const E* p, Step) { return load(p); }
  static void store_blocks(E* p, Step, V v) { store(p, v); }
  static void transpose_blocks(V (&v)[block]) {
    const V a = _mm_unpacklo_pd(v[0], v[1]), b = _mm_unpackhi_pd(v[0], v[1]);
    v[0] = a;
    v[1] = b;
  }
  static V fma(V a, V b, V c) { return _mm_add_pd(_mm_mul_pd(a, b), c); }
  static V fma(V a, V b, V c, M m) { return _mm_blendv_pd(c, fma(a, b, c), _mm_castsi128_pd(m)); }
  static V add(V a, V b) { return _mm_add_pd(a, b); }
  static V sub(V a, V b) { return _mm_sub_pd(a, b); }
  static V mul(V a, V b) { return _mm_mul_pd(a, b); }
  static V div(V a, V b) { return _mm_div_pd(a, b); }
  static V max(V v, V bound) { return _mm_max_pd(bound, v); }
  static V min(V v, V bound) { return _mm_min_pd(bound, v); }
  static M less(V a, V b) { return _mm_castpd_si128(_mm_cmplt_pd(a, b)); }
  static V select(M m, V set, V unset) { return _mm_blendv_pd(unset, set, _mm_castsi128_pd(m)); }
  static V power_of_two(V v) { return _mm_castsi128_pd(_mm_slli_epi64(_mm_castpd_si128(v), 52)); }
  static E sum(V v) { return _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v))); }
};

}  // namespace
