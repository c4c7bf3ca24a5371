// Weight gradients with lanes along the columns.
#include "jobs.hpp"
#include "order.hpp"
#include "scratch.hpp"

namespace depthwise {

namespace {

// Rows of gy that one part takes at a time. In a cache the more the better, since those of x above and below them are
// read twice; from memory fewer rows are better walked, but that is to be no more than a quarter. Where rows are
// packed, or several sets of them, more would not fit the scratch memory.
int64_t rows_of_band(const Facts& f, bool few) {
  const int64_t least = numbers.fixed.gradient_band, cells = f.out_channels() * f.p.batch;
  if (few) return least;
  if (static_cast<double>(f.bytes) > numbers.fixed.uncached_bytes)
    return std::max(least, std::min(gradient_tile, 4 * (f.p.h.kernel - 1)));
  int64_t rows = gradient_tile;
  while (rows > least && cells * ceil_div(f.p.h.out, rows) < numbers.fixed.gradient_units) rows /= 2;
  return rows;
}

}  // namespace

Planned<WeightGradient> plan_planar(const Facts& f, const LatticeView& lat, const Kernel<WeightGradient>& kernel,
                                    Form form) {
  const Problem& p = f.p;
  const bool direct = form != Form::packed, converted = form == Form::converted;
  const bool gy_in_place = p.y.dtype == f.sums && (p.y.strides[width_axis] == 1 || p.w.out <= 1);
  WeightGradient job = weight_gradient_of(f, lat, false, direct, converted || gy_in_place);
  const int64_t out_step = lat.line_phase_count ? lat.line_phases[0].out_step : 1;
  const bool few = !direct || lat.max_sets > 1;
  const int64_t rows = rows_of_band(f, few);
  const int64_t widest = std::min(numbers.fixed.direct_strip, steps_kept / rows * f.N);
  const int64_t whole = ceil_div(std::clamp<int64_t>(p.w.out, 1, widest), f.N) * f.N;
  job.channels_together = converted ? f.planes_together : 0;
  job.tile = few ? rows : gradient_tile;
  // So that the window seldom has to slide.
  job.ring = lat.max_set_taps + std::max(3 * f.k.max_lines, (job.tile - 1) * lat.lines_per_out);
  job.strip = direct ? whole : packed_strip(whole, job, 1, f);
  job.band = std::clamp<int64_t>(p.h.out, 1, rows * out_step);
  job.bands = ceil_div(p.h.out, job.band);
  job.groups = converted ? p.channels : job.out_channels;
  job.parts = parts_of(f, job);
  job.gW = kept_sums(f, job, true);
  job.units = job.groups * job.parts;
  return fitted(job, kernel, f, direct, job.tile);
}

}  // namespace depthwise
