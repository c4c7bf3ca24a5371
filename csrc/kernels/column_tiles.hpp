// The register tiles of a strip of output columns: neighbouring columns of one phase, and its taps in chunks, with
// their places in an input row. Every row of tiles is alike, so the tiles are kept as far as they fit.
#pragma once
#include "cut.hpp"
#include "job.hpp"
#include "pixel_sums.hpp"
#include "slices.hpp"
#include "walk.hpp"

namespace {

using depthwise::Correlation;
using depthwise::LinePhase;
using depthwise::spreads;
using depthwise::TapSet;

struct Strip {
  int64_t index = -1;
  Range outputs = {0, 0}, inputs = {0, 0};  // columns; the first input is where chunks count from
  int64_t tiles = 0;
};

struct ColumnTile {
  int64_t index;  // in its strip
  const LinePhase* phase;
  Range t;  // outputs of the phase
  Chunk* chunks;
  int64_t chunk_count;
};

template <class S>
class ColumnTiles {
 public:
  // Elements of the input from column to column, and from packed plane to plane.
  ColumnTiles(const Correlation& job, Step in_line, Step packed_plane)
      : job_(job),
        lat_(job.lattice),
        slices_(job),
        in_line_(in_line),
        packed_plane_(packed_plane),
        most_chunks_(job.planes_summed() * lat_.max_sets * fewest_pieces(lat_.max_set_taps, S::max_taps).count),
        most_tiles_(tiles_that_fit(most_chunks_)) {}

  void take(Arena& arena) {
    tiles_ = arena.take<ColumnTile>(most_tiles_);
    chunks_ = arena.take<Chunk>(most_tiles_ * most_chunks_);
  }

  int64_t most_chunks() const { return most_chunks_; }

  // A strip, whose tiles, of a phase of the depth, can be asked for from now on. `inputs` tells the input columns at
  // hand for some outputs.
  template <class Inputs>
  const Strip& cut_strip(const CrossPhase* depth, int64_t index, const Inputs& inputs) {
    if (depth == depth_ && index == strip_.index) return strip_;
    depth_ = depth;
    const Range outputs{index * job_.strip, at_most(job_.out.lines, (index + 1) * job_.strip)};
    DEPTHWISE_REQUIRE(outputs.begin >= 0 && !outputs.empty(), "the strip is inside the image");
    strip_ = {.index = index, .outputs = outputs, .inputs = inputs(outputs)};
    for (int64_t i = 0; i < lat_.line_phase_count; ++i) strip_.tiles += tiles_of(lat_.line_phases[i], outputs).count;
    for (int64_t i = 0; i < most_tiles_; ++i) tiles_[i].index = -1;
    return strip_;
  }

  // The strip's tile with this number, worked out unless it is still there from the last row.
  const ColumnTile& cut_tile(const Strip& strip, int64_t index) {
    DEPTHWISE_REQUIRE(strip.index == strip_.index && index >= 0 && index < strip.tiles, "the strip has the tile");
    ColumnTile& tile = tiles_[index % most_tiles_];
    if (tile.index == index) return tile;
    const LinePhase* phase = lat_.line_phases;
    Cut tiles = tiles_of(*phase, strip.outputs);
    int64_t piece = index;
    for (; piece >= tiles.count; tiles = tiles_of(*++phase, strip.outputs)) piece -= tiles.count;
    const int64_t first = first_of(*phase, strip.outputs.begin);
    tile = {.index = index,
            .phase = phase,
            .t = {first + tiles.begin(piece), first + tiles.begin(piece + 1)},
            .chunks = chunks_ + index % most_tiles_ * most_chunks_,
            .chunk_count = 0};
    for (int64_t k = 0; k < Slices::tap_count(*depth_) * job_.sum; ++k)
      for (int64_t i = phase->sets_begin; i < phase->sets_end; ++i)
        add_chunks(tile, lat_.tap_sets[i], k, strip.inputs.begin);
    DEPTHWISE_REQUIRE(tile.chunk_count <= most_chunks_, "the chunks fit");
    return tile;
  }

 private:
  // What goes past the caches should end with a line of them, lest it be stored in two parts: eight columns mostly do
  // (AVX2, 54 channels, 13x80x80 with 3x3x3, stride 2: 2.85 ms by tens, 2.68 by eights).
  Cut tiles_of(const LinePhase& phase, Range outputs) const {
    const int64_t columns = outputs_of(phase, outputs).size();
    const bool spread = spreads(job_);
    const int most = job_.paired         ? columns_at_once<Reads::whole, 2>
                     : spread            ? columns_at_once<Reads::spread, 1>
                     : job_.non_temporal ? max_lines
                                         : most_columns;
    return {columns, divide_up(columns, most)};
  }

  // Those of a tap set, in plane k of those that are summed, of which some line is inside the image.
  void add_chunks(ColumnTile& tile, const TapSet& set, int64_t k, int64_t first_column) const {
    const depthwise::CrossTap& depth = slices_.taps(*depth_)[k / job_.sum];
    const int64_t W_plane = depth.tap * job_.sum + k % job_.sum;
    const Step in_plane = job_.in.direct ? depth.in0 * job_.in.depth : k * packed_plane_;
    const Cut chunks = fewest_pieces(set.taps, S::max_taps);
    for (int64_t i = 0; i < chunks.count; ++i) {
      const int64_t a = chunks.begin(i), taps = chunks.length(i), s = tile.t.begin + a;
      const uint32_t live = live_lines(set.first - s, set.last - s, tile.t.size() + taps - 1);
      if (!live) continue;
      tile.chunks[tile.chunk_count++] = {
          .taps = static_cast<int>(taps),
          .live = live,
          .x = (set.in0 + s * lat_.line_in_step - first_column) * in_line_ + in_plane,
          .w = (W_plane * job_.kernel_lines * job_.kernel_cross + set.tap0 + a * set.tap_step) * S::N,
          .w_tap = set.tap_step * S::N};
    }
  }

  const Correlation& job_;
  const depthwise::LatticeView& lat_;
  const Slices slices_;
  const Step in_line_, packed_plane_;
  const int64_t most_chunks_, most_tiles_;
  const CrossPhase* depth_ = nullptr;
  Strip strip_ = {};
  ColumnTile* tiles_ = nullptr;
  Chunk* chunks_ = nullptr;
};

}  // namespace
