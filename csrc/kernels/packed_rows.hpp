// Image rows in the accumulator's type, as lanes along the columns want them: columns that a tap reads for neighbouring
// outputs become neighbours, as row_layout.hpp has them, zero where they lie beside the row.
//
// A window holds neighbouring lines of one lattice one after the other in memory and slides down the image: each row
// is packed once for all the tiles of a strip that meet it.
#pragma once
#include "array_bounds.hpp"
#include "pack.hpp"
#include "require.hpp"
#include "walk.hpp"

namespace {

template <class S>
class PackedRows {
  using E = typename S::E;

 public:
  PackedRows(const depthwise::Side& side, const depthwise::RowLayoutView& layout) : side_(side), layout_(layout) {}

  // `windows` of at most `lines` lines.
  void take(Arena& arena, int64_t windows, int64_t lines) {
    windows_count_ = windows;
    lines_ = lines;
    windows_ = arena.take<Window>(windows);
    inside_ = arena.take<Window>(layout_.count);
    if (layout_.step == 2 && !contiguous()) row_ = arena.take<E>(2 * layout_.longest);
    rows_ = arena.take<E>(windows * lines * line_size());
  }

  // Whole vectors may be loaded of what lies between these elements.
  void stay_inside(const Extent& bounds) { bounds_ = bounds; }

  // Nothing that is packed is of use any more; `strip_begin` is the first output of the strip that follows.
  void forget(int64_t strip_begin) {
    enter_strip(strip_begin);
    for (int64_t i = 0; i < windows_count_; ++i) windows_[i] = {0, 0};
  }

  const E* data() const { return rows_; }
  Step line_size() const { return layout_.elements; }

  // Elements from a packed row's start to what the strip's first output reads through a tap of the lattice.
  // Nothing is packed without a layout.
  Step offset(int64_t tap) const { return layout_.count ? layout_.place[tap] : 0; }

  // Elements from data() to line `begin`, all lines in [begin, end) being packed; `from(line)` is the element at the
  // line's column 0.
  template <class F>
  Step lines(int64_t window, int64_t begin, int64_t end, F&& from) {
    DEPTHWISE_REQUIRE(window < windows_count_ && begin <= end && end - begin <= lines_, "the lines fit the window");
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
    int64_t begin, end;  // the lines that it holds; in inside_, the elements of a segment that lie inside the row
  };

  // The last vector of a segment is there for what whole vectors spill; no column is in it.
  void enter_strip(int64_t begin) {
    if (begin == strip_begin_) return;
    strip_begin_ = begin;
    for (int64_t i = 0; i < layout_.count; ++i) {
      const depthwise::Segment& s = layout_.segments[i];
      const int64_t columns = s.length - S::N, origin = begin + s.shift, first = clamp(-origin, 0, columns);
      const int64_t last = floor_div(side_.cross_size - 1 - s.residue, layout_.step) + 1 - origin;
      inside_[i] = {first, clamp(last, first, columns)};
    }
  }

  bool contiguous() const { return side_.cross == 1 && side_.dtype == dtype_of<E>; }

  // Of a segment's element; it may lie beside the row.
  int64_t column(const depthwise::Segment& s, int64_t element) const {
    return (strip_begin_ + s.shift + element) * layout_.step + s.residue;
  }

  void pack(E* to, Step from) {
    for (int64_t i = 0, count; i < layout_.count; i += count) {
      const depthwise::Segment& s = layout_.segments[i];
      count = layout_.step == 2 ? 2 : at_most(S::block, s.neighbours);
      if (layout_.step > 2 && side_.cross == 1 && take_apart(to, from, i, count)) continue;
      for (int64_t k = i; k < i + count; ++k) clear_beside(to, k, inside_[k].begin, inside_[k].end / S::N * S::N);
      for (int64_t k = i; k < (layout_.step == 2 ? i + 1 : i + count); ++k) {
        const depthwise::Segment& segment = layout_.segments[k];
        const auto [begin, end] = inside_[k];
        if (begin == end) continue;
        E* first = to + segment.at + begin;
        if (layout_.step == 2)
          split(first, segment.length, from, column(segment, begin), end - begin);
        else
          widen(first, from, column(segment, begin), layout_.step, end - begin);
      }
    }
  }

  // Zeros before and behind the elements [begin, end) of a segment; whole vectors are stored, from the start and from
  // `end` on.
  void clear_beside(E* to, int64_t segment, int64_t begin, int64_t end) {
    const depthwise::Segment& s = layout_.segments[segment];
    for (int64_t k = 0; k < begin; k += S::N) S::store(to + s.at + k, S::zero());
    for (int64_t k = end; k < s.length; k += S::N) S::store(to + s.at + k, S::zero());
  }

  // `count` segments whose first columns are neighbours. Where all that is touched lies inside the array, blocks of
  // columns, a step apart, are transposed.
  bool take_apart(E* to, Step from, int64_t first, int64_t count) {
    bool done = false;
    if constexpr (S::block > 1) {
      const depthwise::Segment& s = layout_.segments[first];
      Range lanes{INT64_MAX, 0};
      for (int64_t i = first; i < first + count; ++i)
        lanes = {at_most(lanes.begin, inside_[i].begin), at_least(lanes.end, inside_[i].end)};
      lanes = {lanes.begin / S::N * S::N, divide_up(lanes.end, S::N) * S::N};
      const Step begin = from + column(s, 0);
      const Extent touched{lanes.begin * layout_.step, (lanes.end - 1) * layout_.step + S::block - 1};
      if (!lies_in(bounds_, touched, begin)) return false;
      with_type(side_.dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        if constexpr (vector_converts<S, T>) {
          with_number<S::block>(count, [&](auto segments) {
            transpose<decltype(segments)::value>(to, static_cast<const T*>(side_.data) + begin, first, lanes);
          });
          done = true;
        }
      });
    }
    return done;
  }

  template <int count, class T>
  void transpose(E* to, const T* from, int64_t first, Range lanes) {
    const Step step = layout_.step;
    for (int64_t i = first; i < first + count; ++i) clear_beside(to, i, lanes.begin, lanes.end);
    for (int64_t k = lanes.begin; k < lanes.end; k += S::N) {
      typename S::V v[S::block];
#pragma GCC unroll 4
      for (int j = 0; j < S::block; ++j) v[j] = S::load_blocks(from + (k + j) * step, S::block * step);
      S::transpose_blocks(v);
#pragma GCC unroll 4
      for (int j = 0; j < count; ++j) {
        const depthwise::Segment& s = layout_.segments[first + j];
        if (k >= s.length) continue;
        const auto [begin, end] = inside_[first + j];
        if (k < begin || k + S::N > end) v[j] = S::keep(v[j], S::mask(begin - k, end - k));
        S::store(to + s.at + k, v[j]);
      }
    }
  }

  // A segment of residue 0, and the one behind it. Whole vectors are stored: what the row does not have is zero.
  void split(E* to, int64_t length, Step from, int64_t column, int64_t count) {
    const int64_t columns = at_most(2 * count, side_.cross_size - column);
    const E* row = row_;
    if (contiguous())
      row = static_cast<const E*>(side_.data) + from + column;
    else
      widen(row_, from, column, 1, columns);
    for (int64_t i = 0; i < count; i += S::N, row += 2 * S::N) {
      const int64_t left = columns - 2 * i;
      typename S::V even, odd;
      if (left >= 2 * S::N)
        S::deinterleave(S::load(row), S::load(row + S::N), even, odd);
      else
        S::deinterleave(S::load(row, S::mask(0, left)),
                        left > S::N ? S::load(row + S::N, S::mask(0, left - S::N)) : S::zero(), even, odd);
      S::store(to + i, even);
      S::store(to + length + i, odd);
    }
  }

  // `count` columns of a row, `step` apart.
  void widen(E* to, Step from, int64_t column, Step step, int64_t count) {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      widen_span<S, T>(to, static_cast<const T*>(side_.data) + from + column * side_.cross, step * side_.cross, count);
    });
  }

  const depthwise::Side& side_;
  const depthwise::RowLayoutView& layout_;
  Extent bounds_{0, -1};
  int64_t strip_begin_ = INT64_MIN, windows_count_ = 0, lines_ = 0;
  Window *windows_ = nullptr, *inside_ = nullptr;
  E *rows_ = nullptr, *row_ = nullptr;
};

}  // namespace
