// The plan of a weight gradient.
#include "../plan.hpp"
#include "lanes.hpp"
#include "sizes.hpp"

namespace depthwise {

void Plan::plan_weight_gradient(const Problem& p, const Kernels& k) {
  const int64_t N = k.lanes[sums == DType::f64], item = item_bytes(sums);
  WeightGradient& job = weight_gradient;
  job.x = side(p.x, p.h.size, p.w.size, channel_lanes);
  job.g = side(p.y, p.h.out, p.w.out, channel_lanes);
  job.kernel_lines = channel_lanes ? p.w.kernel : p.h.kernel;
  job.kernel_cross = channel_lanes ? p.h.kernel : p.w.kernel;
  job.sum_line = channel_lanes ? 1 : p.w.kernel;
  job.sum_cross = channel_lanes ? p.w.kernel : 1;
  job.batch = p.batch;
  job.out_channels = p.channels * p.multiplier;
  job.divide = p.multiplier;
  job.lattice = lattice.view();
  const LatticeView& lat = job.lattice;
  // Rows of one phase lie out_step apart: a band has as many of each as if there were but one.
  const int64_t out_step = channel_lanes ? (lat.cross_phase_count ? lat.cross_phases[0].out_step : 1)
                                         : (lat.line_phase_count ? lat.line_phases[0].out_step : 1);
  job.band = std::clamp<int64_t>(p.h.out, 1, (channel_lanes ? 2 : 1) * gradient_band * out_step);
  if (channel_lanes)
    sum_by_channels(p, k, out_step);
  else
    sum_by_columns(p, k);
  // What the parts are made of: bands, or images where planes are converted, as many as stay in the cache.
  const int64_t cells = job.batch * (job.channels_together ? 1 : job.bands);
  const int64_t converted =
      job.channels_together
          ? job.batch * (job.x.lines * job.x.cross_size + p.multiplier * job.g.lines * job.g.cross_size) * item
          : 0;
  const int64_t least_parts =
      std::max(ceil_div(gradient_units, std::max<int64_t>(1, job.groups)), ceil_div(converted, most_converted_bytes));
  job.parts = job.groups && cells ? std::clamp<int64_t>(least_parts, 1, cells) : 1;
  const bool taps_together =
      (p.w.kernel == 1 || gW.strides[3] == 1) && (p.h.kernel == 1 || gW.strides[2] == p.w.kernel);
  const bool placed = !channel_lanes || p.multiplier == 1;
  job.gW = job.parts == 1 && !job.channels_together && placed && gW.dtype == sums && taps_together ? gW.data : nullptr;
  job.gW_multiplier = gW.strides[0];
  job.gW_channel = gW.strides[1];
  units = job.units = job.groups * job.parts;
  int64_t packed_sum = 1;
  scratch_bytes =
      channel_lanes ? sum_products->scratch_bytes(job)
                    : fit_scratch(job, *sum_products, k, item, packed_sum, [&] { lay_rows_out(job, job.x.direct, N); });
}

void Plan::sum_by_channels(const Problem& p, const Kernels& k, int64_t out_step) {
  const int64_t N = k.lanes[sums == DType::f64], item = item_bytes(sums);
  WeightGradient& job = weight_gradient;
  const int64_t rows = p.h.out, taps = p.h.kernel * p.w.kernel;
  kernel = "weight_grad_channels_last";
  sum_products = &k.weight_grad_channels_last[sums == DType::f64];
  // One vector of channels is packed at a time, so both sides are or neither is.
  job.x.direct = job.g.direct = job.x.dtype == sums && job.x.channel == 1 && job.divide == 1 && job.g.dtype == sums &&
                                job.g.channel == 1 && !(crowds(job.x, p, item, k.max_lines) && pixels_fit(p, N * item));
  job.strip = std::clamp<int64_t>(job.g.lines, 1, steps_kept);
  if (!job.x.direct) {
    const auto measure = [&] {
      job.rows_packed = rows_read(p.h, false, ceil_div(job.band, out_step));
      job.columns_packed = std::clamp<int64_t>(extent(p.w, false, job.strip), 0, job.x.lines);
      return (job.rows_packed * job.columns_packed + job.band * job.strip) * N * item;
    };
    shrink(job.band, job.strip, measure);
  }
  const int64_t band_pixels = extent(p.h, false, job.band) * p.w.size + job.band * p.w.out;
  job.vectors_outermost = band_pixels * job.out_channels * item <= band_bytes && bytes <= sliced_bytes;
  const int64_t window = (extent(p.h, false, 1) * p.w.size + p.w.out) * job.out_channels * item;
  job.row_by_row = job.x.direct && !job.vectors_outermost && window <= window_bytes;
  if (job.row_by_row) job.band = std::clamp<int64_t>(rows, 1, gradient_band * out_step);
  job.bands = ceil_div(rows, job.band);
  const int64_t vectors = ceil_div(job.out_channels, N);
  const int64_t fit = std::max<int64_t>(1, sums_bytes / std::max<int64_t>(1, taps * N * item));
  const int64_t wanted = job.row_by_row || job.batch * job.bands >= gradient_units ? 1 : gradient_units;
  job.group = std::min(fit, std::max<int64_t>(1, ceil_div(vectors, wanted)));
  job.groups = ceil_div(vectors, job.group);
}

void Plan::sum_by_columns(const Problem& p, const Kernels& k) {
  const int64_t N = k.lanes[sums == DType::f64], item = item_bytes(sums);
  WeightGradient& job = weight_gradient;
  const LatticeView& lat = job.lattice;
  const int64_t rows = p.h.out;
  kernel = "weight_grad_planar";
  sum_products = &k.weight_grad_planar[sums == DType::f64];
  const bool in_fits = lat.cross_in_step == 1 || lat.lines_per_out == 2;
  if (in_fits) job.channels_together = channels_together(p, sums);
  job.x.direct =
      job.channels_together || (job.x.dtype == sums && (job.x.cross == 1 || job.x.cross_size <= 1) && in_fits);
  const bool dense = job.x.line == job.x.cross_size && job.g.line == job.g.cross_size;
  job.fetches = bytes > second_cache_bytes && dense && lat.line_phase_count == 1 && !job.channels_together;
  job.g.direct = job.channels_together || (job.g.dtype == sums && (job.g.cross == 1 || job.g.cross_size <= 1));
  job.ring = lat.max_set_taps + 3 * k.max_lines;  // so that the window seldom has to slide
  job.strip = ceil_div(std::clamp<int64_t>(p.w.out, 1, std::min(direct_strip, steps_kept / k.max_lines * N)), N) * N;
  if (!job.x.direct) {
    const int64_t residues = std::min(lat.cross_in_step, std::max<int64_t>(1, job.kernel_cross));
    const int64_t column_bytes = lat.max_sets * job.ring * residues * item;
    while (job.strip > 8 * N && job.strip * column_bytes > packed_bytes) job.strip = ceil_div(job.strip / 2, N) * N;
  }
  job.groups = job.out_channels;
  job.bands = ceil_div(rows, job.band);
  if (job.channels_together) {
    kernel = "weight_grad_converted";
    sum_products = &k.weight_grad_converted[sums == DType::f64];
    job.groups = p.channels;
  }
}

}  // namespace depthwise
