// Forward pass and input gradient with lanes along the channels: lines are image columns, offsets are kernel rows.
//
// A unit is a band of output rows of one image, in one strip of columns, for one group of channel vectors. Within it a
// tile of columns is taken down the band for all the group's channels before the next, so that the input rows that
// the band shares are read from memory once and whole pixels are walked. Input that cannot be loaded as it lies
// (another dtype, a channel step, a multiplier) is packed one vector of channels at a time into a ring of rows.
#pragma once
#include "job.hpp"
#include "packed_pixels.hpp"
#include "tile.hpp"

namespace {

using depthwise::Correlation;
using depthwise::LineClass;
using depthwise::OffsetClass;
using depthwise::OffsetTap;
using depthwise::Part;

template <class S>
class CorrelateChannelsLast {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelateChannelsLast(const Correlation& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        vectors_in_all_(divide_up(job.out_channels, S::N)),
        kernel_taps_(job.kernel_lines * job.kernel_offsets),
        pixels_(job.in, job.out_channels, job.divide, job.sum, job.columns_packed) {
    Arena arena(scratch);
    chunks_ = arena.take<Chunk>(job.sum * lat_.max_parts * divide_up(lat_.max_part_taps, S::max_taps));
    lines_ = arena.take<Step>(lat_.max_part_taps + max_lines);
    x_offset_ = arena.take<Step>(job.kernel_offsets);
    w_offset_ = arena.take<Step>(job.kernel_offsets);
    weights_ = arena.take<E>(job.group * job.sum * kernel_taps_ * S::N);
    bias_ = arena.take<E>(job.group * S::N);
    if (!job.out.direct) y_ = arena.take<E>(max_lines * S::N);
    if (!job.in.direct) pixels_.take(arena, job.sum * job.ring);
    scratch_bytes_ = arena.used_bytes();
    if (!scratch) return;
    const Step step = lat_.line_in_step * (job.in.direct ? job.in.line : S::N);
    for (int64_t s = 0; s < lat_.max_part_taps + max_lines; ++s) lines_[s] = s * step;
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Units are numbered by group, image, strip, class of rows and band, the last fastest.
  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      int64_t rest = unit;
      const int64_t band = rest % job_.bands;
      rest /= job_.bands;
      rows_class_ = &lat_.offsets[rest % lat_.offset_classes];
      rest /= lat_.offset_classes;
      strip_begin_ = rest % job_.strips * job_.strip;
      rest /= job_.strips;
      image_ = rest % job_.batch;
      const int64_t u0 = band * job_.band, u1 = at_most(rows_class_->outs, u0 + job_.band);
      if (u0 >= u1) continue;
      if (rest / job_.batch != group_) enter_group(rest / job_.batch);
      run_band(u0, u1);
    }
  }

 private:
  int64_t lanes_of(int64_t vector) const { return at_most(S::N, job_.out_channels - vector * S::N); }

  // Packs the group's weights, [vector][k][kernel row][kernel column][lane], and its bias.
  void enter_group(int64_t group) {
    group_ = group;
    vector_begin_ = group * job_.group;
    vector_end_ = at_most(vector_begin_ + job_.group, vectors_in_all_);
    for (int64_t v = vector_begin_; v < vector_end_; ++v) {
      E* bias = bias_ + (v - vector_begin_) * S::N;
      E* weights = weights_of(v);
      with_type(job_.W_dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        for (int64_t l = 0; l < S::N; ++l) {
          const int64_t o = v * S::N + l;
          const bool idle = l >= lanes_of(v);
          bias[l] = job_.b && !idle ? load_as<E>(job_.b, job_.b_dtype, o * job_.b_stride) : E{0};
          const T* from = static_cast<const T*>(job_.W);
          if (!idle) from += o / job_.divide * job_.W_channel + o % job_.divide * job_.W_multiplier;
          E* to = weights + l;
          for (int64_t k = 0; k < job_.sum; ++k)
            for (int64_t p = 0; p < job_.kernel_offsets; ++p)
              for (int64_t q = 0; q < job_.kernel_lines; ++q, to += S::N)
                *to = idle ? E{0} : convert<E>(from[k * job_.W_multiplier + p * job_.W_offset + q * job_.W_line]);
        }
      });
    }
  }

  E* weights_of(int64_t vector) { return weights_ + (vector - vector_begin_) * job_.sum * kernel_taps_ * S::N; }

  void run_band(int64_t u0, int64_t u1) {
    const OffsetTap* tap = lat_.taps + rows_class_->taps_begin;
    for (int64_t o = 0; o < rows_class_->taps_end - rows_class_->taps_begin; ++o) {
      w_offset_[o] = tap[o].tap * job_.kernel_lines * S::N;
      x_offset_[o] = tap[o].in0 * job_.in.offset;
    }
    if (job_.in.direct && job_.out.direct) {
      for_tiles([&](const LineClass& c, int64_t t0, int64_t t1) {
        for (int64_t u = u0; u < u1; ++u) run_row(c, u, t0, t1, vector_begin_, vector_end_);
      });
      return;
    }
    for (int64_t v = vector_begin_; v < vector_end_; ++v) {
      if (!job_.in.direct) find_packed_columns();
      for (int64_t u = u0; u < u1; ++u) {
        if (!job_.in.direct) pack_rows(u, v);
        for_tiles([&](const LineClass& c, int64_t t0, int64_t t1) { run_row(c, u, t0, t1, v, v + 1); });
      }
    }
  }

  // f(class, t0, t1) for the register tiles of the strip.
  template <class F>
  void for_tiles(F&& f) {
    for (int64_t i = 0; i < lat_.line_classes; ++i) {
      const LineClass& c = lat_.lines[i];
      const int64_t begin = first_out(c, strip_begin_), outs = first_out(c, strip_begin_ + job_.strip) - begin;
      const int64_t tiles = divide_up(outs, max_lines);
      for (int64_t k = 0; k < tiles; ++k) f(c, begin + k * outs / tiles, begin + (k + 1) * outs / tiles);
    }
  }
  static int64_t first_out(const LineClass& c, int64_t column) {
    return at_most(c.outs, divide_up(at_least(column - c.out0, 0), c.out_step));
  }

  // The input columns that the strip's outputs can meet, and no packed row yet.
  void find_packed_columns() {
    int64_t least = INT64_MAX, most = INT64_MIN;
    for (int64_t i = 0; i < lat_.line_classes; ++i) {
      const LineClass& c = lat_.lines[i];
      const int64_t begin = first_out(c, strip_begin_), end = first_out(c, strip_begin_ + job_.strip);
      if (begin >= end) continue;
      for (const Part* p = lat_.parts + c.parts_begin; p < lat_.parts + c.parts_end; ++p) {
        least = at_most(least, p->in0 + begin * lat_.line_in_step);
        most = at_least(most, p->in0 + (end - 1 + p->taps - 1) * lat_.line_in_step);
      }
    }
    column_begin_ = at_least(least, 0);
    column_end_ = at_most(most, job_.in.lines - 1) + 1;
    pixels_.forget();
  }

  // Makes x_offset_ point at packed rows for output row u and channel vector v.
  void pack_rows(int64_t u, int64_t v) {
    const OffsetTap* tap = lat_.taps + rows_class_->taps_begin;
    for (int64_t o = 0; o < rows_class_->taps_end - rows_class_->taps_begin; ++o) {
      const int64_t row = tap[o].in0 + u * lat_.offset_in_step;
      if (row < 0 || row >= job_.in.offsets) continue;
      const int64_t slot = (job_.ring_by_tap ? o : row) % job_.ring;
      x_offset_[o] = slot * pixels_.row_size();
      const Step from = image_ * job_.in.batch + row * job_.in.offset;
      for (int64_t k = 0; k < job_.sum; ++k)
        pixels_.row(k * job_.ring + slot, row, from, v, k, column_begin_, column_end_);
    }
  }

  // Output columns [t0, t1) of class c in row u, for the channel vectors [v0, v1).
  void run_row(const LineClass& c, int64_t u, int64_t t0, int64_t t1, int64_t v0, int64_t v1) {
    const int64_t T = t1 - t0, row0 = u * lat_.offset_in_step;
    const OffsetTap* tap = lat_.taps + rows_class_->taps_begin;
    int64_t first = 0, last = rows_class_->taps_end - rows_class_->taps_begin;
    while (first < last && tap[first].in0 + row0 < 0) ++first;
    while (first < last && tap[last - 1].in0 + row0 >= job_.in.offsets) --last;

    Tile<E> tile{};
    tile.chunks = chunks_;
    tile.chunk_count = make_chunks(c, t0, T);
    tile.x_offset = x_offset_ + first;
    tile.w_offset = w_offset_ + first;
    tile.offsets = last - first;
    tile.x = pixels_.data();
    if (job_.in.direct)
      tile.x = static_cast<const E*>(job_.in.data) + image_ * job_.in.batch + row0 * job_.in.offset + v0 * S::N;
    tile.w = weights_of(v0);
    tile.bias = bias_ + (v0 - vector_begin_) * S::N;
    const Step at = image_ * job_.out.batch + v0 * S::N * job_.out.channel +
                    (c.out0 + t0 * c.out_step) * job_.out.line +
                    (rows_class_->out0 + u * rows_class_->out_step) * job_.out.offset;
    tile.y = job_.out.direct ? static_cast<E*>(job_.out.data) + at : y_;
    tile.y_line = job_.out.direct ? c.out_step * job_.out.line : S::N;
    tile.x_vector = tile.y_vector = S::N;
    tile.w_vector = job_.sum * kernel_taps_ * S::N;
    run_vectors(tile, T, v0, v1);
    if (!job_.out.direct) store_pixels(at, c.out_step * job_.out.line, T, lanes_of(v0));
  }

  int64_t make_chunks(const LineClass& c, int64_t t0, int64_t T) {
    int64_t chunks = 0;
    for (int64_t k = 0; k < job_.sum; ++k) {
      for (const Part* p = lat_.parts + c.parts_begin; p < lat_.parts + c.parts_end; ++p) {
        const int64_t column = p->in0 + t0 * lat_.line_in_step;
        const Step x = job_.in.direct ? column * job_.in.line
                                      : (column - column_begin_) * S::N + k * job_.ring * pixels_.row_size();
        const PartLines part{
            p->taps, p->first - t0, p->last - t0, x, (k * kernel_taps_ + p->tap0) * S::N, p->tap_step * S::N, lines_};
        chunks += cut_chunks<S, E>(chunks_ + chunks, part, T);
      }
    }
    return chunks;
  }

  // All but the image's last vector of channels are whole.
  void run_vectors(Tile<E>& tile, int64_t T, int64_t v0, int64_t v1) {
    const int64_t whole = at_most(v1, job_.out_channels / S::N) - v0;
    tile.vectors = whole;
    if (whole > 0) TileTable<S, Lanes::channels>::run[T](tile);
    if (whole == v1 - v0) return;
    tile.x += whole * tile.x_vector;
    tile.y += whole * tile.y_vector;
    tile.w += whole * tile.w_vector;
    tile.bias += whole * S::N;
    tile.vectors = 1;
    tile.lanes = lanes_of(v1 - 1);
    TileTable<S, Lanes::channels_edge>::run[T](tile);
  }

  void store_pixels(Step at, Step step, int64_t T, int64_t lanes) {
    with_type(job_.out.dtype, [&](auto type) {
      using O = typename decltype(type)::type;
      O* to = static_cast<O*>(job_.out.data) + at;
      for (int64_t t = 0; t < T; ++t) narrow_run<S, O>(to + t * step, job_.out.channel, y_ + t * S::N, lanes);
    });
  }

  const Correlation& job_;
  const depthwise::LatticeView& lat_;
  const int64_t vectors_in_all_, kernel_taps_;
  PackedPixels<S> pixels_;
  int64_t scratch_bytes_ = 0;
  Chunk* chunks_ = nullptr;
  Step *lines_ = nullptr, *x_offset_ = nullptr, *w_offset_ = nullptr;
  E *weights_ = nullptr, *bias_ = nullptr, *y_ = nullptr;
  const OffsetClass* rows_class_ = nullptr;
  int64_t strip_begin_ = 0, image_ = 0, group_ = -1, vector_begin_ = 0, vector_end_ = 0;
  int64_t column_begin_ = 0, column_end_ = 0;
};

template <class S>
constexpr depthwise::Kernel<Correlation> correlate_channels_last = {
    [](const Correlation& job) { return CorrelateChannelsLast<S>(job, nullptr).scratch_bytes(); },
    [](const Correlation& job, int64_t begin, int64_t end, void* scratch) {
      CorrelateChannelsLast<S>(job, scratch).run(begin, end);
    }};

}  // namespace
