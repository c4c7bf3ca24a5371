// `size` things cut into `count` nearly equal pieces. Where the pieces are taps, the cut depends on the taps alone, so
// that no output's order of summation hangs on the tile that it lies in.
#pragma once
#include "../simd/common.hpp"

namespace {

struct Cut {
  int64_t size, count;
  int64_t begin(int64_t piece) const { return piece * size / count; }
  int64_t end(int64_t piece) const { return begin(piece + 1); }
  int64_t length(int64_t piece) const { return end(piece) - begin(piece); }
};

// The fewest pieces of at most `most`.
inline Cut fewest_pieces(int64_t size, int64_t most) { return {size, divide_up(size, most)}; }

}  // namespace
