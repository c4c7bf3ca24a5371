// Image rows in the accumulator's type, as lanes along the columns want them: each row as `in_step` phases (columns
// that lie a stride apart become neighbours), zero-padded as far as the kernel reaches. A slot holds one row.
#pragma once
#include "job.hpp"
#include "pack.hpp"

namespace {

template <class S>
class PackedRows {
  using E = typename S::E;

 public:
  // `strip`: outputs along the row that are taken at once.
  PackedRows(const depthwise::Side& side, const depthwise::LatticeView& lat, int64_t strip)
      : side_(side), step_(lat.offset_in_step) {
    int64_t least = INT64_MAX, most = INT64_MIN;
    for (int64_t i = 0; i < lat.offset_classes; ++i) {
      const depthwise::OffsetClass& c = lat.offsets[i];
      if (c.taps_begin == c.taps_end) continue;
      least = at_most(least, floor_div(lat.taps[c.taps_begin].in0, step_));
      most = at_least(most, floor_div(lat.taps[c.taps_end - 1].in0, step_));
    }
    first_shift_ = least > most ? 0 : least;
    pitch_ = divide_up(strip + (least > most ? 0 : most - least), S::N) * S::N + S::N;
  }

  void take(Arena& arena, int64_t slots) {
    slots_ = slots;
    tags_ = arena.take<int64_t>(slots);
    rows_ = arena.take<E>(slots * row_size());
  }

  void forget() {
    for (int64_t i = 0; i < slots_; ++i) tags_[i] = INT64_MIN;
  }

  const E* data() const { return rows_; }
  Step row_size() const { return step_ * pitch_; }

  // Elements from a packed row's start to what the strip's first output reads through a tap at `in0`.
  Step offset(int64_t in0) const {
    const int64_t shift = floor_div(in0, step_);
    return (in0 - shift * step_) * pitch_ + shift - first_shift_;
  }

  // Elements from data() to the row in `slot`, packed now if the slot holds another. `from` is the element at the
  // row's column 0, `strip_begin` the strip's first output.
  Step row(int64_t slot, int64_t row, Step from, int64_t strip_begin) {
    const Step at = slot * row_size();
    if (tags_[slot] == row) return at;
    tags_[slot] = row;
    E* to = rows_ + at;
    for (int64_t phase = 0; phase < step_; ++phase, to += pitch_) {
      // Column i of the phase is input column (origin + i) * step + phase.
      const int64_t origin = strip_begin + first_shift_;
      const int64_t first = clamp(-origin, 0, pitch_);
      const int64_t last = clamp(floor_div(side_.offsets - 1 - phase, step_) + 1 - origin, first, pitch_);
      for (int64_t i = 0; i < first; ++i) to[i] = 0;
      for (int64_t i = last; i < pitch_; ++i) to[i] = 0;
      if (first == last) continue;
      with_type(side_.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        const T* columns = static_cast<const T*>(side_.data) + from;
        widen_run<S, T>(to + first, columns + ((origin + first) * step_ + phase) * side_.offset, step_ * side_.offset,
                        last - first);
      });
    }
    return at;
  }

 private:
  const depthwise::Side& side_;
  const int64_t step_;
  int64_t first_shift_, pitch_, slots_ = 0;
  int64_t* tags_ = nullptr;
  E* rows_ = nullptr;
};

}  // namespace
