// Between memory of any strides and dtype and scratch rows that hold one vector of channels a column, in the
// accumulator's type: where lanes run along channels but memory does not, blocks of it are transposed.
#pragma once
#include "job.hpp"
#include "pack.hpp"

namespace {

template <class S>
inline void copy_apart(typename S::E* to, Step to_column, Step to_lane, const typename S::E* from, Step column,
                       Step lane, int64_t columns) {
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t l = 0; l < S::N; ++l) to[i * to_column + l * to_lane] = from[i * column + l * lane];
}

// From N runs of columns, `lane` apart, to pixels of N lanes. The last block laps over the one before it, so that
// nothing beside the columns is touched.
template <class S>
inline void columns_to_pixels(typename S::E* to, const typename S::E* from, Step lane, int64_t columns) {
  for (int64_t i = 0; i < columns; i += S::block) {
    if (columns < S::block) return copy_apart<S>(to, S::N, 1, from, 1, lane, columns);
    const int64_t at = at_most(i, columns - S::block);
    typename S::V v[S::block];
#pragma GCC unroll 4
    for (int j = 0; j < S::block; ++j) v[j] = S::load_blocks(from + at + j * lane, S::block * lane);
    S::transpose_blocks(v);
#pragma GCC unroll 4
    for (int j = 0; j < S::block; ++j) S::store(to + (at + j) * S::N, v[j]);
  }
}

// The way back.
template <class S>
inline void pixels_to_columns(typename S::E* to, Step lane, const typename S::E* from, int64_t columns) {
  for (int64_t i = 0; i < columns; i += S::block) {
    if (columns < S::block) return copy_apart<S>(to, 1, lane, from, S::N, 1, columns);
    const int64_t at = at_most(i, columns - S::block);
    typename S::V v[S::block];
#pragma GCC unroll 4
    for (int j = 0; j < S::block; ++j) v[j] = S::load(from + (at + j) * S::N);
    S::transpose_blocks(v);
#pragma GCC unroll 4
    for (int j = 0; j < S::block; ++j) S::store_blocks(to + at + j * lane, S::block * lane, v[j]);
  }
}

template <class S>
class PackedPixels {
  using E = typename S::E;
  static constexpr int64_t staged = 64;  // columns that are converted at once before they are transposed

 public:
  // Lane l of vector v holds channel (v * N + l) / divide * sum + k of the side's memory, for v * N + l < channels.
  PackedPixels(const depthwise::Side& side, int64_t channels, int64_t divide, int64_t sum)
      : side_(side), channels_(channels), divide_(divide), sum_(sum) {}

  void take(Arena& arena) {
    if (!lies_ready()) stage_ = arena.take<E>(S::N * staged);
  }

  // `columns` columns of a row of vector v; `from` is the element at the first of them, channel 0.
  void load(E* to, Step from, int64_t v, int64_t k, int64_t columns) const {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T* data = static_cast<const T*>(side_.data) + from + k * side_.channel;
      const int64_t lanes = lanes_of(v);
      if (divide_ == 1 && sum_ == 1 && side_.channel == 1 && lanes == S::N) {
        for (int64_t i = 0; i < columns; ++i)
          widen_span<S, T>(to + i * S::N, data + v * S::N + i * side_.line, 1, S::N);
        return;
      }
      if constexpr (__is_same(T, E))
        if (divide_ == 1 && side_.line == 1 && lanes == S::N && columns >= S::block)
          return columns_to_pixels<S>(to, data + v * S::N * sum_ * side_.channel, sum_ * side_.channel, columns);
      for (int64_t l = lanes; l < S::N; ++l)
        for (int64_t i = 0; i < staged; ++i) stage_[l * staged + i] = 0;
      for (int64_t at = 0; at < columns; at += staged) {
        const int64_t count = at_most(staged, columns - at);
        for (int64_t l = 0; l < lanes; ++l)
          widen_span<S, T>(stage_ + l * staged,
                           data + (v * S::N + l) / divide_ * sum_ * side_.channel + at * side_.line, side_.line, count);
        columns_to_pixels<S>(to + at * S::N, stage_, staged, count);
      }
    });
  }

  // The way back, where every channel has a lane of its own.
  void store(const E* from, Step to, int64_t v, int64_t columns) const {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      T* data = static_cast<T*>(side_.data) + to + v * S::N * side_.channel;
      const int64_t lanes = lanes_of(v);
      if (side_.channel == 1) {
        for (int64_t i = 0; i < columns; ++i) narrow_span<S, T>(data + i * side_.line, 1, from + i * S::N, lanes);
        return;
      }
      if constexpr (__is_same(T, E))
        if (side_.line == 1 && lanes == S::N && columns >= S::block && !crowded())
          return pixels_to_columns<S>(data, side_.channel, from, columns);
      for (int64_t at = 0; at < columns; at += staged) {
        const int64_t count = at_most(staged, columns - at);
        pixels_to_columns<S>(stage_, staged, from + at * S::N, count);
        for (int64_t l = 0; l < lanes; ++l)
          narrow_span<S, T>(data + l * side_.channel + at * side_.line, side_.line, stage_ + l * staged, count);
      }
    });
  }

 private:
  int64_t lanes_of(int64_t v) const { return at_most(S::N, channels_ - v * S::N); }
  // Planes that lie a multiple of 4 KiB apart share one place of a first-level cache, where blocks stored to all of
  // them push one another out: then rows are stored one by one (AVX-512, EPYC of the fifth generation, input gradient
  // of 128x64x64 with 3x3, stride 2: 308 us in blocks, 137 in rows; loads gain nothing).
  bool crowded() const { return side_.channel * static_cast<Step>(sizeof(E)) % 4096 == 0; }
  bool lies_ready() const { return side_.channel == 1 && divide_ == 1 && sum_ == 1 && channels_ % S::N == 0; }

  const depthwise::Side& side_;
  const int64_t channels_, divide_, sum_;
  E* stage_ = nullptr;
};

// The input rows that a band of output rows of one phase meets, packed: rows of one residue modulo the phase's step lie
// one after the other, so that a tap's place moves on by one packed row from output row to output row. Rows that lie
// between two taps and that neither reads are left out.
template <class S>
class RowWindows {
  using E = typename S::E;

 public:
  RowWindows(const depthwise::Side& side, int64_t channels, int64_t divide, int64_t sum, int64_t rows, int64_t columns)
      : side_(side), pixels_(side, channels, divide, sum), sum_(sum), most_rows_(rows), row_size_(columns * S::N) {}

  void take(Arena& arena, int64_t taps) {
    windows_ = arena.take<Window>(taps);
    pixels_.take(arena);
    rows_ = arena.take<E>(sum_ * most_rows_ * row_size_);
  }

  const E* data() const { return rows_; }
  Step row_size() const { return row_size_; }
  Step plane_size() const { return most_rows_ * row_size_; }

  // Lays out what the taps of a phase read for its outputs [u0, u1); x_offset[o] gets tap o's place for output u0.
  void enter(const depthwise::CrossTap* tap, int64_t taps, int64_t step, int64_t u0, int64_t u1, Step* x_offset) {
    step_ = step;
    count_ = 0;
    for (int64_t o = 0; o < taps; ++o) {
      const int64_t at = floor_div(tap[o].in0, step), residue = tap[o].in0 - at * step;
      int64_t i = window_at(residue, at + u0);
      if (i == count_) windows_[count_++] = {residue, at + u0, 0, 0};
      windows_[i].end = at + u1;  // taps are in order
    }
    int64_t rows = 0;
    for (int64_t i = 0; i < count_; ++i) {
      windows_[i].place = rows;
      rows += windows_[i].end - windows_[i].begin;
    }
    for (int64_t o = 0; o < taps; ++o) {
      const int64_t at = floor_div(tap[o].in0, step);
      const Window& w = windows_[window_at(tap[o].in0 - at * step, at + u0)];
      x_offset[o] = (w.place + at + u0 - w.begin) * row_size_;
    }
  }

  // Packs those of the rows that are inside the image, columns [begin, end), for one vector of channels; `from` is the
  // element at row 0, column 0.
  void pack(Step from, int64_t v, int64_t begin, int64_t end) {
    for (int64_t k = 0; k < sum_; ++k)
      for (int64_t i = 0; i < count_; ++i) {
        const Window& w = windows_[i];
        const int64_t first = at_least(w.begin, 0);
        const int64_t last = at_most(w.end, divide_up(side_.cross_size - w.residue, step_));
        if (first >= last) continue;
        E* to = rows_ + k * plane_size() + (w.place - w.begin + first) * row_size_;
        // Rows that follow one another without a gap are one long row.
        const bool one = step_ == 1 && (end - begin) * S::N == row_size_ && (end - begin) * side_.line == side_.cross;
        const int64_t rows = one ? 1 : last - first, columns = (end - begin) * (one ? last - first : 1);
        for (int64_t m = 0; m < rows; ++m)
          pixels_.load(to + m * row_size_, from + (w.residue + (first + m) * step_) * side_.cross + begin * side_.line,
                       v, k, columns);
      }
  }

 private:
  struct Window {
    int64_t residue, begin, end, place;  // rows residue + m * step for m in [begin, end), from packed row `place` on
  };

  // The window of a residue that has row m in it, or right behind it; count_ where there is none.
  int64_t window_at(int64_t residue, int64_t m) const {
    int64_t i = 0;
    while (i < count_ && (windows_[i].residue != residue || m < windows_[i].begin || m > windows_[i].end)) ++i;
    return i;
  }

  const depthwise::Side& side_;
  PackedPixels<S> pixels_;
  const int64_t sum_, most_rows_;
  const Step row_size_;
  int64_t step_ = 1, count_ = 0;
  Window* windows_ = nullptr;
  E* rows_ = nullptr;
};

}  // namespace
