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
    masks_ = arena.take<typename S::M>((job_.strip / S::N + 1) * masks_vector());
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

  // Columns [begin, end).
  void enter(int64_t begin, int64_t end) {
    if (begin == column_) return;
    DEPTHWISE_REQUIRE(begin < end && end - begin <= divide_up(job_.strip, S::N) * S::N, "the strip fits");
    column_ = begin;
    vectors_ = divide_up(end - begin, S::N);
    last_lanes_ = end - begin - (vectors_ - 1) * S::N;
    for (int64_t v = 0; v < vectors_; ++v) {
      const int64_t lanes = v + 1 < vectors_ ? S::N : last_lanes_;
      typename S::M* masks = masks_ + v * masks_vector();
      masks[0] = S::mask(0, lanes);
      for (int64_t o = 0; o < job_.kernel_cross; ++o) masks[1 + o] = lanes_inside(o, begin + v * S::N, lanes);
    }
  }

  // A tile's vectors under columns of taps [first, first + count), those of which some lane of x lies inside the row,
  // appended to `runs`; returns their end. x_vector: elements from vector to vector.
  ProductRun* runs_of(const ProductTile& tile, int64_t first, int64_t count, Step x_vector, ProductRun* runs) const {
    const int64_t step = lat_.cross_in_step, size = job_.x.cross_size, lane = (S::N - 1) * step;
    const int64_t low = input_column(first, column_), high = input_column(first + count - 1, column_);
    const auto from = [&](int64_t at) { return clamp(floor_div(S::N * step - 1 - at, S::N * step), 0, vectors_); };
    const auto to = [&](int64_t at) { return clamp(floor_div(size - 1 - at, S::N * step) + 1, 0, vectors_); };
    const int64_t begin = from(high + lane), end = to(low), inner_begin = from(low), inner_end = to(high + lane);
    for (int64_t v = begin; v < end; ++v) {
      const bool inner = v >= inner_begin && v < inner_end && (v + 1 < vectors_ || last_lanes_ == S::N);
      ProductRun& run = *runs++ = {tile, inner && !S::masked_fma ? nullptr : masks_ + v * masks_vector() + 1 + first,
                                   column_ / S::N + v - begin};
      run.x += v * x_vector;
      run.g += v * S::N;
    }
    return runs;
  }

  // Adds the columns that whole vectors read.
  void cover(Cover& cover) const {
    const int64_t end = column_ + vectors_ * S::N;
    if (job_.kernel_cross && vectors_)
      cover.add_columns(input_column(0, column_), input_column(job_.kernel_cross - 1, end) - 1);
  }

 private:
  int64_t masks_vector() const { return 1 + job_.kernel_cross; }
  int64_t input_column(int64_t o, int64_t output) const { return lat_.cross_taps[o].in0 + output * lat_.cross_in_step; }

  // Of a vector's first lanes, those that lie inside the row under a tap, in the order that x has in registers.
  typename S::M lanes_inside(int64_t o, int64_t column, int64_t lanes) const {
    const int64_t at = input_column(o, column), step = lat_.cross_in_step;
    const int64_t last = at_most(lanes, floor_div(job_.x.cross_size - 1 - at, step) + 1);
    const typename S::M mask = S::mask(divide_up(at_least(-at, 0), step), last);
    if constexpr (sizeof(typename S::E) == 4)
      if (lat_.lines_per_out == 2) return in_order<StrideTwo<S>>(mask);
    return mask;
  }

  const depthwise::WeightGradient& job_;
  const depthwise::LatticeView& lat_;
  int64_t column_ = -1, vectors_ = 0, last_lanes_ = 0;
  Step *x_offset_ = nullptr, *packed_offset_ = nullptr;
  typename S::M* masks_ = nullptr;  // of each vector the lanes of gy, and for each column of taps those inside the row
};

}  // namespace
