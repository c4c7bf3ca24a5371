// Weight gradients with lanes along the channels.
#include "jobs.hpp"
#include "order.hpp"
#include "scratch.hpp"

namespace depthwise {
namespace {

// Bytes of the pixels of so many rows of gy and of the rows of x that they read.
int64_t pixel_bytes(const Facts& f, int64_t rows) {
  return (extent(f.p.h, false, rows) * f.p.w.size + rows * f.p.w.out) * f.outs * f.item;
}

bool walks_vectors_outermost(const Facts& f, int64_t band) {
  return pixel_bytes(f, band) <= numbers.fixed.band_bytes && f.bytes <= numbers.fixed.sliced_bytes;
}

// Vectors of channels that one unit sums: as many as its sums fit, if there is work for all.
int64_t vectors_of_unit(const Facts& f, const WeightGradient& job) {
  const int64_t vector_bytes = f.p.h.kernel * f.p.w.kernel * f.N * f.item;
  const int64_t fit = std::max<int64_t>(1, numbers.fixed.sums_bytes / std::max<int64_t>(1, vector_bytes));
  const int64_t units = numbers.fixed.gradient_units;
  const int64_t wanted = job.row_by_row || job.batch * job.bands >= units ? 1 : units;
  return std::min(fit, std::max<int64_t>(1, ceil_div(f.vectors(), wanted)));
}

}  // namespace

Planned<WeightGradient> plan_channels_last(const Facts& f, const LatticeView& lat, const Kernel<WeightGradient>&,
                                           Form form) {
  const Problem& p = f.p;
  const bool direct = form == Form::in_place;
  Planned<WeightGradient> planned{.job = weight_gradient_of(f, lat, true, direct, direct)};
  WeightGradient& job = planned.job;
  // Rows of one phase lie out_step apart: a band has as many of each as if there were but one.
  const int64_t out_step = cross_out_step(lat), rows_of_band = numbers.fixed.gradient_band * out_step;
  const UnitSize whole{.band = std::clamp<int64_t>(p.h.out, 1, 2 * rows_of_band),
                       .strip = std::clamp<int64_t>(job.g.lines, 1, steps_kept)};
  const auto rows = [&](const UnitSize& c) { return rows_read(p.h, false, ceil_div(c.band, out_step)); };
  const auto columns = [&](const UnitSize& c) {
    return std::clamp<int64_t>(extent(p.w, false, c.strip), 0, job.x.lines);
  };
  const auto bytes = [&](const UnitSize& c) { return (rows(c) * columns(c) + c.band * c.strip) * f.N * f.item; };
  // One vector of channels is packed at a time, so both sides are or neither is.
  const UnitSize cut = direct ? whole : shrunk(whole, bytes);
  job.strip = cut.strip;
  job.rows_packed = direct ? 0 : rows(cut);
  job.columns_packed = direct ? 0 : columns(cut);
  job.vectors_outermost = walks_vectors_outermost(f, cut.band);
  job.row_by_row = direct && !job.vectors_outermost && pixel_bytes(f, 1) <= numbers.fixed.gradient_window_bytes;
  job.band = job.row_by_row ? std::clamp<int64_t>(p.h.out, 1, rows_of_band) : cut.band;
  job.bands = ceil_div(p.h.out, job.band);
  job.group = vectors_of_unit(f, job);
  job.groups = ceil_div(f.vectors(), job.group);
  job.parts = parts_of(f, job);
  job.gW = kept_sums(f, job, p.multiplier == 1);
  job.units = job.groups * job.parts;
  return planned;
}

}  // namespace depthwise
