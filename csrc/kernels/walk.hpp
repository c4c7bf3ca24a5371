// Where a strip or band of outputs stands in a phase of the lattice, and what of the input it meets.
#pragma once
#include "../simd/common.hpp"
#include "job.hpp"

namespace {

// The first output of a phase at or behind row or column `at`.
template <class Class>
inline int64_t first_of(const Class& c, int64_t at) {
  return at_most(c.outs, divide_up(at_least(at - c.out0, 0), c.out_step));
}

struct Range {
  int64_t begin, end;
};

// The input lines, of `lines`, between the first and the last that outputs [begin, end) can meet; empty where their
// taps all miss the image.
inline Range lines_read(const depthwise::LatticeView& lattice, int64_t begin, int64_t end, int64_t lines) {
  Range read{lines, 0};
  for (int64_t i = 0; i < lattice.line_phase_count; ++i) {
    const depthwise::LinePhase& c = lattice.line_phases[i];
    const int64_t t0 = first_of(c, begin), t1 = first_of(c, end);
    if (t0 >= t1) continue;
    for (const depthwise::TapSet* p = lattice.tap_sets + c.sets_begin; p < lattice.tap_sets + c.sets_end; ++p) {
      read.begin = at_most(read.begin, p->in0 + t0 * lattice.line_in_step);
      read.end = at_least(read.end, p->in0 + (t1 - 1 + p->taps - 1) * lattice.line_in_step + 1);
    }
  }
  read.begin = at_least(read.begin, 0);
  read.end = at_most(read.end, lines);
  return read.begin < read.end ? read : Range{0, 0};
}

}  // namespace
