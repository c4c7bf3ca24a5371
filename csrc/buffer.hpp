// A NumPy array held as a buffer, and whether the engine can take it as it lies.
#pragma once
#include <nanobind/nanobind.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <stdexcept>

#include "problem.hpp"

namespace depthwise {

// An array that the engine cannot take as it lies: nothing was done.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Whether numbers whose format begins so are in this machine's byte order. An order may be said though it is native.
constexpr bool is_native(char order, bool little = std::endian::native == std::endian::little) {
  return order == '<' ? little : order == '>' || order == '!' ? !little : true;
}
static_assert(is_native('<', true) && !is_native('>', true) && !is_native('!', true) && is_native('=', true));
static_assert(!is_native('<', false) && is_native('>', false) && is_native('!', false) && is_native('f', false));

// Where axis i of `count` stands in a Problem's arrays: spatial axes are the last ones there.
constexpr int place_of_axis(int i, int count) { return i < 2 ? i : array_axes - count + i; }

class Held {
 public:
  // Holding it also keeps others from resizing it meanwhile. None is no array.
  Held(PyObject* object, DType dtype) : dtype_(dtype) {
    if (object == Py_None) return;
    if (PyObject_GetBuffer(object, &buffer_, PyBUF_RECORDS_RO) != 0) throw nanobind::python_error();
    held_ = true;
  }
  ~Held() {
    if (held_) PyBuffer_Release(&buffer_);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  // Null where the engine can take it: numbers of its dtype in this machine's byte order, aligned, strides of whole
  // elements. Else why not.
  const char* refusal() const {
    if (!held_) return nullptr;
    const char* format = buffer_.format && *buffer_.format ? buffer_.format : "B";
    if (std::strchr("@=<>!", *format) && !is_native(*format++)) return "is not in this machine's byte order";
    // A buffer has no name for bfloat16: its bits are passed.
    if (*format != "eHfd"[static_cast<int>(dtype_)] || format[1] || buffer_.itemsize != item_bytes(dtype_))
      return "is not of the dtype that it was said to be";
    if (reinterpret_cast<uintptr_t>(buffer_.buf) % static_cast<uintptr_t>(buffer_.itemsize)) return "is not aligned";
    for (int i = 0; i < buffer_.ndim; ++i)
      if (buffer_.strides[i] % buffer_.itemsize) return "has strides that are no whole elements";
    return nullptr;
  }
  bool has_shape(std::span<const int64_t> shape) const {
    return !held_ ||
           (static_cast<size_t>(buffer_.ndim) == shape.size() && std::equal(shape.begin(), shape.end(), buffer_.shape));
  }
  std::span<const Py_ssize_t> shape() const { return {buffer_.shape, static_cast<size_t>(buffer_.ndim)}; }
  Array array() const {
    Array out{held_ ? buffer_.buf : nullptr, dtype_, {}};
    for (int i = 0; held_ && i < buffer_.ndim; ++i)
      out.strides[place_of_axis(i, buffer_.ndim)] = buffer_.strides[i] / buffer_.itemsize;
    return out;
  }

 private:
  Py_buffer buffer_;
  DType dtype_;
  bool held_ = false;
};

}  // namespace depthwise
