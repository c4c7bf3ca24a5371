// The taps of a weight gradient in pieces that are summed together, each in the rows of gy in which all of them are
// inside the image; the same for all of a phase's columns.
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
  Range u;              // rows of gy in which these taps are inside the image
  Step x;               // elements from the x of the first row of all, column 0
  Step sums, sums_tap;  // elements from a set's start, and from tap to tap
  bool fetches;         // it may be the first to read some rows of x, and is of its tap set the first chunk
};

template <class S>
class GradientPieces {
 public:
  // `edge`: channels are fewer than lanes.
  GradientPieces(const WeightGradient& job, const InputRows<S>& x, bool edge)
      : job_(job),
        x_(x),
        edge_(edge),
        most_(2 * job.kernel_cross * job.lattice.max_sets *
              fewest_pieces(job.lattice.max_set_taps, S::max_taps).count) {}

  void take(Arena& arena) { pieces_ = arena.take<Piece>(most_); }

  const Piece* begin() const { return pieces_; }
  const Piece* end() const { return pieces_ + count_; }

  // Lists those of some rows and a phase of columns, unless they were the last.
  const GradientPieces& list(const PhaseRows& rows, const LinePhase& columns) {
    if (rows_ == rows.phase && u_ == rows.u && columns_ == &columns) return *this;
    rows_ = rows.phase;
    u_ = rows.u;
    columns_ = &columns;
    count_ = 0;
    for (int64_t i = columns.sets_begin; i < columns.sets_end; ++i) {
      const TapSet& set = job_.lattice.tap_sets[i];
      const Cut chunks = fewest_pieces(set.taps, S::max_taps);
      for (int64_t k = 0; k < chunks.count; ++k) {
        const int taps = static_cast<int>(chunks.length(k));
        // As many taps as fill the registers: the few that are left have shares.
        const int64_t most = most_products_across<S>(taps, edge_);
        for (int64_t o = 0; o < rows.tap_count; o += most) {
          const Range cross{o, at_most(o + most, rows.tap_count)};
          add_group(rows, set, chunks.begin(k), taps, cross, k == 0 && cross.end == rows.tap_count);
        }
      }
    }
    return *this;
  }

 private:
  // Taps [a, a + taps) of a tap set under some taps across the rows: those that are inside the image in the same rows.
  void add_group(const PhaseRows& rows, const TapSet& set, int64_t a, int taps, Range cross, bool fetches) {
    for (int64_t begin = u_.begin, end; begin < u_.end; begin = end) {
      Range inside{cross.end, cross.begin};
      end = u_.end;
      for (int64_t o = cross.begin; o < cross.end; ++o) {
        const Range one = rows_inside(rows.taps[o]);
        if (begin >= one.end) continue;
        end = at_most(end, begin < one.begin ? one.begin : one.end);
        if (begin >= one.begin) inside = {at_most(inside.begin, o), o + 1};
      }
      if (!inside.empty()) add_piece(rows, set, a, taps, inside, {begin, end}, fetches);
    }
  }

  void add_piece(const PhaseRows& rows, const TapSet& set, int64_t a, int taps, Range cross, Range u, bool fetches) {
    DEPTHWISE_REQUIRE(count_ < most_, "the pieces fit");
    pieces_[count_++] = {
        .taps = taps,
        .cross_taps = static_cast<int>(cross.size()),
        .x_offset = rows.x_offset + cross.begin,
        .first = set.first - a,
        .last = set.last - a,
        .u = u,
        .x = (set.in0 + a * job_.lattice.line_in_step) * x_.line() + (u.begin - u_.begin) * x_.row(),
        .sums = ((set.tap0 + a * set.tap_step) * job_.sum_line + rows.taps[cross.begin].tap * job_.sum_cross) * S::N,
        .sums_tap = set.tap_step * job_.sum_line * S::N,
        .fetches = fetches};
  }

  // The rows in which a tap is inside the image.
  Range rows_inside(const CrossTap& tap) const {
    const int64_t step = job_.lattice.cross_in_step;
    return {at_least(u_.begin, -floor_div(tap.in0, step)),
            at_most(u_.end, floor_div(job_.x.cross_size - 1 - tap.in0, step) + 1)};
  }

  const WeightGradient& job_;
  const InputRows<S>& x_;
  const bool edge_;
  const int64_t most_;
  Piece* pieces_ = nullptr;
  int64_t count_ = 0;
  const CrossPhase* rows_ = nullptr;
  const LinePhase* columns_ = nullptr;
  Range u_ = {0, 0};
};

}  // namespace
