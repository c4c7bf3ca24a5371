// Python's numbers to Problems, for all that is bound: no arithmetic, no policy.
#pragma once
#include <nanobind/nanobind.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "buffer.hpp"
#include "problem.hpp"

namespace depthwise {

namespace nb = nanobind;

// Sizes of one call, made once for each geometry and passed by reference.
struct Sizes {
  int64_t batch, channels, multiplier;
  int spatial;   // axes that the arrays have
  Axis axes[3];  // depth, height, width; the first are lacking where there are fewer
  Method method;
  Border border;
  // What the arrays are a part of, which is dense, of the layout that is said.
  std::shared_ptr<const Sizes> whole;
  bool channels_last = false;
  const Axis* first() const { return axes + 3 - spatial; }
};

using Place = std::tuple<uintptr_t, std::vector<int64_t>, int>;

inline DType dtype_at(int code) {
  if (code < 0 || code > static_cast<int>(DType::f64)) throw nb::value_error("no such dtype");
  return static_cast<DType>(code);
}

inline Array strided(void* data, const std::vector<int64_t>& strides, int dtype) {
  const int count = static_cast<int>(strides.size());
  if (count > array_axes) throw nb::value_error("an array has at most five axes");
  Array out{data, dtype_at(dtype), {}};
  for (int i = 0; i < count; ++i) out.strides[place_of_axis(i, count)] = strides[static_cast<size_t>(i)];
  return out;
}

inline Array as_array(const Place& place) {
  const auto& [address, strides, dtype] = place;
  return strided(reinterpret_cast<void*>(address), strides, dtype);
}

inline Activation activation_at(int code) {
  if (code < 0 || code > static_cast<int>(Activation::gelu_tanh)) throw nb::value_error("no such activation");
  return static_cast<Activation>(code);
}

inline Method method_at(int code) {
  if (code < 0 || code > static_cast<int>(Method::cheaper)) throw nb::value_error("no such method");
  return static_cast<Method>(code);
}

inline Border border_at(int code) {
  if (code < 0 || code > static_cast<int>(Border::wrap)) throw nb::value_error("no such padding");
  return static_cast<Border>(code);
}

inline Problem problem(int pass, const Sizes& s, const Array& x, const Array& W, const Array& b, const Array& y,
                       int activation) {
  if (pass < 0 || pass > static_cast<int>(Pass::weight_grad)) throw nb::value_error("no such pass");
  const Activation kind = activation_at(activation);
  if (activation && pass) throw nb::value_error("only a forward pass has an activation");
  return {static_cast<Pass>(pass),
          s.batch,
          s.channels,
          s.multiplier,
          s.axes[0],
          s.axes[1],
          s.axes[2],
          x,
          W,
          b,
          y,
          kind,
          s.method,
          s.border};
}

}  // namespace depthwise
