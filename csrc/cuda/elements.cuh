// Elements of arrays to sums and back, and the few words that a GPU and a CPU spell otherwise.
#pragma once
#include "gpu.cuh"
#include "parameters.cuh"

namespace depthwise::cuda {

// The numbers of the engine's DType.
enum { f16, bf16, f32, f64 };

template <int dtype>
struct Element;
template <>
struct Element<f16> {
  using Stored = unsigned short;
};
template <>
struct Element<bf16> {
  using Stored = unsigned short;
};
template <>
struct Element<f32> {
  using Stored = float;
};
template <>
struct Element<f64> {
  using Stored = double;
};
template <int dtype>
using Stored = typename Element<dtype>::Stored;

template <class Sum, int dtype>
__device__ __forceinline__ Sum widened(Stored<dtype> element) {
  if constexpr (dtype == f16)
    return half_to_float(element);
  else if constexpr (dtype == bf16)
    return __uint_as_float(static_cast<unsigned>(element) << 16);
  else
    return element;
}

// The float whose rounding to half as many bits is that of the double: towards zero, odd where it is not exact.
__device__ __forceinline__ float to_odd(double value) {
  const float cut = __double2float_rz(value);
  return static_cast<double>(cut) == value || !isfinite(cut) ? cut : __uint_as_float(__float_as_uint(cut) | 1u);
}

__device__ __forceinline__ float to_odd(float value) { return value; }

template <int dtype, class Sum>
__device__ __forceinline__ Stored<dtype> rounded(Sum sum) {
  if constexpr (dtype == f16)
    return float_to_half(to_odd(sum));
  else if constexpr (dtype == bf16)
    return float_to_bfloat(to_odd(sum));
  else
    return static_cast<Stored<dtype>>(sum);
}

template <class T, int count>
struct alignas(sizeof(T) * count) Aligned {
  T at[count];
};

// Neighbouring elements that are loaded and stored as one: those of 16 bits as halves of words.
template <class Sum, int dtype, int count>
struct Vector {
  Aligned<Stored<dtype>, count> all;
  __device__ __forceinline__ Sum widened_at(int i) const { return widened<Sum, dtype>(all.at[i]); }
  __device__ __forceinline__ void round_pair(int i, Sum one, Sum other) {
    all.at[i] = rounded<dtype>(one);
    all.at[i + 1] = rounded<dtype>(other);
  }
};

template <class Sum, int dtype, int count>
struct Halves {
  Aligned<unsigned, count / 2> all;
  __device__ __forceinline__ Sum widened_at(int i) const {
    const unsigned word = all.at[i / 2];
    if constexpr (dtype == bf16) return __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
    return half_to_float(static_cast<unsigned short>(i % 2 ? word >> 16 : word));
  }
  __device__ __forceinline__ void round_pair(int i, Sum one, Sum other) {
    all.at[i / 2] = rounded<dtype>(one) | static_cast<unsigned>(rounded<dtype>(other)) << 16;
  }
};
template <class Sum, int count>
struct Vector<Sum, f16, count> : Halves<Sum, f16, count> {};
template <class Sum, int count>
struct Vector<Sum, bf16, count> : Halves<Sum, bf16, count> {};

// Sums of two neighbouring channels, side by side.
template <class T>
struct Pair {
  T x, y;
  Pair() = default;
  __device__ __forceinline__ Pair(T both) : x(both), y(both) {}
  __device__ __forceinline__ Pair(T x, T y) : x(x), y(y) {}
};
template <class T>
__device__ __forceinline__ void add_product(Pair<T>& sum, const Pair<T>& a, const Pair<T>& b) {
  sum.x += a.x * b.x;
  sum.y += a.y * b.y;
}
template <class T>
__device__ __forceinline__ void add_product(T& sum, const T& a, const T& b) {
  sum += a * b;
}

// A sum, or a pair of them, and how it lies in memory.
template <class Sum, int dtype, bool pair>
struct Unit {
  using Value = Sum;
  using Raw = Stored<dtype>;
  static __device__ __forceinline__ Value widen(Raw raw) { return widened<Sum, dtype>(raw); }
  static __device__ __forceinline__ Raw round(Value sum) { return rounded<dtype>(sum); }
};
template <class Sum, int dtype>
struct Unit<Sum, dtype, true> {
  using Value = Pair<Sum>;
  using Raw = Vector<Sum, dtype, 2>;
  static __device__ __forceinline__ Value widen(const Raw& raw) { return {raw.widened_at(0), raw.widened_at(1)}; }
  static __device__ __forceinline__ Raw round(const Value& sum) {
    Raw raw;
    raw.round_pair(0, sum.x, sum.y);
    return raw;
  }
};

// What is at `from` where that is `inside`, else zeros: one load without a branch, whatever becomes of it.
template <class Raw, class Stored>
__device__ __forceinline__ Raw loaded(const Stored* from, bool inside) {
  Raw raw{};
  if (inside) raw = *reinterpret_cast<const Raw*>(from);
  return raw;
}

__device__ __forceinline__ unsigned quotient(unsigned n, const Divisor& d) {
  return d.by == 1 ? n : __umulhi(n, d.multiplier) >> d.shift;
}

// n becomes its quotient; what is left over is the digit.
__device__ __forceinline__ int next_digit(unsigned& n, const Divisor& d) {
  const unsigned before = n;
  n = quotient(n, d);
  return static_cast<int>(before - n * d.by);
}

__device__ __forceinline__ bool within(int i, int size) {
  return static_cast<unsigned>(i) < static_cast<unsigned>(size);
}

// The engine's Border: where place i of an axis of `size` elements is to be read; -1 where it is a zero.
enum { constant, reflect, symmetric, edge, wrap };

__device__ __forceinline__ int remainder(int i, int period) {
  const int r = i % period;
  return r < 0 ? r + period : r;
}

template <int border>
__device__ __forceinline__ int place(int i, int size) {
  if (within(i, size)) return i;
  if constexpr (border == reflect) {
    if (size == 1) return 0;
    const int r = remainder(i, 2 * size - 2);
    return r < size ? r : 2 * size - 2 - r;
  } else if constexpr (border == symmetric) {
    const int r = remainder(i, 2 * size);
    return r < size ? r : 2 * size - 1 - r;
  } else if constexpr (border == edge) {
    return i < 0 ? 0 : size - 1;
  } else if constexpr (border == wrap) {
    return remainder(i, size);
  } else {
    return -1;
  }
}

// The engine's Activation.
template <int activation, class Sum>
__device__ __forceinline__ Sum activated(Sum z);

template <int activation, class Sum>
__device__ __forceinline__ Pair<Sum> activated(const Pair<Sum>& z) {
  return {activated<activation>(z.x), activated<activation>(z.y)};
}

enum { none, silu, relu, relu6, hardswish, gelu, gelu_tanh };

template <int activation, class Sum>
__device__ __forceinline__ Sum activated(Sum z) {
  const Sum zero = 0, one = 1, half = Sum(0.5);
  if constexpr (activation == silu)
    return z / (one + exp(-z));
  else if constexpr (activation == relu)
    return z < zero ? zero : z;
  else if constexpr (activation == relu6)
    return z < zero ? zero : z > Sum(6) ? Sum(6) : z;
  else if constexpr (activation == hardswish)
    return z * (z + Sum(3) < zero ? zero : z + Sum(3) > Sum(6) ? Sum(6) : z + Sum(3)) / Sum(6);
  else if constexpr (activation == gelu)
    return half * z * erfc(-z * Sum(0.70710678118654752440));
  else if constexpr (activation == gelu_tanh)
    return half * z * (one + tanh(Sum(0.79788456080286535588) * (z + Sum(0.044715) * z * z * z)));
  else
    return z;
}

// Zero, or NaN where a sum is not finite.
template <class Sum>
__device__ __forceinline__ Sum doubt_of(const Sum& sum) {
  return sum * Sum(0);
}
template <class Sum>
__device__ __forceinline__ Sum doubt_of(const Pair<Sum>& sum) {
  return sum.x * Sum(0) + sum.y * Sum(0);
}

}  // namespace depthwise::cuda
