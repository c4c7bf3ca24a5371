// x86 AVX-512 (F, BW, DQ, VL): 512-bit vectors, mask registers.
#pragma once
#include <immintrin.h>

#include "common.hpp"

namespace {

// Lines of a register tile at most.
constexpr int max_lines = 8;

struct F32 {
  using E = float;
  using V = __m512;
  using M = __mmask16;
  static constexpr int N = 16, max_taps = 5, registers = 32;
  static constexpr bool masked_fma = true;

  static V zero() { return _mm512_setzero_ps(); }
  static V set1(E v) { return _mm512_set1_ps(v); }
  static V load(const E* p) { return _mm512_loadu_ps(p); }
  static void store(E* p, V v) { _mm512_storeu_ps(p, v); }
  static M mask(int64_t first, int64_t last) {
    return static_cast<M>(((1u << clamp(last, 0, N)) - 1u) & ~((1u << clamp(first, 0, N)) - 1u));
  }
  static V load(const E* p, M m) { return _mm512_maskz_loadu_ps(m, p); }
  static V keep(V v, M m) { return _mm512_maskz_mov_ps(m, v); }
  // The first `count` lanes, 1 to N.
  static void store_first(E* p, V v, int64_t count) { _mm512_mask_storeu_ps(p, mask(0, count), v); }
  // Even and odd elements of a followed by b.
  static void deinterleave(V a, V b, V& even, V& odd) {
    const __m512i e = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    even = _mm512_permutex2var_ps(a, e, b);
    odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(e, _mm512_set1_epi32(1)), b);
  }
  // The way back.
  static void interleave(V even, V odd, V& a, V& b) {
    const __m512i i = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    a = _mm512_permutex2var_ps(even, i, odd);
    b = _mm512_permutex2var_ps(even, _mm512_add_epi32(i, _mm512_set1_epi32(8)), odd);
  }
  static V reversed(V v) {
    return _mm512_permutexvar_ps(_mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), v);
  }
  // The elements one lane further down, and the one at p behind them.
  static V shift_in(V v, const E* p) {
    const __m512i last = _mm512_castps_si512(_mm512_castps128_ps512(_mm_load_ss(p)));
    return _mm512_castsi512_ps(_mm512_alignr_epi32(last, _mm512_castps_si512(v), 1));
  }
  // To memory past the caches; `fence` ends a run of such stores.
  static void store_non_temporal(E* p, V v) { _mm512_stream_ps(p, v); }
  static void fence() { _mm_sfence(); }
  // Elements `step` apart; the indices must fit 32 bits.
  static V gather(const E* p, Step step) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_i32gather_ps(_mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int>(step))), p, sizeof(E));
  }
  template <class Half>
  static V gather(const Half* p, Step step) {
    const auto eight = [step](const Half* q) {
      const auto bits = [&](int i) { return static_cast<int16_t>(q[i * step].bits); };
      return _mm_setr_epi16(bits(0), bits(1), bits(2), bits(3), bits(4), bits(5), bits(6), bits(7));
    };
    return widen_bits(Half{}, _mm256_set_m128i(eight(p + 8 * step), eight(p)));
  }
  static V pin(V v) {
    asm("" : "+v"(v));
    return v;
  }
  static M pin(M m) {
    asm("" : "+k"(m));
    return m;
  }
  // Blocks of `block` neighbouring elements, `step` apart: N / block of them make a vector.
  static constexpr int block = 4;
  static V load_blocks(const E* p, Step step) {
    V v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + step), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 2 * step), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(p + 3 * step), 3);
  }
  static void store_blocks(E* p, Step step, V v) {
    _mm_storeu_ps(p, _mm512_castps512_ps128(v));
    _mm_storeu_ps(p + step, _mm512_extractf32x4_ps(v, 1));
    _mm_storeu_ps(p + 2 * step, _mm512_extractf32x4_ps(v, 2));
    _mm_storeu_ps(p + 3 * step, _mm512_extractf32x4_ps(v, 3));
  }
  // Element i of a block of v[j] and element j of that block of v[i] change places.
  static void transpose_blocks(V (&v)[block]) {
    const V a = _mm512_unpacklo_ps(v[0], v[1]), b = _mm512_unpackhi_ps(v[0], v[1]);
    const V c = _mm512_unpacklo_ps(v[2], v[3]), d = _mm512_unpackhi_ps(v[2], v[3]);
    v[0] = _mm512_shuffle_ps(a, c, 0x44);
    v[1] = _mm512_shuffle_ps(a, c, 0xee);
    v[2] = _mm512_shuffle_ps(b, d, 0x44);
    v[3] = _mm512_shuffle_ps(b, d, 0xee);
  }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V fma(V a, V b, V c, M m) { return _mm512_mask3_fmadd_ps(a, b, c, m); }  // c where m is not set
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V div(V a, V b) { return _mm512_div_ps(a, b); }
  // Of two numbers the greater, or the lesser: v itself where they are equal, and where v is NaN.
  static V max(V v, V bound) { return _mm512_max_ps(bound, v); }
  static V min(V v, V bound) { return _mm512_min_ps(bound, v); }
  static M less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static V select(M m, V set, V unset) { return _mm512_mask_blend_ps(m, unset, set); }
  // 2^n, where the lowest bits of v, as an integer, are n and the exponent's bias: infinity and 0 at the ends.
  static V power_of_two(V v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 23)); }
  static E sum(V v) { return _mm512_reduce_add_ps(v); }
  static V widen_bits(bf16, __m256i half) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static V widen_bits(f16, __m256i half) { return _mm512_cvtph_ps(half); }
  template <class Half>
  static V load(const Half* p) {
    return widen_bits(Half{}, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store(f16* p, V v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(bf16* p, V v) {
    const __m512i u = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i r = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
    const __m512i s = _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(s));
  }
  template <class Half>
  static V load_blocks(const Half* p, Step step) {
    const auto two = [step](const Half* q) {
      return _mm_unpacklo_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(q)),
                                _mm_loadl_epi64(reinterpret_cast<const __m128i*>(q + step)));
    };
    return widen_bits(Half{}, _mm256_set_m128i(two(p + 2 * step), two(p)));
  }
  template <class Half>
  static void store_blocks(Half* p, Step step, V v) {
    Half blocks[N];
    store(blocks, v);
    for (int i = 0; i < N / block; ++i) std::memcpy(p + i * step, blocks + i * block, block * sizeof(Half));
  }
};

struct F64 {
  using E = double;
  using V = __m512d;
  using M = __mmask8;
  static constexpr int N = 8, max_taps = 3, registers = 32;
  static constexpr bool masked_fma = true;

  static V zero() { return _mm512_setzero_pd(); }
  static V set1(E v) { return _mm512_set1_pd(v); }
  static V load(const E* p) { return _mm512_loadu_pd(p); }
  static void store(E* p, V v) { _mm512_storeu_pd(p, v); }
  static M mask(int64_t first, int64_t last) {
    return static_cast<M>(((1u << clamp(last, 0, N)) - 1u) & ~((1u << clamp(first, 0, N)) - 1u));
  }
  static V load(const E* p, M m) { return _mm512_maskz_loadu_pd(m, p); }
  static V keep(V v, M m) { return _mm512_maskz_mov_pd(m, v); }
  static void store_first(E* p, V v, int64_t count) { _mm512_mask_storeu_pd(p, mask(0, count), v); }
  static void deinterleave(V a, V b, V& even, V& odd) {
    const __m512i e = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    even = _mm512_permutex2var_pd(a, e, b);
    odd = _mm512_permutex2var_pd(a, _mm512_add_epi64(e, _mm512_set1_epi64(1)), b);
  }
  static void interleave(V even, V odd, V& a, V& b) {
    const __m512i i = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    a = _mm512_permutex2var_pd(even, i, odd);
    b = _mm512_permutex2var_pd(even, _mm512_add_epi64(i, _mm512_set1_epi64(4)), odd);
  }
  static V reversed(V v) { return _mm512_permutexvar_pd(_mm512_setr_epi64(7, 6, 5, 4, 3, 2, 1, 0), v); }
  static V shift_in(V v, const E* p) {
    const __m512i last = _mm512_castpd_si512(_mm512_castpd128_pd512(_mm_load_sd(p)));
    return _mm512_castsi512_pd(_mm512_alignr_epi64(last, _mm512_castpd_si512(v), 1));
  }
  static void store_non_temporal(E* p, V v) { _mm512_stream_pd(p, v); }
  static void fence() { _mm_sfence(); }
  static V gather(const E* p, Step step) {
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm512_i64gather_pd(_mm512_mullo_epi64(lane, _mm512_set1_epi64(step)), p, sizeof(E));
  }
  static V pin(V v) {
    asm("" : "+v"(v));
    return v;
  }
  static M pin(M m) {
    asm("" : "+k"(m));
    return m;
  }
  static constexpr int block = 2;
  static V load_blocks(const E* p, Step step) {
    V v = _mm512_castpd128_pd512(_mm_loadu_pd(p));
    v = _mm512_insertf64x2(v, _mm_loadu_pd(p + step), 1);
    v = _mm512_insertf64x2(v, _mm_loadu_pd(p + 2 * step), 2);
    return _mm512_insertf64x2(v, _mm_loadu_pd(p + 3 * step), 3);
  }
  static void store_blocks(E* p, Step step, V v) {
    _mm_storeu_pd(p, _mm512_castpd512_pd128(v));
    _mm_storeu_pd(p + step, _mm512_extractf64x2_pd(v, 1));
    _mm_storeu_pd(p + 2 * step, _mm512_extractf64x2_pd(v, 2));
    _mm_storeu_pd(p + 3 * step, _mm512_extractf64x2_pd(v, 3));
  }
  static void transpose_blocks(V (&v)[block]) {
    const V a = _mm512_unpacklo_pd(v[0], v[1]), b = _mm512_unpackhi_pd(v[0], v[1]);
    v[0] = a;
    v[1] = b;
  }
  static V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
  static V fma(V a, V b, V c, M m) { return _mm512_mask3_fmadd_pd(a, b, c, m); }
  static V add(V a, V b) { return _mm512_add_pd(a, b); }
  static V sub(V a, V b) { return _mm512_sub_pd(a, b); }
  static V mul(V a, V b) { return _mm512_mul_pd(a, b); }
  static V div(V a, V b) { return _mm512_div_pd(a, b); }
  static V max(V v, V bound) { return _mm512_max_pd(bound, v); }
  static V min(V v, V bound) { return _mm512_min_pd(bound, v); }
  static M less(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
  static V select(M m, V set, V unset) { return _mm512_mask_blend_pd(m, unset, set); }
  static V power_of_two(V v) { return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(v), 52)); }
  static E sum(V v) { return _mm512_reduce_add_pd(v); }
};

}  // namespace
