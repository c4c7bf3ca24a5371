// Forward pass and input gradient with lanes along the channels: lines are image columns, the cross axis is rows.
//
// A unit is a band of output rows of one image, in one strip of columns, for one group of channel vectors. Within it a
// tile of columns is taken down the band for all the group's channels before the next, so that the input rows that
// the band shares are read from memory once and whole pixels are walked. What does not lie as lanes want it (planar
// memory, another dtype, a multiplier) is packed for the unit, one vector of channels after another.
#pragma once
#include "job.hpp"
#include "packed_pixels.hpp"
#include "tile.hpp"
#include "walk.hpp"

namespace {

using depthwise::Correlation;
using depthwise::CrossPhase;
using depthwise::CrossTap;
using depthwise::LinePhase;
using depthwise::TapSet;

template <class S>
class CorrelateChannelsLast {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelateChannelsLast(const Correlation& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        vectors_in_all_(divide_up(job.out_channels, S::N)),
        kernel_taps_(job.kernel_lines * job.kernel_cross),
        in_rows_(job.in, job.out_channels, job.divide, job.sum, job.rows_packed, job.columns_packed),
        out_pixels_(job.out, job.out_channels, 1, 1) {
    Arena arena(scratch);
    const int64_t tile_chunks = job.sum * lat_.max_sets * chunks_of(lat_.max_set_taps, S::max_taps);
    tiles_kept_ = tiles_that_fit(tile_chunks);
    tiles_ = arena.take<ColumnTile>(tiles_kept_);
    chunks_ = arena.take<Chunk>(tiles_kept_ * tile_chunks);
    x_offset_ = arena.take<Step>(job.kernel_cross);
    w_offset_ = arena.take<Step>(job.kernel_cross);
    taps_inside_ = arena.take<Range>(divide_up(job.band, lat_.cross_phase_count ? lat_.cross_phases->out_step : 1) + 1);
    weights_ = arena.take<E>(job.group * job.sum * kernel_taps_ * S::N);
    bias_ = arena.take<E>(job.group * S::N);
    widened_ = arena.take<E>(kernel_taps_ * S::N);
    if (!job.in.direct) in_rows_.take(arena, job.kernel_cross);
    if (!job.out.direct) {
      out_pixels_.take(arena);
      y_ = arena.take<E>(job.band * job.strip * S::N);
    }
    if (job.non_temporal) y_ = arena.take<E>(max_lines * job.out_channels + S::N);
    scratch_bytes_ = arena.used_bytes();
    if (!scratch) return;
    for (int64_t i = 0; i < tiles_kept_; ++i) tiles_[i] = {-1, nullptr, 0, 0, 0, chunks_ + i * tile_chunks};
    in_line_ = job.in.direct ? job.in.line : S::N;
    in_row_ = job.in.direct ? lat_.cross_in_step * job.in.cross : in_rows_.row_size();
    out_line_ = job.out.direct ? job.out.line : S::N;
    out_row_ = job.out.direct ? job.out.cross : job.strip * S::N;
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Units are numbered by group, image, strip and band, the last fastest.
  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      int64_t rest = unit;
      row_begin_ = rest % job_.bands * job_.band;
      row_end_ = at_most(job_.out.cross_size, row_begin_ + job_.band);
      rest /= job_.bands;
      enter_strip(rest % job_.strips);
      rest /= job_.strips;
      image_ = rest % job_.batch;
      if (rest / job_.batch != group_) enter_group(rest / job_.batch);
      const bool direct = job_.in.direct && job_.out.direct;
      for (int64_t v = vector_begin_; v < vector_end_; v = direct ? vector_end_ : v + 1) {
        if (!job_.out.direct && !lat_.covers) clear<S>(y_, (row_end_ - row_begin_) * out_row_);
        for (int64_t i = 0; i < lat_.cross_phase_count; ++i)
          run_rows_of(lat_.cross_phases[i], v, direct ? vector_end_ : v + 1);
        if (!job_.out.direct) store_rows(v);
      }
    }
    if (job_.non_temporal) S::fence();
  }

 private:
  struct ColumnTile {
    int64_t index;
    const LinePhase* columns;
    int64_t t0, T, chunk_count;
    Chunk* chunks;
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
    const int64_t lanes = lanes_of(v);
    // A channel's taps are neighbours: they are transposed as the columns of planar memory are.
    const bool neighbours = lanes == S::N && job_.divide == 1 && kernel_taps_ >= S::block && job_.W_line == 1 &&
                            (job_.W_cross == job_.kernel_lines || job_.kernel_cross == 1);
    if constexpr (vector_converts<S, T>)
      if (neighbours && (__is_same(T, E) || job_.W_channel == kernel_taps_)) {
        for (int64_t k = 0; k < job_.sum; ++k) {
          const T* from = W + k * job_.W_multiplier + v * S::N * job_.W_channel;
          if constexpr (__is_same(T, E)) {
            columns_to_pixels<S>(to + k * kernel_taps_ * S::N, from, job_.W_channel, kernel_taps_);
          } else {
            widen_span<S, T>(widened_, from, 1, S::N * kernel_taps_);
            columns_to_pixels<S>(to + k * kernel_taps_ * S::N, widened_, kernel_taps_, kernel_taps_);
          }
        }
        return;
      }
    for (int64_t k = 0; k < job_.sum; ++k) {
      for (int64_t p = 0; p < job_.kernel_cross; ++p) {
        for (int64_t q = 0; q < job_.kernel_lines; ++q, to += S::N) {
          const T* tap = W + k * job_.W_multiplier + p * job_.W_cross + q * job_.W_line;
          for (int64_t l = 0; l < S::N; ++l) {
            const int64_t o = v * S::N + l;
            to[l] = l < lanes ? convert<E>(tap[o / job_.divide * job_.W_channel + o % job_.divide * job_.W_multiplier])
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
    for (int64_t i = 0; i < lat_.line_phase_count; ++i) {
      const LinePhase& c = lat_.line_phases[i];
      column_count_ += divide_up(first_of(c, (strip + 1) * job_.strip) - first_of(c, strip * job_.strip), max_lines);
    }
    for (int64_t i = 0; i < tiles_kept_; ++i) tiles_[i].index = -1;
    columns_ = lines_read(lat_, strip * job_.strip, (strip + 1) * job_.strip, job_.in.lines);
  }

  // The strip's tile with this number, worked out unless it is still there from the last row.
  const ColumnTile& tile_at(int64_t index) {
    ColumnTile& tile = tiles_[index % tiles_kept_];
    if (tile.index == index) return tile;
    tile.index = index;
    const LinePhase* c = lat_.line_phases;
    int64_t begin, outs, tiles;
    for (;; ++c) {
      begin = first_of(*c, strip_ * job_.strip);
      outs = first_of(*c, (strip_ + 1) * job_.strip) - begin;
      tiles = divide_up(outs, max_lines);
      if (index < tiles) break;
      index -= tiles;
    }
    tile.columns = c;
    tile.t0 = begin + index * outs / tiles;
    tile.T = begin + (index + 1) * outs / tiles - tile.t0;
    tile.chunk_count = 0;
    for (int64_t k = 0; k < job_.sum; ++k) {
      for (const TapSet* p = lat_.tap_sets + c->sets_begin; p < lat_.tap_sets + c->sets_end; ++p) {
        const int64_t count = chunks_of(p->taps, S::max_taps);
        for (int64_t j = 0; j < count; ++j) {
          const int64_t a0 = j * p->taps / count, a1 = (j + 1) * p->taps / count, lines = tile.T + a1 - a0 - 1;
          const uint32_t live = live_lines(p->first - tile.t0 - a0, p->last - tile.t0 - a0, lines);
          if (!live) continue;
          const Step x = (p->in0 + (tile.t0 + a0) * lat_.line_in_step) * in_line_;
          tile.chunks[tile.chunk_count++] = {static_cast<int>(a1 - a0), live, x + k * in_rows_.plane_size(),
                                             (k * kernel_taps_ + p->tap0 + a0 * p->tap_step) * S::N,
                                             p->tap_step * S::N};
        }
      }
    }
    return tile;
  }

  // The unit's rows of one phase, for the channel vectors [v0, v1).
  void run_rows_of(const CrossPhase& c, int64_t v0, int64_t v1) {
    const int64_t u0 = first_of(c, row_begin_), u1 = first_of(c, row_end_);
    if (u0 >= u1) return;
    if (&c != rows_phase_ || u0 != u0_ || u1 != u1_) enter_rows(c, u0, u1);
    if (job_.in.direct) {
      x_ = static_cast<const E*>(job_.in.data) + image_ * job_.in.batch + v0 * S::N;
    } else {
      in_rows_.pack(image_ * job_.in.batch, v0, columns_.begin, columns_.end);
      x_ = in_rows_.data() - columns_.begin * S::N;
    }
    y_start_ = job_.out.direct ? static_cast<E*>(job_.out.data) + image_ * job_.out.batch + v0 * S::N * job_.out.channel
                               : y_ - row_begin_ * out_row_ - strip_ * job_.strip * S::N;
    for (int64_t i = 0; i < column_count_; ++i) run_tile_down(tile_at(i), u0, u1, v0, v1);
  }

  // Which taps are inside the image in the phase's rows [u0, u1), and where they read.
  void enter_rows(const CrossPhase& c, int64_t u0, int64_t u1) {
    rows_phase_ = &c;
    u0_ = u0;
    u1_ = u1;
    const CrossTap* tap = lat_.cross_taps + c.taps_begin;
    const int64_t taps = c.taps_end - c.taps_begin;
    for (int64_t u = u0; u < u1; ++u) {
      Range& r = taps_inside_[u - u0] = {0, taps};
      const int64_t row0 = u * lat_.cross_in_step;
      while (r.begin < r.end && tap[r.begin].in0 + row0 < 0) ++r.begin;
      while (r.begin < r.end && tap[r.end - 1].in0 + row0 >= job_.in.cross_size) --r.end;
    }
    for (int64_t o = 0; o < taps; ++o) {
      w_offset_[o] = tap[o].tap * job_.kernel_lines * S::N;
      if (job_.in.direct) x_offset_[o] = (tap[o].in0 + u0 * lat_.cross_in_step) * job_.in.cross;
    }
    if (!job_.in.direct) in_rows_.enter(tap, taps, lat_.cross_in_step, u0, u1, x_offset_);
  }

  // A tile of columns in the phase's rows [u0, u1), as many together as meet the same taps.
  void run_tile_down(const ColumnTile& columns, int64_t u0, int64_t u1, int64_t v0, int64_t v1) {
    const int64_t step = job_.rows_innermost ? 1 : v1 - v0;
    for (int64_t v = v0; v < v1; v += step) {
      for (int64_t u = u0; u < u1;) {
        const Range& taps = taps_inside_[u - u0];
        int64_t end = u + 1;
        while (!job_.streams && end < u1 && taps_inside_[end - u0].begin == taps.begin &&
               taps_inside_[end - u0].end == taps.end)
          ++end;
        run_rows(columns, u, end - u, taps, v - v0, v, v + step);
        u = end;
      }
    }
  }

  // A tile of output columns in `rows` rows from u, for the channel vectors [v0, v1), of which the first is `vector`
  // vectors on from x_ and y_start_.
  void run_rows(const ColumnTile& columns, int64_t u, int64_t rows, const Range& taps, int64_t vector, int64_t v0,
                int64_t v1) {
    const LinePhase& c = *columns.columns;
    Tile<S> tile;
    tile.x = x_ + vector * S::N + (u - u0_) * in_row_;
    tile.x_line = lat_.line_in_step * in_line_;
    tile.w = weights_of(v0);
    tile.w_vector = job_.sum * kernel_taps_ * S::N;
    tile.bias = bias_ + (v0 - vector_begin_) * S::N;
    tile.y = y_start_ + vector * S::N + (c.out0 + columns.t0 * c.out_step) * out_line_ +
             (rows_phase_->out0 + u * rows_phase_->out_step) * out_row_;
    tile.y_line = c.out_step * out_line_;
    tile.x_row = in_row_;
    tile.y_row = tile.y_ahead = rows_phase_->out_step * out_row_;
    tile.rows = rows;
    tile.fetch = job_.fetches && !job_.non_temporal;
    tile.places_ahead = tile.spans_ahead = 0;
    if (job_.non_temporal && taps.begin < taps.end) {
      const E* next = tile.x + columns.chunks->x + x_offset_[taps.end - 1] + in_row_;
      tile.spans_ahead = at_most(lat_.cross_in_step, 2);
      for (int64_t i = 0; i < tile.spans_ahead; ++i) tile.x_spans[i] = next - i * job_.in.cross;
      tile.span_bytes = columns.T * at_most(lat_.line_in_step, 2) * S::N * Step{sizeof(E)};
    }
    if (tile.fetch && taps.begin < taps.end) {
      // The next output row is the first to read so many rows more; of a row's columns each tap set reads its own.
      const int64_t rows_ahead = job_.streams ? at_most(lat_.cross_in_step, 2) : 1;
      const int64_t columns_ahead = job_.streams ? at_most(lat_.line_in_step, 2) : 1;
      const Step ahead = columns.chunks->x + x_offset_[taps.end - 1] + in_row_;
      for (int64_t i = 0; i < rows_ahead; ++i)
        for (int64_t j = 0; j < columns_ahead; ++j)
          tile.x_ahead[tile.places_ahead++] = ahead - i * job_.in.cross + j * in_line_;
    }
    tile.chunks = columns.chunks;
    tile.chunk_count = columns.chunk_count;
    tile.x_offset = x_offset_ + taps.begin;
    tile.w_offset = w_offset_ + taps.begin;
    tile.count = taps.end - taps.begin;
    if (!job_.non_temporal) return run_vectors(tile, columns, v0, v1);
    E* to = tile.y;
    tile.y = y_;
    tile.y_line = job_.out_channels;
    run_vectors(tile, columns, v0, v1);
    stream_span<S>(to, y_, columns.T * job_.out_channels);
  }

  // All but the image's last vector of channels are whole; what is packed has idle lanes instead.
  void run_vectors(Tile<S>& tile, const ColumnTile& columns, int64_t v0, int64_t v1) {
    const bool packed = !job_.in.direct && !job_.out.direct;
    const int64_t whole = packed ? v1 - v0 : at_most(v1, job_.out_channels / S::N) - v0;
    tile.vectors = whole;
    if (whole > 0) run_tile<S, Lanes::channels>(columns.T, tile);
    if (whole == v1 - v0) return;
    tile.x += whole * S::N;
    tile.y += whole * S::N;
    tile.w += whole * tile.w_vector;
    tile.bias += whole * S::N;
    tile.vectors = 1;
    tile.lanes = lanes_of(v1 - 1);
    run_tile<S, Lanes::channels_edge>(columns.T, tile);
  }

  void store_rows(int64_t v) {
    const int64_t begin = strip_ * job_.strip, columns = at_most(job_.strip, job_.out.lines - begin);
    // Rows that follow one another without a gap are one long row.
    const bool one = columns * S::N == out_row_ && columns * job_.out.line == job_.out.cross;
    const int64_t rows = row_end_ - row_begin_;
    for (int64_t row = 0; row < (one ? 1 : rows); ++row)
      out_pixels_.store(y_ + row * out_row_,
                        image_ * job_.out.batch + (row_begin_ + row) * job_.out.cross + begin * job_.out.line, v,
                        columns * (one ? rows : 1));
  }

  const Correlation& job_;
  const depthwise::LatticeView& lat_;
  const int64_t vectors_in_all_, kernel_taps_;
  RowWindows<S> in_rows_;
  PackedPixels<S> out_pixels_;
  int64_t scratch_bytes_ = 0, tiles_kept_ = 0;
  ColumnTile* tiles_ = nullptr;
  Chunk* chunks_ = nullptr;
  Step *x_offset_ = nullptr, *w_offset_ = nullptr;
  Range* taps_inside_ = nullptr;
  E *weights_ = nullptr, *bias_ = nullptr, *widened_ = nullptr, *y_ = nullptr;
  const CrossPhase* rows_phase_ = nullptr;
  int64_t strip_ = -1, column_count_ = 0, image_ = 0, group_ = -1, vector_begin_ = 0, vector_end_ = 0;
  int64_t row_begin_ = 0, row_end_ = 0, u0_ = 0, u1_ = 0;
  Range columns_ = {0, 0};
  Step in_line_ = 0, in_row_ = 0, out_line_ = 0, out_row_ = 0;
  const E* x_ = nullptr;
  E* y_start_ = nullptr;
};

}  // namespace
