// The tiles of output rows of a plane: which rows each has, and which input lines and taps they meet, in chunks of
// taps. That does not depend on the plane, so a tile is worked out once and kept.
#pragma once
#include "../heights.hpp"
#include "array_bounds.hpp"
#include "cut.hpp"
#include "pack.hpp"
#include "require.hpp"
#include "rows.hpp"
#include "slices.hpp"
#include "walk.hpp"

namespace {

using depthwise::LinePhase;
using depthwise::TapSet;

class RowTiles {
 public:
  explicit RowTiles(const depthwise::Correlation& job) : job_(job), lat_(job.lattice), slices_(job) {}

  // Room for tiles whose chunks have at most `most_taps` taps.
  void take(Arena& arena, int64_t most_taps) {
    // The last has no live line: all there is where no tap meets a tile.
    chunks_each_ = 1 + job_.planes_summed() * lat_.max_sets * fewest_pieces(lat_.max_set_taps, most_taps).count;
    kept_ = tiles_that_fit(chunks_each_);
    tiles_ = arena.take<RowTile>(kept_);
    chunks_ = arena.take<Chunk>((kept_ + 1) * chunks_each_);
  }

  // Tiles are of a phase of the depth, chunks have so many taps at most, and weights lie so far apart; tiles of others
  // are forgotten.
  void cut_taps(const CrossPhase* depth, int64_t most_taps, Step w_depth, Step w_sum, Step w_line) {
    if (depth == depth_ && most_taps == most_taps_) return;
    DEPTHWISE_REQUIRE(
        fewest_pieces(lat_.max_set_taps, most_taps).count * lat_.max_sets * job_.planes_summed() < chunks_each_,
        "there is room for chunks of so few taps");
    depth_ = depth;
    most_taps_ = most_taps;
    w_depth_ = w_depth;
    w_sum_ = w_sum;
    w_line_ = w_line;
    for (int64_t i = 0; i < kept_; ++i) tiles_[i].index = -1;
  }

  // How many tiles, of which the first of all, are kept at once; and whether that is all.
  int64_t kept() const { return kept_; }
  bool keeps_all() const { return lat_.line_tiles <= kept_; }

  // Room for one tile's chunks more.
  Chunk* spare_chunks() { return chunks_ + kept_ * chunks_each_; }

  const RowTile& at(int64_t index) {
    DEPTHWISE_REQUIRE(index >= 0 && index < lat_.line_tiles && most_taps_ > 0, "the plane has the tile");
    RowTile& tile = tiles_[index % kept_];
    if (tile.index == index) return tile;
    tile = place(index);
    tile.chunks = chunks_ + index % kept_ * chunks_each_;
    list_chunks(tile);
    fetch_behind(tile);
    return tile;
  }

  Cut chunks_of(const TapSet& set) const { return fewest_pieces(set.taps, most_taps_); }
  // Chunks of one plane.
  int64_t chunks_of(const RowTile& tile) const {
    int64_t count = 0;
    for (int64_t i = tile.rows->sets_begin; i < tile.rows->sets_end; ++i) count += chunks_of(lat_.tap_sets[i]).count;
    return count;
  }
  // The chunk without a live line.
  int64_t dead_chunk(const RowTile& tile) const { return planes() * chunks_of(tile); }

  // Planes that a phase's outputs are summed over are numbered by tap and then by the sum's k.
  int64_t planes() const { return Slices::tap_count(*depth_) * job_.sum; }
  // Elements from a slice's start to the plane.
  Step plane(int64_t index) const {
    return slices_.taps(*depth_)[index / job_.sum].in0 * job_.in.depth + index % job_.sum * job_.in.channel;
  }

  // The lines inside the image, numbered as in the tap set, that a tile meets.
  Range lines_of(const TapSet& set, const RowTile& tile) const {
    const int64_t s0 = tile.t0 * lat_.lines_per_out;
    return {at_least(set.first, s0), at_most(set.last, s0 + (tile.lines - 1) * lat_.lines_per_out + set.taps)};
  }

  // Adds the lines that a tile reads in some planes, from a slice's start.
  void cover(const RowTile& tile, Range planes, Cover& cover) const {
    for (int64_t k = planes.begin; k < planes.end; ++k)
      for (int64_t i = tile.rows->sets_begin; i < tile.rows->sets_end; ++i) {
        const TapSet& set = lat_.tap_sets[i];
        const Range lines = lines_of(set, tile);
        if (lines.begin >= lines.end) continue;
        for (const int64_t s : {lines.begin, lines.end - 1}) cover.add_line(line_at(set, s, k));
      }
  }

 private:
  Step line_at(const TapSet& set, int64_t s, int64_t k) const {
    return (set.in0 + s * lat_.line_in_step) * job_.in.line + plane(k);
  }

  RowTile place(int64_t index) const {
    const LinePhase* phase = lat_.line_phases;
    while (phase + 1 < lat_.line_phases + lat_.line_phase_count && phase[1].tiles_before <= index) ++phase;
    const depthwise::Heights heights(phase->outs, max_lines);
    const int64_t k = index - phase->tiles_before;
    RowTile tile{};
    tile.index = index;
    tile.rows = phase;
    tile.t0 = heights.begin(k);
    tile.lines = heights.height(k);
    tile.y = (phase->out0 + tile.t0 * phase->out_step) * job_.out.line;
    return tile;
  }

  void list_chunks(RowTile& tile) const {
    Chunk* chunk = tile.chunks;
    const int64_t s0 = tile.t0 * lat_.lines_per_out;
    for (int64_t k = 0; k < planes(); ++k)
      for (int64_t i = tile.rows->sets_begin; i < tile.rows->sets_end; ++i) {
        const TapSet& set = lat_.tap_sets[i];
        const Cut cut = chunks_of(set);
        for (int64_t j = 0; j < cut.count; ++j) {
          const int64_t a0 = cut.begin(j), taps = cut.length(j);
          DEPTHWISE_REQUIRE(chunk < tile.chunks + chunks_each_ - 1, "the chunks fit");
          *chunk++ = {
              .taps = static_cast<int>(taps),
              .live = live_lines(set.first - s0 - a0, set.last - s0 - a0, (tile.lines - 1) * lat_.lines_per_out + taps),
              .x = line_at(set, s0 + a0, k),
              .w = slices_.taps(*depth_)[k / job_.sum].tap * w_depth_ + k % job_.sum * w_sum_ +
                   (set.tap0 + a0 * set.tap_step) * w_line_,
              .w_tap = set.tap_step * w_line_};
        }
      }
    *chunk = {.taps = 1};
  }

  // What is fetched meanwhile: the lines behind the tile's. Rows of several phases take turns in memory: then the next
  // plane is fetched, a share of it for each tile.
  void fetch_behind(RowTile& tile) const {
    if (lat_.line_phase_count != 1) {
      tile.ahead = job_.in.channel + tile.index * job_.in.lines / lat_.line_tiles * job_.in.line;
      tile.y_ahead = job_.out.channel + tile.index * job_.out.lines / lat_.line_tiles * job_.out.line;
      return;
    }
    int64_t behind = 0;
    for (int64_t i = tile.rows->sets_begin; i < tile.rows->sets_end; ++i) {
      const Range lines = lines_of(lat_.tap_sets[i], tile);
      if (lines.begin < lines.end)
        behind = at_least(behind, lat_.tap_sets[i].in0 + (lines.end - 1) * lat_.line_in_step + 1);
    }
    tile.ahead = behind * job_.in.line;
    tile.y_ahead = tile.y + tile.lines * job_.out.line;
  }

  const depthwise::Correlation& job_;
  const depthwise::LatticeView& lat_;
  int64_t chunks_each_ = 0, kept_ = 0, most_taps_ = 0;
  RowTile* tiles_ = nullptr;
  Chunk* chunks_ = nullptr;
  Step w_depth_ = 0, w_sum_ = 0, w_line_ = 0;
  const CrossPhase* depth_ = nullptr;
  Slices slices_;
};

}  // namespace
