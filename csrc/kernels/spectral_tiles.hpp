// Which tiles the lanes of a unit hold, and where these lie in an array.
#pragma once
#include "lane_windows.hpp"
#include "require.hpp"

namespace {

using depthwise::FourierAxis;
using depthwise::Spectral;

// A tile along one axis. Inputs and outputs are numbered from the first that has a place in it.
struct AxisTile {
  int64_t in_base, in_first;  // the array's number of input 0, and its place
  Range in, out;              // inside the array
  int64_t first_input() const { return in_base; }
  int64_t first_output() const { return out.begin; }
};

inline AxisTile axis_tile(const FourierAxis& a, int64_t tile) {
  AxisTile t;
  t.out = {tile * a.tile, at_most(a.outs, (tile + 1) * a.tile)};
  const int64_t first = t.out.begin * a.out_step + a.first, last = (t.out.end - 1) * a.out_step + a.first;
  t.in_base = -floor_div(-first, a.in_step);
  t.in_first = t.in_base * a.in_step - first;
  t.in = {at_least(0, t.in_base), at_most(a.ins, floor_div(last + a.tap_extent() - 1, a.in_step) + 1)};
  if (t.in.empty()) t.in = {t.in_base, t.in_base};
  return t;
}

// Several units may tell so of one plane.
inline void tell_unfit(const Spectral& job, int64_t index) {
  __atomic_store_n(job.unfit + index, uint8_t{1}, __ATOMIC_RELAXED);
}

// What one lane holds.
struct LaneTile {
  int64_t image, channel;
  AxisTile h, w;
};

template <class S>
struct LaneTiles {
  LaneTile lanes[S::N];
  int64_t count;
};

// The lanes of filter set `filter` in cell `cell`: see Spectral.
template <class S>
inline LaneTiles<S> lane_tiles(const Spectral& job, int64_t filter, int64_t cell) {
  const int64_t tiles = job.h.tiles * job.w.tiles;
  const auto put = [&](LaneTile& to, int64_t channel, int64_t index) {
    to = {.image = index / tiles,
          .channel = channel,
          .h = axis_tile(job.h, index % tiles / job.w.tiles),
          .w = axis_tile(job.w, index % job.w.tiles)};
  };
  LaneTiles<S> all;
  const int64_t first = (job.lanes_of_tiles ? cell : filter) * S::N;
  const int64_t most = job.lanes_of_tiles ? job.batch * tiles : job.channels;
  all.count = at_most(S::N, most - first);
  DEPTHWISE_REQUIRE(all.count > 0, "a unit has lanes");
  for (int64_t l = 0; l < all.count; ++l)
    put(all.lanes[l], job.lanes_of_tiles ? filter : first + l, job.lanes_of_tiles ? first + l : cell);
  return all;
}

// The windows of these lanes in an array whose channel of each is channel * multiplier + m: of what `base` and `inside`
// of an AxisTile say.
template <class S>
inline void set_windows(LaneWindows<S>& windows, const LaneTiles<S>& tiles, const Side& side, int64_t multiplier,
                        int64_t m, int64_t (AxisTile::*base)() const, Range AxisTile::* inside) {
  LaneWindow lanes[S::N] = {};
  for (int64_t l = 0; l < tiles.count; ++l) {
    const LaneTile& t = tiles.lanes[l];
    const int64_t row = (t.h.*base)(), column = (t.w.*base)();
    const Range rows = t.h.*inside, columns = t.w.*inside;
    lanes[l] = {.at = t.image * side.batch + (t.channel * multiplier + m) * side.channel + row * side.cross +
                      column * side.line,
                .rows = {rows.begin - row, rows.end - row},
                .columns = {columns.begin - column, columns.end - column}};
  }
  windows.set(lanes, tiles.count);
}
template <class S>
inline void set_inputs(LaneWindows<S>& windows, const LaneTiles<S>& tiles, const Side& side, int64_t multiplier,
                       int64_t m) {
  set_windows(windows, tiles, side, multiplier, m, &AxisTile::first_input, &AxisTile::in);
}
template <class S>
inline void set_outputs(LaneWindows<S>& windows, const LaneTiles<S>& tiles, const Side& side, int64_t multiplier,
                        int64_t m) {
  set_windows(windows, tiles, side, multiplier, m, &AxisTile::first_output, &AxisTile::out);
}

}  // namespace
