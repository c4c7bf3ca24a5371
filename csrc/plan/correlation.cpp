// The plan of a forward pass or an input gradient.
#include "../plan.hpp"
#include "lanes.hpp"
#include "sizes.hpp"

namespace depthwise {
namespace {

// Output rows of channels-last memory of another dtype that are converted together; 0 where not even one fits.
int64_t rows_converted(const Problem& p, const Correlation& job, int64_t out_step, int64_t item) {
  const auto band_bytes = [&](int64_t rows) {
    const int64_t read = std::min(extent(p.h, p.pass == Pass::input_grad, rows), job.in.cross_size);
    return (read * job.in.lines + rows * job.out.lines) * job.out_channels * item;
  };
  int64_t rows = std::min(job.out.cross_size, band_rows * out_step);
  while (rows > 1 && band_bytes(rows) > most_converted_bytes) rows = ceil_div(rows, 2);
  return band_bytes(rows) > most_converted_bytes ? 0 : rows;
}

}  // namespace

void Plan::plan_correlation(const Problem& p, const Kernels& k, int most_threads) {
  const bool gradient = pass == Pass::input_grad;
  Correlation& job = correlation;
  const Side x = side(p.x, p.h.size, p.w.size, channel_lanes), y = side(p.y, p.h.out, p.w.out, channel_lanes);
  job.in = gradient ? y : x;
  job.out = gradient ? x : y;
  job.W = p.W.data;
  job.W_dtype = p.W.dtype;
  job.W_multiplier = p.W.strides[0];
  job.W_channel = p.W.strides[1];
  job.W_line = p.W.strides[channel_lanes ? 3 : 2];
  job.W_cross = p.W.strides[channel_lanes ? 2 : 3];
  if (p.channels * p.multiplier * p.h.kernel * p.w.kernel == 0) {
    // Kernels load weights for outputs that no tap meets, too: where there are none, one stands for all.
    static const double no_weight = 0;
    job.W = &no_weight;
    job.W_dtype = DType::f64;
    job.W_multiplier = job.W_channel = job.W_line = job.W_cross = 0;
  }
  job.kernel_lines = channel_lanes ? p.w.kernel : p.h.kernel;
  job.kernel_cross = channel_lanes ? p.h.kernel : p.w.kernel;
  job.b = p.b.data;
  job.b_dtype = p.b.dtype;
  job.b_stride = p.b.strides[0];
  job.batch = p.batch;
  job.out_channels = gradient ? p.channels : p.channels * p.multiplier;
  job.divide = gradient ? 1 : p.multiplier;
  job.sum = gradient ? p.multiplier : 1;
  job.lattice = lattice.view();
  if (channel_lanes)
    correlate_by_channels(p, k, most_threads);
  else
    correlate_by_columns(p, k);
  units = job.units;
  if (!scratch_bytes || job.non_temporal) scratch_bytes = correlate->scratch_bytes(job);
  // Kernels that write to a stage of their own clear that.
  clears = !job.lattice.covers && !job.channels_together && (!channel_lanes || job.out.direct);
}

void Plan::correlate_by_channels(const Problem& p, const Kernels& k, int most_threads) {
  const bool gradient = pass == Pass::input_grad;
  const int64_t N = k.lanes[sums == DType::f64], item = item_bytes(sums);
  Correlation& job = correlation;
  const LatticeView& lat = job.lattice;
  const int64_t out_step = lat.cross_phase_count ? lat.cross_phases[0].out_step : 1;
  const int64_t phase_outs = ceil_div(job.out.cross_size, out_step);
  const bool one_phase =
      lat.line_phase_count == 1 && lat.line_phases[0].out_step == 1;  // a tile's lines are neighbours
  kernel = "correlate_channels_last";
  correlate = &k.correlate_channels_last[sums == DType::f64];
  job.in.direct = job.in.dtype == sums && job.in.channel == 1 && job.divide == 1 && job.sum == 1 &&
                  !(crowds(job.in, p, item, k.max_lines) && pixels_fit(p, N * item));
  job.out.direct = job.out.dtype == sums && (job.out.channel == 1 || job.out_channels == 1);
  job.strip = std::max<int64_t>(1, job.out.lines);
  job.band = std::max<int64_t>(1, job.out.cross_size);
  const bool whole_pixels = job.in.channel == 1 && job.in.line == job.out_channels && job.out.channel == 1 &&
                            job.out.line == job.out_channels && job.divide == 1 && job.sum == 1;
  const int64_t band_converted = whole_pixels && job.in.dtype != sums ? rows_converted(p, job, out_step, item) : 0;
  if (band_converted) {
    kernel = "correlate_converted";
    correlate = &k.correlate_converted_pixels[sums == DType::f64];
    job.in.direct = job.out.direct = true;
    const int64_t bands_wanted = most_threads > 1 ? ceil_div(4 * most_threads, std::max<int64_t>(1, p.batch)) : 1;
    job.band = std::clamp<int64_t>(ceil_div(job.out.cross_size, bands_wanted), 1, band_converted);
    job.rows_packed = std::clamp<int64_t>(extent(p.h, gradient, job.band), 1, std::max<int64_t>(1, job.in.cross_size));
  } else if (job.in.direct && job.out.direct) {
    const int64_t window = extent(p.h, gradient, 1) * job.in.lines * job.out_channels * item;
    job.streams = bytes > last_cache_bytes && window <= window_bytes;
    const int64_t units_wanted = most_threads > 1 ? 4 * most_threads : 1;
    const int64_t rows = job.streams ? 1 : std::clamp<int64_t>(p.batch * phase_outs / units_wanted, 1, band_rows);
    job.band = std::min(job.band, rows * out_step);
  } else {
    const auto measure = [&] {
      job.rows_packed = rows_read(p.h, gradient, ceil_div(job.band, out_step));
      job.columns_packed = std::clamp<int64_t>(extent(p.w, gradient, job.strip), 0, job.in.lines);
      return ((job.in.direct ? 0 : job.sum * job.rows_packed * job.columns_packed) +
              (job.out.direct ? 0 : job.band * job.strip)) *
             N * item;
    };
    shrink(job.band, job.strip, measure);
  }
  job.fetches = bytes > fetched_bytes && (job.in.direct || job.out.direct) && !band_converted;
  job.strips = ceil_div(job.out.lines, job.strip);
  job.bands = ceil_div(job.out.cross_size, job.band);
  const int64_t pixel = (k.max_lines + p.w.kernel - 1) * p.h.kernel + p.h.kernel * p.w.kernel;
  job.rows_innermost = pixel * job.out_channels * item > first_cache_bytes &&
                       !(job.in.direct && places_of_pixels(job.in, item) < few_places) &&
                       (p.h.kernel * p.w.kernel > many_taps || bytes < second_cache_bytes);
  const int64_t vectors = ceil_div(job.out_channels, N);
  const int64_t units_of_all = job.batch * job.strips * job.bands;
  const int64_t wanted =
      most_threads > 1 && units_of_all && !band_converted ? ceil_div(4 * most_threads, units_of_all) : 1;
  job.group = std::max<int64_t>(1, ceil_div(vectors, wanted));
  job.groups = ceil_div(vectors, job.group);
  job.non_temporal = job.streams && one_phase && job.groups == 1 && job.in.line == job.out_channels &&
                     job.out.line == job.out_channels && job.out_channels * item <= widest_staged_bytes;
  if (job.non_temporal) job.rows_innermost = false;
  job.units = units_of_all * job.groups;
}

void Plan::correlate_by_columns(const Problem& p, const Kernels& k) {
  const int64_t N = k.lanes[sums == DType::f64], item = item_bytes(sums);
  Correlation& job = correlation;
  const LatticeView& lat = job.lattice;
  const int64_t out_step = lat.cross_phase_count ? lat.cross_phases[0].out_step : 1;
  const int64_t phase_outs = ceil_div(job.out.cross_size, out_step);
  const bool one_phase =
      lat.line_phase_count == 1 && lat.line_phases[0].out_step == 1;  // a tile's lines are neighbours
  kernel = "correlate_planar";
  correlate = &k.correlate_planar[sums == DType::f64];
  job.joined = sums == DType::f32 && out_step == 2 && lat.cross_phase_count == 2;
  const bool in_fits = lat.cross_in_step == 1 || lat.lines_per_out == 2, out_fits = out_step == 1 || job.joined;
  if (in_fits && out_fits) job.channels_together = channels_together(p, sums);
  job.in.direct =
      job.channels_together || (job.in.dtype == sums && (job.in.cross == 1 || job.in.cross_size <= 1) && in_fits);
  job.out.direct =
      job.channels_together || (job.out.dtype == sums && (job.out.cross == 1 || job.out.cross_size <= 1) && out_fits);
  const bool one_row = job.in.lines == 1 && job.out.lines == 1;
  job.ring = one_row ? 1 : lat.max_set_taps + 3 * k.max_lines;  // so that the window seldom has to slide
  const int64_t widest = !job.out.direct ? staged_strip : one_row ? k.max_lines * direct_strip : direct_strip;
  job.strip = ceil_div(std::clamp<int64_t>(phase_outs, 1, widest), N) * N;
  const bool dense = job.in.line == job.in.cross_size && job.out.line == job.out.cross_size;
  if (bytes > second_cache_bytes && job.in.direct && job.out.direct && !job.channels_together && dense &&
      job.out.lines && job.out.cross_size)
    job.fetch_bytes = std::max<int64_t>(1, job.in.lines / job.out.lines) *
                      std::max<int64_t>(1, job.in.cross_size / job.out.cross_size) * N * item;
  if (!job.in.direct) {
    const int64_t residues = std::min(lat.cross_in_step, std::max<int64_t>(1, job.kernel_cross));
    const int64_t column_bytes = job.sum * lat.max_sets * job.ring * residues * item;
    while (job.strip > 8 * N && job.strip * column_bytes > packed_bytes) job.strip = ceil_div(job.strip / 2, N) * N;
  }
  if (job.channels_together) {
    kernel = "correlate_converted";
    correlate = &k.correlate_converted[sums == DType::f64];
  }
  job.packed_sum = job.sum;
  scratch_bytes = fit_scratch(job, *correlate, k, item, job.packed_sum, [&] { lay_rows_out(job, job.in.direct, N); });
  job.strips = ceil_div(phase_outs, job.strip);
  const int64_t plane_bytes = job.out.cross_size * job.out.lines * item;
  if (job.fetch_bytes && bytes > last_cache_bytes && job.strips == 1 && one_phase &&
      plane_bytes >= least_staged_bytes) {
    job.non_temporal = true;
    job.out.direct = false;
  }
  job.units = job.batch * job.out_channels * job.strips * lat.line_tiles;
  if (job.channels_together) job.units = job.batch * (job.out_channels / std::max<int64_t>(1, job.divide));
}

}  // namespace depthwise
