// Forward pass and input gradient with lanes along the channels: lines are image columns, the cross axis is rows.
//
// A unit is a band of output rows of one image, or one slice of it, in one strip of columns, for one group of channel
// vectors. Within it a tile of columns is taken down the band, for as many of the group's channels at once as the plan
// says, so that the input rows that the band shares are read from memory once and whole pixels are walked. What does
// not lie as lanes want it (planar memory, another dtype, a multiplier) is packed for the unit, some vectors of
// channels after others.
#pragma once
#include "activation.hpp"
#include "band_taps.hpp"
#include "packed_weights.hpp"
#include "staged_pixels.hpp"
#include "tile_runs.hpp"

namespace {

// The rows that the memory of an image's part begins with.
struct FirstRows {
  int64_t in = 0, out = 0;
};

template <class S>
class CorrelateChannelsLast {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelateChannelsLast(const Correlation& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        slices_(job),
        in_(job.in, lat_, {.channels = job.out_channels, .divide = job.divide, .sum = job.sum}, job.vectors_together,
            job.planes_summed(), job.rows_packed, job.columns_packed),
        out_(job.out, job.out_channels, job.band, job.strip, job.vectors_together),
        tiles_(job, in_.line(), in_.plane_size()),
        taps_(job, in_),
        runs_(job, tiles_.most_chunks()),
        weights_(job) {
    DEPTHWISE_REQUIRE(job.band > 0 && job.strip > 0 && job.group > 0, "a unit has outputs");
    Arena arena(scratch);
    tiles_.take(arena);
    in_.take(arena, job.kernel_cross);
    taps_.take(arena);
    runs_.take(arena);
    if (scratch) runs_.forget();
    weights_.take(arena);
    out_.take(arena);
    if (job.non_temporal || job.fold > 1) streamed_ = arena.take<E>(most_columns * job.out_channels + S::N);
    if (spreads(job)) {
      spread_ = arena.take<Spread<S>>(divide_up(job.out_channels, S::N));
      if (scratch) spread_channels();
    }
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Units are numbered by group, image, strip, band and slice, the last fastest: slices that follow one another share
  // all but one of the planes that they read.
  void run(int64_t begin, int64_t end, FirstRows first = {}) {
    for (int64_t unit = begin; unit < end; ++unit) {
      int64_t rest = unit / lat_.depth_outs;
      const int64_t band_of_image = rest % job_.bands;
      rest /= job_.bands;
      const int64_t index = rest % job_.strips;
      rest /= job_.strips;
      const Slice slice = slices_.of_row(rest % job_.batch, unit % lat_.depth_outs);
      const Band band = band_at(band_of_image, job_.bands, job_.band, job_.out.cross_size);
      if (job_.fetches_bands) fetch_band_after(rest % job_.batch * job_.bands + band_of_image);
      const Strip& strip = tiles_.cut_strip(slice.phase, index, [&](Range outputs) { return in_.columns(outputs); });
      run_unit(band, slice, strip, weights_.pack(rest / job_.batch), first);
    }
    if (job_.non_temporal) S::fence();
  }

 private:
  // A band's rows of one phase, in a strip, for some of a group's channel vectors.
  struct Slab {
    const Slice& slice;
    const Strip& strip;
    const TappedRows& rows;
    const GroupWeights<E>& group;
    Range vectors;
    const E* x;  // the strip's first input column, of the first vector
    Pixels<E> y;
  };

  void run_unit(const Band& band, const Slice& slice, const Strip& strip, const GroupWeights<E>& group,
                FirstRows first) {
    const Step in = slice.row * job_.in.batch + slices_.in(slice),
               out = slice.row * job_.out.batch + slices_.out(slice);
    const Range summed{slice.taps.begin * job_.sum, slice.taps.end * job_.sum};
    const auto plane = [&](int64_t k) {
      return slices_.taps(*slice.phase)[k / job_.sum].in0 * job_.in.depth + k % job_.sum * job_.in.channel;
    };
    // Vectors of channels that are packed go outermost.
    const int64_t together = job_.in.direct && job_.out.direct ? group.vectors.size() : job_.vectors_together;
    for (int64_t v = group.vectors.begin; v < group.vectors.end; v += together) {
      const Range vectors{v, at_most(v + together, group.vectors.end)};
      if (!lat_.covers) out_.clear(band, vectors.size());
      if (job_.fetches_planes) fetch_after(slice.row, strip, group.vectors, vectors);
      for (int64_t i = 0; i < lat_.cross_phase_count; ++i) {
        const CrossPhase& phase = lat_.cross_phases[i];
        const Range u = outputs_of(phase, band.rows);
        if (u.empty()) continue;
        const TappedRows& rows = taps_.list(phase, u, first.in);
        const Slab slab{.slice = slice,
                        .strip = strip,
                        .rows = rows,
                        .group = group,
                        .vectors = vectors,
                        .x = in_.read(rows.in, in, vectors, strip.inputs, summed, plane),
                        .y = out_.at(out, band, strip.outputs, v, first.out)};
        for (int64_t tile = 0; tile < strip.tiles; ++tile) run_tile_down(slab, tiles_.cut_tile(strip, tile));
      }
      if (!job_.out.direct && activates()) out_.activate(job_.activation, band, strip.outputs, vectors.size());
      out_.store(out, band, strip.outputs, vectors);
    }
  }

  // A tile of columns in all rows, as many together as meet the same taps, for as many vectors of channels at once as
  // the plan says.
  void run_tile_down(const Slab& slab, const ColumnTile& columns) {
    const Range& all = slab.rows.in.u;
    for (int64_t v = slab.vectors.begin; v < slab.vectors.end; v += job_.vectors_together)
      for (int64_t u = all.begin, rows = 0; u < all.end; u += rows) {
        rows = job_.streams || job_.fold > 1 ? 1 : slab.rows.alike(u);
        run_rows(slab, columns, {u, u + rows}, {v, at_most(v + job_.vectors_together, slab.vectors.end)});
      }
  }

  // A tile of columns in rows u, which meet the same taps.
  void run_rows(const Slab& slab, const ColumnTile& columns, Range u, Range vectors) {
    const PhaseRows& rows = slab.rows.in;
    const CrossPhase& phase = *rows.phase;
    const Range& taps = slab.rows.inside[u.begin - rows.u.begin];
    const Step *const x_offset = rows.x_offset + taps.begin, *const w_offset = slab.rows.w_offset + taps.begin;
    const int64_t vector = vectors.begin - slab.group.vectors.begin, ahead = vectors.begin - slab.vectors.begin;
    PixelSums<S> tile;
    constexpr Step item = sizeof(E);
    tile.x_vector = in_.vector_size() * item;
    tile.y_vector = out_.vector_size() * item;
    tile.x = slab.x + (spread_ ? -slab.vectors.begin : ahead) * in_.vector_size() +
             (u.begin - rows.u.begin) * in_.row() + (taps.empty() ? 0 : x_offset[0]);
    if (spread_) tile.spread = spread_ + vectors.begin;
    tile.x_line = lat_.line_in_step * in_.line();
    tile.x_row = in_.row();
    tile.w = slab.group.weights + vector * slab.group.vector_size;
    tile.w_vector = slab.group.vector_size * item;
    tile.bias = slab.group.bias + vector * S::N;
    tile.y = slab.y.at(phase.out0 + u.begin * phase.out_step,
                       columns.phase->out0 + columns.t.begin * columns.phase->out_step) +
             ahead * out_.vector_size();
    tile.y_line = columns.phase->out_step * slab.y.line;
    tile.y_row = phase.out_step * slab.y.row;
    tile.rows = u.size();
    const int64_t depth_taps = Slices::tap_count(*slab.slice.phase);
    const int64_t chunks_each = depth_taps ? columns.chunk_count / depth_taps : 0;
    const Chunk* chunks = columns.chunks + slab.slice.taps.begin * chunks_each;
    const int64_t chunk_count = slab.slice.taps.size() * chunks_each;
    if (!taps.empty()) {
      const auto list = runs_.list({.depth = slab.slice.phase,
                                    .rows = &phase,
                                    .strip = slab.strip.index,
                                    .tile = columns.index,
                                    .band_rows = rows.u.size(),
                                    .depth_taps = slab.slice.taps,
                                    .row_taps = taps},
                                   chunks, chunk_count, x_offset, w_offset);
      tile.runs = list.runs;
      tile.alike = list.begin;
      tile.alike_end = list.end;
      if (chunk_count) {
        // The last plane, which the next slice is not the first to read.
        const Step last = chunks[chunk_count - chunks_each].x + x_offset[taps.size() - 1] - x_offset[0];
        fetch_next_row(tile, columns.t.size(), last);
      }
    }
    if (job_.fetches_planes || job_.fetches_bands) fetch_spans_after(tile, vectors.size());
    if (job_.non_temporal) return stream(tile, columns.t.size(), vectors);
    if (job_.fold > 1) return fold(tile, columns.t.size(), vectors);
    E* const y = tile.y;
    run_vectors(tile, columns.t.size(), vectors);
    if (job_.out.direct && activates()) activate_pixels(tile, y, columns.t.size(), vectors);
  }

  bool activates() const { return job_.activation != depthwise::Activation::none; }

  // What a tile has stored in the array.
  void activate_pixels(const PixelSums<S>& tile, E* y, int64_t lines, Range vectors) const {
    const int64_t channels = at_most(vectors.size() * S::N, job_.out_channels - vectors.begin * S::N);
    for (Step row = 0; row < tile.rows; ++row)
      for (int64_t t = 0; t < lines; ++t)
        activate_span<S>(job_.activation, y + row * tile.y_row + t * tile.y_line, channels);
  }

  // The next output row is the first to read so many rows more, in the plane that begins at `last`; of a row's columns
  // each tap set reads its own.
  void fetch_next_row(PixelSums<S>& tile, int64_t lines, Step last) const {
    Fetched<E>& f = tile.fetched;
    f.next_row = job_.fetches && !job_.non_temporal;
    f.y_ahead = tile.y_row;
    if (!(job_.fetches || job_.non_temporal)) return;
    const int64_t rows = job_.streams ? at_most(lat_.cross_in_step, 2) : 1;
    const int64_t columns = job_.streams ? at_most(lat_.line_in_step, 2) : 1;
    const Step ahead = last + in_.row();
    if (job_.non_temporal) {
      const Step bytes = lines * columns * S::N * Step{sizeof(E)};
      for (int64_t i = 0; i < rows; ++i)
        f.spans[f.span_count++] = {
            .at = reinterpret_cast<const char*>(tile.x + (ahead - i * job_.in.cross)), .bytes = bytes, .is_near = true};
      return;
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) f.x_ahead[f.places++] = ahead - i * job_.in.cross + j * in_.line();
  }

  // Where the planes lie that are packed after some vectors of channels; every tile fetches a share of them for each of
  // its rows.
  [[gnu::cold]] DEPTHWISE_NOINLINE void fetch_after(int64_t image, const Strip& strip, Range group, Range vectors) {
    spans_after_ = 0;
    if (vectors.end == group.end) {
      if (++image == job_.batch) return;
      vectors = {group.begin, group.begin + vectors.size()};
    } else {
      vectors = {vectors.end, vectors.end + vectors.size()};
    }
    const Step channels = (at_most(vectors.end, group.end) - vectors.begin) * S::N;
    const Step shares = at_least(1, strip.tiles * job_.out.cross_size * vectors.size());
    for (const depthwise::Side* side : {&job_.in, &job_.out}) {
      const E* at = static_cast<const E*>(side->data) + image * side->batch + vectors.begin * S::N * side->channel;
      after_[spans_after_++] = {.at = reinterpret_cast<const char*>(at),
                                .bytes = divide_up(channels * side->channel * Step{sizeof(E)}, shares),
                                .is_near = false};
    }
  }
  void fetch_spans_after(PixelSums<S>& tile, int64_t vectors) {
    for (int64_t i = 0; i < spans_after_; ++i) {
      tile.fetched.spans[i] = after_[i];
      after_[i].at += tile.rows * vectors * after_[i].bytes;
    }
    tile.fetched.span_count = spans_after_;
  }

  // Made small: once a band. Whole rows of dense pixels that the band after this one is the first to read, and those
  // that it writes.
  [[gnu::cold]] DEPTHWISE_NOINLINE void fetch_band_after(int64_t index) {
    spans_after_ = 0;
    if (index + 1 == job_.batch * job_.bands) return;
    const auto band = [&](int64_t i) { return band_at(i, job_.bands, job_.band, job_.out.cross_size); };
    const Band now = band(index), next = band(index + 1);
    const Range read{next.image == now.image ? rows_read_to(now.rows.end) : 0, rows_read_to(next.rows.end)};
    const Step shares = now.rows.size() * divide_up(job_.out.lines, most_columns) * divide_up(job_.out_channels, S::N);
    const auto fetch = [&](const depthwise::Side& side, Range rows) {
      const E* at = static_cast<const E*>(side.data) + next.image * side.batch + rows.begin * side.cross;
      after_[spans_after_++] = {.at = reinterpret_cast<const char*>(at),
                                .bytes = divide_up(rows.size() * side.cross * Step{sizeof(E)}, shares),
                                .is_near = false};
    };
    fetch(job_.in, read);
    fetch(job_.out, next.rows);
  }
  // Input rows that output rows [0, end) read.
  [[gnu::cold]] int64_t rows_read_to(int64_t end) const {
    int64_t read = 0;
    for (int64_t i = 0; i < lat_.cross_phase_count; ++i) {
      const CrossPhase& phase = lat_.cross_phases[i];
      const Range u = outputs_of(phase, {0, end});
      if (u.empty() || phase.taps_begin == phase.taps_end) continue;
      read = at_least(read, lat_.cross_taps[phase.taps_end - 1].in0 + (u.end - 1) * lat_.cross_in_step + 1);
    }
    return at_most(read, job_.in.cross_size);
  }

  // By way of a stage, past the caches.
  void stream(PixelSums<S>& tile, int64_t lines, Range vectors) const {
    DEPTHWISE_REQUIRE(tile.rows == 1 && tile.y_line == job_.out_channels, "whole pixels follow one another");
    E* to = tile.y;
    tile.y = streamed_;
    run_vectors(tile, lines, vectors);
    activate_span<S>(job_.activation, streamed_, lines * job_.out_channels);
    stream_span<S>(to, streamed_, lines * job_.out_channels);
  }

  // By way of a stage, in which neighbouring lanes are added.
  void fold(PixelSums<S>& tile, int64_t lines, Range vectors) const {
    DEPTHWISE_REQUIRE(tile.rows == 1 && vectors.begin == 0, "whole pixels are staged");
    E* to = tile.y;
    const Step y_line = tile.y_line;
    tile.y = streamed_;
    tile.y_line = job_.out_channels;
    run_vectors(tile, lines, vectors);
    const int64_t channels = job_.out_channels / job_.fold;
    if (y_line == channels) return fold_span<S>(to, streamed_, lines * channels, job_.fold);
    // Columns lie apart: those of few channels are added together first.
    const bool few = channels < 4 * S::N;
    if (few) fold_span<S>(streamed_, streamed_, lines * channels, job_.fold);
    for (int64_t t = 0; t < lines; ++t)
      if (few)
        widen_span<S, E>(to + t * y_line, streamed_ + t * channels, 1, channels);
      else
        fold_span<S>(to + t * y_line, streamed_ + t * job_.out_channels, channels, job_.fold);
  }

  // All but the image's last vector of channels are whole; what is packed has idle lanes instead.
  void run_vectors(PixelSums<S>& tile, int64_t lines, Range vectors) const {
    const bool packed = !job_.in.direct && !job_.out.direct;
    const int64_t whole = packed ? vectors.size() : at_most(vectors.end, job_.out_channels / S::N) - vectors.begin;
    const auto take = [&](int64_t count, const auto& run) {
      if (count == 0) return;
      tile.vectors = count;
      run();
      if (tile.spread)
        tile.spread += count;
      else
        tile.x = moved(tile.x, count * tile.x_vector);
      tile.y = const_cast<E*>(moved(tile.y, count * tile.y_vector));
      tile.w = moved(tile.w, count * tile.w_vector);
      tile.bias += count * S::N;
    };
    const int64_t lanes = whole < vectors.size() ? lanes_in<S>(vectors.end - 1, job_.out_channels) : S::N;
    if constexpr (has_spread<S>)
      if (tile.spread) {
        const auto spread = [&] { run_pixels<S, Reads::spread>(lines, tile); };
        take(whole, spread);
        tile.lanes = lanes;
        return take(vectors.size() - whole, spread);
      }
    const int64_t paired = job_.paired ? whole / 2 * 2 : 0;
    if constexpr (has_pairs<S>) take(paired, [&] { run_pixels<S, Reads::whole, 2>(lines, tile); });
    take(whole - paired, [&] { run_pixels<S, Reads::whole>(lines, tile); });
    tile.lanes = lanes;
    take(vectors.size() - whole, [&] { run_pixels<S, Reads::masked>(lines, tile); });
  }

  // Where the channels lie that each vector of outputs is made of: in a block that no pixel ends before.
  [[gnu::cold]] void spread_channels() {
    if constexpr (has_spread<S>) {
      const int64_t channels = job_.out_channels / job_.divide;
      for (int64_t v = 0; v * S::N < job_.out_channels; ++v) {
        const int64_t first = at_most(v * S::N / job_.divide, channels - spread_block<S>);
        int from[S::N];
        for (int64_t l = 0; l < S::N; ++l)
          from[l] = static_cast<int>(at_most((v * S::N + l) / job_.divide - first, spread_block<S> - 1));
        spread_[v] = {.lanes = S::spread_lanes(from), .x = first};
      }
    }
  }

  const Correlation& job_;
  const depthwise::LatticeView& lat_;
  const Slices slices_;
  InputRows<S> in_;
  StagedPixels<S> out_;
  ColumnTiles<S> tiles_;
  BandTaps<S> taps_;
  TileRuns<S> runs_;
  PackedWeights<S> weights_;
  typename Fetched<E>::Span after_[2];
  int64_t spans_after_ = 0;
  E* streamed_ = nullptr;        // a tile's pixels, by way of which these reach memory
  Spread<S>* spread_ = nullptr;  // where a channel feeds several
  int64_t scratch_bytes_ = 0;
};

}  // namespace
