// Which input line an output line of a tile meets through which tap: csrc/lattice.hpp, where all sizes are known when
// the kernel is compiled.
#pragma once
#include "elements.cuh"

namespace depthwise::cuda {

__device__ constexpr int common_divisor(int a, int b) { return b == 0 ? a : common_divisor(b, a % b); }

// `outputs` lines of a tile, `step` apart, and `taps` neighbouring taps. Forward: output o reads line
// o * step * stride + tap * dilate. Gradient: output n = o * step + phase, counted from one that tap 0 meets, has from
// tap a the line l with l * stride + a * dilate = n, counted from `reach` lines before.
template <int stride, int dilate, int outputs_, int taps_, bool gradient, int phase = 0>
struct Lattice {
  static constexpr int outputs = outputs_, taps = taps_;
  static constexpr int step = !gradient ? dilate / common_divisor(stride, dilate) : stride == 1 ? dilate : 1;
  static constexpr int reach = gradient ? (taps - 1) * dilate / stride : 0;
  static constexpr int lines = gradient ? ((outputs - 1) * step + phase) / stride + reach + 1
                                        : (outputs - 1) * step * stride + (taps - 1) * dilate + 1;

  // The line, or -1.
  static __device__ constexpr int line(int output, int tap) {
    if (!gradient) return output * step * stride + tap * dilate;
    const int n = output * step + phase - tap * dilate;
    return n % stride == 0 ? n / stride + reach : -1;
  }
  // The output, or -1.
  static __device__ constexpr int output(int line, int tap) {
    const int n = gradient ? (line - reach) * stride + tap * dilate - phase : line - tap * dilate;
    const int apart = gradient ? step : step * stride;
    return n >= 0 && n % apart == 0 && n / apart < outputs ? n / apart : -1;
  }
  static __device__ constexpr bool is_met(int line) {
    for (int tap = 0; tap < taps; ++tap)
      if (output(line, tap) >= 0) return true;
    return false;
  }
  static __device__ constexpr int offset(int line) { return line; }

  // Of a tile: its first output, counted from the first of all.
  static __device__ __forceinline__ int first_output(int tile) {
    return step == 1 ? tile * outputs : tile / step * (outputs * step) + tile % step;
  }
  // Of a tile whose first output is this: its first input line, counted likewise, for the taps from `first_tap` on.
  static __device__ __forceinline__ int first_line(int first_output, int first_tap) {
    return gradient ? first_output / stride - first_tap / stride * dilate - reach
                    : first_output * stride + first_tap * dilate;
  }
};

// Outputs so far apart that no two share an input: `lanes` outputs lie between them, which are neighbouring threads'.
template <int stride, int dilate, int outputs_, int taps_, bool gradient, int lanes>
struct Spread {
  static_assert(!gradient || stride == 1);
  static constexpr int outputs = outputs_, taps = taps_, step = lanes;
  static constexpr int reach = gradient ? (taps - 1) * dilate : 0;
  static constexpr int lines = outputs * taps;
  static __device__ constexpr int line(int output, int tap) { return output * taps + tap; }
  static __device__ constexpr bool is_met(int) { return true; }
  static __device__ constexpr int offset(int line) {
    const int tap = line % taps;
    return line / taps * lanes * stride + (gradient ? reach - tap * dilate : tap * dilate);
  }
  static __device__ __forceinline__ int first_output(int tile) {
    return tile / lanes * (outputs * lanes) + tile % lanes;
  }
  static __device__ __forceinline__ int first_line(int first_output, int first_tap) {
    return gradient ? first_output - first_tap * dilate - reach : first_output * stride + first_tap * dilate;
  }
};

// A tile's outputs as lines of their own.
template <class Axis>
struct Outputs {
  static constexpr int lines = Axis::outputs;
  static __device__ constexpr bool is_met(int) { return true; }
  static __device__ constexpr int offset(int output) { return output * Axis::step; }
};

// The lines of `Axis` as elements of one row, loaded `vector` at a time from places that are multiples of that: line 0
// is element `shift` of the first vector. `inside(place)` says whether the vector that begins there is in the row,
// where no vector is in part.
template <class Axis, class Unit, class Vector, int vector, int shift, long long apart, class Stored, class Inside>
__device__ __forceinline__ void load_line(typename Unit::Value (&value)[Axis::lines], const Stored* line,
                                          Inside inside) {
  if constexpr (vector == 1) {
#pragma unroll
    for (int m = 0; m < Axis::lines; ++m)
      if (Axis::is_met(m))
        value[m] = Unit::widen(loaded<typename Unit::Raw>(line + Axis::offset(m) * apart, inside(Axis::offset(m))));
  } else {
#pragma unroll
    for (int first = -shift; first < Axis::lines; first += vector) {
      bool met = false;
#pragma unroll
      for (int i = 0; i < vector; ++i)
        if (first + i >= 0 && first + i < Axis::lines && Axis::is_met(first + i)) met = true;
      if (!met) continue;
      const auto raw = loaded<Vector>(line + first, inside(first));
#pragma unroll
      for (int i = 0; i < vector; ++i)
        if (first + i >= 0 && first + i < Axis::lines) value[first + i] = raw.widened_at(i);
    }
  }
}

}  // namespace depthwise::cuda
