// Problems in the words of kernels.
#include "jobs.hpp"

#include <algorithm>

namespace depthwise {

Correlation correlation_of(const Facts& f, const LatticeView& lattice, bool channel_lanes, bool in_direct,
                           bool out_direct) {
  const Problem& p = f.p;
  const Side x = f.side(p.x, true, channel_lanes, f.gradient ? out_direct : in_direct);
  const Side y = f.side(p.y, false, channel_lanes, f.gradient ? in_direct : out_direct);
  // Kernels load weights for outputs that no tap meets, too: where there are none, one stands for all.
  static double no_weight = 0;
  const bool any = f.outs * p.d.kernel * p.h.kernel * p.w.kernel != 0;
  const Array W = any ? p.W : Array{.data = &no_weight, .dtype = DType::f64, .strides = {}};
  return {.in = f.gradient ? y : x,
          .out = f.gradient ? x : y,
          .W = W.data,
          .W_dtype = W.dtype,
          .W_multiplier = W.strides[0],
          .W_channel = W.strides[1],
          .W_depth = W.strides[depth_axis],
          .W_line = W.strides[channel_lanes ? width_axis : height_axis],
          .W_cross = W.strides[channel_lanes ? height_axis : width_axis],
          .kernel_depth = p.d.kernel,
          .kernel_lines = channel_lanes ? p.w.kernel : p.h.kernel,
          .kernel_cross = channel_lanes ? p.h.kernel : p.w.kernel,
          .b = f.gradient ? nullptr : p.b.data,
          .b_dtype = p.b.dtype,
          .b_stride = p.b.strides[0],
          .batch = p.batch,
          .out_channels = f.out_channels(),
          .divide = f.gradient ? 1 : p.multiplier,
          .sum = f.gradient ? p.multiplier : 1,
          .activation = p.activation,
          .lattice = lattice,
          .packed_sum = std::max<int64_t>(1, lattice.max_depth_taps) * (f.gradient ? p.multiplier : 1)};
}

WeightGradient weight_gradient_of(const Facts& f, const LatticeView& lattice, bool channel_lanes, bool x_direct,
                                  bool g_direct) {
  const Problem& p = f.p;
  Side x = f.side(p.x, true, channel_lanes, x_direct), g = f.side(p.y, false, channel_lanes, g_direct);
  for (Side* side : {&x, &g}) side->depths = std::max<int64_t>(1, side->depths);  // planes are counted by division
  return {.x = x,
          .g = g,
          .gW_multiplier = p.W.strides[0],
          .gW_channel = p.W.strides[1],
          .kernel_lines = channel_lanes ? p.w.kernel : p.h.kernel,
          .kernel_cross = channel_lanes ? p.h.kernel : p.w.kernel,
          .sum_line = channel_lanes ? 1 : p.w.kernel,
          .sum_cross = channel_lanes ? p.w.kernel : 1,
          .batch = f.images,
          .out_channels = f.outs,
          .divide = p.multiplier,
          .lattice = lattice};
}

}  // namespace depthwise
