// How lines are dealt to register tiles: the fewest of nearly equal heights, the higher ones first. Every height is
// compiled for every number of taps, and a build's time goes there; so of 1 to 8, height 3 is left out, and three lines
// are two tiles.
#pragma once
#include <cstdint>

namespace depthwise {
namespace {  // a target's object exports nothing of this

constexpr bool is_tile_height(int64_t lines, int64_t most) {
  return lines >= 1 && lines <= most && (most < 8 || lines != 3);
}

class Heights {
 public:
  // Of `lines` lines in tiles of `most` at most. Other numbers than 8 are those of kernels that take any height.
  constexpr Heights(int64_t lines, int64_t most)
      : count_((lines + most - 1) / most + (most == 8 && lines == 3)),
        least_(count_ ? lines / count_ : 0),
        longer_(count_ ? lines % count_ : 0) {}

  constexpr int64_t count() const { return count_; }
  constexpr int64_t begin(int64_t tile) const { return tile * least_ + (tile < longer_ ? tile : longer_); }
  constexpr int64_t height(int64_t tile) const { return begin(tile + 1) - begin(tile); }

 private:
  int64_t count_, least_, longer_;  // the first `longer_` tiles have a line more
};

}  // namespace
}  // namespace depthwise
