// What every target shares: scalar conversions of the 16-bit floats, compile-time loops, and masks for targets
// that have none. Included once per target, inside that target's flags: everything is in an unnamed namespace.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#define DEPTHWISE_INLINE inline __attribute__((always_inline))
// Loops that are worth a call, and what is seldom done: a copy for each caller would but take a build's time.
#define DEPTHWISE_NOINLINE __attribute__((noinline))
// Keeps GCC from testing an integer's bits once and spilling ten booleans.
#define DEPTHWISE_PIN_INTEGER(i) asm("" : "+r"(i))

namespace {

using Step = std::ptrdiff_t;

template <class To, class From>
DEPTHWISE_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

DEPTHWISE_INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
DEPTHWISE_INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
DEPTHWISE_INLINE int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return at_most(at_least(v, lo), hi); }
DEPTHWISE_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
DEPTHWISE_INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Vectors that a line of a cache holds.
template <class S>
constexpr Step vectors_of_line = sizeof(typename S::V) < 64 ? Step{64 / sizeof(typename S::V)} : 1;

// A number that is known when compiling, as the type of an argument.
template <int n>
struct Number {
  static constexpr int value = n;
};

// f(Number<n>()) for an n from 1 to `most`.
template <int most, class F>
DEPTHWISE_INLINE void with_number(int64_t n, const F& f) {
  if constexpr (most > 1)
    if (n != most) return with_number<most - 1>(n, f);
  f(Number<most>());
}

struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

inline float widen(bf16 v) { return bits_as<float>(uint32_t{v.bits} << 16); }

inline float widen(f16 v) {
  const uint32_t sign = uint32_t{v.bits & 0x8000u} << 16, magnitude = v.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return bits_as<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // Multiplying by 2^112 moves the exponent bias from 15 to 127 and normalises subnormals exactly.
  const float value = bits_as<float>(magnitude << 13) * bits_as<float>(0x77800000u);
  return bits_as<float>(bits_as<uint32_t>(value) | sign);
}

inline bf16 narrow_bf16(float v) {
  const uint32_t u = bits_as<uint32_t>(v);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(u >> 16 | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16)};
}

inline f16 narrow_f16(float v) {
  const uint32_t u = bits_as<uint32_t>(v), sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu))};
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // 65520 and more round to inf
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the subnormal's bits, rounded, at the bottom
    const uint32_t sum = bits_as<uint32_t>(bits_as<float>(magnitude) + 0.5f);
    return {static_cast<uint16_t>(sign | (sum - 0x3f000000u))};
  }
  return {static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13))};
}

// float64 to float32 rounded to odd, so that a second rounding to 16 bits gives what one rounding would.
inline float narrow_to_odd(double v) {
  const float f = static_cast<float>(v);
  const double back = static_cast<double>(f);
  if (back == v || v != v || (bits_as<uint32_t>(f) & 0x7fffffffu) == 0x7f800000u) return f;
  uint32_t u = bits_as<uint32_t>(f);
  if ((v > 0 ? back > v : back < v)) --u;  // towards zero first
  return bits_as<float>(u | 1u);
}

template <class To>
inline To convert(float v) {
  if constexpr (sizeof(To) > 2)
    return static_cast<To>(v);
  else if constexpr (__is_same(To, f16))
    return narrow_f16(v);
  else
    return narrow_bf16(v);
}
template <class To>
inline To convert(double v) {
  if constexpr (sizeof(To) > 2)
    return static_cast<To>(v);
  else
    return convert<To>(narrow_to_odd(v));
}
template <class To>
inline To convert(f16 v) {
  return static_cast<To>(widen(v));
}
template <class To>
inline To convert(bf16 v) {
  return static_cast<To>(widen(v));
}

// A masked load where the target has none: of a mask's lanes either all bits are set or none.
template <class S>
DEPTHWISE_INLINE typename S::V load_lanes(const typename S::E* p, const typename S::M& mask) {
  typename S::E lanes[S::N] = {};
  unsigned char bits[sizeof(mask)];
  std::memcpy(bits, &mask, sizeof(mask));
  for (int i = 0; i < S::N; ++i)
    if (bits[i * sizeof(typename S::E)]) lanes[i] = p[i];
  return S::load(lanes);
}

// to[i] = from[i] for i < count, past the caches where S::store_non_temporal can: it takes whole, aligned vectors.
template <class S>
inline void stream_span(typename S::E* to, const typename S::E* from, int64_t count) {
  constexpr int64_t bytes = S::N * sizeof(typename S::E);
  int64_t i = at_most(count, static_cast<int64_t>(-reinterpret_cast<uintptr_t>(to) % bytes / sizeof(typename S::E)));
  for (int64_t k = 0; k < i; ++k) to[k] = from[k];
  for (; i + S::N <= count; i += S::N) S::store_non_temporal(to + i, S::load(from + i));
  for (; i < count; ++i) to[i] = from[i];
}

template <class S>
DEPTHWISE_INLINE void store_lanes(typename S::E* p, typename S::V v, int64_t count) {
  typename S::E lanes[S::N];
  S::store(lanes, v);
  for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

}  // namespace
