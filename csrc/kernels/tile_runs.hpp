// The runs of taps that a tile of columns is summed over in some rows: listed once and kept as far as they fit, since
// tiles, bands and slices of an image are mostly alike.
#pragma once
#include "band_taps.hpp"
#include "column_tiles.hpp"
#include "pixel_sums.hpp"

namespace {

template <class S>
class TileRuns {
  using E = typename S::E;

 public:
  // What a list hangs on.
  struct Key {
    const CrossPhase *depth, *rows;
    int64_t strip, tile;
    int64_t band_rows;  // of the phase: where rows are packed, taps lie as that demands
    Range depth_taps, row_taps;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct List {
    const Run* runs;
    const Runs *begin, *end;
  };

  explicit TileRuns(const Correlation& job, int64_t most_chunks)
      : most_chunks_(most_chunks),
        most_runs_(most_chunks * job.kernel_cross),
        kept_(tiles_that_fit(most_chunks_ + most_runs_)) {}

  void take(Arena& arena) {
    keys_ = arena.take<Key>(kept_);
    counts_ = arena.take<int64_t>(kept_);
    alike_ = arena.take<Runs>(kept_ * most_chunks_);
    runs_ = arena.take<Run>(kept_ * most_runs_);
  }
  // Where memory has been taken.
  void forget() {
    for (int64_t i = 0; i < kept_; ++i) keys_[i] = {};
  }

  // Chunks of a tile, each in all the rows of the kernel that lie at these offsets, the first of which x begins with.
  List list(const Key& key, const Chunk* chunks, int64_t chunk_count, const Step* x_offset, const Step* w_offset) {
    const int64_t taps = key.row_taps.size();
    const int64_t place =
        (key.tile + 5 * (key.row_taps.begin + key.row_taps.end) + 25 * (key.depth_taps.begin + key.depth_taps.end)) %
        kept_;
    Runs* const first = alike_ + place * most_chunks_;
    Run* const runs = runs_ + place * most_runs_;
    if (keys_[place] == key) return {runs, first, first + counts_[place]};
    DEPTHWISE_REQUIRE(chunk_count <= most_chunks_ && chunk_count * taps <= most_runs_, "the runs fit");
    Runs* end = first;
    Run* run = runs;
    for (const Chunk* c = chunks; c < chunks + chunk_count; ++c) {
      const Step w_tap = c->taps > 1 ? c->w_tap * Step{sizeof(E)} : 0;
      if (end > first && end[-1].taps == c->taps && end[-1].live == c->live && end[-1].w_tap == w_tap)
        end[-1].count += taps;
      else
        *end++ = {.taps = c->taps, .live = c->live, .w_tap = w_tap, .count = taps};
      for (int64_t o = 0; o < taps; ++o)
        *run++ = {.x = (c->x + x_offset[o] - x_offset[0]) * Step{sizeof(E)},
                  .w = (c->w + w_offset[o]) * Step{sizeof(E)}};
    }
    keys_[place] = key;
    counts_[place] = end - first;
    return {runs, first, end};
  }

 private:
  const int64_t most_chunks_, most_runs_, kept_;
  Key* keys_ = nullptr;
  int64_t* counts_ = nullptr;
  Runs* alike_ = nullptr;
  Run* runs_ = nullptr;
};

}  // namespace
