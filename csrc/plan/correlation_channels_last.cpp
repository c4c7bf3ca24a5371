// Forward passes and input gradients with lanes along the channels. Bands and groups that only share the work out, and
// no memory, are walk.cpp's.
#include <utility>

#include "jobs.hpp"
#include "scratch.hpp"

namespace depthwise {
namespace {

bool pixels_are_written_in_place(const Facts& f) {
  return f.written.dtype == f.sums && (f.written.strides[1] == 1 || f.out_channels() == 1);
}

}  // namespace

Planned<Correlation> plan_channels_last(const Facts& f, const LatticeView& lat, const Kernel<Correlation>&, Form form) {
  const bool in_direct = form != Form::packed;
  Planned<Correlation> planned{
      .job = correlation_of(f, lat, true, in_direct, form == Form::converted || pixels_are_written_in_place(f))};
  Correlation& job = planned.job;
  if (form == Form::in_place && job.sum > 1) {  // each of the channels that are summed has a lane
    job.fold = job.divide = std::exchange(job.sum, 1);
    job.out_channels *= job.fold;
  }
  const UnitSize whole{.band = std::max<int64_t>(1, job.out.cross_size), .strip = std::max<int64_t>(1, job.out.lines)};
  const auto rows = [&](const UnitSize& c) {
    return rows_read(f.p.h, f.gradient, ceil_div(c.band, cross_out_step(lat)));
  };
  const auto columns = [&](const UnitSize& c) {
    return std::clamp<int64_t>(extent(f.p.w, f.gradient, c.strip), 0, job.in.lines);
  };
  const auto bytes = [&](const UnitSize& c) {
    return ((job.in.direct ? 0 : job.planes_summed() * rows(c) * columns(c)) +
            (job.out.direct ? 0 : c.band * c.strip)) *
           f.N * f.item;
  };
  const bool packs = !job.in.direct || !job.out.direct;
  const UnitSize cut = packs ? shrunk(whole, bytes) : whole;
  job.band = cut.band;
  job.strip = cut.strip;
  job.rows_packed = packs ? rows(cut) : 0;
  job.columns_packed = packs ? columns(cut) : 0;
  job.strips = ceil_div(job.out.lines, job.strip);
  return planned;
}

}  // namespace depthwise
