// How lines are dealt to register tiles: the fewest of nearly equal heights, the higher ones first. Every height is
// compiled for every number of taps, and a build's time goes there; so of 1 to 8, heights 3 and 5 are left out, and the
// six numbers of lines that would need them are dealt otherwise.
#pragma once
#include <cstdint>

namespace depthwise {
namespace {  // a target's object exports nothing of this

constexpr bool is_tile_height(int64_t lines, int64_t most) {
  return lines >= 1 && lines <= most && (most < 8 || (lines != 3 && lines != 5));
}

class Heights {
 public:
  // Of `lines` lines in tiles of `most` at most: 8, or fewer than 5, where all heights are compiled.
  constexpr Heights(int64_t lines, int64_t most)
      : count_((lines + most - 1) / most), least_(count_ ? lines / count_ : 0), longer_(count_ ? lines % count_ : 0) {
    if (most < 8) return;
    for (const Split& split : splits)
      if (split.lines == lines) {
        split_ = &split;
        count_ = split.begin[2] < lines ? 3 : 2;
      }
  }

  constexpr int64_t count() const { return count_; }
  constexpr int64_t begin(int64_t tile) const {
    if (split_) return split_->begin[tile];
    return tile * least_ + (tile < longer_ ? tile : longer_);
  }
  constexpr int64_t height(int64_t tile) const { return begin(tile + 1) - begin(tile); }

 private:
  struct Split {
    int64_t lines, begin[4];
  };
  static constexpr Split splits[] = {{3, {0, 2, 3, 3}},    {5, {0, 4, 5, 5}},    {9, {0, 7, 9, 9}},
                                     {10, {0, 6, 10, 10}}, {11, {0, 7, 11, 11}}, {17, {0, 7, 13, 17}}};
  const Split* split_ = nullptr;
  int64_t count_, least_, longer_;  // the first `longer_` tiles have a line more
};

}  // namespace
}  // namespace depthwise
