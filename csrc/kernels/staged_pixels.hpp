// The output pixels of a band and a strip, or their gradients: in place where lanes take them as they lie, else in
// scratch memory that holds them for some vectors of channels.
#pragma once
#include "activation.hpp"
#include "packed_pixels.hpp"
#include "walk.hpp"

namespace {

// Pixels of a vector of channels, which those of more stand beside or behind.
template <class E>
struct Pixels {
  E* data;  // that of the first row and column
  int64_t first_row, first_column;
  Step row, line;  // elements from row to row, and from column to column
  E* at(int64_t at_row, int64_t at_column) const {
    return data + ((at_row - first_row) * row + (at_column - first_column) * line);
  }
};

template <class S>
class StagedPixels {
  using E = typename S::E;

 public:
  // Bands and strips have at most so many rows and columns; so many vectors are staged at once.
  StagedPixels(const depthwise::Side& side, int64_t channels, int64_t band, int64_t strip, int64_t vectors)
      : side_(side),
        pixels_(side, {.channels = channels, .divide = 1, .sum = 1}),
        band_(band),
        strip_(strip),
        vectors_(vectors) {}

  void take(Arena& arena) {
    if (side_.direct) return;
    pixels_.take(arena);
    stage_ = arena.take<E>(vectors_ * stage_size());
  }

  // `plane`: elements to the band's plane. `first_row`: the row that memory begins with, where nothing is staged.
  Pixels<E> at(Step plane, const Band& band, Range columns, int64_t v, int64_t first_row) const {
    if (!side_.direct)
      return {.data = stage_,
              .first_row = band.rows.begin,
              .first_column = columns.begin,
              .row = strip_ * S::N,
              .line = S::N};
    return {.data = static_cast<E*>(side_.data) + plane + v * S::N * side_.channel,
            .first_row = first_row,
            .first_column = 0,
            .row = side_.cross,
            .line = side_.line};
  }

  void clear(const Band& band, int64_t vectors) const {
    if (side_.direct) return;
    for (int64_t v = 0; v < vectors; ++v) ::clear<S>(stage_ + v * stage_size(), band.rows.size() * strip_ * S::N);
  }

  void activate(depthwise::Activation kind, const Band& band, Range columns, int64_t vectors) const {
    for (int64_t v = 0; v < vectors; ++v)
      for (int64_t i = 0; i < band.rows.size(); ++i)
        activate_span<S>(kind, stage_ + v * stage_size() + i * strip_ * S::N, columns.size() * S::N);
  }

  // Elements from one vector of channels to the next.
  Step vector_size() const { return side_.direct ? S::N : stage_size(); }

  void load(Step plane, const Band& band, Range columns, Range vectors) const {
    each_row(plane, band, columns,
             [&](E* stage, Step memory, int64_t count) { pixels_.load(stage, stage_size(), memory, vectors, count); });
  }

  void store(Step plane, const Band& band, Range columns, Range vectors) const {
    each_row(plane, band, columns, [&](E* stage, Step memory, int64_t count) {
      for (int64_t v = vectors.begin; v < vectors.end; ++v, stage += stage_size())
        pixels_.store(stage, memory, v, count);
    });
  }

 private:
  Step stage_size() const { return band_ * strip_ * S::N; }

  // Calls f(stage, memory, columns) for each row where it is staged.
  template <class F>
  void each_row(Step plane, const Band& band, Range columns, const F& f) const {
    if (side_.direct) return;
    DEPTHWISE_REQUIRE(
        band.rows.begin >= 0 && band.rows.end <= side_.cross_size && columns.begin >= 0 && columns.end <= side_.lines,
        "band and strip are inside the image");
    DEPTHWISE_REQUIRE(band.rows.size() <= band_ && columns.size() <= strip_, "band and strip fit the stage");
    const Step at = plane + band.rows.begin * side_.cross + columns.begin * side_.line;
    // Rows that follow one another without a gap are one long row.
    const bool one = columns.size() == strip_ && columns.size() * side_.line == side_.cross;
    if (one) return f(stage_, at, band.rows.size() * columns.size());
    for (int64_t i = 0; i < band.rows.size(); ++i) f(stage_ + i * strip_ * S::N, at + i * side_.cross, columns.size());
  }

  const depthwise::Side& side_;
  PackedPixels<S> pixels_;
  const int64_t band_, strip_, vectors_;
  E* stage_ = nullptr;
};

}  // namespace
