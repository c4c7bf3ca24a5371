// x86 AVX2 with FMA and F16C: 256-bit vectors, masked loads and stores.
#pragma once
#include <immintrin.h>

#include "common.hpp"

namespace {

// Lines of a register tile at most.
constexpr int max_lines = 8;

struct F32 {
  using E = float;
  using V = __m256;
  using M = __m256i;
  static constexpr int N = 8, max_taps = 5, most_chunk_taps = 7, registers = 16;
  static constexpr bool masked_fma = false;

  static V zero() { return _mm256_setzero_ps(); }
  static V set1(E v) { return _mm256_set1_ps(v); }
  static V load(const E* p) { return _mm256_loadu_ps(p); }
  static void store(E* p, V v) { _mm256_storeu_ps(p, v); }
  static M mask(int64_t first, int64_t last) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i low = _mm256_set1_epi32(static_cast<int>(clamp(first, 0, N)) - 1);
    const __m256i high = _mm256_set1_epi32(static_cast<int>(clamp(last, 0, N)));
    return _mm256_and_si256(_mm256_cmpgt_epi32(lane, low), _mm256_cmpgt_epi32(high, lane));
  }
  static V load(const E* p, M m) { return _mm256_maskload_ps(p, m); }
  // Lane l takes element from[l] of the block at p.
  static constexpr int spread = 4;
  static M spread_lanes(const int (&from)[N]) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
  static V load_spread(const E* p, M lanes) {
    return _mm256_permutevar8x32_ps(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)), lanes);
  }
  // The lanes of a mask, the others zero.
  static V keep(V v, M m) { return _mm256_and_ps(v, _mm256_castsi256_ps(m)); }
  // The first `count` lanes, 1 to N. Masked stores are avoided: some CPUs take ten cycles for one (EPYC of the fourth
  // generation, one thread: 1024x7x7 with 3x3 44 us with them, 23 without).
  static void store_first(E* p, V v, int64_t count) {
    if (count < 4) {
      const __m128 low = _mm256_castps256_ps128(v);
      if (count > 1) _mm_storel_pi(reinterpret_cast<__m64*>(p), low);
      if (count != 2) _mm_store_ss(p + count - 1, count == 1 ? low : _mm_movehl_ps(low, low));
      return;
    }
    const __m256i last =
        _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(count) - 4), _mm256_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3));
    _mm_storeu_ps(p, _mm256_castps256_ps128(v));
    _mm_storeu_ps(p + count - 4, _mm256_castps256_ps128(_mm256_permutevar8x32_ps(v, last)));
  }
  // Even and odd elements of a followed by b.
  static void deinterleave(V a, V b, V& even, V& odd) {
    const V low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
    even = _mm256_shuffle_ps(low, high, 0x88);
    odd = _mm256_shuffle_ps(low, high, 0xdd);
  }
  // Of three vectors that follow one another every third element, from each of the first three on.
  static void deinterleave(const V (&v)[3], V (&apart)[3]) {
    const V a = _mm256_blend_ps(_mm256_blend_ps(v[0], v[1], 0x92), v[2], 0x24);
    const V b = _mm256_blend_ps(_mm256_blend_ps(v[0], v[1], 0x24), v[2], 0x49);
    const V c = _mm256_blend_ps(_mm256_blend_ps(v[0], v[1], 0x49), v[2], 0x92);
    apart[0] = _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(0, 3, 6, 1, 4, 7, 2, 5));
    apart[1] = _mm256_permutevar8x32_ps(b, _mm256_setr_epi32(1, 4, 7, 2, 5, 0, 3, 6));
    apart[2] = _mm256_permutevar8x32_ps(c, _mm256_setr_epi32(2, 5, 0, 3, 6, 1, 4, 7));
  }
  // Even and odd elements in the order 0 1 4 5 2 3 6 7, for which a shuffle each is enough; and to that order or back.
  static void split(V a, V b, V& even, V& odd) {
    even = _mm256_shuffle_ps(a, b, 0x88);
    odd = _mm256_shuffle_ps(a, b, 0xdd);
  }
  static V split_order(V v) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8)); }
  static M split_order(M m) { return _mm256_permute4x64_epi64(m, 0xd8); }
  // shift_in of elements in that order.
  static V split_shift_in(V v, const E* p) {
    const V down = _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(1, 4, 3, 6, 5, 2, 7, 0));
    return _mm256_blend_ps(down, _mm256_broadcast_ss(p), 0x80);
  }
  // The way back.
  static void interleave(V even, V odd, V& a, V& b) {
    const V low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    a = _mm256_permute2f128_ps(low, high, 0x20);
    b = _mm256_permute2f128_ps(low, high, 0x31);
  }
  static V reversed(V v) { return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0)); }
  // The elements one lane further down, and the one at p behind them.
  static V shift_in(V v, const E* p) {
    const V down = _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0));
    return _mm256_blend_ps(down, _mm256_broadcast_ss(p), 0x80);
  }
  // To memory past the caches; `fence` ends a run of such stores.
  static void store_non_temporal(E* p, V v) { _mm256_stream_ps(p, v); }
  static void fence() { _mm_sfence(); }
  // Elements `step` apart. One load for each is faster than the instruction that gathers (EPYC of the fourth
  // generation, eight floats: 2.5 ns and 3.8).
  static V gather(const E* p, Step step) {
    const E* q = p + 4 * step;
    return _mm256_setr_ps(p[0], p[step], p[2 * step], p[3 * step], q[0], q[step], q[2 * step], q[3 * step]);
  }
  template <class Half>
  static V gather(const Half* p, Step step) {
    const auto bits = [&](int i) { return static_cast<int16_t>(p[i * step].bits); };
    return widen_bits(Half{}, _mm_setr_epi16(bits(0), bits(1), bits(2), bits(3), bits(4), bits(5), bits(6), bits(7)));
  }
  static V pin(V v) {
    asm("" : "+x"(v));
    return v;
  }
  // Blocks of `block` neighbouring elements, `step` apart: N / block of them make a vector.
  static constexpr int block = 4;
  static V load_blocks(const E* p, Step step) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + step), 1);
  }
  static void store_blocks(E* p, Step step, V v) {
    _mm_storeu_ps(p, _mm256_castps256_ps128(v));
    _mm_storeu_ps(p + step, _mm256_extractf128_ps(v, 1));
  }
  // Element i of a block of v[j] and element j of that block of v[i] change places.
  static void transpose_blocks(V (&v)[block]) {
    const V a = _mm256_unpacklo_ps(v[0], v[1]), b = _mm256_unpackhi_ps(v[0], v[1]);
    const V c = _mm256_unpacklo_ps(v[2], v[3]), d = _mm256_unpackhi_ps(v[2], v[3]);
    v[0] = _mm256_shuffle_ps(a, c, 0x44);
    v[1] = _mm256_shuffle_ps(a, c, 0xee);
    v[2] = _mm256_shuffle_ps(b, d, 0x44);
    v[3] = _mm256_shuffle_ps(b, d, 0xee);
  }
  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V fma(V a, V b, V c, M m) {
    return _mm256_blendv_ps(c, fma(a, b, c), _mm256_castsi256_ps(m));
  }  // c where m is not set
  static V add(V a, V b) { return _mm256_add_ps(a, b); }
  static V sub(V a, V b) { return _mm256_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  static V div(V a, V b) { return _mm256_div_ps(a, b); }
  // Of two numbers the greater, or the lesser: v itself where they are equal, and where v is NaN.
  static V max(V v, V bound) { return _mm256_max_ps(bound, v); }
  static V min(V v, V bound) { return _mm256_min_ps(bound, v); }
  static M less(V a, V b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
  static V select(M m, V set, V unset) { return _mm256_blendv_ps(unset, set, _mm256_castsi256_ps(m)); }
  // 2^n, where the lowest bits of v, as an integer, are n and the exponent's bias: infinity and 0 at the ends.
  static V power_of_two(V v) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 23)); }
  static E sum(V v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
  // Lane i is the sum of v[i].
  static V sum_each(const V (&v)[N]) {
    V half[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      half[i] = add(_mm256_permute2f128_ps(v[i], v[i + 4], 0x20), _mm256_permute2f128_ps(v[i], v[i + 4], 0x31));
    const V a = add(_mm256_shuffle_ps(half[0], half[1], 0x44), _mm256_shuffle_ps(half[0], half[1], 0xee));
    const V b = add(_mm256_shuffle_ps(half[2], half[3], 0x44), _mm256_shuffle_ps(half[2], half[3], 0xee));
    return add(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
  }
  static V widen_bits(bf16, __m128i half) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static V widen_bits(f16, __m128i half) { return _mm256_cvtph_ps(half); }
  static __m128i narrow_bits(f16, V v) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
  static __m128i narrow_bits(bf16, V v) {
    const __m256i u = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
    r = _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
  }
  template <class Half>
  static V load(const Half* p) {
    return widen_bits(Half{}, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  template <class Half>
  static void store(Half* p, V v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_bits(Half{}, v));
  }
  template <class Half>
  static V load_blocks(const Half* p, Step step) {
    const auto* low = reinterpret_cast<const __m128i*>(p);
    const auto* high = reinterpret_cast<const __m128i*>(p + step);
    return widen_bits(Half{}, _mm_unpacklo_epi64(_mm_loadl_epi64(low), _mm_loadl_epi64(high)));
  }
  template <class Half>
  static void store_blocks(Half* p, Step step, V v) {
    const __m128i bits = narrow_bits(Half{}, v);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bits);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p + step), _mm_unpackhi_epi64(bits, bits));
  }
};

struct F64 {
  using E = double;
  using V = __m256d;
  using M = __m256i;
  static constexpr int N = 4, max_taps = 3, registers = 16;
  static constexpr bool masked_fma = false;

  static V zero() { return _mm256_setzero_pd(); }
  static V set1(E v) { return _mm256_set1_pd(v); }
  static V load(const E* p) { return _mm256_loadu_pd(p); }
  static void store(E* p, V v) { _mm256_storeu_pd(p, v); }
  static M mask(int64_t first, int64_t last) {
    const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    const __m256i low = _mm256_set1_epi64x(clamp(first, 0, N) - 1), high = _mm256_set1_epi64x(clamp(last, 0, N));
    return _mm256_and_si256(_mm256_cmpgt_epi64(lane, low), _mm256_cmpgt_epi64(high, lane));
  }
  static V load(const E* p, M m) { return _mm256_maskload_pd(p, m); }
  static constexpr int spread = 2;
  static M spread_lanes(const int (&from)[N]) {
    return _mm256_setr_epi32(2 * from[0], 2 * from[0] + 1, 2 * from[1], 2 * from[1] + 1, 2 * from[2], 2 * from[2] + 1,
                             2 * from[3], 2 * from[3] + 1);
  }
  static V load_spread(const E* p, M lanes) {
    const V both = _mm256_broadcast_pd(reinterpret_cast<const __m128d*>(p));
    return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(both), lanes));
  }
  static V keep(V v, M m) { return _mm256_and_pd(v, _mm256_castsi256_pd(m)); }
  static void store_first(E* p, V v, int64_t count) {
    if (count < 2) return _mm_store_sd(p, _mm256_castpd256_pd128(v));
    _mm_storeu_pd(p, _mm256_castpd256_pd128(v));
    if (count == 3) _mm_store_sd(p + 2, _mm256_extractf128_pd(v, 1));
    if (count == 4) _mm_storeu_pd(p + 2, _mm256_extractf128_pd(v, 1));
  }
  static void deinterleave(V a, V b, V& even, V& odd) {
    const V low = _mm256_permute2f128_pd(a, b, 0x20), high = _mm256_permute2f128_pd(a, b, 0x31);
    even = _mm256_unpacklo_pd(low, high);
    odd = _mm256_unpackhi_pd(low, high);
  }
  // In the order 0 2 1 3.
  static void split(V a, V b, V& even, V& odd) {
    even = _mm256_unpacklo_pd(a, b);
    odd = _mm256_unpackhi_pd(a, b);
  }
  static V split_order(V v) { return _mm256_permute4x64_pd(v, 0xd8); }
  static M split_order(M m) { return _mm256_permute4x64_epi64(m, 0xd8); }
  static void interleave(V even, V odd, V& a, V& b) {
    const V low = _mm256_unpacklo_pd(even, odd), high = _mm256_unpackhi_pd(even, odd);
    a = _mm256_permute2f128_pd(low, high, 0x20);
    b = _mm256_permute2f128_pd(low, high, 0x31);
  }
  static V reversed(V v) { return _mm256_permute4x64_pd(v, 0x1b); }
  static V shift_in(V v, const E* p) {
    return _mm256_blend_pd(_mm256_permute4x64_pd(v, 0x39), _mm256_broadcast_sd(p), 0x8);
  }
  static void store_non_temporal(E* p, V v) { _mm256_stream_pd(p, v); }
  static void fence() { _mm_sfence(); }
  static V gather(const E* p, Step step) { return _mm256_setr_pd(p[0], p[step], p[2 * step], p[3 * step]); }
  static V pin(V v) {
    asm("" : "+x"(v));
    return v;
  }
  static constexpr int block = 2;
  static V load_blocks(const E* p, Step step) {
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + step), 1);
  }
  static void store_blocks(E* p, Step step, V v) {
    _mm_storeu_pd(p, _mm256_castpd256_pd128(v));
    _mm_storeu_pd(p + step, _mm256_extractf128_pd(v, 1));
  }
  static void transpose_blocks(V (&v)[block]) {
    const V a = _mm256_unpacklo_pd(v[0], v[1]), b = _mm256_unpackhi_pd(v[0], v[1]);
    v[0] = a;
    v[1] = b;
  }
  static V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
  static V fma(V a, V b, V c, M m) { return _mm256_blendv_pd(c, fma(a, b, c), _mm256_castsi256_pd(m)); }
  static V add(V a, V b) { return _mm256_add_pd(a, b); }
  static V sub(V a, V b) { return _mm256_sub_pd(a, b); }
  static V mul(V a, V b) { return _mm256_mul_pd(a, b); }
  static V div(V a, V b) { return _mm256_div_pd(a, b); }
  static V max(V v, V bound) { return _mm256_max_pd(bound, v); }
  static V min(V v, V bound) { return _mm256_min_pd(bound, v); }
  static M less(V a, V b) { return _mm256_castpd_si256(_mm256_cmp_pd(a, b, _CMP_LT_OQ)); }
  static V select(M m, V set, V unset) { return _mm256_blendv_pd(unset, set, _mm256_castsi256_pd(m)); }
  static V power_of_two(V v) { return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(v), 52)); }
  static E sum(V v) {
    const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
  }
};

}  // namespace
