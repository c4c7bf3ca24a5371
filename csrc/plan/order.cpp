#include "order.hpp"

#include <algorithm>

namespace depthwise {

int64_t parts_of(const Facts& f, const WeightGradient& job) {
  const bool images = job.channels_together > 0;
  const int64_t cells = job.batch * (images ? 1 : job.bands);
  if (!job.groups || !cells) return 1;
  const int64_t image =
      job.x.lines * job.x.cross_size + f.p.multiplier * job.g.lines * job.g.cross_size;  // elements of a channel
  const int64_t converted = images ? job.batch * image * f.item : 0;
  const int64_t least = std::max(ceil_div(numbers.fixed.gradient_units, job.groups),
                                 ceil_div(converted, numbers.fixed.most_converted_bytes));
  return std::clamp<int64_t>(least, 1, cells);
}

void* kept_sums(const Facts& f, const WeightGradient& job, bool placed) {
  const Array& gW = f.p.W;
  const bool taps_together = (f.p.w.kernel == 1 || gW.strides[width_axis] == 1) &&
                             (f.p.h.kernel == 1 || gW.strides[height_axis] == f.p.w.kernel);
  return job.parts == 1 && !job.channels_together && placed && gW.dtype == f.sums && taps_together ? gW.data : nullptr;
}

}  // namespace depthwise
