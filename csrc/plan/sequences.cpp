// Images of one line: their kernels take rows, or neighbouring channels of any dtype, as they lie or in their own
// copies.
#include <algorithm>

#include "jobs.hpp"
#include "order.hpp"

namespace depthwise {

Planned<Correlation> plan_sequence(const Facts& f, const LatticeView& lat, const Kernel<Correlation>&, Form) {
  const bool written_in_place = f.written.dtype == f.sums && f.written.strides[width_axis] == 1;
  Planned<Correlation> planned{.job = correlation_of(f, lat, false, f.rows_in_place, written_in_place)};
  Correlation& job = planned.job;
  job.strip = std::clamp<int64_t>(job.out.cross_size, 1, numbers.fixed.line_strip);
  job.strips = ceil_div(job.out.cross_size, job.strip);
  job.units = job.batch * job.out_channels * job.strips;
  return planned;
}

Planned<Correlation> plan_sequence_pixels(const Facts& f, const LatticeView& lat, const Kernel<Correlation>&, Form) {
  Planned<Correlation> planned{.job = correlation_of(f, lat, false, true, true)};
  Correlation& job = planned.job;
  const int64_t vector_bytes = std::max<int64_t>(1, f.p.w.kernel) * f.N * f.item;
  job.group = std::clamp<int64_t>(numbers.fixed.packed_bytes / vector_bytes, 1, std::max<int64_t>(1, f.vectors()));
  job.groups = ceil_div(f.vectors(), job.group);
  return planned;
}

Planned<WeightGradient> plan_sequence(const Facts& f, const LatticeView& lat, const Kernel<WeightGradient>&, Form) {
  Planned<WeightGradient> planned{.job = weight_gradient_of(f, lat, false, true, true)};
  WeightGradient& job = planned.job;
  const int64_t widest = std::min(numbers.fixed.line_strip, steps_kept * f.N);
  job.strip = ceil_div(std::clamp<int64_t>(job.g.cross_size, 1, widest), f.N) * f.N;
  job.groups = job.out_channels;
  job.parts = parts_of(f, job);
  job.gW = kept_sums(f, job, true);
  job.units = job.groups * job.parts;
  return planned;
}

}  // namespace depthwise
