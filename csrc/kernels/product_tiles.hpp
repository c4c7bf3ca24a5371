// Where the rows of a planar weight gradient's tiles lie, and which lines of x they meet; lines of neighbouring rows
// lie `apart`.
#pragma once
#include "row_products.hpp"

namespace {

// The lines inside the image, numbered as in the tap set, that rows [t0, t1) meet.
inline Range lines_met(const depthwise::TapSet& set, int64_t t0, int64_t t1, int64_t apart) {
  return {at_least(set.first, t0 * apart), at_most(set.last, (t1 - 1) * apart + set.taps)};
}

// The taps of a set that meet some line of rows [t0, t1).
inline Range taps_met(const depthwise::TapSet& set, int64_t t0, int64_t t1, int64_t apart) {
  const int64_t first = clamp(set.first - (t1 - 1) * apart, 0, set.taps);
  return {first, clamp(set.last - t0 * apart, first, set.taps)};
}

// Appends rows t under taps `of` to the tiles: those that meet a line inside the image, but no fewer than
// are taken in before all taps are met. `x` and `g` are numbers of lines as yet. From then on no x row may lie beside
// the image: under a stride of two the first or the last can, and so many rows make a tile of their own then; false
// where these are not enough.
inline bool place_tile(const depthwise::TapSet& set, Range t, Range of, int64_t apart, ProductTile*& tile) {
  const int64_t a0 = of.begin, taps = of.size(), before = divide_up(taps, apart) - 1;
  int64_t first = at_least(t.begin, floor_div(set.first - a0 - taps, apart) + 1);
  int64_t end = at_most(t.end, floor_div(set.last - a0 - 1, apart) + 1);
  if (first >= end) return true;
  first = at_most(first, at_least(t.begin, end - before));
  end = at_least(end, first + before);
  const auto append = [&](int64_t t0, int64_t t1) {
    const int64_t x = t0 * apart + a0, behind = t1 * apart + a0;
    *tile++ = {.x = x,
               .g = t0,
               .lines = t1 - t0,
               .head = live_lines(set.first - x, set.last - x, before * apart),
               .tail = live_lines(set.first - behind, set.last - behind, before * apart)};
  };
  if (apart == 2 && end - first > before) {
    const bool first_beside = set.first > (first + before) * apart + a0,
               last_beside = taps > 1 && set.last < end * apart + a0;
    const int64_t inner = end - first - before * (first_beside + last_beside);
    if ((first_beside || last_beside) && (!before || inner < before)) return false;
    if (first_beside) append(first, first + before);
    if (last_beside) append(end - before, end);
    first += first_beside ? before : 0;
    end -= last_beside ? before : 0;
  }
  append(first, end);
  return true;
}

}  // namespace
