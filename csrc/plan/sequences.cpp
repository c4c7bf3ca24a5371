// Images of one line: their kernels take rows, or neighbouring channels of any dtype, as they lie or in their own
// copies.
#include <algorithm>

#include "jobs.hpp"
#include "order.hpp"

namespace depthwise {
namespace {

// Whether the columns that a tile reads fall into so few places of a first-level cache that they push one another out.
bool lines_crowd(const Facts& f) {
  const int64_t spread = (f.p.w.kernel - 1) * f.p.w.dilate, lines = f.k.max_lines + f.p.w.kernel - 1;
  const int64_t stride = f.read.strides[width_axis];
  return f.read.dtype == f.sums && f.p.w.kernel > 1 && spread <= numbers.fixed.widest_staged_lines &&
         lines >= 2 * numbers.fixed.ways * places_of_pixels(stride, f.item);
}

}  // namespace

Planned<Correlation> plan_sequence(const Facts& f, const LatticeView& lat, const Kernel<Correlation>&, Form) {
  const bool written_in_place = f.written.dtype == f.sums && f.written.strides[width_axis] == 1;
  Planned<Correlation> planned{.job = correlation_of(f, lat, false, f.rows_in_place, written_in_place)};
  Correlation& job = planned.job;
  const int64_t outs = ceil_div(job.out.cross_size, cross_out_step(lat));  // of a phase
  // All phases of a strip are put together in a stage, and keep masks.
  job.strip = std::clamp<int64_t>(outs, 1, std::max<int64_t>(1, numbers.fixed.line_strip / cross_out_step(lat)));
  job.strips = ceil_div(outs, job.strip);
  job.units = job.batch * job.out_channels * job.strips;
  return planned;
}

Planned<Correlation> plan_sequence_pixels(const Facts& f, const LatticeView& lat, const Kernel<Correlation>&, Form) {
  Planned<Correlation> planned{.job = correlation_of(f, lat, false, true, true)};
  Correlation& job = planned.job;
  const FixedNumbers& n = numbers.fixed;
  const int64_t vector_bytes = std::max<int64_t>(1, f.p.w.kernel) * f.N * f.item;
  job.group = std::clamp<int64_t>(n.packed_bytes / vector_bytes, 1, std::max<int64_t>(1, f.vectors()));
  if (lines_crowd(f)) {
    job.group = std::min(job.group, n.staged_line_group);
    job.band = std::min(std::max<int64_t>(1, job.out.cross_size), n.staged_lines);
    job.columns_packed = job.band + (f.p.w.kernel - 1) * f.p.w.dilate;
  } else {
    job.band = std::max<int64_t>(1, job.out.cross_size);
  }
  // The vector that laps over belongs to the last group: two threads would store to one place.
  job.groups = ceil_div(f.outs / f.N, job.group);
  return planned;
}

Planned<WeightGradient> plan_sequence_pixels(const Facts& f, const LatticeView& lat, const Kernel<WeightGradient>&,
                                             Form) {
  Planned<WeightGradient> planned{.job = weight_gradient_of(f, lat, false, true, true)};
  WeightGradient& job = planned.job;
  const FixedNumbers& n = numbers.fixed;
  const int64_t vector_bytes = std::max<int64_t>(1, f.p.w.kernel) * f.N * f.item;
  const int64_t fit = std::max<int64_t>(1, n.sums_bytes / vector_bytes);
  job.band = std::clamp<int64_t>(job.g.cross_size, 1, lines_crowd(f) ? n.staged_lines : steps_kept);
  if (lines_crowd(f)) job.columns_packed = job.band + (f.p.w.kernel - 1) * f.p.w.dilate;
  job.bands = ceil_div(job.g.cross_size, job.band);
  job.group = std::min(fit, std::max<int64_t>(n.least_line_group, ceil_div(f.vectors(), n.gradient_units)));
  job.groups = ceil_div(f.vectors(), job.group);
  job.parts = parts_of(f, job);
  job.gW = kept_sums(f, job, true);
  job.units = job.groups * job.parts;
  return planned;
}

Planned<WeightGradient> plan_sequence(const Facts& f, const LatticeView& lat, const Kernel<WeightGradient>&, Form) {
  Planned<WeightGradient> planned{.job = weight_gradient_of(f, lat, false, true, true)};
  WeightGradient& job = planned.job;
  const int64_t most = steps_kept * f.N, widest = f.rows_in_place ? most : std::min(numbers.fixed.line_strip, most);
  job.strip = ceil_div(std::clamp<int64_t>(job.g.cross_size, 1, widest), f.N) * f.N;
  job.groups = job.out_channels;
  job.parts = parts_of(f, job);
  job.gW = kept_sums(f, job, true);
  job.units = job.groups * job.parts;
  return planned;
}

}  // namespace depthwise
