// What is asked of the engine: sizes, element strides and dtypes of one call. No policy, no arithmetic.
#pragma once
#include <cstdint>

namespace depthwise {

enum class DType : int { f16, bf16, f32, f64 };
enum class Pass : int { forward, input_grad, weight_grad };
// What a forward pass makes of each sum before it is rounded.
enum class Activation : int { none, silu, relu, relu6, hardswish, gelu, gelu_tanh };

inline int64_t item_bytes(DType t) { return t == DType::f64 ? 8 : t == DType::f32 ? 4 : 2; }

constexpr int array_axes = 5;  // batch, channel, depth, height, width
constexpr int depth_axis = 2, height_axis = 3, width_axis = 4;

// A strided array. Strides are in elements and may be zero or negative; `data` is the element at index 0. An axis that
// a problem lacks has size one, and whatever stride.
struct Array {
  void* data;
  DType dtype;
  int64_t strides[array_axes];
};

// One spatial axis: output i reads input i * stride + tap * dilate - pad, where that lies in [0, size).
struct Axis {
  int64_t size, kernel, stride, pad, dilate, out;
};
constexpr Axis no_axis{.size = 1, .kernel = 1, .stride = 1, .pad = 0, .dilate = 1, .out = 1};

// How sums are formed: product by product, by Fourier transforms, or by whichever takes less.
enum class Method { direct, fft, cheaper };

// What lies beside an image: zeros, or its own elements over and over, as numpy.pad names them.
enum class Border : int { constant, reflect, symmetric, edge, wrap };

// x (batch, channels, d, h, w), W (multiplier, channels, kernel_d, kernel_h, kernel_w), y (batch, channels *
// multiplier, out_d, out_h, out_w); axes that are lacking, the first ones, have size and kernel one. Whatever the pass,
// x is the image side (x or gx), y the output side (y or gy), W the kernel side (W or gW).
struct Problem {
  Pass pass;
  int64_t batch, channels, multiplier;
  Axis d = no_axis, h = no_axis, w = no_axis;
  Array x, W, b, y;  // b.data is null where there is no bias; of a weight gradient it is gb, another result
  Activation activation = Activation::none;
  Method method = Method::direct;
  Border border = Border::constant;
  // What this is a part of, or null: sums are formed in the order of the whole's, so that they have the same bits. Of
  // the whole only sizes, dtypes and strides count. For forward passes and input gradients.
  const Problem* whole = nullptr;
};

// The type that sums are kept in.
inline DType accumulator(const Problem& p) {
  const bool wide = p.pass == Pass::forward      ? p.x.dtype == DType::f64 || p.W.dtype == DType::f64
                    : p.pass == Pass::input_grad ? p.y.dtype == DType::f64 || p.W.dtype == DType::f64
                                                 : p.y.dtype == DType::f64 || p.x.dtype == DType::f64;
  return wide ? DType::f64 : DType::f32;
}

}  // namespace depthwise
