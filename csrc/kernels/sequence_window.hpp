// A row of an image of one line as kernels read it: where it lies, or a copy in the sums' type; and a copy that has
// zeros beside it.
#pragma once
#include "job.hpp"
#include "pack.hpp"
#include "require.hpp"
#include "walk.hpp"

namespace {

// Of some outputs those, in whole vectors, whose taps all lie inside a row of `size` columns: the first tap of output 0
// is at `first_in`, the last `spread` behind it. Before them there are whole vectors.
template <class S>
inline Range outputs_inside(Range outs, int64_t first_in, int64_t spread, int64_t size) {
  const int64_t first = clamp(-first_in, outs.begin, outs.end);
  const int64_t begin = at_most(outs.end, outs.begin + divide_up(first - outs.begin, S::N) * S::N);
  const int64_t last = clamp(size - first_in - spread, begin, outs.end);
  return {begin, begin + (last - begin) / S::N * S::N};
}

template <class S>
class SequenceWindow {
  using E = typename S::E;

 public:
  explicit SequenceWindow(const depthwise::Side& side) : side_(side) {}

  // Room for so many columns. `padded`: of copies with zeros, too.
  void take(Arena& arena, int64_t most, bool padded) {
    most_ = most;
    if (!in_place()) copy_ = arena.take<E>(most + S::N);
    if (padded) padded_ = arena.take<E>(most + S::N);
  }

  // A pointer p such that p[c] is column c, of those that are inside the row; `row` is the element at column 0.
  const E* columns(Step row, Range columns) {
    if (in_place()) return static_cast<const E*>(side_.data) + row;
    const Range read = inside(columns, side_.cross_size);
    DEPTHWISE_REQUIRE(read.size() <= most_, "the columns fit");
    widen(copy_, row, read);
    return copy_ - read.begin;
  }

  // The same, of all the columns: zeros stand for those beside the row.
  const E* padded_columns(Step row, Range columns) {
    if (in_place() && columns.begin >= 0 && columns.end <= side_.cross_size)
      return static_cast<const E*>(side_.data) + row;
    DEPTHWISE_REQUIRE(columns.size() <= most_, "the columns fit");
    Range read = inside(columns, side_.cross_size);
    if (read.empty()) read = {columns.end, columns.end};
    clear<S>(padded_, read.begin - columns.begin);
    clear<S>(padded_ + (read.end - columns.begin), columns.end - read.end);
    widen(padded_ + (read.begin - columns.begin), row, read);
    return padded_ - columns.begin;
  }

 private:
  bool in_place() const { return side_.cross == 1 && side_.dtype == dtype_of<E>; }

  void widen(E* to, Step row, Range columns) const {
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      widen_span<S, T>(to, static_cast<const T*>(side_.data) + row + columns.begin * side_.cross, side_.cross,
                       columns.size());
    });
  }

  const depthwise::Side& side_;
  int64_t most_ = 0;
  E *copy_ = nullptr, *padded_ = nullptr;
};

}  // namespace
