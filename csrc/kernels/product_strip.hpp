// A strip of gy's columns as vectors, for a weight gradient: where each column of taps reads x, and which lanes it has
// inside the row.
#pragma once
#include "packed_rows.hpp"
#include "row_products.hpp"

namespace {

template <class S>
class ProductStrip {
 public:
  explicit ProductStrip(const depthwise::WeightGradient& job) : job_(job), lat_(job.lattice) {}

  void take(Arena& arena) {
    x_offset_ = arena.take<Step>(job_.kernel_cross);
    packed_offset_ = arena.take<Step>(job_.kernel_cross);
    masks_ = arena.take<typename S::M>((job_.strip / S::N + 1) * job_.kernel_cross);
  }
  void set_offsets(const PackedRows<S>& rows) {
    for (int64_t o = 0; o < job_.kernel_cross; ++o) {
      x_offset_[o] = lat_.cross_taps[o].in0;
      packed_offset_[o] = rows.offset(o);
    }
  }

  int64_t column() const { return column_; }
  int64_t vectors() const { return vectors_; }
  const Step* x_offset() const { return x_offset_; }
  const Step* packed_offset() const { return packed_offset_; }
  const typename S::M* masks(int64_t o) const { return masks_ + o; }

  // Columns [begin, end).
  void enter(int64_t begin, int64_t end) {
    if (begin == column_) return;
    DEPTHWISE_REQUIRE(begin < end && end - begin <= divide_up(job_.strip, S::N) * S::N, "the strip fits");
    column_ = begin;
    vectors_ = divide_up(end - begin, S::N);
    last_lanes_ = end - begin - (vectors_ - 1) * S::N;
    inner_begin_ = inner_end_ = 0;
    for (int64_t v = 0; v < vectors_; ++v) {
      const int64_t lanes = v + 1 < vectors_ ? S::N : last_lanes_;
      bool inner = true;
      for (int64_t o = 0; o < job_.kernel_cross; ++o) inner &= mark_lanes(v, o, begin + v * S::N, lanes);
      if (!inner) continue;
      if (inner_begin_ == inner_end_) inner_begin_ = v;
      inner_end_ = v + 1;
    }
  }

  // What the products of all vectors have in common.
  template <class E>
  void describe(RowProducts<E>& p) const {
    p.vectors = vectors_;
    p.last_lanes = last_lanes_;
    p.inner_begin = inner_begin_;
    p.inner_end = inner_end_;
    p.masks_vector = job_.kernel_cross;
  }

  // Adds the columns that whole vectors read.
  void cover(Cover& cover) const {
    const int64_t end = column_ + vectors_ * S::N;
    if (job_.kernel_cross && vectors_)
      cover.add_columns(input_column(0, column_), input_column(job_.kernel_cross - 1, end) - 1);
  }

 private:
  int64_t input_column(int64_t o, int64_t output) const { return lat_.cross_taps[o].in0 + output * lat_.cross_in_step; }

  // Whether all of a vector's lanes, of which so many count, lie inside the row under a tap; and marks those that do.
  bool mark_lanes(int64_t vector, int64_t o, int64_t column, int64_t lanes) {
    const int64_t at = input_column(o, column), step = lat_.cross_in_step;
    const int64_t first = divide_up(at_least(-at, 0), step);
    const int64_t last = at_most(lanes, floor_div(job_.x.cross_size - 1 - at, step) + 1);
    masks_[vector * job_.kernel_cross + o] = S::mask(first, last);
    return first <= 0 && last >= lanes;
  }

  const depthwise::WeightGradient& job_;
  const depthwise::LatticeView& lat_;
  int64_t column_ = -1, vectors_ = 0, last_lanes_ = 0, inner_begin_ = 0, inner_end_ = 0;
  Step *x_offset_ = nullptr, *packed_offset_ = nullptr;
  typename S::M* masks_ = nullptr;
};

}  // namespace
