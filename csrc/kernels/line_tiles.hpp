// The columns of an image of one line as the lines of register tiles: columns a dilation apart are neighbours, whose
// taps meet the same inputs.
#pragma once
#include "cut.hpp"
#include "pack.hpp"
#include "walk.hpp"

namespace {

// Neighbouring taps, and which of the lines that they read lie inside the image.
struct TapChunk {
  int64_t first;  // tap
  int taps;
  uint32_t live;
};

constexpr int taps_together = 4;

class LineTiles {
 public:
  // `size`: columns of the input.
  LineTiles(const depthwise::LatticeView& lattice, int64_t size)
      : tap_(lattice.cross_taps), taps_(lattice.cross_tap_count), size_(size) {}

  void take(Arena& arena) { chunks_ = arena.take<TapChunk>(divide_up(taps_, taps_together)); }

  int64_t taps() const { return taps_; }
  // The kernel's tap, of those in the order in which they read.
  int64_t tap(int64_t k) const { return tap_[k].tap; }
  int64_t apart() const { return taps_ > 1 ? tap_[1].in0 - tap_[0].in0 : 1; }
  int64_t spread() const { return taps_ ? tap_[taps_ - 1].in0 - tap_[0].in0 : 0; }
  // What is inside the image of what outputs read.
  Range inputs(Range outputs) const {
    return inside({input(outputs.begin), input(outputs.end - 1) + spread() + 1}, size_);
  }
  // What the first tap reads for an output.
  int64_t input(int64_t column) const { return column + (taps_ ? tap_[0].in0 : 0); }

  // Calls f(first column, number of lines) for tiles of `most` lines at most, 4 or 8, that cover some columns.
  template <class F>
  void each_tile(Range columns, int64_t most, const F& f) const {
    for (int64_t at = columns.begin; at < columns.end; at += most * apart())
      for (int64_t first = at; first < at_most(columns.end, at + apart()); ++first) {
        const int64_t lines = at_most(most, divide_up(columns.end - first, apart()));
        if (lines == 8) {
          f(first, Number<8>());
          continue;
        }
        int64_t line = 0;
        for (; line + 4 <= lines; line += 4) f(first + line * apart(), Number<4>());
        for (; line < lines; ++line) f(first + line * apart(), Number<1>());
      }
  }

  // The chunks of taps that a tile's lines meet: how many.
  int64_t list_chunks(int64_t column, int64_t lines) {
    const int64_t in = input(column);
    const Cut cut = fewest_pieces(taps_, taps_together);
    int64_t count = 0;
    for (int64_t i = 0; i < cut.count; ++i) {
      uint32_t live = 0;
      for (int64_t s = 0; s < lines + cut.length(i) - 1; ++s) {
        const int64_t line = in + (cut.begin(i) + s) * apart();
        live |= uint32_t{line >= 0 && line < size_} << s;
      }
      if (live) chunks_[count++] = {.first = cut.begin(i), .taps = static_cast<int>(cut.length(i)), .live = live};
    }
    return count;
  }
  const TapChunk* chunks() const { return chunks_; }

 private:
  const depthwise::CrossTap* tap_;
  const int64_t taps_, size_;
  TapChunk* chunks_ = nullptr;
};

}  // namespace
