// The input rows that a band of output rows of one phase meets: in place where lanes can load them as they lie, else
// packed for some vectors of channels.
#pragma once
#include "row_windows.hpp"

namespace {

using depthwise::CrossPhase;
using depthwise::CrossTap;

// Outputs u of a phase, and where its taps read for the first of them.
struct PhaseRows {
  const CrossPhase* phase = nullptr;
  Range u = {0, 0};
  int64_t first_row = 0;
  const CrossTap* taps = nullptr;
  int64_t tap_count = 0;
  const Step* x_offset = nullptr;  // elements from what InputRows::read returns
  RowWindows windows = {};         // where rows are packed
};

template <class S>
class InputRows {
  using E = typename S::E;

 public:
  // `vectors` and `planes`: those that are packed, at most.
  InputRows(const depthwise::Side& side, const depthwise::LatticeView& lattice, const LaneChannels& lanes,
            int64_t vectors, int64_t planes, int64_t rows_packed, int64_t columns_packed)
      : side_(side),
        lat_(lattice),
        packed_(side, lanes, vectors, planes, rows_packed, columns_packed),
        line_(side.direct ? side.line : S::N),
        row_(side.direct ? lattice.cross_in_step * side.cross : packed_.row_size()) {}

  void take(Arena& arena, int64_t taps) {
    x_offset_ = arena.take<Step>(taps);
    if (side_.direct) return;
    windows_ = arena.take<RowWindow>(taps);
    packed_.take(arena);
  }

  // Elements from column to column, from the row of an output to that of the next, from vector to vector of channels,
  // and from packed plane to plane.
  Step line() const { return line_; }
  Step row() const { return row_; }
  Step vector_size() const { return side_.direct ? S::N : packed_.vector_size(); }
  Step plane_size() const { return packed_.plane_size(); }

  // The columns that are at hand for outputs in these columns.
  Range columns(Range outputs) const {
    return side_.direct ? Range{0, side_.lines} : lines_read(lat_, outputs, side_.lines);
  }

  // What is read for outputs u of a phase, until the next such call. `first_row`: the row that memory begins with.
  PhaseRows locate(const CrossPhase& phase, Range u, int64_t first_row) {
    const CrossTap* taps = lat_.cross_taps + phase.taps_begin;
    const int64_t count = phase.taps_end - phase.taps_begin, step = lat_.cross_in_step;
    PhaseRows rows{.phase = &phase, .u = u, .first_row = first_row, .taps = taps, .tap_count = count};
    rows.x_offset = x_offset_;
    if (!side_.direct) rows.windows = RowWindows(taps, count, step, u, windows_);
    for (int64_t o = 0; o < count; ++o)
      x_offset_[o] = side_.direct ? (taps[o].in0 + u.begin * step - first_row) * side_.cross
                                  : rows.windows.place(taps[o]) * packed_.row_size();
    return rows;
  }

  // The first of these columns, for some vectors of channels. `planes`: those that are packed, the start of each being
  // `from(plane)` elements behind the first one's.
  template <class From>
  const E* read(const PhaseRows& rows, Step first, Range vectors, Range columns, Range planes, const From& from) const {
    if (side_.direct) return static_cast<const E*>(side_.data) + first + vectors.begin * S::N;
    for (int64_t k = planes.begin; k < planes.end; ++k)
      packed_.pack(rows.windows, k, first + from(k), vectors, columns);
    return packed_.data();
  }
  // The same for one plane.
  const E* read(const PhaseRows& rows, Step first, Range vectors, Range columns) const {
    return read(rows, first, vectors, columns, {0, 1}, [](int64_t) { return Step{0}; });
  }

 private:
  const depthwise::Side& side_;
  const depthwise::LatticeView& lat_;
  PackedWindows<S> packed_;
  const Step line_, row_;
  Step* x_offset_ = nullptr;
  RowWindow* windows_ = nullptr;
};

}  // namespace
