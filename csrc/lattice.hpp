// How the outputs of one axis meet its taps, for the forward pass and for the input gradient alike.
//
// The axis that a register tile runs along is seen as phases of outputs, each with tap sets of its taps, such that
// (output t, tap a) of a tap set reads input `in0 + (t + a) * in_step`: whatever stride and dilation are, a tap set is
// a dense correlation, and one loaded input line serves every output and tap with the same t + a. A stride of two may
// be left to the tile instead: then (t, a) reads `in0 + (2 * t + a) * in_step`, and there is but one phase and one tap
// set. The other axis is seen as phases of outputs in which tap k reads input `taps[k].in0 + u * in_step` for output u.
//
// Outputs of an input gradient that no tap meets are in no phase: where there are such, the lattice does not cover them
// and they are cleared beforehand. So nothing grows with a stride or a dilation.
//
// Depth is seen as the other axis is: an output plane of a phase is summed over the planes under its taps.
#pragma once
#include <cstdint>
#include <vector>

#include "problem.hpp"

namespace depthwise {

struct TapSet {
  int64_t in0;             // input of output 0, tap 0; may lie outside [0, size)
  int64_t first, last;     // the steps s in [first, last) have their input in [0, size)
  int64_t taps;            // number of taps
  int64_t tap0, tap_step;  // kernel index of tap a: tap0 + a * tap_step
};

struct LinePhase {
  int64_t out0, out_step, outs;  // outputs out0 + t * out_step, t < outs
  int64_t tiles_before;          // register tiles of the phases before this one
  int64_t sets_begin, sets_end;
};

struct CrossTap {
  int64_t in0, tap;
};

struct CrossPhase {
  int64_t out0, out_step, outs;
  int64_t taps_begin, taps_end;
};

// Plain pointers, so that code built for one target can walk them without instantiating library templates.
struct LatticeView {
  const LinePhase* line_phases;
  int64_t line_phase_count, line_in_step, line_tiles;
  int64_t lines_per_out;  // 1, or 2: the stride that is left to the tile
  const TapSet* tap_sets;
  int64_t max_set_taps, max_sets;
  const CrossPhase* cross_phases;
  int64_t cross_phase_count, cross_in_step;
  const CrossTap* cross_taps;
  int64_t cross_tap_count;  // of all cross phases
  const CrossPhase* depth_phases;
  int64_t depth_phase_count, depth_in_step;
  const CrossTap* depth_taps;
  int64_t depth_outs;      // of all depth phases
  int64_t max_depth_taps;  // of a phase
  bool covers;             // every output is in a phase
};

class Lattice {
 public:
  // `max_lines`: the most outputs that one register tile spans along the tile axis. `split_cross`: whether
  // dilation along the cross axis makes phases too, so that neighbouring outputs of a phase share what they read.
  // `keep_stride`: whether a stride of two along the tile axis is left to the tile.
  Lattice(Pass pass, const Axis& tile_axis, const Axis& cross_axis, const Axis& depth, int64_t max_lines,
          bool split_cross, bool keep_stride);
  LatticeView view() const;

 private:
  void add_lines(bool gather, const Axis&, int64_t max_lines, bool keep_stride);
  // Phases and their taps of an axis that no tile runs along; returns the step of their inputs.
  static int64_t add_phases(bool gather, const Axis&, bool split, std::vector<CrossPhase>&, std::vector<CrossTap>&);
  void add_line_phase(int64_t out0, int64_t out_step, int64_t out_end, int64_t max_lines);
  void add_tap_set(int64_t in0, int64_t in_step, int64_t in_size, int64_t taps, int64_t tap0, int64_t tap_step);

  std::vector<LinePhase> lines_;
  std::vector<TapSet> tap_sets_;
  std::vector<CrossPhase> crosses_, depths_;
  std::vector<CrossTap> taps_, depth_taps_;
  int64_t line_in_step_ = 1, cross_in_step_ = 1, depth_in_step_ = 1, line_tiles_ = 0, lines_per_out_ = 1;
  bool covers_ = true;
};

// How many outputs lie from one output to the next of its phase where the dilation makes the phases: in a phase the
// taps of one residue read neighbours. 1 where a dilation is left to the taps, because it is so large that the tables
// would grow with it.
int64_t dilation_phases(const Axis&);

// The phases of an input gradient's outputs along an axis that a lattice does not split.
int64_t phases_met(const Axis&);

int64_t ceil_div(int64_t a, int64_t b);  // b > 0, a of any sign

}  // namespace depthwise
