// The input rows that a band of output rows of one phase meets, packed: rows of one residue modulo the phase's step lie
// one after the other, so that a tap's place moves on by one packed row from output row to output row. Rows that lie
// between two taps and that neither reads are left out.
#pragma once
#include "packed_pixels.hpp"
#include "walk.hpp"

namespace {

// Rows residue + m * step for m in `rows`, from packed row `place` on.
struct RowWindow {
  int64_t residue;
  Range rows;
  int64_t place;
};

// What the taps of a phase read for its outputs u.
class RowWindows {
 public:
  RowWindows() = default;
  // `memory` has room for a window for each tap; taps are in order.
  RowWindows(const depthwise::CrossTap* taps, int64_t tap_count, int64_t step, Range u, RowWindow* memory)
      : step_(step), first_(u.begin), windows_(memory) {
    DEPTHWISE_REQUIRE(step > 0 && !u.empty(), "some rows are read");
    for (int64_t o = 0; o < tap_count; ++o) {
      const int64_t at = floor_div(taps[o].in0, step), residue = taps[o].in0 - at * step;
      const int64_t i = window_at(residue, at + u.begin);
      if (i == count_) windows_[count_++] = {.residue = residue, .rows = {at + u.begin, 0}, .place = 0};
      windows_[i].rows.end = at + u.end;
    }
    for (int64_t i = 0; i < count_; ++i) {
      windows_[i].place = rows_;
      rows_ += windows_[i].rows.size();
    }
  }

  const RowWindow* begin() const { return windows_; }
  const RowWindow* end() const { return windows_ + count_; }
  int64_t step() const { return step_; }
  int64_t rows() const { return rows_; }

  // The packed row that a tap reads for the first output.
  int64_t place(const depthwise::CrossTap& tap) const {
    const int64_t at = floor_div(tap.in0, step_);
    const RowWindow& w = windows_[window_at(tap.in0 - at * step_, at + first_)];
    return w.place + at + first_ - w.rows.begin;
  }

 private:
  // The window of a residue that has row m in it, or right behind it; count_ where there is none.
  int64_t window_at(int64_t residue, int64_t m) const {
    int64_t i = 0;
    while (i < count_ && (windows_[i].residue != residue || m < windows_[i].rows.begin || m > windows_[i].rows.end))
      ++i;
    return i;
  }

  int64_t step_ = 1, first_ = 0, count_ = 0, rows_ = 0;
  RowWindow* windows_ = nullptr;
};

// The memory of windows: some vectors of channels, one behind another, and some planes of each.
template <class S>
class PackedWindows {
  using E = typename S::E;

 public:
  PackedWindows(const depthwise::Side& side, const LaneChannels& lanes, int64_t vectors, int64_t planes, int64_t rows,
                int64_t columns)
      : side_(side),
        pixels_(side, lanes),
        vectors_(vectors),
        planes_(planes),
        most_rows_(rows),
        row_size_(rows_apart<E>(columns * S::N)) {}

  void take(Arena& arena) {
    pixels_.take(arena);
    rows_ = arena.take<E>(vectors_ * vector_size());
  }

  const E* data() const { return rows_; }
  Step row_size() const { return row_size_; }
  Step plane_size() const { return most_rows_ * row_size_; }
  Step vector_size() const { return planes_ * plane_size(); }

  // Packs those of the rows that are inside the image, of these columns, for some vectors of channels, as plane k of
  // each; `from` is the element at row 0, column 0 of the first channel.
  void pack(const RowWindows& windows, int64_t k, Step from, Range vectors, Range columns) const {
    DEPTHWISE_REQUIRE(windows.rows() <= most_rows_ && columns.size() * S::N <= row_size_, "the windows fit");
    DEPTHWISE_REQUIRE(columns.begin >= 0 && columns.end <= side_.lines, "the columns are inside the image");
    DEPTHWISE_REQUIRE(vectors.size() <= vectors_ && k >= 0 && k < planes_, "the vectors and the plane fit");
    for (const RowWindow& w : windows) pack(w, windows.step(), k, from, vectors, columns);
  }

 private:
  void pack(const RowWindow& w, int64_t step, int64_t k, Step from, Range vectors, Range columns) const {
    const Range m{at_least(w.rows.begin, 0), at_most(w.rows.end, divide_up(side_.cross_size - w.residue, step))};
    if (m.empty()) return;
    E* to = rows_ + k * plane_size() + (w.place - w.rows.begin + m.begin) * row_size_;
    from += (w.residue + m.begin * step) * side_.cross + columns.begin * side_.line;
    // Rows that follow one another without a gap are one long row.
    const int64_t count = columns.size();
    const bool one = step == 1 && count * S::N == row_size_ && count * side_.line == side_.cross;
    for (int64_t i = 0; i < (one ? 1 : m.size()); ++i)
      pixels_.load(to + i * row_size_, vector_size(), from + i * step * side_.cross, vectors,
                   count * (one ? m.size() : 1));
  }

  const depthwise::Side& side_;
  PackedPixels<S> pixels_;
  const int64_t vectors_, planes_, most_rows_;
  const Step row_size_;
  E* rows_ = nullptr;
};

}  // namespace
