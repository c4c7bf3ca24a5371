// Forward pass and input gradient with lanes along the columns: lines are image rows, offsets are kernel columns.
//
// A unit is one tile of output rows of one plane, in one strip of columns. What a tile and a strip look like does not
// depend on the plane, so both are worked out once: the tile as chunks of taps, the strip as runs of vectors. Input
// that cannot be loaded as it lies (another dtype, a column step, a stride along the columns) is packed.
#pragma once
#include "job.hpp"
#include "packed_rows.hpp"
#include "tile.hpp"

namespace {

using depthwise::Correlation;
using depthwise::LineClass;
using depthwise::OffsetClass;
using depthwise::OffsetTap;
using depthwise::Part;

template <class S>
class CorrelatePlanar {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelatePlanar(const Correlation& job, void* scratch)
      : job_(job), lat_(job.lattice), rows_(job.in, job.lattice, job.strip) {
    Arena arena(scratch);
    const int64_t tile_chunks = job.sum * lat_.max_parts * chunks_of<S>(lat_.max_part_taps);
    const int64_t strip_runs = lat_.offset_classes * (job.strip / S::N + 1);
    tiles_ = arena.take<RowTile>(tiles_kept);
    chunks_ = arena.take<Chunk>(tiles_kept * tile_chunks);
    runs_ = arena.take<Run>(strip_runs);
    x_offset_ = arena.take<Step>(lat_.offset_classes * job.kernel_offsets);
    w_offset_ = arena.take<Step>(lat_.offset_classes * job.kernel_offsets);
    masks_ = arena.take<typename S::M>(strip_runs * job.kernel_offsets);
    if (!weights_direct()) weights_ = arena.take<E>(job.sum * job.kernel_lines * job.kernel_offsets);
    if (!job.out.direct) y_ = arena.take<E>(max_lines * S::N);
    if (!job.in.direct) rows_.take(arena, job.sum * lat_.max_parts, job.ring);
    scratch_bytes_ = arena.used_bytes();
    if (!scratch) return;
    for (int64_t i = 0; i < tiles_kept; ++i) tiles_[i] = {-1, nullptr, 0, 0, 0, false, chunks_ + i * tile_chunks, 0, 0};
    w_sum_ = weights_direct() ? job.W_multiplier : job.kernel_lines * job.kernel_offsets;
    w_line_ = weights_direct() ? job.W_line : job.kernel_offsets;
    w_offset_step_ = weights_direct() ? job.W_offset : 1;
    const int64_t in_channels = job.out_channels / job.divide * job.sum;
    for (const Step reach : {(job.batch - 1) * job.in.batch, (in_channels - 1) * job.in.channel,
                             (job.in.lines - 1) * job.in.line, job.in.offsets - 1})
      (reach < 0 ? first_element_ : last_element_) += reach;
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    const int64_t tiles = lat_.line_tiles;
    int64_t plane = begin / (job_.strips * tiles), strip = begin / tiles % job_.strips, tile = begin % tiles;
    for (int64_t unit = begin; unit < end; ++unit) {
      if (plane != plane_) enter_plane(plane);
      if (strip != strip_) enter_strip(strip);
      run_tile_of_rows(tile_at(tile));
      if (++tile < tiles) continue;
      tile = 0;
      if (++strip < job_.strips) continue;
      strip = 0;
      ++plane;
    }
  }

 private:
  static constexpr int64_t tiles_kept = 64;

  struct RowTile {
    int64_t index;
    const LineClass* rows;
    int64_t t0, T, chunk_count;
    bool clip;
    Chunk* chunks;
    Step lowest, highest;  // of the elements from the plane's start to column 0 of the lines that are read
  };

  // Neighbouring vectors of a strip that are done alike.
  struct Run {
    bool edge;
    int64_t column, vectors, lanes;      // first output of the class, vectors, lanes of each to store
    int64_t offsets_begin, offsets_end;  // taps that some lane has inside the row
    const OffsetClass* columns;
  };

  bool weights_direct() const { return job_.W_dtype == (sizeof(E) == 4 ? DType::f32 : DType::f64); }

  void enter_plane(int64_t plane) {
    plane_ = plane;
    const int64_t n = plane / job_.out_channels, o = plane % job_.out_channels;
    in_ = n * job_.in.batch + o / job_.divide * job_.sum * job_.in.channel;
    out_ = n * job_.out.batch + o * job_.out.channel;
    const Step w0 = o / job_.divide * job_.W_channel + o % job_.divide * job_.W_multiplier;
    w_ = static_cast<const E*>(job_.W) + w0;
    if (!weights_direct()) {
      w_ = weights_;
      E* to = weights_;
      for (int64_t k = 0; k < job_.sum; ++k)
        for (int64_t p = 0; p < job_.kernel_lines; ++p)
          for (int64_t q = 0; q < job_.kernel_offsets; ++q)
            *to++ = load_as<E>(job_.W, job_.W_dtype, w0 + k * job_.W_multiplier + p * job_.W_line + q * job_.W_offset);
    }
    if (job_.b) bias_ = load_as<E>(job_.b, job_.b_dtype, o * job_.b_stride);
    packed_class_ = nullptr;
  }

  void enter_strip(int64_t strip) {
    strip_ = strip;
    packed_class_ = nullptr;
    run_count_ = 0;
    const int64_t j0 = strip * job_.strip;
    for (int64_t i = 0; i < lat_.offset_classes; ++i) {
      const OffsetClass& c = lat_.offsets[i];
      const OffsetTap* tap = lat_.taps + c.taps_begin;
      const int64_t taps = c.taps_end - c.taps_begin, j1 = at_most(c.outs, j0 + job_.strip);
      for (int64_t o = 0; o < taps; ++o) {
        w_offset_[c.taps_begin + o] = tap[o].tap * w_offset_step_;
        x_offset_[c.taps_begin + o] = job_.in.direct ? tap[o].in0 : rows_.offset(tap[o].in0);
      }
      // Vectors from `inner` to `inner_end` have every tap of every lane inside the row; packed rows have them all.
      int64_t inner = j0, inner_end = at_least(j0, j1);
      if (job_.in.direct && taps) {
        inner = clamp(j0 + divide_up(at_least(-tap[0].in0 - j0, 0), S::N) * S::N, j0, at_least(j0, j1));
        inner_end = clamp(job_.in.offsets - tap[taps - 1].in0, inner, inner_end);
      }
      inner_end = inner + (inner_end - inner) / S::N * S::N;
      for (int64_t j = j0; j < j1;) {
        const bool edge = j < inner || j >= inner_end;
        const int64_t vectors = edge || !job_.out.direct ? 1 : (inner_end - j) / S::N;
        Run& r = runs_[run_count_];
        r = {edge, j, vectors, at_most(S::N, j1 - j), 0, taps, &c};
        if (edge) mark_lanes(r, masks_ + run_count_ * job_.kernel_offsets, tap);
        ++run_count_;
        j += vectors * S::N;
      }
    }
  }

  // For a vector that reaches beside the row: which taps and lanes are inside.
  void mark_lanes(Run& r, typename S::M* masks, const OffsetTap* tap) {
    for (int64_t o = 0; o < r.offsets_end; ++o) {
      const int64_t first = r.column + tap[o].in0;
      masks[o] = job_.in.direct ? S::mask(-first, job_.in.offsets - first) : S::mask(0, S::N);
    }
    if (!job_.in.direct) return;
    while (r.offsets_begin < r.offsets_end && r.column + tap[r.offsets_begin].in0 + r.lanes <= 0) ++r.offsets_begin;
    while (r.offsets_begin < r.offsets_end && r.column + tap[r.offsets_end - 1].in0 >= job_.in.offsets) --r.offsets_end;
  }

  // The tile's chunks, worked out unless they are still there from the last plane.
  RowTile& tile_at(int64_t index) {
    RowTile& tile = tiles_[index % tiles_kept];
    if (tile.index == index) return tile;
    tile.index = index;
    const LineClass* c = lat_.lines;
    while (c + 1 < lat_.lines + lat_.line_classes && (c + 1)->tiles_before <= index) ++c;
    tile.rows = c;
    const int64_t tiles = divide_up(c->outs, max_lines), k = index - c->tiles_before;
    tile.t0 = k * c->outs / tiles;
    tile.T = (k + 1) * c->outs / tiles - tile.t0;
    tile.chunk_count = 0;
    tile.clip = false;
    tile.lowest = INT64_MAX;
    tile.highest = INT64_MIN;
    for (int64_t k = 0; k < job_.sum; ++k) {
      for (int64_t i = c->parts_begin; i < c->parts_end; ++i) {
        const Part& p = lat_.parts[i];
        const int64_t count = chunks_of<S>(p.taps);
        const int64_t first = at_least(p.first, tile.t0), last = at_most(p.last, tile.t0 + tile.T + p.taps - 1) - 1;
        for (const int64_t s : {first, last}) {
          if (first > last) break;
          const Step line = (p.in0 + s * lat_.line_in_step) * job_.in.line + k * job_.in.channel;
          tile.lowest = at_most(tile.lowest, line);
          tile.highest = at_least(tile.highest, line);
        }
        for (int64_t j = 0; j < count; ++j) {
          const int64_t a0 = j * p.taps / count, a1 = (j + 1) * p.taps / count, lines = tile.T + a1 - a0 - 1;
          const uint32_t live = live_lines(p.first - tile.t0 - a0, p.last - tile.t0 - a0, lines);
          if (!live) continue;
          if (live != (1u << lines) - 1u) tile.clip = true;
          tile.chunks[tile.chunk_count++] = {
              static_cast<int>(a1 - a0), live,
              (p.in0 + (tile.t0 + a0) * lat_.line_in_step) * job_.in.line + k * job_.in.channel,
              k * w_sum_ + (p.tap0 + a0 * p.tap_step) * w_line_, p.tap_step * w_line_};
        }
      }
    }
    return tile;
  }

  // Packs the rows that a tile meets, and points its chunks at them.
  void pack_rows(RowTile& tile) {
    if (packed_class_ != tile.rows) rows_.forget(strip_ * job_.strip);
    packed_class_ = tile.rows;
    int64_t chunk = 0;
    for (int64_t k = 0; k < job_.sum; ++k) {
      for (int64_t i = tile.rows->parts_begin; i < tile.rows->parts_end; ++i) {
        const Part& p = lat_.parts[i];
        const int64_t first = at_least(p.first, tile.t0), last = at_most(p.last, tile.t0 + tile.T + p.taps - 1);
        if (first >= last) continue;
        const int64_t window = k * lat_.max_parts + i - tile.rows->parts_begin;
        const Step at = rows_.lines(window, first, last, [&](int64_t s) {
          return in_ + k * job_.in.channel + (p.in0 + s * lat_.line_in_step) * job_.in.line;
        });
        const int64_t count = chunks_of<S>(p.taps);
        for (int64_t j = 0; j < count; ++j) {
          const int64_t a0 = j * p.taps / count, lines = tile.T + (j + 1) * p.taps / count - a0 - 1;
          if (!live_lines(p.first - tile.t0 - a0, p.last - tile.t0 - a0, lines)) continue;
          tile.chunks[chunk++].x = at + (tile.t0 + a0 - first) * rows_.line_size();
        }
      }
    }
  }

  void run_tile_of_rows(RowTile& rows) {
    if (!job_.in.direct) pack_rows(rows);
    Tile<S> tile{};
    tile.w = w_;
    tile.bias = job_.b ? &bias_ : nullptr;
    tile.x_line = job_.in.direct ? lat_.line_in_step * job_.in.line : rows_.line_size();
    tile.y_line = job_.out.direct ? rows.rows->out_step * job_.out.line : S::N;
    tile.x_vector = tile.y_vector = S::N;
    tile.places_ahead = 1;
    if (job_.in.direct) tile.x_ahead[0] = (rows.t0 + rows.T + 1) * tile.x_line;
    if (job_.out.direct) tile.y_ahead = rows.T * tile.y_line;
    tile.fetch = job_.in.direct || job_.out.direct;
    tile.chunks = rows.chunks;
    tile.chunk_count = rows.chunk_count;
    const E* x = job_.in.direct ? static_cast<const E*>(job_.in.data) + in_ : rows_.data() - strip_ * job_.strip;
    const Step y = out_ + (rows.rows->out0 + rows.t0 * rows.rows->out_step) * job_.out.line;
    for (int64_t i = 0; i < run_count_; ++i) {
      const Run& r = runs_[i];
      const Step at = y + (r.columns->out0 + r.column * r.columns->out_step) * job_.out.offset;
      tile.x = x + r.column;
      tile.y = job_.out.direct ? static_cast<E*>(job_.out.data) + at : y_;
      tile.vectors = r.vectors;
      tile.lanes = r.lanes;
      tile.x_offset = x_offset_ + r.columns->taps_begin + r.offsets_begin;
      tile.w_offset = w_offset_ + r.columns->taps_begin + r.offsets_begin;
      tile.offsets = r.offsets_end - r.offsets_begin;
      tile.masks = masks_ + i * job_.kernel_offsets + r.offsets_begin;
      const Lanes lanes = !r.edge ? Lanes::columns : stays_inside(rows, r) ? Lanes::columns_inner : Lanes::columns_edge;
      run_tile<S>(lanes, rows.clip, rows.T, tile);
      if (!job_.out.direct) store_rows(at, r.columns->out_step * job_.out.offset, rows, r.lanes);
    }
  }

  // Whether whole vectors at an edge read only what lies between the first and the last element of the input array.
  bool stays_inside(const RowTile& rows, const Run& r) const {
    if (!S::masked_fma || !job_.in.direct || r.offsets_begin == r.offsets_end) return false;
    const OffsetTap* tap = lat_.taps + r.columns->taps_begin;
    return in_ + rows.lowest + r.column + tap[r.offsets_begin].in0 >= first_element_ &&
           in_ + rows.highest + r.column + tap[r.offsets_end - 1].in0 + S::N - 1 <= last_element_;
  }

  void store_rows(Step at, Step step, const RowTile& rows, int64_t lanes) {
    with_type(job_.out.dtype, [&](auto type) {
      using O = typename decltype(type)::type;
      O* to = static_cast<O*>(job_.out.data) + at;
      for (int64_t t = 0; t < rows.T; ++t)
        narrow_run<S, O>(to + t * rows.rows->out_step * job_.out.line, step, y_ + t * S::N, lanes);
    });
  }

  const Correlation& job_;
  const depthwise::LatticeView& lat_;
  PackedRows<S> rows_;
  RowTile* tiles_ = nullptr;
  Chunk* chunks_ = nullptr;
  Run* runs_ = nullptr;
  Step *x_offset_ = nullptr, *w_offset_ = nullptr;
  typename S::M* masks_ = nullptr;
  E *weights_ = nullptr, *y_ = nullptr;
  const LineClass* packed_class_ = nullptr;
  int64_t plane_ = -1, strip_ = -1, run_count_ = 0, scratch_bytes_ = 0;
  Step in_ = 0, out_ = 0, first_element_ = 0, last_element_ = 0;
  const E* w_ = nullptr;
  Step w_sum_ = 0, w_line_ = 0, w_offset_step_ = 0;
  E bias_ = 0;
};

template <class S>
constexpr depthwise::Kernel<Correlation> correlate_planar = {
    [](const Correlation& job) { return CorrelatePlanar<S>(job, nullptr).scratch_bytes(); },
    [](const Correlation& job, int64_t begin, int64_t end, void* scratch) {
      CorrelatePlanar<S>(job, scratch).run(begin, end);
    }};

}  // namespace
