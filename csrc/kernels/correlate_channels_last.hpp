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
    const int64_t tile_chunks = job.sum * lat_.max_parts * chunks_of<S>(lat_.max_part_taps);
    tiles_ = arena.take<ColumnTile>(tiles_kept);
    chunks_ = arena.take<Chunk>(tiles_kept * tile_chunks);
    x_offset_ = arena.take<Step>(job.kernel_offsets);
    w_offset_ = arena.take<Step>(job.kernel_offsets);
    taps_inside_ = arena.take<Range>(job.band);
    weights_ = arena.take<E>(job.group * job.sum * kernel_taps_ * S::N);
    bias_ = arena.take<E>(job.group * S::N);
    if (!job.out.direct) y_ = arena.take<E>(max_lines * S::N);
    if (!job.in.direct) pixels_.take(arena, job.sum * job.ring);
    scratch_bytes_ = arena.used_bytes();
    if (!scratch) return;
    for (int64_t i = 0; i < tiles_kept; ++i) tiles_[i] = {-1, nullptr, 0, 0, 0, false, chunks_ + i * tile_chunks};
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
      enter_strip(rest % job_.strips);
      rest /= job_.strips;
      image_ = rest % job_.batch;
      const int64_t u0 = band * job_.band, u1 = at_most(rows_class_->outs, u0 + job_.band);
      if (u0 >= u1) continue;
      if (rest / job_.batch != group_) enter_group(rest / job_.batch);
      run_band(u0, u1);
    }
  }

 private:
  static constexpr int64_t tiles_kept = 64;

  struct ColumnTile {
    int64_t index;
    const LineClass* columns;
    int64_t t0, T, chunk_count;
    bool clip;
    Chunk* chunks;
  };
  struct Range {
    int64_t begin, end;
  };

  int64_t lanes_of(int64_t vector) const { return at_most(S::N, job_.out_channels - vector * S::N); }

  // Packs the group's weights, [vector][k][kernel row][kernel column][lane], and its bias.
  void enter_group(int64_t group) {
    group_ = group;
    vector_begin_ = group * job_.group;
    vector_end_ = at_most(vector_begin_ + job_.group, vectors_in_all_);
    for (int64_t v = vector_begin_; v < vector_end_; ++v) {
      for (int64_t l = 0; l < S::N; ++l) {
        const bool idle = l >= lanes_of(v);
        bias_[(v - vector_begin_) * S::N + l] =
            job_.b && !idle ? load_as<E>(job_.b, job_.b_dtype, (v * S::N + l) * job_.b_stride) : E{0};
      }
      with_type(job_.W_dtype,
                [&](auto type) { pack_weights(v, static_cast<const typename decltype(type)::type*>(job_.W)); });
    }
  }

  template <class T>
  void pack_weights(int64_t v, const T* W) {
    E* to = weights_of(v);
    const bool together = lanes_of(v) == S::N && job_.divide == 1 && can_load_apart<S>(job_.W_channel);
    for (int64_t k = 0; k < job_.sum; ++k) {
      for (int64_t p = 0; p < job_.kernel_offsets; ++p) {
        for (int64_t q = 0; q < job_.kernel_lines; ++q, to += S::N) {
          const T* tap = W + k * job_.W_multiplier + p * job_.W_offset + q * job_.W_line;
          if constexpr (__is_same(T, E))
            if (together) {
              S::store(to, S::load_apart(tap + v * S::N * job_.W_channel, job_.W_channel));
              continue;
            }
          for (int64_t l = 0; l < S::N; ++l) {
            const int64_t o = v * S::N + l;
            to[l] = l < lanes_of(v)
                        ? convert<E>(tap[o / job_.divide * job_.W_channel + o % job_.divide * job_.W_multiplier])
                        : E{0};
          }
        }
      }
    }
  }

  E* weights_of(int64_t vector) { return weights_ + (vector - vector_begin_) * job_.sum * kernel_taps_ * S::N; }

  void enter_strip(int64_t strip) {
    if (strip == strip_) return;
    strip_ = strip;
    column_count_ = 0;
    for (int64_t i = 0; i < lat_.line_classes; ++i) {
      const LineClass& c = lat_.lines[i];
      column_count_ += divide_up(first_out(c, (strip + 1) * job_.strip) - first_out(c, strip * job_.strip), max_lines);
    }
    for (int64_t i = 0; i < tiles_kept; ++i) tiles_[i].index = -1;
    if (!job_.in.direct) find_packed_columns();
  }

  static int64_t first_out(const LineClass& c, int64_t column) {
    return at_most(c.outs, divide_up(at_least(column - c.out0, 0), c.out_step));
  }

  // The strip's tile with this number, worked out unless it is still there from the last row.
  const ColumnTile& tile_at(int64_t index) {
    ColumnTile& tile = tiles_[index % tiles_kept];
    if (tile.index == index) return tile;
    tile.index = index;
    const LineClass* c = lat_.lines;
    int64_t begin, outs, tiles;
    for (;; ++c) {
      begin = first_out(*c, strip_ * job_.strip);
      outs = first_out(*c, (strip_ + 1) * job_.strip) - begin;
      tiles = divide_up(outs, max_lines);
      if (index < tiles) break;
      index -= tiles;
    }
    tile.columns = c;
    tile.t0 = begin + index * outs / tiles;
    tile.T = begin + (index + 1) * outs / tiles - tile.t0;
    tile.chunk_count = 0;
    tile.clip = false;
    const Step step = lat_.line_in_step;
    for (int64_t k = 0; k < job_.sum; ++k) {
      for (const Part* p = lat_.parts + c->parts_begin; p < lat_.parts + c->parts_end; ++p) {
        const int64_t count = chunks_of<S>(p->taps);
        for (int64_t j = 0; j < count; ++j) {
          const int64_t a0 = j * p->taps / count, a1 = (j + 1) * p->taps / count, lines = tile.T + a1 - a0 - 1;
          const uint32_t live = live_lines(p->first - tile.t0 - a0, p->last - tile.t0 - a0, lines);
          if (!live) continue;
          if (live != (1u << lines) - 1u) tile.clip = true;
          const int64_t column = p->in0 + (tile.t0 + a0) * step;
          const Step x = job_.in.direct ? column * job_.in.line
                                        : (column - column_begin_) * S::N + k * job_.ring * pixels_.row_size();
          tile.chunks[tile.chunk_count++] = {static_cast<int>(a1 - a0), live, x,
                                             (k * kernel_taps_ + p->tap0 + a0 * p->tap_step) * S::N,
                                             p->tap_step * S::N};
        }
      }
    }
    return tile;
  }

  void run_band(int64_t u0, int64_t u1) {
    const OffsetTap* tap = lat_.taps + rows_class_->taps_begin;
    const int64_t taps = rows_class_->taps_end - rows_class_->taps_begin;
    for (int64_t o = 0; o < taps; ++o) {
      w_offset_[o] = tap[o].tap * job_.kernel_lines * S::N;
      x_offset_[o] = tap[o].in0 * job_.in.offset;
    }
    for (int64_t u = u0; u < u1; ++u) {
      Range& r = taps_inside_[u - u0] = {0, taps};
      const int64_t row0 = u * lat_.offset_in_step;
      while (r.begin < r.end && tap[r.begin].in0 + row0 < 0) ++r.begin;
      while (r.begin < r.end && tap[r.end - 1].in0 + row0 >= job_.in.offsets) --r.end;
    }
    if (job_.in.direct && job_.out.direct) {
      for (int64_t i = 0; i < column_count_; ++i) run_tile_down(tile_at(i), u0, u1);
      return;
    }
    for (int64_t v = vector_begin_; v < vector_end_; ++v) {
      if (!job_.in.direct) pixels_.forget();
      for (int64_t u = u0; u < u1; ++u) {
        if (!job_.in.direct) pack_rows(u, v, taps_inside_[u - u0]);
        for (int64_t i = 0; i < column_count_; ++i) run_rows(tile_at(i), u, 1, taps_inside_[u - u0], v, v + 1);
      }
    }
  }

  // A tile of columns in all rows of the band.
  void run_tile_down(const ColumnTile& columns, int64_t u0, int64_t u1) {
    for (int64_t v = vector_begin_; v < vector_end_; v = job_.rows_innermost ? v + 1 : vector_end_) {
      for (int64_t u = u0; u < u1;) {
        const Range& taps = taps_inside_[u - u0];
        int64_t end = u + 1;  // rows that meet the same taps
        while (job_.rows_innermost && end < u1 && taps_inside_[end - u0].begin == taps.begin &&
               taps_inside_[end - u0].end == taps.end)
          ++end;
        run_rows(columns, u, end - u, taps, v, job_.rows_innermost ? v + 1 : vector_end_);
        u = end;
      }
    }
  }

  // The input columns that the strip's outputs can meet.
  void find_packed_columns() {
    int64_t least = INT64_MAX, most = INT64_MIN;
    for (int64_t i = 0; i < lat_.line_classes; ++i) {
      const LineClass& c = lat_.lines[i];
      const int64_t begin = first_out(c, strip_ * job_.strip);
      const int64_t end = first_out(c, (strip_ + 1) * job_.strip);
      if (begin >= end) continue;
      for (const Part* p = lat_.parts + c.parts_begin; p < lat_.parts + c.parts_end; ++p) {
        least = at_most(least, p->in0 + begin * lat_.line_in_step);
        most = at_least(most, p->in0 + (end - 1 + p->taps - 1) * lat_.line_in_step);
      }
    }
    column_begin_ = at_least(least, 0);
    column_end_ = at_most(most, job_.in.lines - 1) + 1;
  }

  // Makes x_offset_ point at packed rows for output row u and channel vector v.
  void pack_rows(int64_t u, int64_t v, const Range& taps) {
    const OffsetTap* tap = lat_.taps + rows_class_->taps_begin;
    for (int64_t o = taps.begin; o < taps.end; ++o) {
      const int64_t row = tap[o].in0 + u * lat_.offset_in_step;
      const int64_t slot = (job_.ring_by_tap ? o : row) % job_.ring;
      x_offset_[o] = slot * pixels_.row_size();
      const Step from = image_ * job_.in.batch + row * job_.in.offset;
      for (int64_t k = 0; k < job_.sum; ++k)
        pixels_.row(k * job_.ring + slot, row, from, v, k, column_begin_, column_end_);
    }
  }

  // A tile of output columns: in one row for the channel vectors [v0, v1), or in `rows` rows from u for v0 alone.
  void run_rows(const ColumnTile& columns, int64_t u, int64_t rows, const Range& taps, int64_t v0, int64_t v1) {
    const LineClass& c = *columns.columns;
    const Step at = image_ * job_.out.batch + v0 * S::N * job_.out.channel +
                    (c.out0 + columns.t0 * c.out_step) * job_.out.line +
                    (rows_class_->out0 + u * rows_class_->out_step) * job_.out.offset;
    Tile<S> tile{};
    tile.x = pixels_.data();
    tile.x_line = lat_.line_in_step * S::N;
    if (job_.in.direct) {
      tile.x = static_cast<const E*>(job_.in.data) + image_ * job_.in.batch + u * lat_.offset_in_step * job_.in.offset +
               v0 * S::N;
      tile.x_line = lat_.line_in_step * job_.in.line;
    }
    tile.w = weights_of(v0);
    tile.bias = bias_ + (v0 - vector_begin_) * S::N;
    tile.y = job_.out.direct ? static_cast<E*>(job_.out.data) + at : y_;
    tile.y_line = job_.out.direct ? c.out_step * job_.out.line : S::N;
    if (rows > 1) {
      tile.x_vector = lat_.offset_in_step * job_.in.offset;
      tile.y_vector = rows_class_->out_step * job_.out.offset;
    } else {
      tile.x_vector = tile.y_vector = tile.bias_vector = S::N;
      tile.w_vector = job_.sum * kernel_taps_ * S::N;
    }
    if (job_.in.direct && taps.begin < taps.end)
      tile.x_ahead = columns.chunks->x + x_offset_[taps.end - 1] + lat_.offset_in_step * job_.in.offset;
    if (job_.out.direct) tile.y_ahead = rows_class_->out_step * job_.out.offset;
    tile.chunks = columns.chunks;
    tile.chunk_count = columns.chunk_count;
    tile.x_offset = x_offset_ + taps.begin;
    tile.w_offset = w_offset_ + taps.begin;
    tile.offsets = taps.end - taps.begin;
    run_vectors(tile, columns, rows, v0, v1);
    if (!job_.out.direct) store_pixels(at, c.out_step * job_.out.line, columns.T, lanes_of(v0));
  }

  // All but the image's last vector of channels are whole.
  void run_vectors(Tile<S>& tile, const ColumnTile& columns, int64_t rows, int64_t v0, int64_t v1) {
    const int64_t whole = at_most(v1, job_.out_channels / S::N) - v0;
    tile.vectors = rows > 1 ? rows : whole;
    if (whole > 0) run_tile<S>(Lanes::channels, columns.clip, columns.T, tile);
    if (whole == v1 - v0) return;
    if (rows == 1) {
      tile.x += whole * tile.x_vector;
      tile.y += whole * tile.y_vector;
      tile.w += whole * tile.w_vector;
      tile.bias += whole * tile.bias_vector;
      tile.vectors = 1;
    }
    tile.lanes = lanes_of(v1 - 1);
    run_tile<S>(Lanes::channels_edge, true, columns.T, tile);
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
  ColumnTile* tiles_ = nullptr;
  Chunk* chunks_ = nullptr;
  Step *x_offset_ = nullptr, *w_offset_ = nullptr;
  Range* taps_inside_ = nullptr;
  E *weights_ = nullptr, *bias_ = nullptr, *y_ = nullptr;
  const OffsetClass* rows_class_ = nullptr;
  int64_t strip_ = -1, column_count_ = 0, image_ = 0, group_ = -1, vector_begin_ = 0, vector_end_ = 0;
  int64_t column_begin_ = 0, column_end_ = 0;
};

template <class S>
constexpr depthwise::Kernel<Correlation> correlate_channels_last = {
    [](const Correlation& job) { return CorrelateChannelsLast<S>(job, nullptr).scratch_bytes(); },
    [](const Correlation& job, int64_t begin, int64_t end, void* scratch) {
      CorrelateChannelsLast<S>(job, scratch).run(begin, end);
    }};

}  // namespace
