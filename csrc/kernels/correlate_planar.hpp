// Forward pass and input gradient with lanes along the columns: lines are image rows, the cross axis is columns.
//
// A unit is one tile of output rows of one plane, in one strip of columns. Of an image with a depth planes are slices.
// What a tile and a strip look like does not depend on the plane, so both are worked out once: the tile as chunks of
// taps (row_tiles.hpp), the strip as stretches of vectors (stretches.hpp). Input that cannot be loaded as it lies
// (another dtype, columns of any stride) is packed.
#pragma once
#include "activation.hpp"
#include "packed_rows.hpp"
#include "plane_weights.hpp"
#include "row_tiles.hpp"
#include "rows_apart.hpp"
#include "run_rows.hpp"
#include "slices.hpp"
#include "stretches.hpp"

namespace {

using depthwise::Correlation;

template <class S>
class CorrelatePlanar {
  using E = typename S::E;
  static constexpr int64_t planes_bytes = 128 << 10;  // of planes that several calls take together

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelatePlanar(const Correlation& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        group_(volumes_together(job)),
        slices_(job, group_),
        weights_(job),
        tiles_(job),
        stretches_(job),
        packed_rows_(job.in, job.rows) {
    Arena arena(scratch);
    tiles_.take(arena, S::masked_fma ? most_taps(false) : most_taps(true));
    stretches_.take(arena);
    weights_.take(arena);
    if (!job.out.direct) staged_ = arena.take<E>(lat_.cross_phase_count * staged_phase());
    packed_rows_.take(arena, job.packed_sum, lat_.max_sets, job.ring);
    scratch_bytes_ = arena.used_bytes();
    if (!scratch) return;
    stretches_.set_offsets(packed_rows_, weights_.cross_step());
    bounds_ = bounds_of(job.in, job.batch, job.out_channels / job.divide * job.sum, job.spare);
    packed_rows_.stay_inside(bounds_);
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // What the arrays hold has changed.
  void start_over() {
    plane_ = channel_ = -1;
    packed_phase_ = nullptr;
  }

  void run(int64_t begin, int64_t end) {
    const int64_t tiles = lat_.line_tiles;
    for (int64_t unit = begin; unit < end;) {
      const int64_t plane = unit / (job_.strips * tiles), tile = unit % tiles, left = at_most(tiles - tile, end - unit);
      enter_plane(plane);
      enter_strip(unit / tiles % job_.strips);
      const int64_t planes = left == tiles ? planes_together((end - unit) / tiles) : 1;
      run_tiles(tile, tile + left, planes);
      unit += planes * left;
    }
    if (job_.non_temporal) S::fence();
  }

 private:
  // Taps of a chunk at most.
  int64_t most_taps(bool careful) const { return careful ? 1 : at_most(chunk_taps<S>, job_.taps_at_once); }

  void enter_plane(int64_t plane) {
    if (plane == plane_) return;
    plane_ = plane;
    slice_ = slices_.at(plane, job_.batch * job_.out_channels);
    const int64_t n = slice_.row / job_.out_channels, o = slice_.row % job_.out_channels;
    in_ = n * job_.in.batch + o / job_.divide * job_.sum * job_.in.channel + slices_.in(slice_);
    out_ = n * job_.out.batch + o * job_.out.channel + slices_.out(slice_);
    if (o != channel_) {
      channel_ = o;
      weights_.enter(o);
      careful_ = !S::masked_fma && !weights_.finite(1);
    }
    tiles_.cut_taps(slice_.phase, most_taps(careful_), weights_.depth_step(), weights_.sum_step(),
                    weights_.line_step());
  }

  // Planes that the slice is summed over.
  Range summed() const { return {slice_.taps.begin * job_.sum, slice_.taps.end * job_.sum}; }

  void enter_strip(int64_t strip) {
    if (strip == strip_) return;
    strip_ = strip;
    packed_phase_ = nullptr;
    stretches_.enter(strip);
  }

  // How many planes, from this one on, are done together: they lie evenly, and their whole vectors stay inside the
  // array. As many as a first-level cache holds.
  int64_t planes_together(int64_t most) {
    const bool channels = channels_follow();
    if (!job_.in.direct || !job_.out.direct || (channels && !weights_.direct()) || careful_ || job_.strips != 1 ||
        !tiles_.keeps_all())
      return 1;
    const int64_t plane_bytes =
        (job_.in.lines * job_.in.cross_size + job_.out.lines * job_.out.cross_size) * Step{sizeof(E)};
    // Of what is fetched ahead no more than lies at hand is passed over again and again.
    most = at_most(most, (job_.fetch_bytes ? planes_bytes / 8 : planes_bytes) / at_least(plane_bytes, 1));
    const int64_t row = job_.divide > 1 ? job_.divide : job_.out_channels;
    most = at_most(most, channels ? row - channel_ % row : slices_.alike(slice_));
    if (group_ > 1) most = at_most(most, slices_.left_in_group(slice_.row, job_.batch * job_.out_channels));
    if (most < 2) return 1;
    if (!plane_stays_inside()) return 1;
    while (most > 1 && !inside(plane_extent_, in_ + (most - 1) * in_plane())) --most;
    while (!S::masked_fma && channels && most > 1 && !weights_.finite(most)) most /= 2;
    return most;
  }
  // Volumes so small that several lie at hand take turns slice by slice: their planes are done together.
  static int64_t volumes_together(const Correlation& job) {
    if (!job.in.direct || !job.out.direct || job.lattice.depth_outs == 1) return 1;
    const int64_t elements =
        job.in.depths * job.in.lines * job.in.cross_size + job.out.depths * job.out.lines * job.out.cross_size;
    return at_least(1, planes_bytes / at_least(1, elements * Step{sizeof(E)}));
  }
  // Whether the plane that follows one is the next channel's, else the channel's next slice.
  bool channels_follow() const { return slices_.single() || group_ > 1; }
  // Elements from plane to plane of those that are done together.
  Step in_plane() const {
    if (!channels_follow()) return slices_.in_step();
    return job_.divide > 1 ? 0 : job_.sum * job_.in.channel;
  }
  Step out_plane() const { return channels_follow() ? job_.out.channel : Slices::out_step(slice_, job_.out); }

  // The chunks of a tile that are summed: one without a live line, where no tap meets it.
  Range chunks_of_slice(const RowTile& tile) const {
    const Range planes = summed();
    const int64_t each = tiles_.chunks_of(tile), dead = tiles_.dead_chunk(tile);
    if (planes.empty() || !each) return {dead, dead + 1};
    return {planes.begin * each, planes.end * each};
  }

  // What whole vectors of tiles [begin, end) read, from a plane's start.
  Extent extent(int64_t begin, int64_t end) {
    Cover cover;
    for (int64_t i = begin; i < end; ++i) tiles_.cover(tiles_.at(i), summed(), cover);
    stretches_.cover(cover);
    return cover.extent();
  }
  bool inside(const Extent& read, Step plane) const { return lies_in(bounds_, read, plane); }

  // Tiles [begin, end) of the planes, as many together as lie in one phase and have one height.
  void run_tiles(int64_t begin, int64_t end, int64_t planes) {
    const bool all = planes > 1 || plane_stays_inside();
    for (int64_t i = begin; i < end;) {
      const RowTile& tile = tiles_.at(i);
      int64_t next = i + 1;
      if (!job_.in.direct || !(all || inside(extent(i, next), in_))) {
        run_packed(tile);
      } else {
        const bool one_call = planes > 1 || (stretches_.count() == 1 && job_.out.direct);
        while (one_call && next < end && next % tiles_.kept() && tiles_.at(next).rows == tile.rows &&
               tiles_.at(next).lines == tile.lines && (all || inside(extent(next, next + 1), in_)))
          ++next;
        run_all(
            {&tile, next - i, planes, static_cast<const E*>(job_.in.data) + in_, chunks_of_slice(tile), false, false});
      }
      if (!job_.out.direct)
        store_rows(tile);
      else if (activates())
        for (int64_t k = i; k < next; ++k)
          for (int64_t plane = 0; plane < planes; ++plane) activate_rows(tiles_.at(k), plane);
      i = next;
    }
  }

  bool activates() const { return job_.activation != depthwise::Activation::none; }

  // The columns of the strip.
  Range strip_columns() const {
    const int64_t begin = strip_ * job_.strip;
    return {begin, at_most(job_.out.cross_size, begin + job_.strip)};
  }

  // A tile's rows in the array, of a plane of those that are done together.
  void activate_rows(const RowTile& tile, int64_t plane) {
    const Range columns = strip_columns();
    const Step line = tile.rows->out_step * job_.out.line;
    E* rows = static_cast<E*>(job_.out.data) + out_ + plane * out_plane() + tile.y + columns.begin;
    const bool one = line == columns.size();
    for (int64_t t = 0; t < (one ? 1 : tile.lines); ++t)
      activate_span<S>(job_.activation, rows + t * line, columns.size() * (one ? tile.lines : 1));
  }

  // Whether no tile's whole vectors leave the array; of a plane with more tiles than are kept each is asked about.
  bool plane_stays_inside() {
    if (!job_.in.direct || !tiles_.keeps_all()) return false;
    if (extent_strip_ != strip_ || extent_phase_ != slice_.phase || extent_taps_ != slice_.taps)
      plane_extent_ = extent(0, lat_.line_tiles);
    extent_strip_ = strip_;
    extent_phase_ = slice_.phase;
    extent_taps_ = slice_.taps;
    return inside(plane_extent_, in_);
  }

  // A tile by way of packed rows, of all planes of a sum or of one after another.
  void run_packed(const RowTile& tile) {
    const Step begin = strip_ * job_.strip * (job_.in.direct ? lat_.cross_in_step : 1);
    const Range planes = summed();
    const bool apart = job_.packed_sum < job_.planes_summed();
    if (packed_phase_ != tile.rows || job_.in.direct) packed_rows_.forget(begin);
    packed_phase_ = tile.rows;
    RowTile packed = tile;
    packed.chunks = tiles_.spare_chunks();
    const int64_t chunks = tiles_.chunks_of(tile);
    const Range all = chunks_of_slice(tile);
    if (planes.empty() || !chunks) {
      packed.chunks[all.begin] = tile.chunks[all.begin];
      return run_all({&packed, 1, 1, packed_rows_.data() - begin, all, false, true});
    }
    for (int64_t k = planes.begin; k < planes.end; k += job_.packed_sum) {
      if (apart) packed_rows_.forget(begin);
      const int64_t end = at_most(planes.end, k + job_.packed_sum);
      pack_rows(tile, packed, k, end);
      run_all({&packed, 1, 1, packed_rows_.data() - begin, {k * chunks, end * chunks}, k > planes.begin, true});
    }
  }

  // Packs the rows that a tile meets of the planes [begin, end) of a sum; `packed` is the tile as it finds them.
  void pack_rows(const RowTile& tile, RowTile& packed, int64_t begin, int64_t end) {
    const int64_t chunks = tiles_.chunks_of(tile);
    const Chunk* from = tile.chunks + begin * chunks;
    Chunk* to = packed.chunks + begin * chunks;
    for (int64_t k = begin; k < end; ++k) {
      const Step plane = in_ + tiles_.plane(k);
      const int64_t window = packed_rows_.windows_of(plane);
      for (int64_t i = tile.rows->sets_begin; i < tile.rows->sets_end; ++i) {
        const TapSet& set = lat_.tap_sets[i];
        const Range lines = tiles_.lines_of(set, tile);
        Step at = 0;
        if (lines.begin < lines.end)
          at = packed_rows_.lines(window + i - tile.rows->sets_begin, lines.begin, lines.end,
                                  [&](int64_t s) { return plane + (set.in0 + s * lat_.line_in_step) * job_.in.line; });
        const Cut cut = tiles_.chunks_of(set);
        for (int64_t j = 0; j < cut.count; ++j) {
          *to = *from++;
          (to++)->x = at + (tile.t0 * lat_.lines_per_out + cut.begin(j) - lines.begin) * packed_rows_.line_size();
        }
      }
    }
  }

  // Neighbouring tiles of one phase in some planes, under some chunks of their taps.
  struct Work {
    const RowTile* tiles;
    int64_t count, planes;
    const E* x;  // element of the first plane, row 0, column 0
    Range chunks;
    bool adds;  // to what other chunks have left
    bool packed;
  };

  // All stretches of a strip, chunk by chunk.
  void run_all(const Work& work) {
    // The plan takes strides of two as such for float32 sums alone.
    if constexpr (sizeof(E) == 4) {
      if (job_.pairs) return run_all_as<EveryOther>(work);
      if (job_.interleaved) return run_all_as<Interleaved>(work);
    }
    run_all_as<Plain>(work);
  }

  // Whether hardly a line that is packed is met by several taps of a tile, so that its sums are better kept.
  bool taps_lie_apart(const Work& work) const {
    return work.packed && !job_.in.direct && lat_.max_set_taps <= 2 && work.chunks.size() > 1 && !careful_;
  }

  template <class V>
  using Plain = V;

  template <template <class> class Kind>
  void run_all_as(const Work& work) {
    for (const Stretch& s : stretches_) {
      if (s.stack)
        for (int64_t i = work.chunks.begin; i < work.chunks.end; ++i) run_stack<Kind<S>>(s, work, i);
      else
        run_stretch(work, rows_of<Kind<S>>(s, work, work.chunks));
    }
  }

  template <class V>
  void run_stretch(const Work& work, const Rows<V>& rows) {
    if constexpr (std::is_same_v<V, S>)
      if (taps_lie_apart(work))
        return with_height(work.tiles->lines,
                           [&](auto T) { run_rows_apart<S, decltype(T)::value>(rows, work.chunks); });
    run_rows_as(rows);
  }

  // Vectors of a single row as the lines of a tile.
  template <class V>
  void run_stack(const Stretch& s, const Work& work, int64_t chunk) {
    Rows<V> rows = rows_of<V>(s, work, {chunk, chunk + 1});
    Chunk stacked = work.tiles->chunks[chunk];
    if (stacked.live) stacked.live = (1u << s.stack) - 1u;
    RowTile stack = *work.tiles;
    stack.lines = s.stack;
    stack.chunks = &stacked;
    rows.tiles = &stack;
    rows.chunks = {0, 1};
    rows.taps[0].x_line = rows.x_vector;
    rows.y_line = V::N;
    rows.x_vector *= s.stack;
    rows.y_vector *= s.stack;
    rows.masks_vector[0] = 0;
    run_rows_as(rows);
  }

  template <class V>
  void run_rows_as(const Rows<V>& rows) {
    if constexpr (!S::masked_fma)
      if (careful_) return run_rows<V, Lanes::columns_careful>(rows);
    run_rows<V, Lanes::columns>(rows);
  }

  template <class V>
  Rows<V> rows_of(const Stretch& s, const Work& work, Range chunks) {
    constexpr int phases = phases_of<V>;
    const Step step = work.packed && !job_.in.direct ? 1 : lat_.cross_in_step;  // from lane to lane
    const CrossPhase* c = lat_.cross_phases + s.first_phase;
    const RowTile& first = *work.tiles;
    Rows<V> rows{.x = work.x + s.column * step,
                 .w = weights_.taps_at(),
                 .bias = job_.b ? weights_.bias() : nullptr,
                 .x_plane = in_plane(),
                 .w_plane = channels_follow() ? weights_.plane_step() : 0,
                 .bias_plane = channels_follow() ? job_.b_stride : 0,
                 .y_plane = out_plane(),
                 .planes = work.planes,
                 .tiles = work.tiles,
                 .tile_count = work.count,
                 .chunks = chunks,
                 .adds = work.adds || chunks.begin > work.chunks.begin,
                 .three_columns = stretches_.three_columns(*c),
                 .x_vector = V::N * step,
                 .y_vector = V::N * phases,
                 .vectors = s.vectors,
                 .last_lanes = s.last_lanes,
                 .fetch_bytes = work.packed || chunks.begin != work.chunks.begin ? 0 : job_.fetch_bytes,
                 .fetch_y = job_.out.direct};
    if (job_.out.direct) {
      rows.y = static_cast<E*>(job_.out.data) + out_ + c->out0 + s.column * phases;
      rows.y_line = first.rows->out_step * job_.out.line;
    } else {
      rows.y = staged_ + s.first_phase * staged_phase() + (s.column - strip_ * job_.strip) * phases - first.y;
      rows.y_line = staged_line();
    }
    for (int i = 0; i < phases; ++i) {
      const int64_t tap = c[i].taps_begin + s.taps_begin;
      const int64_t end = phases > 1 ? c[i].taps_end : c[i].taps_begin + s.taps_end;
      rows.taps[i] = {.x_line = work.packed ? packed_rows_.line_size() : lat_.line_in_step * job_.in.line,
                      .x_offset = (work.packed ? stretches_.packed_offset() : stretches_.x_offset()) + tap,
                      .w_offset = stretches_.w_offset() + tap,
                      .count = end - tap,
                      .masks = stretches_.masks(s.masks + tap - c->taps_begin),
                      .inner = s.inner[i]};
      rows.masks_vector[i] = c[phases - 1].taps_end - c->taps_begin;
    }
    return rows;
  }

  // Elements from line to line of what is staged: none between them where a tile is stored as one span, else so many
  // that lines are not a power of two apart.
  Step staged_line() const {
    return job_.non_temporal ? job_.out.cross_size : job_.strip * (job_.interleaved ? 2 : 1) + S::N;
  }
  // ... and from phase to phase of columns.
  Step staged_phase() const { return max_lines * (job_.strip + S::N); }

  void store_rows(const RowTile& tile) {
    if (activates())
      for (int64_t t = 0; t < tile.lines; ++t)
        activate_span<S>(job_.activation, staged_ + t * staged_line(), strip_columns().size());
    if (job_.non_temporal)
      return stream_span<S>(static_cast<E*>(job_.out.data) + out_ + tile.y, staged_, tile.lines * staged_line());
    with_type(job_.out.dtype, [&](auto type) {
      using O = typename decltype(type)::type;
      const int64_t j0 = strip_ * job_.strip, step = job_.out.cross;
      for (int64_t t = 0; t < tile.lines; ++t) {
        O* row = static_cast<O*>(job_.out.data) + out_ + tile.y + t * tile.rows->out_step * job_.out.line;
        const E* from = staged_ + t * staged_line();
        if (job_.interleaved)
          narrow_span<S, O>(row + 2 * j0 * step, step, from, at_most(2 * job_.strip, job_.out.cross_size - 2 * j0));
        else
          for (int64_t i = 0; i < lat_.cross_phase_count; ++i) {
            const CrossPhase& c = lat_.cross_phases[i];
            narrow_span<S, O>(row + (c.out0 + j0 * c.out_step) * step, c.out_step * step, from + i * staged_phase(),
                              at_most(job_.strip, c.outs - j0));
          }
      }
    });
  }

  const Correlation& job_;
  const depthwise::LatticeView& lat_;
  const int64_t group_;  // of volumes
  Slices slices_;
  PlaneWeights<S> weights_;
  RowTiles tiles_;
  Stretches<S> stretches_;
  PackedRows<S> packed_rows_;
  E* staged_ = nullptr;
  int64_t scratch_bytes_ = 0;
  Extent bounds_{}, plane_extent_{};
  int64_t plane_ = -1, channel_ = -1, strip_ = -1, extent_strip_ = -1;
  Slice slice_{};
  const CrossPhase* extent_phase_ = nullptr;
  Range extent_taps_{0, 0};
  Step in_ = 0, out_ = 0;  // elements from the arrays' data to the slice
  bool careful_ = false;   // some weight of the channel is not finite
  const LinePhase* packed_phase_ = nullptr;
};

}  // namespace
