// Weight gradient with lanes along the channels: lines are image columns, the cross axis is rows.
//
// A unit is one group of channel vectors and one part of the images and bands; each lane sums for its own channel.
// What does not lie as lanes want it is packed for a band, one vector of channels after another.
#pragma once
#include "channel_sums.hpp"
#include "gradient_pieces.hpp"
#include "staged_pixels.hpp"
#include "sums.hpp"

namespace {

template <class S>
class WeightGradChannelsLast {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  WeightGradChannelsLast(const WeightGradient& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        taps_(job.kernel_lines * job.kernel_cross),
        x_(job.x, lat_, {.channels = job.out_channels, .divide = job.divide, .sum = 1}, 1, job.rows_packed,
           job.columns_packed),
        g_(job.g, job.out_channels, job.band, job.strip),
        pieces_(job, x_),
        bias_(job) {
    DEPTHWISE_REQUIRE(job.band > 0 && job.strip > 0 && job.group > 0 && job.parts > 0, "a unit has products");
    Arena arena(scratch);
    x_.take(arena, job.kernel_cross);
    pieces_.take(arena);
    sums_.take(arena, job.group, taps_);
    bias_.take(arena);
    g_.take(arena);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    const Cut parts{.size = job_.batch * job_.bands, .count = job_.parts};
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t part = unit % job_.parts, first = unit / job_.parts * job_.group;
      const Range cells{parts.begin(part), parts.end(part)};
      const Range group{first, at_most(first + job_.group, divide_up(job_.out_channels, S::N))};
      if (taps_) {
        sums_.clear();
        for (int64_t cell = cells.begin; cell < cells.end; ++cell)
          run_band(band_at(cell, job_.bands, job_.band, job_.g.cross_size), group);
        for (int64_t v = group.begin; v < group.end; ++v) store_sums(part, v, v - first);
      }
      if (job_.gb_sums) bias_.add(cells, group, job_.gb_sums + part * job_.out_channels);
    }
  }

 private:
  // A band's rows of one phase, in a strip, for some of a group's channel vectors.
  struct Slab {
    const PhaseRows& rows;
    Range inputs, outputs;  // columns at hand
    int64_t first_of_group;
    Range vectors;
    const E* x;  // the first input column, of the first vector
    Pixels<E> g;
  };

  // Tiles of T neighbouring columns of a phase, from column t on.
  struct Tiles {
    const LinePhase& phase;
    int64_t t;
    int T;
    int64_t count;
  };
  static constexpr int64_t tiles_kept = steps_kept / (max_lines - 1);

  void store_sums(int64_t part, int64_t v, int64_t set) {
    const int64_t first = v * S::N, lanes = lanes_in<S>(v, job_.out_channels);
    E* gW = static_cast<E*>(job_.gW);
    if (gW && lanes == S::N)
      return pixels_to_columns<S>(gW + first * job_.gW_channel, job_.gW_channel, sums_.rounded(set), taps_);
    for (int64_t l = 0; l < lanes; ++l)
      for (int64_t tap = 0; tap < taps_; ++tap) {
        const double total = sums_.lane(set, tap * S::N + l);
        if (gW)
          gW[(first + l) * job_.gW_channel + tap] = static_cast<E>(total);
        else
          job_.sums[(part * job_.out_channels + first + l) * taps_ + tap] = total;
      }
  }

  void run_band(const Band& band, Range group) {
    // What is packed is packed for one vector of channels: then vectors go outermost.
    const int64_t together = job_.x.direct && job_.g.direct ? group.size() : 1;
    for (int64_t column = 0; column < job_.g.lines; column += job_.strip) {
      const Range outputs{column, at_most(job_.g.lines, column + job_.strip)}, inputs = x_.columns(outputs);
      for (int64_t v = group.begin; v < group.end; v += together) {
        g_.load(job_.g.plane(band.image), band, outputs, v);
        for (int64_t i = 0; i < lat_.cross_phase_count; ++i) {
          const CrossPhase& phase = lat_.cross_phases[i];
          const Range u = outputs_of(phase, band.rows);
          if (u.empty()) continue;
          const PhaseRows rows = x_.locate(phase, u, 0);
          run_slab({.rows = rows,
                    .inputs = inputs,
                    .outputs = outputs,
                    .first_of_group = group.begin,
                    .vectors = {v, v + together},
                    .x = x_.read(rows, job_.x.plane(band.image), v, inputs),
                    .g = g_.at(job_.g.plane(band.image), band, outputs, v, 0)});
        }
      }
    }
  }

  void run_slab(const Slab& slab) {
    const Range &u = slab.rows.u, &all = slab.vectors;
    const int64_t rows = job_.row_by_row ? 1 : u.size(), vectors = job_.vectors_outermost ? 1 : all.size();
    for (int64_t row = u.begin; row < u.end; row += rows)
      for (int64_t v = all.begin; v < all.end; v += vectors) run_columns(slab, {row, row + rows}, {v, v + vectors});
  }

  // All columns in rows u. Where neither the vectors nor the rows are taken one by one, tiles are, so that neighbouring
  // vectors meet what they have in common in the first-level cache.
  void run_columns(const Slab& slab, Range u, Range vectors) {
    const int64_t whole = job_.x.direct ? clamp(job_.out_channels / S::N, vectors.begin, vectors.end) : vectors.end;
    for (int64_t i = 0; i < lat_.line_phase_count; ++i) {
      const LinePhase& phase = lat_.line_phases[i];
      const GradientPieces<S>& pieces = pieces_.list(slab.rows, u, phase);
      const Range t = outputs_of(phase, slab.outputs);
      for (int64_t at = t.begin; at < t.end;) {
        const Tiles tiles = next_tiles(phase, {at, t.end}, u.size());
        for (int64_t v = vectors.begin; v < vectors.end; ++v)
          sums_.count(v - slab.first_of_group, tiles.T * tiles.count * u.size());
        for (const Piece& piece : pieces) {
          if (whole > vectors.begin) run_piece(slab, piece, tiles, u.begin, {vectors.begin, whole});
          if (whole < vectors.end) run_piece(slab, piece, tiles, u.begin, {whole, vectors.end});
        }
        at += tiles.T * tiles.count;
      }
    }
  }

  Tiles next_tiles(const LinePhase& phase, Range t, int64_t rows) const {
    const int T = product_lines(t.size());
    const bool one = !job_.row_by_row && !job_.vectors_outermost;
    const int64_t most = one ? 1 : clamp(steps_kept / (T * rows), 1, tiles_kept);
    int64_t count = 1;
    while (count < most && product_lines(t.size() - count * T) == T && t.size() - count * T > 0) ++count;
    return {.phase = phase, .t = t.begin, .T = T, .count = count};
  }

  // Lays the tiles out; false where none of their lines is inside the image.
  static bool place_tiles(const Piece& piece, const Tiles& tiles, Step x_line, Step g_line, PixelTile* places) {
    uint32_t any = 0;
    for (int64_t i = 0; i < tiles.count; ++i) {
      const int64_t t = i * tiles.T, at = tiles.t + t;
      const uint32_t live = live_lines(piece.first - at, piece.last - at, tiles.T + piece.taps - 1);
      places[i] = {.x = t * x_line, .g = t * g_line, .live = live};
      any |= live;
    }
    return any;
  }

  // A piece of a list that begins with row `first_row`, in some tiles of its columns.
  void run_piece(const Slab& slab, const Piece& piece, const Tiles& tiles, int64_t first_row, Range vectors) {
    const PhaseRows& rows = slab.rows;
    const CrossPhase& phase = *rows.phase;
    Products<E> p;
    p.x_line = lat_.line_in_step * x_.line();
    p.g_line = tiles.phase.out_step * slab.g.line;
    PixelTile places[tiles_kept];
    if (!place_tiles(piece, tiles, p.x_line, p.g_line, places)) return;
    const int64_t ahead = (vectors.begin - slab.vectors.begin) * S::N;
    p.tiles = places;
    p.tile_count = tiles.count;
    p.rows = piece.u.size();
    p.x_row = x_.row();
    p.g_row = phase.out_step * slab.g.row;
    p.vectors = vectors.size();
    p.sums_vector = taps_ * S::N;
    p.x = slab.x + (ahead + piece.x + tiles.t * p.x_line - slab.inputs.begin * x_.line() +
                    (first_row - rows.u.begin) * x_.row());
    p.g = slab.g.at(phase.out0 + piece.u.begin * phase.out_step, tiles.phase.out0 + tiles.t * tiles.phase.out_step) +
          ahead;
    p.x_offset = piece.x_offset;
    p.sums = sums_.set(vectors.begin - slab.first_of_group) + piece.sums;
    p.sums_cross = job_.sum_cross * S::N;
    p.sums_tap = piece.sums_tap;
    p.lanes = at_most(S::N, job_.out_channels - vectors.begin * S::N);
    p.spans_ahead = 0;
    if (job_.row_by_row && &piece == pieces_.begin()) fetch_next_row(p, rows, tiles);
    add(p, tiles.T, piece);
  }

  // The next row of gy is the first to read a row of x, or two where rows lie a stride of two apart.
  void fetch_next_row(Products<E>& p, const PhaseRows& rows, const Tiles& tiles) const {
    const Step pixels = tiles.T * S::N * Step{sizeof(E)};
    const E* next = p.x + (rows.x_offset[rows.tap_count - 1] + x_.row());
    p.spans[0] = p.g + p.g_row;
    p.span_bytes[0] = pixels * tiles.phase.out_step;
    for (p.spans_ahead = 1; p.spans_ahead <= at_most(lat_.cross_in_step, 2); ++p.spans_ahead) {
      p.spans[p.spans_ahead] = next - (p.spans_ahead - 1) * job_.x.cross;
      p.span_bytes[p.spans_ahead] = pixels * at_most(lat_.line_in_step, 2);
    }
  }

  void add(Products<E>& p, int lines, const Piece& piece) const {
    if (p.lanes == S::N || !(job_.x.direct || job_.g.direct))
      return add_products_of<S, false>(lines, piece.taps, piece.cross_taps, p);
    for (int o = 0; o < piece.cross_taps; ++o, ++p.x_offset, p.sums += p.sums_cross)
      add_products_of<S, true>(lines, piece.taps, 1, p);
  }

  const WeightGradient& job_;
  const depthwise::LatticeView& lat_;
  const int64_t taps_;
  InputRows<S> x_;
  StagedPixels<S> g_;
  GradientPieces<S> pieces_;
  Sums<S> sums_;
  ChannelSums<S> bias_;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
