// Forward pass and input gradient with lanes along the columns: lines are image rows, offsets are kernel columns.
//
// A unit is one tile of output rows of one plane, in one strip of columns. Input that cannot be loaded as it lies
// (another dtype, a column step, a stride along the columns) is packed into a ring of rows, each row once for all the
// tiles of a strip that meet it.
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
    chunks_ = arena.take<Chunk>(job.sum * lat_.max_parts * divide_up(lat_.max_part_taps, S::max_taps));
    lines_ = arena.take<Step>(job.sum * lat_.max_parts * (lat_.max_part_taps + max_lines));
    x_offset_ = arena.take<Step>(job.kernel_offsets);
    w_offset_ = arena.take<Step>(job.kernel_offsets);
    if (!weights_direct()) weights_ = arena.take<E>(job.sum * job.kernel_lines * job.kernel_offsets);
    if (!job.out.direct) y_ = arena.take<E>(max_lines * S::N);
    if (!job.in.direct) rows_.take(arena, job.sum * lat_.max_parts * job.ring);
    scratch_bytes_ = arena.used_bytes();
    if (scratch && job.in.direct && lat_.max_parts)
      for (int64_t s = 0; s < lat_.max_part_taps + max_lines; ++s) lines_[s] = s * lat_.line_in_step * job.in.line;
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t plane = unit / (job_.strips * lat_.line_tiles), within = unit % (job_.strips * lat_.line_tiles);
      if (plane != plane_) enter_plane(plane);
      const int64_t strip = within / lat_.line_tiles, tile = within % lat_.line_tiles;
      const LineClass* c = lat_.lines;
      while (c + 1 < lat_.lines + lat_.line_classes && (c + 1)->tiles_before <= tile) ++c;
      if (c != class_ || strip != strip_) rows_.forget();
      class_ = c;
      strip_ = strip;
      const int64_t tiles = divide_up(c->outs, max_lines), k = tile - c->tiles_before;
      run_rows(k * c->outs / tiles, (k + 1) * c->outs / tiles);
    }
  }

 private:
  bool weights_direct() const { return job_.W_dtype == (sizeof(E) == 4 ? DType::f32 : DType::f64); }
  void enter_plane(int64_t plane) {
    plane_ = plane;
    const int64_t n = plane / job_.out_channels, o = plane % job_.out_channels;
    in_ = n * job_.in.batch + o / job_.divide * job_.sum * job_.in.channel;
    out_ = n * job_.out.batch + o * job_.out.channel;
    const Step w0 = o / job_.divide * job_.W_channel + o % job_.divide * job_.W_multiplier;
    if (weights_direct()) {
      w_ = static_cast<const E*>(job_.W) + w0;
      w_sum_ = job_.W_multiplier;
      w_line_ = job_.W_line;
      w_offset_step_ = job_.W_offset;
    } else {
      E* to = weights_;
      for (int64_t k = 0; k < job_.sum; ++k)
        for (int64_t p = 0; p < job_.kernel_lines; ++p)
          for (int64_t q = 0; q < job_.kernel_offsets; ++q)
            *to++ = load_as<E>(job_.W, job_.W_dtype, w0 + k * job_.W_multiplier + p * job_.W_line + q * job_.W_offset);
      w_ = weights_;
      w_sum_ = job_.kernel_lines * job_.kernel_offsets;
      w_line_ = job_.kernel_offsets;
      w_offset_step_ = 1;
    }
    has_bias_ = job_.b != nullptr;
    if (has_bias_) bias_ = load_as<E>(job_.b, job_.b_dtype, o * job_.b_stride);
    rows_.forget();
  }

  // Output rows [t0, t1) of the class.
  void run_rows(int64_t t0, int64_t t1) {
    const int64_t T = t1 - t0;
    int64_t chunks = 0;
    Step* lines = lines_;
    for (int64_t k = 0; k < job_.sum; ++k) {
      for (int64_t i = class_->parts_begin; i < class_->parts_end; ++i) {
        const Part& p = lat_.parts[i];
        PartLines part{p.taps, p.first - t0, p.last - t0, 0, k * w_sum_ + p.tap0 * w_line_, p.tap_step * w_line_,
                       lines};
        if (job_.in.direct) {
          part.x = (p.in0 + t0 * lat_.line_in_step) * job_.in.line + k * job_.in.channel;
        } else {
          const int64_t ring = (k * lat_.max_parts + i - class_->parts_begin) * job_.ring;
          for (int64_t s = clamp(part.first, 0, T + p.taps - 1); s < at_most(part.last, T + p.taps - 1); ++s) {
            const int64_t row = p.in0 + (t0 + s) * lat_.line_in_step;
            const Step from = in_ + k * job_.in.channel + row * job_.in.line;
            lines[s] = rows_.row(ring + (t0 + s) % job_.ring, row, from, strip_ * job_.strip);
          }
          lines += T + p.taps - 1;
        }
        chunks += cut_chunks<S, E>(chunks_ + chunks, part, T);
      }
    }
    for (int64_t i = 0; i < lat_.offset_classes; ++i) run_columns(lat_.offsets[i], t0, T, chunks);
  }

  void run_columns(const OffsetClass& c, int64_t t0, int64_t T, int64_t chunks) {
    const int64_t j0 = strip_ * job_.strip, j1 = at_most(c.outs, j0 + job_.strip);
    if (j0 >= j1) return;
    const int64_t taps = c.taps_end - c.taps_begin;
    const OffsetTap* tap = lat_.taps + c.taps_begin;
    for (int64_t o = 0; o < taps; ++o) {
      w_offset_[o] = tap[o].tap * w_offset_step_;
      x_offset_[o] = job_.in.direct ? tap[o].in0 : rows_.offset(tap[o].in0);
    }
    // Vectors from `inner` to `inner_end` have every tap of every lane inside the row.
    int64_t inner = j0, inner_end = j0 + (j1 - j0) / S::N * S::N;
    if (job_.in.direct && taps) {
      inner = at_most(at_least(divide_up(-tap[0].in0 - j0, S::N) * S::N, 0) + j0, j1);
      inner_end = at_most(inner_end, j0 + floor_div(job_.in.offsets - tap[taps - 1].in0 - j0, S::N) * S::N);
      inner_end = at_least(inner_end, inner);
    }
    Tile<E> tile{};
    tile.w = w_;
    tile.bias = has_bias_ ? &bias_ : nullptr;
    tile.x_vector = tile.y_vector = S::N;
    tile.vectors = 1;
    tile.chunks = chunks_;
    tile.chunk_count = chunks;
    tile.w_offset = w_offset_;
    tile.x_offset = x_offset_;
    tile.offsets = taps;
    for (int64_t j = j0; j < j1;) {
      const bool edge = j < inner || j + S::N > inner_end;
      tile.x = job_.in.direct ? static_cast<const E*>(job_.in.data) + in_ + j : rows_.data() + (j - j0);
      tile.lanes = at_most(S::N, j1 - j);
      tile.vectors = edge || !job_.out.direct ? 1 : (inner_end - j) / S::N;
      tile.column = job_.in.direct ? j : int64_t{1} << 40;
      tile.columns = job_.in.direct ? job_.in.offsets : int64_t{1} << 60;
      const Step at =
          out_ + (class_->out0 + t0 * class_->out_step) * job_.out.line + (c.out0 + j * c.out_step) * job_.out.offset;
      tile.y = job_.out.direct ? static_cast<E*>(job_.out.data) + at : y_;
      tile.y_line = job_.out.direct ? class_->out_step * job_.out.line : S::N;
      if (edge)
        run_edge(tile, T, j);
      else
        TileTable<S, Lanes::columns>::run[T](tile);
      if (!job_.out.direct) store_rows(at, c.out_step * job_.out.offset, T, tile.lanes);
      j += tile.vectors * S::N;
    }
  }

  // A vector that reaches beside the row; taps that no lane has inside the row are left out.
  void run_edge(Tile<E>& tile, int64_t T, int64_t j) {
    Tile<E> cut = tile;
    if (job_.in.direct) {
      while (cut.offsets && j + cut.x_offset[0] + tile.lanes <= 0) ++cut.x_offset, ++cut.w_offset, --cut.offsets;
      while (cut.offsets && j + cut.x_offset[cut.offsets - 1] >= job_.in.offsets) --cut.offsets;
    }
    TileTable<S, Lanes::columns_edge>::run[T](cut);
  }

  void store_rows(Step at, Step step, int64_t T, int64_t lanes) {
    with_type(job_.out.dtype, [&](auto type) {
      using O = typename decltype(type)::type;
      O* to = static_cast<O*>(job_.out.data) + at;
      for (int64_t t = 0; t < T; ++t)
        narrow_run<S, O>(to + t * class_->out_step * job_.out.line, step, y_ + t * S::N, lanes);
    });
  }

  const Correlation& job_;
  const depthwise::LatticeView& lat_;
  PackedRows<S> rows_;
  Chunk* chunks_ = nullptr;
  Step *lines_ = nullptr, *x_offset_ = nullptr, *w_offset_ = nullptr;
  E *weights_ = nullptr, *y_ = nullptr;
  const LineClass* class_ = nullptr;
  int64_t plane_ = -1, strip_ = -1, scratch_bytes_ = 0;
  Step in_ = 0, out_ = 0;
  const E* w_ = nullptr;
  Step w_sum_ = 0, w_line_ = 0, w_offset_step_ = 0;
  bool has_bias_ = false;
  E bias_ = 0;
};

template <class S>
constexpr depthwise::Kernel<Correlation> correlate_planar = {
    [](const Correlation& job) { return CorrelatePlanar<S>(job, nullptr).scratch_bytes(); },
    [](const Correlation& job, int64_t begin, int64_t end, void* scratch) {
      CorrelatePlanar<S>(job, scratch).run(begin, end);
    }};

}  // namespace
