// The output planes of images with a depth, and the input planes that each is summed over. An image without a depth is
// one plane, under one tap.
#pragma once
#include "walk.hpp"

namespace {

using depthwise::CrossPhase;

struct Slice {
  const CrossPhase* phase;
  int64_t row, u;  // which row of planes it is in, and which output of the phase
  Range taps;      // of the phase, those under which a plane is inside the image
};

// Slices are numbered by phase, group of rows of planes, output, and row of the group, the last fastest.
class Slices {
 public:
  explicit Slices(const depthwise::Correlation& job, int64_t group = 1) : job_(job), lat_(job.lattice), group_(group) {}

  Slice at(int64_t index, int64_t rows) const {
    const CrossPhase* phase = lat_.depth_phases;
    for (; index >= rows * phase->outs; ++phase) index -= rows * phase->outs;
    const int64_t first = index / (group_ * phase->outs) * group_, size = at_most(group_, rows - first);
    index -= first * phase->outs;
    Slice slice{.phase = phase, .row = first + index % size, .u = index / size, .taps = {0, 0}};
    slice.taps = taps_inside(slice);
    return slice;
  }
  // Rows of planes from one on that its group has.
  int64_t left_in_group(int64_t row, int64_t rows) const { return at_most(rows - row, group_ - row % group_); }

  // The slice with this number of a row of planes.
  Slice of_row(int64_t row, int64_t index) const {
    Slice slice = at(index, 1);
    slice.row = row;
    return slice;
  }

  // Slices from this one on that lie in its row and meet the same taps.
  int64_t alike(const Slice& slice) const {
    Slice next = slice;
    while (++next.u < slice.phase->outs && taps_inside(next) == slice.taps) continue;
    return next.u - slice.u;
  }

  // Whether all are one: then it is channels that follow one another.
  bool single() const { return lat_.depth_outs == 1; }

  const depthwise::CrossTap* taps(const CrossPhase& phase) const { return lat_.depth_taps + phase.taps_begin; }
  static int64_t tap_count(const CrossPhase& phase) { return phase.taps_end - phase.taps_begin; }

  // Elements from depth 0 of the arrays.
  Step in(const Slice& s) const { return s.u * in_step(); }
  Step out(const Slice& s) const { return (s.phase->out0 + s.u * s.phase->out_step) * job_.out.depth; }
  // ... and from slice to slice.
  Step in_step() const { return lat_.depth_in_step * job_.in.depth; }
  static Step out_step(const Slice& s, const depthwise::Side& out) { return s.phase->out_step * out.depth; }

 private:
  Range taps_inside(const Slice& s) const {
    const depthwise::CrossTap* tap = taps(*s.phase);
    const int64_t at = s.u * lat_.depth_in_step;
    Range inside{0, tap_count(*s.phase)};
    while (!inside.empty() && tap[inside.begin].in0 + at < 0) ++inside.begin;
    while (!inside.empty() && tap[inside.end - 1].in0 + at >= job_.in.depths) --inside.end;
    return inside;
  }

  const depthwise::Correlation& job_;
  const depthwise::LatticeView& lat_;
  const int64_t group_;
};

}  // namespace
