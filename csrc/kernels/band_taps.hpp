// The output rows of one phase in a band, and which taps across the rows are inside the image in each.
#pragma once
#include "input_rows.hpp"

namespace {

using depthwise::Correlation;

struct TappedRows {
  PhaseRows in;
  const Range* inside;   // of the taps, for each row
  const Step* w_offset;  // elements from a vector's weights to those of each tap
  // The rows from u on that meet the same taps.
  int64_t alike(int64_t u) const {
    int64_t end = u + 1;
    while (end < in.u.end && inside[end - in.u.begin] == inside[u - in.u.begin]) ++end;
    return end - u;
  }
};

template <class S>
class BandTaps {
 public:
  BandTaps(const Correlation& job, InputRows<S>& in) : job_(job), in_(in) {}

  void take(Arena& arena) {
    const depthwise::LatticeView& lat = job_.lattice;
    w_offset_ = arena.take<Step>(job_.kernel_cross);
    inside_ = arena.take<Range>(divide_up(job_.band, lat.cross_phase_count ? lat.cross_phases->out_step : 1) + 1);
  }

  // Outputs u of a phase, worked out unless they were the last. `first_row`: the row that the input begins with.
  const TappedRows& list(const CrossPhase& phase, Range u, int64_t first_row) {
    const PhaseRows& last = rows_.in;
    if (last.phase == &phase && last.u == u && last.first_row == first_row) return rows_;
    rows_ = {.in = in_.locate(phase, u, first_row), .inside = inside_, .w_offset = w_offset_};
    const int64_t step = job_.lattice.cross_in_step;
    for (int64_t i = 0; i < u.size(); ++i) inside_[i] = taps_inside((u.begin + i) * step);
    for (int64_t o = 0; o < rows_.in.tap_count; ++o) w_offset_[o] = rows_.in.taps[o].tap * job_.kernel_lines * S::N;
    return rows_;
  }

 private:
  Range taps_inside(int64_t row) const {
    const CrossTap* tap = rows_.in.taps;
    Range inside{0, rows_.in.tap_count};
    while (!inside.empty() && tap[inside.begin].in0 + row < 0) ++inside.begin;
    while (!inside.empty() && tap[inside.end - 1].in0 + row >= job_.in.cross_size) --inside.end;
    return inside;
  }

  const Correlation& job_;
  InputRows<S>& in_;
  TappedRows rows_ = {};
  Range* inside_ = nullptr;
  Step* w_offset_ = nullptr;
};

}  // namespace
