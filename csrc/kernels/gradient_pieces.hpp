// The taps of a weight gradient in pieces that are summed together, each in the rows of gy in which all of them are
// inside the image; the same for all tiles of a phase's columns.
#pragma once
#include "cut.hpp"
#include "input_rows.hpp"
#include "products.hpp"

namespace {

using depthwise::LinePhase;
using depthwise::TapSet;
using depthwise::WeightGradient;

struct Piece {
  int taps, cross_taps;
  const Step* x_offset;
  int64_t first, last;  // x lines inside the image, numbered from the one of gy's line 0
  Range u;              // rows of gy
  Step x;               // elements from the x of the first row of all, column 0
  Step sums, sums_tap;  // elements from a set's start, and from tap to tap
};

template <class S>
class GradientPieces {
 public:
  GradientPieces(const WeightGradient& job, const InputRows<S>& x)
      : job_(job),
        x_(x),
        most_(3 * job.kernel_cross * job.lattice.max_sets *
              fewest_pieces(job.lattice.max_set_taps, S::max_taps).count) {}

  void take(Arena& arena) { pieces_ = arena.take<Piece>(most_); }

  const Piece* begin() const { return pieces_; }
  const Piece* end() const { return pieces_ + count_; }

  // Lists those of rows u, which are some of `rows`, and a phase of columns, unless they were the last.
  const GradientPieces& list(const PhaseRows& rows, Range u, const LinePhase& columns) {
    if (rows_ == rows.phase && u_ == u && columns_ == &columns) return *this;
    rows_ = rows.phase;
    u_ = u;
    columns_ = &columns;
    count_ = 0;
    for (int64_t i = columns.sets_begin; i < columns.sets_end; ++i) {
      const TapSet& set = job_.lattice.tap_sets[i];
      const Cut chunks = fewest_pieces(set.taps, S::max_taps);
      for (int64_t k = 0; k < chunks.count; ++k) {
        const int taps = static_cast<int>(chunks.length(k));
        const Cut groups = fewest_pieces(rows.tap_count, most_cross_taps<S>(taps));
        for (int64_t j = 0; j < groups.count; ++j)
          add_group(rows, set, chunks.begin(k), taps, {groups.begin(j), groups.end(j)});
      }
    }
    DEPTHWISE_REQUIRE(count_ <= most_, "the pieces fit");
    return *this;
  }

 private:
  // Taps [a, a + taps) of a tap set under some taps across the rows. Where not all of these are inside the image they
  // go one by one.
  void add_group(const PhaseRows& rows, const TapSet& set, int64_t a, int taps, Range cross) {
    const auto add = [&](Range o, Range u) {
      if (u.empty()) return;
      pieces_[count_++] = {
          .taps = taps,
          .cross_taps = static_cast<int>(o.size()),
          .x_offset = rows.x_offset + o.begin,
          .first = set.first - a,
          .last = set.last - a,
          .u = u,
          .x = (set.in0 + a * job_.lattice.line_in_step) * x_.line() + (u.begin - u_.begin) * x_.row(),
          .sums = ((set.tap0 + a * set.tap_step) * job_.sum_line + rows.taps[o.begin].tap * job_.sum_cross) * S::N,
          .sums_tap = set.tap_step * job_.sum_line * S::N};
    };
    Range all{rows_inside(rows.taps[cross.begin]).begin, rows_inside(rows.taps[cross.end - 1]).end};
    if (all.empty() || cross.size() == 1) all = {u_.end, u_.end};
    add(cross, all);
    for (int64_t o = cross.begin; o < cross.end; ++o) {
      const Range one = rows_inside(rows.taps[o]);
      add({o, o + 1}, {one.begin, at_most(one.end, all.begin)});
      add({o, o + 1}, {at_least(one.begin, all.end), one.end});
    }
  }

  // The rows in which a tap is inside the image.
  Range rows_inside(const CrossTap& tap) const {
    const int64_t step = job_.lattice.cross_in_step;
    return {at_least(u_.begin, -floor_div(tap.in0, step)),
            at_most(u_.end, floor_div(job_.x.cross_size - 1 - tap.in0, step) + 1)};
  }

  const WeightGradient& job_;
  const InputRows<S>& x_;
  const int64_t most_;
  Piece* pieces_ = nullptr;
  int64_t count_ = 0;
  const CrossPhase* rows_ = nullptr;
  const LinePhase* columns_ = nullptr;
  Range u_ = {0, 0};
};

}  // namespace
