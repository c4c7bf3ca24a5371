// Weight gradient with lanes along the channels: lines are image columns, the cross axis is rows.
//
// A unit is one group of channel vectors and one part of the images and bands; each lane sums for its own channel.
// What does not lie as lanes want it is packed for a band, some vectors of channels after others.
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
        x_(job.x, lat_, {.channels = job.out_channels, .divide = job.divide, .sum = 1}, job.vectors_together, 1,
           job.rows_packed, job.columns_packed),
        g_(job.g, job.out_channels, job.band, job.strip, job.vectors_together),
        pieces_(job, x_, edge()),
        bias_(job) {
    DEPTHWISE_REQUIRE(job.band > 0 && job.strip > 0 && job.group > 0 && job.parts > 0, "a unit has products");
    DEPTHWISE_REQUIRE(direct() ? job.g.direct : !job.g.direct || job.out_channels % S::N == 0,
                      "gy is in place beside x in place, and elsewhere where no vector laps over another");
    DEPTHWISE_REQUIRE(job.columns_together > 0 && job.vectors_together > 0, "some are summed at once");
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
        for (int64_t v = group.begin; v < group.end; ++v)
          store_channels(job_, part, first_channel(v), v * S::N, taps_, sums_, v - first);
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

  // Neighbouring columns of a phase.
  struct Columns {
    const LinePhase& phase;
    int64_t t, count;
  };

  void run_band(const Band& band, Range group) {
    // Packed vectors of channels go outermost.
    const int64_t together = direct() ? group.size() : job_.vectors_together;
    for (int64_t column = 0; column < job_.g.lines; column += job_.strip) {
      const Range outputs{column, at_most(job_.g.lines, column + job_.strip)}, inputs = x_.columns(outputs);
      for (int64_t v = group.begin; v < group.end; v += together) {
        const Range vectors{v, at_most(v + together, group.end)};
        g_.load(job_.g.plane(band.image), band, outputs, vectors);
        for (int64_t i = 0; i < lat_.cross_phase_count; ++i) {
          const CrossPhase& phase = lat_.cross_phases[i];
          const Range u = outputs_of(phase, band.rows);
          if (u.empty()) continue;
          const PhaseRows rows = x_.locate(phase, u, 0);
          run_slab({.rows = rows,
                    .inputs = inputs,
                    .outputs = outputs,
                    .first_of_group = group.begin,
                    .vectors = vectors,
                    .x = x_.read(rows, job_.x.plane(band.image), vectors, inputs),
                    .g = g_.at(job_.g.plane(band.image), band, outputs, v, 0)});
        }
      }
    }
  }

  // A few columns of all vectors of channels before the next columns, so that neighbouring vectors find the lines that
  // they share in the first-level cache.
  void run_slab(const Slab& slab) {
    const Range& u = slab.rows.u;
    const int64_t most = clamp(steps_kept / u.size(), 1, job_.columns_together);
    for (int64_t i = 0; i < lat_.line_phase_count; ++i) {
      const LinePhase& phase = lat_.line_phases[i];
      const GradientPieces<S>& pieces = pieces_.list(slab.rows, phase);
      const Range t = outputs_of(phase, slab.outputs);
      for (int64_t at = t.begin; at < t.end; at += most) {
        const Columns columns{.phase = phase, .t = at, .count = at_most(most, t.end - at)};
        for (int64_t v = slab.vectors.begin; v < slab.vectors.end; v += job_.vectors_together) {
          const Range vectors{v, at_most(v + job_.vectors_together, slab.vectors.end)};
          for (int64_t k = v; k < vectors.end; ++k) sums_.count(k - slab.first_of_group, columns.count * u.size());
          for (const Piece& piece : pieces) run_piece(slab, piece, columns, vectors);
        }
      }
    }
  }

  void run_piece(const Slab& slab, const Piece& piece, const Columns& columns, Range vectors) {
    const PhaseRows& rows = slab.rows;
    const Step apart = lat_.lines_per_out;
    // Those that meet some line inside the image.
    const Range t{at_least(columns.t, floor_div(piece.first - piece.taps, apart) + 1),
                  at_most(columns.t + columns.count, divide_up(piece.last, apart))};
    if (t.empty()) return;
    Products<E> p;
    p.columns = t.size();
    p.lines_apart = apart;
    p.first = piece.first - t.begin * apart;
    p.last = piece.last - t.begin * apart;
    p.x_line = lat_.line_in_step * x_.line();
    p.g_pixel = columns.phase.out_step * slab.g.line;
    p.rows = piece.u.size();
    p.x_row = x_.row();
    p.g_row = rows.phase->out_step * slab.g.row;
    p.vectors = vectors.size();
    p.sums_vector = taps_ * S::N;
    // Where pixels are read as they lie vectors are neighbours.
    p.x_vector = x_.vector_size();
    p.g_vector = g_.vector_size();
    const Step first = vectors.begin - slab.vectors.begin, lap = lapping(vectors.end - 1);
    p.x_last = (p.vectors - 1) * p.x_vector - lap;
    p.g_last = (p.vectors - 1) * p.g_vector - lap;
    p.x = slab.x + (first * p.x_vector + piece.x + t.begin * apart * p.x_line - slab.inputs.begin * x_.line());
    p.g = slab.g.at(rows.phase->out0 + piece.u.begin * rows.phase->out_step,
                    columns.phase.out0 + t.begin * columns.phase.out_step) +
          first * p.g_vector;
    p.x_offset = piece.x_offset;
    p.sums = sums_.set(vectors.begin - slab.first_of_group) + piece.sums;
    p.sums_cross = job_.sum_cross * S::N;
    p.sums_tap = piece.sums_tap;
    p.lanes = job_.out_channels;
    p.fetches = piece.fetches && job_.fetches;
    p.taps_fetched = direct() ? at_most(at_most(lat_.cross_in_step, 2), piece.cross_taps) : 0;
    // The next vectors of channels, or the first ones of the next columns, or of the next rows; packed vectors of
    // channels go outermost.
    p.x_ahead = p.g_ahead = p.vectors * S::N;
    if (direct() && vectors.end == slab.vectors.end) {
      const bool next_rows = columns.t + columns.count == columns.phase.outs;
      const Step pixels = next_rows ? -columns.t : columns.count, u = next_rows ? rows.u.size() : 0;
      p.x_ahead = u * p.x_row + pixels * apart * p.x_line - first * S::N;
      p.g_ahead = u * p.g_row + pixels * p.g_pixel - first * S::N;
    }
    if (edge()) return add_products_of<S, true>(piece.taps, piece.cross_taps, p);
    add_products_of<S, false>(piece.taps, piece.cross_taps, p);
  }

  bool direct() const { return job_.x.direct; }
  bool edge() const { return direct() && job_.out_channels < S::N; }
  // Lanes of vector v that lap over the vector before: where pixels are read as they lie, the last one's do.
  int64_t lapping(int64_t v) const {
    return direct() && job_.out_channels >= S::N ? at_least(0, (v + 1) * S::N - job_.out_channels) : 0;
  }
  int64_t first_channel(int64_t v) const { return v * S::N - lapping(v); }

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
