// Rows of images of one line as kernels read them: where they lie, or copies in the sums' type that have zeros beside
// the row. Where outputs are a stride apart a copy is a row for each residue of columns: what a tap reads for
// neighbouring outputs become neighbours.
#pragma once
#include "job.hpp"
#include "pack.hpp"
#include "require.hpp"
#include "walk.hpp"

namespace {

using depthwise::CrossTap;

// Targets that take every third element apart.
template <class S>
concept TakesThreeApart = requires(typename S::V (&v)[3]) { S::deinterleave(v, v); };

template <class S, int apart>
constexpr bool takes_apart = apart == 2 || apart == 4 || (apart == 3 && TakesThreeApart<S>);

// to[r * to_row + i] = from[i * apart + r] for i < count and r < apart. count >= S::N.
template <class S, int apart, class T>
DEPTHWISE_NOINLINE void take_apart(typename S::E* to, Step to_row, const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += S::N) {
    const int64_t at = at_most(i, count - S::N);
    typename S::V mixed[apart], rows[apart];
#pragma GCC unroll 4
    for (int r = 0; r < apart; ++r) mixed[r] = S::pin(S::load(from + apart * at + r * S::N));
    if constexpr (apart == 2) {
      S::deinterleave(mixed[0], mixed[1], rows[0], rows[1]);
    } else if constexpr (apart == 4) {
      typename S::V even[2], odd[2];
      S::deinterleave(mixed[0], mixed[1], even[0], odd[0]);
      S::deinterleave(mixed[2], mixed[3], even[1], odd[1]);
      S::deinterleave(even[0], even[1], rows[0], rows[2]);
      S::deinterleave(odd[0], odd[1], rows[1], rows[3]);
    } else {
      S::deinterleave(mixed, rows);
    }
#pragma GCC unroll 4
    for (int r = 0; r < apart; ++r) S::store(to + r * to_row + at, rows[r]);
  }
}

template <class S>
class SequenceWindow {
  using E = typename S::E;

 public:
  struct Rows {
    const E* first;
    Step step;  // elements from row to row
  };

  // Of taps that neighbouring outputs read `stride` columns apart.
  SequenceWindow(const depthwise::Side& side, const CrossTap* taps, int64_t count, int64_t stride)
      : side_(side), taps_(taps), count_(count), stride_(stride) {
    for (int64_t k = 0; k < count; ++k) {
      first_in_ = k ? at_most(first_in_, taps[k].in0) : taps[k].in0;
      last_in_ = k ? at_least(last_in_, taps[k].in0) : taps[k].in0;
    }
  }

  // Whether rows are read where they lie, if all that is read lies inside them.
  bool lies_so() const { return stride_ == 1 && side_.cross == 1 && side_.dtype == dtype_of<E>; }
  // Elements of a copy that so many outputs read.
  int64_t copy_size(int64_t outs) const { return rows_apart<E>(stride_ * (outs + spread() + S::N)); }

  // Room for copies of so many rows.
  void take(Arena& arena, int64_t outs, int64_t copies) {
    part_ = outs + spread() + S::N;
    copy_step_ = copy_size(outs);
    count_of_copies_ = copies;
    offsets_ = arena.take<Step>(count_);
    is_met_ = arena.take<bool>(stride_);
    copies_ = arena.take<E>(copies * copy_step_);
  }

  // Outputs that are to be read for. `padded`: of lanes beside the row, too.
  void enter(Range outs, bool padded) {
    copied_count_ = 0;
    if (!count_) return;
    const int64_t first = first_in_ + outs.begin, last = last_in_ + outs.end;
    in_place_ = lies_so() && (!padded || (first >= 0 && last <= side_.cross_size));
    first_ = per_stride(first_in_) + outs.begin;
    length_ = outs.size() + spread();
    DEPTHWISE_REQUIRE(length_ <= part_, "the outputs fit");
    for (int64_t r = 0; r < stride_; ++r) is_met_[r] = false;
    for (int64_t k = 0; k < count_; ++k) {
      const int64_t place = per_stride(taps_[k].in0), residue = taps_[k].in0 - place * stride_;
      is_met_[residue] = true;
      offsets_[k] = in_place_ ? taps_[k].in0 + outs.begin : residue * part_ + place + outs.begin - first_;
    }
  }

  bool in_place() const { return in_place_; }
  // Elements from a row, or its copy, to what each tap reads for the first output.
  const Step* offsets() const { return offsets_; }
  // Rows of neighbouring channels, from the one whose column 0 is element `row` on. Copies of the same are there still.
  Rows rows(Step row, Step channel, int64_t count) {
    if (in_place_) return {static_cast<const E*>(side_.data) + row, channel};
    DEPTHWISE_REQUIRE(count <= count_of_copies_, "the copies fit");
    if (row != copied_row_ || count > copied_count_)
      with_type(side_.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        for (int64_t i = 0; count_ && i < count; ++i)
          copy_row(copies_ + i * copy_step_, static_cast<const T*>(side_.data) + row + i * channel);
      });
    copied_row_ = row;
    copied_count_ = count;
    return {copies_, copy_step_};
  }
  // Elements from row to row of several.
  Step step(Step channel) const { return in_place_ ? channel : copy_step_; }

 private:
  int64_t per_stride(int64_t columns) const { return stride_ == 1 ? columns : floor_div(columns, stride_); }
  // Places between the first and the last that an output reads.
  int64_t spread() const { return per_stride(last_in_) - per_stride(first_in_); }

  // Places of a residue that lie inside the row, of those of the copy.
  Range inside(int64_t residue) const {
    const int64_t begin = clamp(-first_, 0, length_);
    return {begin, clamp(per_stride(side_.cross_size - 1 - residue) + 1 - first_, begin, length_)};
  }

  template <class T>
  void copy_row(E* to, const T* row) const {
    const auto first = [&](int64_t residue, int64_t place) {
      return row + ((first_ + place) * stride_ + residue) * side_.cross;
    };
    for (int64_t r = 0; r < stride_; ++r) {
      if (!is_met_[r]) continue;
      const Range read = inside(r);
      clear<S>(to + r * part_, read.begin);
      clear<S>(to + r * part_ + read.end, length_ - read.end);
    }
    int64_t begin = inside(0).begin;
    const int64_t together = inside(stride_ - 1).end - begin;  // places that all residues have
    if constexpr (vector_converts<S, T>)
      if (side_.cross == 1 && together >= S::N) {
        const auto take = [&](auto apart) {
          if constexpr (takes_apart<S, decltype(apart)::value>) {
            take_apart<S, decltype(apart)::value>(to + begin, part_, first(0, begin), together);
            begin += together;
          }
        };
        if (stride_ == 2) take(Number<2>());
        if (stride_ == 3) take(Number<3>());
        if (stride_ == 4) take(Number<4>());
      }
    for (int64_t r = 0; r < stride_; ++r)
      if (is_met_[r] && begin < inside(r).end)
        widen_span<S, T>(to + r * part_ + begin, first(r, begin), stride_ * side_.cross, inside(r).end - begin);
  }

  const depthwise::Side& side_;
  const CrossTap* taps_;
  const int64_t count_, stride_;
  int64_t first_in_ = 0, last_in_ = 0;  // columns that output 0 reads
  bool in_place_ = false;
  int64_t first_ = 0, length_ = 0;                          // first place of a copy's parts, and places
  int64_t part_ = 0, copy_step_ = 0, count_of_copies_ = 0;  // elements from part to part, and from copy to copy
  Step copied_row_ = 0;
  int64_t copied_count_ = 0;
  Step* offsets_ = nullptr;
  bool* is_met_ = nullptr;
  E* copies_ = nullptr;
};

}  // namespace
