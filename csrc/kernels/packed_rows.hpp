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

  // Of so many planes as many windows each, of at most `lines` lines.
  void take(Arena& arena, int64_t planes, int64_t windows, int64_t lines) {
    planes_count_ = planes;
    windows_each_ = windows;
    lines_ = lines;
    planes_ = arena.take<Plane>(planes);
    windows_ = arena.take<Window>(planes * windows);
    inside_ = arena.take<Window>(layout_.count);
    if (layout_.step == 2 && !(side_.cross == 1 && side_.dtype == dtype_of<E>))
      row_ = arena.take<E>(2 * layout_.longest);
    rows_ = arena.take<E>(planes * windows * lines * line_size());
  }

  // Whole vectors may be loaded of what lies between these elements.
  void stay_inside(const Extent& bounds) { bounds_ = bounds; }

  // Nothing that is packed is of use any more; `strip_begin` is the first output of the strip that follows.
  void forget(int64_t strip_begin) {
    enter_strip(strip_begin);
    for (int64_t i = 0; i < planes_count_; ++i) planes_[i] = {no_plane, 0};
  }

  // The first window of the plane that begins `at` elements behind the array's start. Another is given up for one that
  // is new: that which was asked for the longest ago.
  int64_t windows_of(Step at) {
    Plane* oldest = planes_;
    ++asked_;
    for (Plane* plane = planes_; plane < planes_ + planes_count_; ++plane) {
      if (plane->at == at) {
        plane->asked = asked_;
        return (plane - planes_) * windows_each_;
      }
      if (plane->asked < oldest->asked) oldest = plane;
    }
    *oldest = {at, asked_};
    const int64_t first = (oldest - planes_) * windows_each_;
    for (int64_t i = 0; i < windows_each_; ++i) windows_[first + i] = {0, 0};
    return first;
  }

  const E* data() const { return rows_; }
  Step line_size() const { return layout_.elements; }

  // Elements from a packed row's start to what the strip's first output reads through a tap of the lattice.
  // Nothing is packed without a layout.
  Step offset(int64_t tap) const { return layout_.count ? layout_.place[tap] : 0; }

  // Elements from data() to line `begin`, all lines in [begin, end) being packed; `from(line)` is the element at the
  // line's column 0, and lines are evenly apart.
  template <class F>
  Step lines(int64_t window, int64_t begin, int64_t end, F&& from) {
    DEPTHWISE_REQUIRE(window < planes_count_ * windows_each_ && begin <= end && end - begin <= lines_,
                      "the lines fit the window");
    Window& w = windows_[window];
    E* start = rows_ + window * lines_ * line_size();
    if (begin < w.begin || begin > w.end) w = {begin, begin};
    if (end - w.begin > lines_) {
      std::memmove(start, start + (begin - w.begin) * line_size(),
                   static_cast<size_t>((w.end - begin) * line_size()) * sizeof(E));
      w.begin = begin;
    }
    if (w.end < end) {
      const Step first = from(w.end);
      pack(start + (w.end - w.begin) * line_size(), first, from(w.end + 1) - first, end - w.end);
      w.end = end;
    }
    return (window * lines_ + begin - w.begin) * line_size();
  }

 private:
  static constexpr Step no_plane = INT64_MIN;
  struct Plane {
    Step at;
    int64_t asked;
  };
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

  // Of a segment's element; it may lie beside the row.
  int64_t column(const depthwise::Segment& s, int64_t element) const {
    return (strip_begin_ + s.shift + element) * layout_.step + s.residue;
  }

  // Lines of T that lie `apart`, and where the first is packed.
  template <class T>
  struct Lines {
    E* to;
    const T* from;
    Step apart;
    int64_t count;
  };

  void pack(E* to, Step from, Step apart, int64_t count) {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      pack_lines(Lines<T>{to, static_cast<const T*>(side_.data) + from, apart, count});
    });
  }

  template <class T>
  void pack_lines(const Lines<T>& lines) {
    for (int64_t i = 0, count; i < layout_.count; i += count) {
      count = layout_.step == 2 ? 2 : 1;
      if constexpr (S::block > 1 && vector_converts<S, T>)
        if (layout_.step > 2 && side_.cross == 1) {
          count = at_most(S::block, layout_.segments[i].neighbours);
          with_number<S::block>(count, [&](auto n) { take_apart<decltype(n)::value>(lines, i); });
          continue;
        }
      each_line(lines, 0, lines.count, [&](E* to, const T* row) {
        if (layout_.step == 2)
          split(to, row, i);
        else
          widen(to, row, i);
      });
    }
  }

  template <class T, class F>
  void each_line(const Lines<T>& lines, int64_t begin, int64_t end, const F& pack) {
    for (int64_t i = begin; i < end; ++i) pack(lines.to + i * line_size(), lines.from + i * lines.apart);
  }

  // Zeros before and behind the elements [begin, end) of a segment; whole vectors are stored, from the start and from
  // `end` on.
  void clear_beside(E* to, int64_t segment, int64_t begin, int64_t end) {
    const depthwise::Segment& s = layout_.segments[segment];
    for (int64_t k = 0; k < begin; k += S::N) S::store(to + s.at + k, S::zero());
    for (int64_t k = end; k < s.length; k += S::N) S::store(to + s.at + k, S::zero());
  }
  void clear_beside(E* to, int64_t segment) {
    clear_beside(to, segment, inside_[segment].begin, inside_[segment].end / S::N * S::N);
  }

  template <class T>
  void widen(E* to, const T* row, int64_t segment) {
    const depthwise::Segment& s = layout_.segments[segment];
    const auto [begin, end] = inside_[segment];
    clear_beside(to, segment);
    if (begin < end)
      widen_span<S, T>(to + s.at + begin, row + column(s, begin) * side_.cross, layout_.step * side_.cross,
                       end - begin);
  }

  // A segment of residue 0, and the one behind it. Whole vectors are stored: what the row does not have is zero.
  template <class T>
  void split(E* to, const T* row, int64_t segment) {
    const depthwise::Segment& s = layout_.segments[segment];
    const auto [begin, end] = inside_[segment];
    clear_beside(to, segment);
    clear_beside(to, segment + 1);
    if (begin == end) return;
    const int64_t first = column(s, begin), columns = at_most(2 * (end - begin), side_.cross_size - first);
    const E* from = row_;
    row += first * side_.cross;
    if constexpr (__is_same(T, E)) {
      if (side_.cross == 1) from = row;
    }
    if (from == row_) widen_span<S, T>(row_, row, side_.cross, columns);
    to += s.at + begin;
    for (int64_t i = 0; i < end - begin; i += S::N, from += 2 * S::N) {
      const int64_t left = columns - 2 * i;
      typename S::V even, odd;
      if (left >= 2 * S::N)
        S::deinterleave(S::load(from), S::load(from + S::N), even, odd);
      else
        S::deinterleave(S::load(from, S::mask(0, left)),
                        left > S::N ? S::load(from + S::N, S::mask(0, left - S::N)) : S::zero(), even, odd);
      S::store(to + i, even);
      S::store(to + s.length + i, odd);
    }
  }

  // `count` segments whose first columns are neighbours: blocks of columns, a step apart, are transposed, of the lines
  // where all that is touched lies inside the array.
  template <int count, class T>
  void take_apart(const Lines<T>& lines, int64_t first) {
    Range lanes{INT64_MAX, 0};
    for (int64_t i = first; i < first + count; ++i)
      lanes = {at_most(lanes.begin, inside_[i].begin), at_least(lanes.end, inside_[i].end)};
    lanes = {lanes.begin / S::N * S::N, divide_up(lanes.end, S::N) * S::N};
    const Step start = lines.from - static_cast<const T*>(side_.data) + column(layout_.segments[first], 0);
    const Extent touched{lanes.begin * layout_.step, (lanes.end - 1) * layout_.step + S::block - 1};
    Range whole{0, lines.count};
    while (!whole.empty() && !lies_in(bounds_, touched, start + whole.begin * lines.apart)) ++whole.begin;
    while (!whole.empty() && !lies_in(bounds_, touched, start + (whole.end - 1) * lines.apart)) --whole.end;
    for (int64_t i = first; i < first + count; ++i) {
      const auto one = [&](E* to, const T* row) { widen(to, row, i); };
      each_line(lines, 0, whole.begin, one);
      each_line(lines, whole.end, lines.count, one);
      each_line(lines, whole.begin, whole.end, [&](E* to, const T*) { clear_beside(to, i, lanes.begin, lanes.end); });
    }
    for (int64_t k = lanes.begin; k < lanes.end; k += S::N) transpose<count>(lines, first, whole, k);
  }

  // One vector of each line.
  template <int count, class T>
  void transpose(const Lines<T>& lines, int64_t first, Range range, int64_t k) {
    const Step step = layout_.step, from = column(layout_.segments[first], k);
    typename S::M inside[count];
    for (int j = 0; j < count; ++j) inside[j] = S::mask(inside_[first + j].begin - k, inside_[first + j].end - k);
    const Step at = layout_.segments[first].at + k, length = layout_.segments[first].length;
    each_line(lines, range.begin, range.end, [&](E* to, const T* row) {
      typename S::V v[S::block];
#pragma GCC unroll 4
      for (int j = 0; j < S::block; ++j) v[j] = S::load_blocks(row + from + j * step, S::block * step);
      S::transpose_blocks(v);
#pragma GCC unroll 4
      for (int j = 0; j < count; ++j) S::store(to + at + j * length, S::keep(v[j], inside[j]));
    });
  }

  const depthwise::Side& side_;
  const depthwise::RowLayoutView& layout_;
  Extent bounds_{0, -1};
  int64_t strip_begin_ = INT64_MIN, planes_count_ = 0, windows_each_ = 0, lines_ = 0, asked_ = 0;
  Plane* planes_ = nullptr;
  Window *windows_ = nullptr, *inside_ = nullptr;
  E *rows_ = nullptr, *row_ = nullptr;
};

}  // namespace
