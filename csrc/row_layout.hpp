// Which columns of an image row are packed for lanes along the columns, and where they lie.
//
// Outputs of a strip that are neighbours read, through one tap, columns `step` apart. These become neighbours: a
// segment holds columns of one residue modulo the step, for all taps whose columns overlap. However far the taps lie
// apart, a row takes no more than a strip for each. Segments are in the order of their first columns.
#pragma once
#include <cstdint>
#include <vector>

#include "lattice.hpp"

namespace depthwise {

struct Segment {
  int64_t residue, shift;  // element i holds column residue + (strip's first output + shift + i) * step
  int64_t length, at;      // so many elements, from this one of the packed row on
  int64_t neighbours = 1;  // segments from this one on, alike but that the first columns are neighbours
};

// Plain pointers, as a LatticeView is.
struct RowLayoutView {
  const Segment* segments;
  int64_t count, longest;  // segments, and elements of the longest
  const int64_t* place;    // of each of the lattice's taps: the element that the strip's first output reads
  int64_t step, elements;  // of a packed row
};

class RowLayout {
 public:
  // For strips of `strip` outputs of the lattice, read by whole vectors of `lanes`. A step of two is told apart by
  // whole vectors, into both residues: then a segment of residue 0 stands before each of residue 1, alike but for that.
  // `in_place`: rows are copied as they lie, with a step of one, whatever the lattice's.
  RowLayout(const LatticeView&, int64_t strip, int64_t lanes, bool in_place);
  RowLayout() = default;

  RowLayoutView view() const;
  int64_t elements() const { return elements_; }

 private:
  void add(int64_t residue, int64_t shift, int64_t columns, int64_t lanes);

  std::vector<Segment> segments_;
  std::vector<int64_t> place_;
  int64_t step_ = 1, elements_ = 0;
};

}  // namespace depthwise
