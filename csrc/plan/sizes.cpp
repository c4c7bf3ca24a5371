#include "sizes.hpp"

#include <numeric>

namespace depthwise {

double valid_taps(const Axis& a) {
  double count = 0;
  for (int64_t p = 0; p < a.kernel; ++p) {
    const int64_t first = std::max<int64_t>(0, ceil_div(a.pad - p * a.dilate, a.stride));
    const int64_t end = std::min(a.out, ceil_div(a.size + a.pad - p * a.dilate, a.stride));
    count += static_cast<double>(std::max<int64_t>(0, end - first));
  }
  return count;
}

double array_bytes(const Problem& p) {
  return static_cast<double>(p.batch * p.channels) *
         static_cast<double>(item_bytes(p.x.dtype) * p.h.size * p.w.size +
                             item_bytes(p.y.dtype) * p.multiplier * p.h.out * p.w.out);
}

int64_t extent(const Axis& a, bool input_grad, int64_t outs) {
  const int64_t spread = (a.kernel - 1) * a.dilate;
  return input_grad ? (outs - 1 + spread) / a.stride + 2 : (outs - 1) * a.stride + spread + 1;
}

int64_t rows_read(const Axis& a, bool input_grad, int64_t outs) {
  const int64_t g = std::gcd(a.stride, a.dilate), tap_step = a.stride / g;
  const int64_t taps = input_grad ? ceil_div(a.kernel, tap_step) : a.kernel;
  const int64_t residues = input_grad ? std::min<int64_t>(1, taps) : std::min(tap_step, taps);
  return residues * outs + (taps - residues) * std::min(a.dilate / g / dilation_phases(a), outs);
}

bool pixels_fit(const Problem& p, int64_t lane_bytes) {
  const bool gradient = p.pass == Pass::input_grad;
  const int64_t columns = std::min(extent(p.w, gradient, 1), gradient ? p.w.out : p.w.size);
  return (gradient ? p.multiplier : 1) * rows_read(p.h, gradient, 1) * columns * lane_bytes <= most_packed_bytes;
}

Side side(const Array& a, int64_t height, int64_t width, bool channel_lanes) {
  const int line = channel_lanes ? 3 : 2, cross = channel_lanes ? 2 : 3;
  return {a.data,
          a.dtype,
          a.strides[0],
          a.strides[1],
          a.strides[line],
          a.strides[cross],
          channel_lanes ? width : height,
          channel_lanes ? height : width,
          false};
}

int64_t places_of_pixels(const Side& s, int64_t item) {
  return way_bytes / std::gcd(std::abs(s.line) * item, way_bytes);
}

bool crowds(const Side& s, const Problem& p, int64_t item, int64_t most_lines) {
  const int64_t pixels = (std::min(s.lines, most_lines) + p.w.kernel - 1) * p.h.kernel;
  return p.h.kernel * p.w.kernel > crowding_taps && pixels > ways * places_of_pixels(s, item);
}

}  // namespace depthwise
