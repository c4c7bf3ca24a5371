// Image rows in the accumulator's type, as lanes along the columns want them: columns that a tap reads for neighbouring
// outputs become neighbours, as row_layout.hpp has them, zero where they lie beside the row.
//
// A window holds neighbouring lines of one lattice one after the other in memory and slides down the image: each row
// is packed once for all the tiles of a strip that meet it.
#pragma once
#include "job.hpp"
#include "pack.hpp"
#include "require.hpp"

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

  bool contiguous() const { return side_.cross == 1 && side_.dtype == (sizeof(E) == 4 ? DType::f32 : DType::f64); }

  void pack(E* to, Step from) {
    for (int64_t i = 0; i < layout_.count; ++i) {
      const int64_t length = layout_.segments[i].length;
      E* zeros = to + layout_.segments[i].at;
      for (int64_t k = 0; k < inside_[i].begin; k += S::N) S::store(zeros + k, S::zero());
      for (int64_t k = inside_[i].end / S::N * S::N; k < length; k += S::N) S::store(zeros + k, S::zero());
    }
    for (int64_t i = 0; i < layout_.count; i += layout_.step == 2 ? 2 : 1) {
      const depthwise::Segment& s = layout_.segments[i];
      const auto [begin, end] = inside_[i];
      if (begin == end) continue;
      const int64_t column = (strip_begin_ + s.shift + begin) * layout_.step + s.residue;
      if (layout_.step == 2)
        split(to + s.at + begin, s.length, from, column, end - begin);
      else if (layout_.step > 2 && contiguous())
        pick(to + s.at + begin, static_cast<const E*>(side_.data) + from + column, layout_.step, end - begin);
      else
        widen(to + s.at + begin, from, column, layout_.step, end - begin);
    }
  }

  // One by one, which is faster than to gather neighbours of one line of the cache.
  static void pick(E* to, const E* from, Step step, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * step];
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
  int64_t strip_begin_ = INT64_MIN, windows_count_ = 0, lines_ = 0;
  Window *windows_ = nullptr, *inside_ = nullptr;
  E *rows_ = nullptr, *row_ = nullptr;
};

}  // namespace
