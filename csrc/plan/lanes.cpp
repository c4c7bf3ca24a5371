#include "lanes.hpp"

#include "sizes.hpp"

namespace depthwise {
namespace {

// What a correlation with lanes along the columns takes for a multiply-add of use: lanes beside the row, and those
// under taps beside it, are idle.
double cost_by_columns(const Problem& p, const Kernels& k, int64_t N) {
  const bool gradient = p.pass == Pass::input_grad;
  const int64_t outs = gradient ? ceil_div(p.w.size, p.w.stride) : p.w.out;
  const int64_t lanes = k.half_lanes && outs <= k.half_lanes && N == k.lanes[0] &&
                                (p.pass != Pass::weight_grad || (p.w.stride == 1 && p.h.kernel <= 3))
                            ? k.half_lanes
                            : ceil_div(outs, N) * N;
  const double taps = static_cast<double>(p.w.kernel) / (gradient ? static_cast<double>(p.w.stride) : 1.0);
  const double rows = gradient ? static_cast<double>(p.w.stride) : 1.0;
  // A single row is summed by chains of one vector where taps reach beside it.
  const bool chains = p.h.size == 1 && p.h.out == 1 && outs < 8 * N + 2 * p.w.kernel;
  return (chains ? 2.5 : 1.0) * rows * static_cast<double>(lanes) * taps / std::max(1.0, valid_taps(p.w));
}

// The same with lanes along the channels where memory is planar: every lane is of use, but all elements are transposed.
double cost_by_channels(const Problem& p, int64_t N) {
  const int64_t outs = p.pass == Pass::input_grad ? p.channels : p.channels * p.multiplier;
  const double filled = static_cast<double>(outs) / static_cast<double>(N * ceil_div(outs, N));
  const double products = static_cast<double>(p.batch * p.channels * p.multiplier) * valid_taps(p.h) * valid_taps(p.w);
  const double elements = array_bytes(p) / static_cast<double>(item_bytes(p.x.dtype));
  const double each = array_bytes(p) > last_cache_bytes ? 2 * transposing_cost : transposing_cost;
  return (1 + each * elements / std::max(1.0, products)) / filled;
}

}  // namespace

int64_t channels_together(const Problem& p, DType sums) {
  if (p.x.dtype == sums) return 0;
  for (const Array* a : {&p.x, &p.y})
    if (a->strides[3] != 1) return 0;
  const int64_t image_bytes = (p.h.size * p.w.size + p.multiplier * p.h.out * p.w.out) * item_bytes(sums);
  if (image_bytes > most_converted_bytes) return 0;
  const int64_t cell_bytes = image_bytes * (p.pass == Pass::weight_grad ? std::max<int64_t>(1, p.batch) : 1);
  return std::clamp<int64_t>(converted_bytes / std::max<int64_t>(1, cell_bytes), 1, std::max<int64_t>(1, p.channels));
}

bool lanes_along_channels(const Problem& p, const Kernels& k, DType sums) {
  const bool gradient = p.pass == Pass::input_grad;
  const Array& in = gradient ? p.y : p.x;
  const int64_t N = k.lanes[sums == DType::f64];
  const int64_t outs = p.channels * p.multiplier, channels = gradient ? outs : p.channels;
  const bool ready = in.dtype == sums && p.multiplier == 1 && in.strides[1] == 1 &&
                     (p.pass != Pass::weight_grad || (p.y.dtype == sums && p.y.strides[1] == 1));
  if (!ready && !pixels_fit(p, N * item_bytes(sums))) return false;
  if (channels_are_closest(in.strides, channels, gradient ? p.h.out : p.h.size, gradient ? p.w.out : p.w.size))
    return 2 * outs >= N;
  if (N == 1 || p.h.kernel * p.w.kernel == 0) return false;
  if (p.pass != Pass::weight_grad || k.half_lanes) return cost_by_channels(p, N) < cost_by_columns(p, k, N);
  const bool wide = p.pass == Pass::weight_grad && array_bytes(p) > last_cache_bytes;
  const int64_t widest = wide ? 8 * N : std::min(8 * N, transposed_width);
  const bool filled = 8 * outs >= 5 * N * ceil_div(outs, N);
  if (!filled || (p.w.stride == 1 && p.w.kernel == 1)) return false;
  return p.w.stride > 1 || p.w.out <= widest;
}

bool takes_pairs(const Problem& p, DType sums) {
  return p.pass != Pass::input_grad && sums == DType::f32 && p.h.stride == 2 && p.w.stride == 2 && p.h.dilate == 1 &&
         p.w.dilate == 1 &&
         (channels_together(p, sums) || (p.x.dtype == sums && (p.x.strides[3] == 1 || p.w.size <= 1)));
}

bool channels_are_closest(const int64_t strides[4], int64_t channels, int64_t height, int64_t width) {
  const int64_t c = std::abs(strides[1]);
  if (channels < 2 || c == 0) return false;
  if (height < 2 && width < 2) return false;
  const auto further = [&](int64_t stride) { return stride == 0 || c < std::abs(stride); };
  return (height < 2 || further(strides[2])) && (width < 2 || further(strides[3]));
}

}  // namespace depthwise
