// Windows of an image, one for each lane: rows of them are brought into lanes and back. The windows lie in memory of
// any strides and dtype; what of one is beside its image is read as zeros and not written.
#pragma once
#include "pack.hpp"
#include "transpose.hpp"
#include "walk.hpp"

namespace {

using depthwise::Side;

struct LaneWindow {
  Step at;              // elements to row 0 and column 0 of the window, which may be beside the image
  Range rows, columns;  // those inside the image
};

template <class S>
class LaneWindows {
  using E = typename S::E;
  static constexpr int64_t staged = 64;  // columns of each lane that are taken at once

 public:
  explicit LaneWindows(const Side& side) : side_(side) {}
  void take(Arena& arena) { stage_ = arena.take<E>(S::N * staged); }

  // The first `count` lanes have windows; all others are zero. Lanes that are alike lie `apart` elements from one to
  // the next.
  void set(const LaneWindow* windows, int64_t count) {
    count_ = count;
    apart_ = count > 1 ? windows[1].at - windows[0].at : 1;
    alike_ = true;
    rows_ = windows[0].rows;
    columns_ = windows[0].columns;
    for (int64_t l = 0; l < count; ++l) {
      lanes_[l] = windows[l];
      const Range &rows = windows[l].rows, &columns = windows[l].columns;
      alike_ = alike_ && rows == rows_ && columns == columns_ && windows[l].at == windows[0].at + l * apart_;
    }
    for (int64_t l = 1; l < count; ++l) {
      rows_ = around(rows_, windows[l].rows);
      columns_ = around(columns_, windows[l].columns);
    }
  }
  // What all windows are in.
  Range rows() const { return rows_; }
  Range columns() const { return columns_; }

  // The vectors of columns(), `step` elements apart from `to` on.
  void load(E* to, Step step, int64_t row) const {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T* data = static_cast<const T*>(side_.data) + row * side_.cross;
      const int64_t columns = columns_.size();
      if constexpr (vector_converts<S, T>)
        if (alike_ && apart_ == 1 && count_ == S::N) {
          const T* pixel = data + lanes_[0].at + columns_.begin * side_.line;
          // Hardware sees no order in slices of pixels. Rows are taken by pairs: that of the next pair is asked for.
          for (int64_t i = 0; i < columns; ++i) {
            __builtin_prefetch(pixel + i * side_.line + 2 * side_.cross);
            S::store(to + i * step, S::load(pixel + i * side_.line));
          }
          return;
        }
      if constexpr (__is_same(T, E))
        if (alike_ && count_ == S::N && side_.line == 1 && step == S::N && columns >= S::block)
          return columns_to_pixels<S>(to, data + lanes_[0].at + columns_.begin, apart_, columns);
      for (int64_t at = columns_.begin; at < columns_.end; at += staged) {
        const Range some{at, at_most(at + staged, columns_.end)};
        for (int64_t l = 0; l < S::N; ++l) load_lane(data, l, row, some);
        for (int64_t i = 0; i < some.size(); i += S::block) {
          E pixels[S::block * S::N];
          columns_to_pixels<S>(pixels, stage_ + i, staged, S::block);
          for (int64_t k = 0; k < at_most(S::block, some.size() - i); ++k)
            S::store(to + (at + i + k - columns_.begin) * step, S::load(pixels + k * S::N));
        }
      }
    });
  }

  // The way back, of vectors that follow one another.
  void store(const E* from, int64_t row) const {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      T* data = static_cast<T*>(side_.data) + row * side_.cross;
      const int64_t columns = columns_.size();
      if constexpr (vector_converts<S, T>)
        if (alike_ && apart_ == 1 && count_ == S::N) {
          T* pixel = data + lanes_[0].at + columns_.begin * side_.line;
          for (int64_t i = 0; i < columns; ++i) S::store(pixel + i * side_.line, S::load(from + i * S::N));
          return;
        }
      if constexpr (__is_same(T, E))
        if (alike_ && count_ == S::N && side_.line == 1 && columns >= S::block)
          return pixels_to_columns<S>(data + lanes_[0].at + columns_.begin, apart_, from, columns);
      for (int64_t at = columns_.begin; at < columns_.end; at += staged) {
        const Range some{at, at_most(at + staged, columns_.end)};
        pixels_to_columns<S>(stage_, staged, from + (at - columns_.begin) * S::N, some.size());
        for (int64_t l = 0; l < count_; ++l) {
          const Range mine = inside_of(some, lanes_[l].columns);
          if (mine.empty() || row < lanes_[l].rows.begin || row >= lanes_[l].rows.end) continue;
          narrow_span<S, T>(data + lanes_[l].at + mine.begin * side_.line, side_.line,
                            stage_ + l * staged + (mine.begin - at), mine.size());
        }
      }
    });
  }

 private:
  static Range around(Range a, Range b) {
    if (a.empty() || b.empty()) return a.empty() ? b : a;
    return {at_most(a.begin, b.begin), at_least(a.end, b.end)};
  }
  static Range inside_of(Range a, Range b) { return {at_least(a.begin, b.begin), at_most(a.end, b.end)}; }

  template <class T>
  void load_lane(const T* data, int64_t l, int64_t row, Range some) const {
    E* stage = stage_ + l * staged;
    Range mine{0, 0};
    if (l < count_ && row >= lanes_[l].rows.begin && row < lanes_[l].rows.end)
      mine = inside_of(some, lanes_[l].columns);
    const int64_t whole = divide_up(some.size(), S::block) * S::block;
    if (mine.empty() || mine.size() < whole)
      for (int64_t i = 0; i < whole; ++i) stage[i] = 0;
    if (mine.empty()) return;
    widen_span<S, T>(stage + (mine.begin - some.begin), data + lanes_[l].at + mine.begin * side_.line, side_.line,
                     mine.size());
  }

  const Side& side_;
  LaneWindow lanes_[S::N];
  int64_t count_ = 0;
  Step apart_ = 1;
  bool alike_ = true;
  Range rows_{0, 0}, columns_{0, 0};
  E* stage_ = nullptr;
};

}  // namespace
