// Where a strip or band of outputs stands in a phase of the lattice, and what of the input it meets.
#pragma once
#include "../simd/common.hpp"
#include "job.hpp"
#include "require.hpp"

namespace {

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  bool empty() const { return begin >= end; }
  friend bool operator==(const Range&, const Range&) = default;
};

// The first output of a phase at or behind row or column `at`.
template <class Phase>
inline int64_t first_of(const Phase& phase, int64_t at) {
  return at_most(phase.outs, divide_up(at_least(at - phase.out0, 0), phase.out_step));
}

// A phase's outputs among rows or columns `at`.
template <class Phase>
inline Range outputs_of(const Phase& phase, Range at) {
  return {first_of(phase, at.begin), first_of(phase, at.end)};
}

// Rows of an image.
struct Band {
  int64_t image;
  Range rows;
};

// Bands are numbered by image, each of `band` of an image's `rows` rows.
inline Band band_at(int64_t index, int64_t bands, int64_t band, int64_t rows) {
  DEPTHWISE_REQUIRE(band > 0 && (bands - 1) * band < rows, "every band has a row");
  const int64_t begin = index % bands * band;
  return {.image = index / bands, .rows = {begin, at_most(rows, begin + band)}};
}

// What is inside [0, size) of the lines between the first and the last of some; nothing where it is none.
inline Range inside(Range lines, int64_t size) {
  const Range found{at_least(lines.begin, 0), at_most(lines.end, size)};
  return found.empty() ? Range{0, 0} : found;
}

// The input lines, of `size`, between the first and the last that outputs `at` can meet.
inline Range lines_read(const depthwise::LatticeView& lattice, Range at, int64_t size) {
  Range read{size, 0};
  for (int64_t i = 0; i < lattice.line_phase_count; ++i) {
    const depthwise::LinePhase& phase = lattice.line_phases[i];
    const Range t = outputs_of(phase, at);
    if (t.empty()) continue;
    for (const depthwise::TapSet* p = lattice.tap_sets + phase.sets_begin; p < lattice.tap_sets + phase.sets_end; ++p) {
      const int64_t first = t.begin * lattice.lines_per_out, last = (t.end - 1) * lattice.lines_per_out + p->taps - 1;
      read.begin = at_most(read.begin, p->in0 + first * lattice.line_in_step);
      read.end = at_least(read.end, p->in0 + last * lattice.line_in_step + 1);
    }
  }
  return inside(read, size);
}

// The same across the lines.
inline Range crosses_read(const depthwise::LatticeView& lattice, Range at, int64_t size) {
  Range read{size, 0};
  for (int64_t i = 0; i < lattice.cross_phase_count; ++i) {
    const depthwise::CrossPhase& phase = lattice.cross_phases[i];
    const Range u = outputs_of(phase, at);
    if (u.empty() || phase.taps_begin == phase.taps_end) continue;
    const int64_t first = lattice.cross_taps[phase.taps_begin].in0;  // taps are in order
    const int64_t last = lattice.cross_taps[phase.taps_end - 1].in0;
    read.begin = at_most(read.begin, first + u.begin * lattice.cross_in_step);
    read.end = at_least(read.end, last + (u.end - 1) * lattice.cross_in_step + 1);
  }
  return inside(read, size);
}

}  // namespace
