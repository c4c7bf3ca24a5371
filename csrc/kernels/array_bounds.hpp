// What whole vectors may read: the elements between the first and the last of an array. Lanes beside a row are loaded
// though not used, so at an array's first and last rows they may lie beyond it.
#pragma once
#include "job.hpp"

namespace {

// Elements from some start, the last included.
struct Extent {
  Step first, last;
};

// Of images whose columns are neighbours, from the array's data on; `spare` more may be read at either end.
inline Extent bounds_of(const depthwise::Side& side, int64_t batch, int64_t channels, int64_t spare) {
  Extent bounds{-spare, spare};
  for (const Step furthest : {(batch - 1) * side.batch, (channels - 1) * side.channel, (side.depths - 1) * side.depth,
                              (side.lines - 1) * side.line, side.cross_size - 1})
    (furthest < 0 ? bounds.first : bounds.last) += furthest;
  return bounds;
}

// Whether what is read from `start` on lies in the bounds.
inline bool lies_in(const Extent& bounds, const Extent& read, Step start) {
  return start + read.first >= bounds.first && start + read.last <= bounds.last;
}

// Around lines between the elements of a column and columns around those of a line.
class Cover {
 public:
  void add_line(Step at) { lines_ = {at_most(lines_.first, at), at_least(lines_.last, at)}; }
  void add_columns(Step first, Step last) {
    columns_ = {at_most(columns_.first, first), at_least(columns_.last, last)};
  }
  bool empty() const { return lines_.first > lines_.last || columns_.first > columns_.last; }
  Extent extent() const {
    return empty() ? Extent{0, 0} : Extent{lines_.first + columns_.first, lines_.last + columns_.last};
  }

 private:
  Extent lines_{INT64_MAX, INT64_MIN}, columns_{INT64_MAX, INT64_MIN};
};

}  // namespace
