// Weight gradients with lanes along the channels.
#include "jobs.hpp"
#include "order.hpp"
#include "scratch.hpp"

namespace depthwise {
namespace {

// Vectors that a line of a cache holds.
int64_t vectors_of_line(const Facts& f) { return std::max<int64_t>(1, 64 / (f.N * f.item)); }

int64_t whole_lines(const Facts& f, int64_t vectors) {
  const int64_t line = vectors_of_line(f);
  return ceil_div(vectors, line) * line;
}

// Shares that images and bands can be cut into. Those of few pixels would have more sums to store and add up than they
// have products; slices of pixels that come from far memory are poor traffic, and worse than that.
int64_t most_parts(const Facts& f, const WeightGradient& job) {
  const FixedNumbers& n = numbers.fixed;
  const int64_t cells = std::max<int64_t>(1, job.batch * job.bands);
  const int64_t pixels = job.batch * f.p.h.out * f.p.w.out;
  return f.bytes > n.uncached_bytes ? cells : std::clamp<int64_t>(pixels / n.gradient_pixels, 1, cells);
}

// Vectors of channels that one unit sums: as many as its sums fit, if there is work for all, and about as many in each.
int64_t vectors_of_unit(const Facts& f, const WeightGradient& job) {
  const int64_t vector_bytes = f.p.h.kernel * f.p.w.kernel * f.N * f.item;
  const int64_t most = numbers.fixed.sums_bytes / std::max<int64_t>(1, vector_bytes), line = vectors_of_line(f);
  const int64_t fit = std::max<int64_t>(1, most < line ? most : most / line * line);
  const FixedNumbers& n = numbers.fixed;
  const int64_t wanted = f.bytes > n.uncached_bytes ? 1 : ceil_div(n.gradient_units, most_parts(f, job));
  const int64_t groups = std::max(wanted, ceil_div(f.vectors(), fit));
  return std::min(fit, whole_lines(f, std::max<int64_t>(1, ceil_div(f.vectors(), groups))));
}

// Vectors of channels of which so many bytes each stay in a first-level cache, of whole lines.
int64_t vectors_that_stay(const Facts& f, int64_t bytes) {
  const int64_t cache = numbers.fixed.ways * numbers.fixed.way_bytes, line = vectors_of_line(f);
  return std::max(line, cache / 2 / std::max<int64_t>(1, bytes) / line * line);
}

// Beside packed x. It is read but once where all sums fit the registers, mostly, and then a copy gains nothing.
bool gy_is_read_in_place(const Facts& f) {
  return f.p.y.dtype == f.sums && f.p.y.strides[1] == 1 && f.outs % f.N == 0 && sums_fit_registers(f);
}

// The nearest number: with 15 groups a second part would be stored and added up for little.
int64_t parts_of_channels(const Facts& f, const WeightGradient& job) {
  const int64_t groups = std::max<int64_t>(1, job.groups);
  return std::clamp<int64_t>((numbers.fixed.gradient_units + groups / 2) / groups, 1, most_parts(f, job));
}

int64_t columns_that_stay(const Facts& f) {
  const FixedNumbers& n = numbers.fixed;
  return products_crowd(f, n.gradient_columns) ? n.fewest_gradient_columns : n.gradient_columns;
}

}  // namespace

Planned<WeightGradient> plan_channels_last(const Facts& f, const LatticeView& lat, const Kernel<WeightGradient>&,
                                           Form form) {
  const Problem& p = f.p;
  const bool direct = form == Form::in_place, g_direct = direct || gy_is_read_in_place(f);
  Planned<WeightGradient> planned{.job = weight_gradient_of(f, lat, true, direct, g_direct)};
  WeightGradient& job = planned.job;
  // Rows of one phase lie out_step apart: a band has as many of each as if there were but one.
  const int64_t out_step = cross_out_step(lat), rows_of_band = numbers.fixed.gradient_band * out_step;
  const UnitSize whole{.band = std::clamp<int64_t>(p.h.out, 1, 2 * rows_of_band),
                       .strip = std::clamp<int64_t>(job.g.lines, 1, steps_kept)};
  const auto rows = [&](const UnitSize& c) { return rows_read(p.h, false, ceil_div(c.band, out_step)); };
  const auto columns = [&](const UnitSize& c) {
    return std::clamp<int64_t>(extent(p.w, false, c.strip), 0, job.x.lines);
  };
  const auto bytes = [&](const UnitSize& c) {
    const int64_t gy = direct || !g_direct ? c.band * c.strip : 0;
    return (rows(c) * columns(c) + gy) * f.N * f.item;
  };
  const UnitSize cut = direct ? whole : shrunk(whole, bytes);
  job.strip = cut.strip;
  job.rows_packed = direct ? 0 : rows(cut);
  job.columns_packed = direct ? 0 : columns(cut);
  job.band = cut.band;
  job.bands = ceil_div(p.h.out, job.band);
  job.group = vectors_of_unit(f, job);
  job.groups = ceil_div(f.vectors(), job.group);
  // Neighbouring vectors share lines of the cache.
  const bool shared = direct && job.group > 1;
  job.columns_together = shared ? columns_that_stay(f) : steps_kept;
  const int64_t at_once =
      bytes({.band = cut.band, .strip = direct ? std::min(cut.strip, job.columns_together) : cut.strip});
  job.vectors_together = std::min(job.group, vectors_that_stay(f, at_once));
  if (!direct && job.vectors_together * at_once > numbers.fixed.most_packed_bytes) job.vectors_together = 1;
  job.parts = parts_of_channels(f, job);
  job.gW = kept_sums(f, job, p.multiplier == 1);
  job.units = job.groups * job.parts;
  return planned;
}

}  // namespace depthwise
