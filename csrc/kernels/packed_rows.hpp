// Image rows in the accumulator's type, as lanes along the columns want them: each row as `in_step` phases (columns
// that lie a stride apart become neighbours), zero-padded as far as the kernel reaches.
//
// A window holds neighbouring lines of one lattice one after the other in memory and slides down the image: each row
// is packed once for all the tiles of a strip that meet it.
#pragma once
#include "job.hpp"
#include "pack.hpp"

namespace {

template <class S>
class PackedRows {
  using E = typename S::E;

 public:
  // `strip`: outputs along the row that are taken at once. `step`: the number of phases, the lattice's or one.
  PackedRows(const depthwise::Side& side, const depthwise::LatticeView& lat, int64_t strip, int64_t step)
      : side_(side), step_(step) {
    strip *= lat.offset_in_step / step;
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

  // `windows` of at most `lines` lines.
  void take(Arena& arena, int64_t windows, int64_t lines) {
    windows_count_ = windows;
    lines_ = lines;
    windows_ = arena.take<Window>(windows);
    inside_ = arena.take<Window>(step_);
    if (step_ > 1 && !contiguous()) row_ = arena.take<E>(step_ * pitch_);
    rows_ = arena.take<E>(windows * lines * line_size());
  }

  // Nothing that is packed is of use any more; `strip_begin` is the first output of the strip that follows.
  void forget(int64_t strip_begin) {
    enter_strip(strip_begin + first_shift_);
    for (int64_t i = 0; i < windows_count_; ++i) windows_[i] = {0, 0};
  }

  const E* data() const { return rows_; }
  Step line_size() const { return step_ * pitch_; }

  // Elements from a packed row's start to what the strip's first output reads through a tap at `in0`.
  Step offset(int64_t in0) const {
    const int64_t shift = floor_div(in0, step_);
    return (in0 - shift * step_) * pitch_ + shift - first_shift_;
  }

  // Elements from data() to line `begin`, all lines in [begin, end) being packed; `from(line)` is the element at the
  // line's column 0.
  template <class F>
  Step lines(int64_t window, int64_t begin, int64_t end, F&& from) {
    Window& w = windows_[window];
    E* start = rows_ + window * lines_ * line_size();
    if (begin < w.begin || begin > w.end) w = {begin, begin};
    if (end - w.begin > lines_) {
      std::memmove(start, start + (begin - w.begin) * line_size(),
                   static_cast<size_t>((w.end - begin) * line_size()) * sizeof(E));
      w.begin = begin;
    }
    for (; w.end < end; ++w.end) pack(start + (w.end - w.begin) * line_size(), from(w.end));
    return (window * lines_ + begin - w.begin) * line_size();
  }

 private:
  struct Window {
    int64_t begin, end;  // the lines that it holds; in inside_, the columns of a phase that lie inside the row
  };

  // Column i of a phase is input column (origin + i) * step + phase. The last vector of a phase is there for what whole
  // vectors spill; no column is in it.
  void enter_strip(int64_t origin) {
    if (origin == origin_) return;
    origin_ = origin;
    const int64_t columns = pitch_ - S::N, first = clamp(-origin, 0, columns);
    for (int64_t phase = 0; phase < step_; ++phase)
      inside_[phase] = {first, clamp(floor_div(side_.offsets - 1 - phase, step_) + 1 - origin, first, columns)};
  }

  bool contiguous() const { return side_.offset == 1 && side_.dtype == (sizeof(E) == 4 ? DType::f32 : DType::f64); }

  void pack(E* to, Step from) {
    const E* row = nullptr;  // column 0, where the row lies in the accumulator's type with its columns together
    if (step_ > 1) {
      if (contiguous()) {
        row = static_cast<const E*>(side_.data) + from;
      } else {
        const int64_t first = clamp(origin_ * step_, 0, side_.offsets);
        const int64_t last = clamp((origin_ + pitch_) * step_, first, side_.offsets);
        widen(row_, from, first, last);
        row = row_ - first;
      }
    }
    for (int64_t phase = 0; phase < step_; ++phase) {
      const auto [begin, end] = inside_[phase];
      E* zeros = to + phase * pitch_;
      for (int64_t i = 0; i < begin; i += S::N) S::store(zeros + i, S::zero());
      for (int64_t i = end / S::N * S::N; i < pitch_; i += S::N) S::store(zeros + i, S::zero());
    }
    if (step_ == 1) {
      if (inside_->begin < inside_->end)
        widen(to + inside_->begin, from, origin_ + inside_->begin, origin_ + inside_->end);
    } else if (step_ == 2) {
      // Whole vectors are stored: what the row does not have is zero, and a phase ends a vector after its last column.
      for (int64_t i = inside_->begin; i < inside_->end; i += S::N) {
        const E* p = row + (origin_ + i) * 2;
        const int64_t left = side_.offsets - (origin_ + i) * 2;
        typename S::V even, odd;
        if (left >= 2 * S::N)
          S::split(S::load(p), S::load(p + S::N), even, odd);
        else
          S::split(S::load(p, S::mask(0, left)), left > S::N ? S::load(p + S::N, S::mask(0, left - S::N)) : S::zero(),
                   even, odd);
        S::store(to + i, even);
        S::store(to + pitch_ + i, odd);
      }
    } else {
      for (int64_t phase = 0; phase < step_; ++phase)
        for (int64_t i = inside_[phase].begin; i < inside_[phase].end; ++i)
          to[phase * pitch_ + i] = row[(origin_ + i) * step_ + phase];
    }
  }

  // Columns [first, last) of a row.
  void widen(E* to, Step from, int64_t first, int64_t last) {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      widen_run<S, T>(to, static_cast<const T*>(side_.data) + from + first * side_.offset, side_.offset, last - first);
    });
  }

  const depthwise::Side& side_;
  const int64_t step_;
  int64_t first_shift_, pitch_, origin_ = INT64_MIN, windows_count_ = 0, lines_ = 0;
  Window *windows_ = nullptr, *inside_ = nullptr;
  E *rows_ = nullptr, *row_ = nullptr;
};

}  // namespace
