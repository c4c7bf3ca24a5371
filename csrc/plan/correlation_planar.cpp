// Forward passes and input gradients with lanes along the columns.
#include "jobs.hpp"
#include "scratch.hpp"

namespace depthwise {
namespace {

bool rows_are_written_in_place(const Facts& f) {
  return f.written.dtype == f.sums && (f.written.strides[width_axis] == 1 || f.written_width() <= 1) &&
         f.row_is_written_in_steps();
}

// Chunks of taps each add to what is written: where its rows crowd and there is little to do for each, beside them.
bool stages_crowding_rows(const Facts& f, const LatticeView& lat) {
  return lat.max_set_taps >= numbers.fixed.staged_taps * f.p.w.kernel && rows_crowd(f);
}

// The rows that a tile shares with the next should still be there.
int64_t widest_strip(const Correlation& job, const Facts& f) {
  const FixedNumbers& n = numbers.fixed;
  if (!job.out.direct) return n.staged_strip;
  const int64_t shared_bytes = (f.p.h.kernel - 1) * f.p.h.dilate * f.item;
  return std::clamp(n.shared_rows_bytes / std::max<int64_t>(1, shared_bytes), n.direct_strip / 8, n.direct_strip);
}

}  // namespace

Planned<Correlation> plan_planar(const Facts& f, const LatticeView& lat, const Kernel<Correlation>& kernel, Form form) {
  const bool direct = form != Form::packed;
  const bool written_in_place =
      form == Form::converted || (rows_are_written_in_place(f) && !stages_crowding_rows(f, lat));
  Correlation job = correlation_of(f, lat, false, direct, written_in_place);
  const bool one_row = job.in.lines == 1 && job.out.lines == 1;
  const int64_t phase_outs = ceil_div(job.out.cross_size, cross_out_step(lat));
  const int64_t widest = std::clamp<int64_t>(phase_outs, 1, widest_strip(job, f));
  const int64_t whole = ceil_div(widest, f.N) * f.N;
  job.pairs = direct && f.pairs;
  job.interleaved = f.joins_phases();
  // A part that is but one column has no two phases, but sums as its whole does.
  const bool may_join = f.gradient && f.sums == DType::f32 && f.p.w.stride == 2;
  job.taps_at_once = may_join ? taps_of_phases : job.pairs ? taps_of_pairs : most_taps_at_once;
  job.channels_together = form == Form::converted ? f.planes_together : 0;
  job.ring = one_row ? 1 : lat.max_set_taps + 3 * f.k.max_lines;  // so that the window seldom has to slide
  job.strip = direct ? whole : packed_strip(whole, job, job.planes_summed(), f);

  Planned<Correlation> planned = fitted(job, kernel, f, direct, f.k.max_lines);
  Correlation& cut = planned.job;
  cut.strips = ceil_div(phase_outs, cut.strip);
  cut.units = form == Form::converted ? cut.batch * (cut.out_channels / std::max<int64_t>(1, cut.divide))
                                      : cut.batch * cut.out_channels * lat.depth_outs * cut.strips * lat.line_tiles;
  return planned;
}

}  // namespace depthwise
