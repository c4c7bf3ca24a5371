// Weight gradient with lanes along the channels: lines are image columns, the cross axis is rows.
//
// A unit is one group of channel vectors and one part of the images and bands; each lane sums for its own channel.
// What does not lie as lanes want it is packed for a band, one vector of channels after another.
#pragma once
#include "bias_sums.hpp"
#include "job.hpp"
#include "packed_pixels.hpp"
#include "products.hpp"
#include "sums.hpp"
#include "walk.hpp"

namespace {

using depthwise::CrossPhase;
using depthwise::CrossTap;
using depthwise::LinePhase;
using depthwise::TapSet;
using depthwise::WeightGradient;

template <class S>
class WeightGradChannelsLast {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  WeightGradChannelsLast(const WeightGradient& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        x_rows_(job.x, job.out_channels, job.divide, 1, job.rows_packed, job.columns_packed),
        g_pixels_(job.g, job.out_channels, 1, 1),
        vectors_in_all_(divide_up(job.out_channels, S::N)),
        taps_(job.kernel_lines * job.kernel_cross) {
    Arena arena(scratch);
    x_offset_ = arena.take<Step>(job.kernel_cross);
    pieces_ = arena.take<Piece>(most_pieces());
    sums_.take(arena, job.group, taps_);
    gb_.take(arena, job.group, 1);
    if (!job.x.direct) x_rows_.take(arena, job.kernel_cross);
    if (!job.g.direct) {
      g_pixels_.take(arena);
      g_rows_ = arena.take<E>(job.band * job.strip * S::N);
    }
    scratch_bytes_ = arena.used_bytes();
    x_column_ = job.x.direct ? job.x.line : S::N;
    x_row_ = job.x.direct ? lat_.cross_in_step * job.x.cross : x_rows_.row_size();
    g_column_ = job.g.direct ? job.g.line : S::N;
    g_row_ = job.g.direct ? job.g.cross : job.strip * S::N;
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    const int64_t cells = job_.batch * job_.bands;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t part = unit % job_.parts;
      vector_begin_ = unit / job_.parts * job_.group;
      vector_end_ = at_most(vector_begin_ + job_.group, vectors_in_all_);
      if (taps_) {
        sums_.clear();
        for (int64_t cell = part * cells / job_.parts; cell < (part + 1) * cells / job_.parts; ++cell)
          run_cell(cell / job_.bands, cell % job_.bands);
        store_sums(part);
      }
      if (job_.gb_sums) sum_part(part);
    }
  }

 private:
  // The sums of gy: by vectors where channels are neighbours and fill them, else channel by channel.
  void sum_part(int64_t part) {
    const int64_t cells = job_.batch * job_.bands, begin = part * cells / job_.parts;
    const int64_t end = (part + 1) * cells / job_.parts, o1 = at_most(vector_end_ * S::N, job_.out_channels);
    const bool converts = job_.g.dtype == DType::f64 ? sizeof(E) == 8 : sizeof(E) == 4;
    const int64_t whole = job_.g.channel == 1 && converts ? o1 / S::N - vector_begin_ : 0;
    double* totals = job_.gb_sums + part * job_.out_channels;
    const auto each_cell = [&](int64_t o, const auto& f) {
      for (int64_t cell = begin; cell < end; ++cell) {
        const int64_t row0 = cell % job_.bands * job_.band, row1 = at_most(job_.g.cross_size, row0 + job_.band);
        f(cell / job_.bands * job_.g.batch + o * job_.g.channel + row0 * job_.g.cross, row1 - row0);
      }
    };
    gb_.clear();
    if (whole)
      each_cell(vector_begin_ * S::N, [&](Step at, int64_t rows) {
        for (int64_t row = 0; row < rows; ++row)
          add_pixels<S>(job_.g, at + row * job_.g.cross, job_.g.lines, gb_, whole);
      });
    for (int64_t i = 0; i < whole * S::N; ++i) totals[vector_begin_ * S::N + i] = gb_.lane(i / S::N, i % S::N);
    for (int64_t o = (vector_begin_ + whole) * S::N; o < o1; ++o) {
      totals[o] = 0;
      each_cell(o, [&](Step at, int64_t rows) { totals[o] += sum_area<S>(job_.g, at, job_.g.lines, rows); });
    }
  }

  void store_sums(int64_t part) {
    for (int64_t v = vector_begin_; v < vector_end_; ++v) {
      const int64_t set = v - vector_begin_, o0 = v * S::N, lanes = at_most(S::N, job_.out_channels - o0);
      if (job_.gW && lanes == S::N) {
        E* to = static_cast<E*>(job_.gW) + o0 * job_.gW_channel;
        pixels_to_columns<S>(to, job_.gW_channel, sums_.rounded(set), taps_);
        continue;
      }
      for (int64_t l = 0; l < lanes; ++l)
        for (int64_t tap = 0; tap < taps_; ++tap) {
          const double total = sums_.lane(set, tap * S::N + l);
          if (job_.gW)
            static_cast<E*>(job_.gW)[(o0 + l) * job_.gW_channel + tap] = static_cast<E>(total);
          else
            job_.sums[(part * job_.out_channels + o0 + l) * taps_ + tap] = total;
        }
    }
  }

  void run_cell(int64_t n, int64_t band) {
    image_ = n;
    const int64_t row0 = band * job_.band, row1 = at_most(job_.g.cross_size, row0 + job_.band);
    const bool direct = job_.x.direct && job_.g.direct;
    for (int64_t j0 = 0; j0 < job_.g.lines; j0 += job_.strip) {
      j0_ = j0;
      j1_ = at_most(job_.g.lines, j0 + job_.strip);
      if (!job_.x.direct) columns_ = lines_read(lat_, j0_, j1_, job_.x.lines);
      // What is packed is packed for one vector of channels: then vectors go outermost.
      for (int64_t v = vector_begin_; v < vector_end_; v = direct ? vector_end_ : v + 1) {
        if (!job_.g.direct) pack_g(v, row0, row1);
        for (int64_t i = 0; i < lat_.cross_phase_count; ++i)
          run_rows_of(lat_.cross_phases[i], row0, row1, v, direct ? vector_end_ : v + 1);
      }
    }
  }

  void pack_g(int64_t v, int64_t row0, int64_t row1) {
    for (int64_t row = row0; row < row1; ++row)
      g_pixels_.load(g_rows_ + (row - row0) * g_row_, image_ * job_.g.batch + row * job_.g.cross + j0_ * job_.g.line, v,
                     0, j1_ - j0_);
  }

  // The rows of gy of one phase in [row0, row1), for the channel vectors [v0, v1).
  void run_rows_of(const CrossPhase& c, int64_t row0, int64_t row1, int64_t v0, int64_t v1) {
    const int64_t u0 = first_of(c, row0), u1 = first_of(c, row1);
    if (u0 >= u1) return;
    rows_ = &c;
    const CrossTap* tap = lat_.cross_taps + c.taps_begin;
    const int64_t taps = c.taps_end - c.taps_begin;
    if (job_.x.direct) {
      for (int64_t o = 0; o < taps; ++o) x_offset_[o] = (tap[o].in0 + u0 * lat_.cross_in_step) * job_.x.cross;
      x_ = static_cast<const E*>(job_.x.data) + image_ * job_.x.batch + v0 * S::N;
    } else {
      x_rows_.enter(tap, taps, lat_.cross_in_step, u0, u1, x_offset_);
      x_rows_.pack(image_ * job_.x.batch, v0, columns_.begin, columns_.end);
      x_ = x_rows_.data() - columns_.begin * S::N;
    }
    g_ = job_.g.direct ? static_cast<const E*>(job_.g.data) + image_ * job_.g.batch + v0 * S::N
                       : g_rows_ - row0 * g_row_ - j0_ * S::N;
    x_ -= u0 * x_row_;
    const int64_t rows = job_.row_by_row ? 1 : u1 - u0, vectors = job_.vectors_outermost ? 1 : v1 - v0;
    for (int64_t u = u0; u < u1; u += rows)
      for (int64_t v = v0; v < v1; v += vectors) run_tiles(u, u + rows, v, v + vectors, v - v0);
  }

  // All columns in the phase's rows [u0, u1), for the channel vectors [v0, v1), of which the first lies `ahead` vectors
  // on from x_ and g_. Where neither the vectors nor the rows are taken one by one, tiles are, so that neighbouring
  // vectors meet what they have in common in the first-level cache.
  void run_tiles(int64_t u0, int64_t u1, int64_t v0, int64_t v1, int64_t ahead) {
    const int64_t whole = job_.x.direct ? clamp(job_.out_channels / S::N, v0, v1) : v1;
    const bool one = !job_.row_by_row && !job_.vectors_outermost;
    for (int64_t i = 0; i < lat_.line_phase_count; ++i) {
      const LinePhase& columns = lat_.line_phases[i];
      list_pieces(columns, u0, u1);
      const int64_t t1 = first_of(columns, j1_);
      for (int64_t t = first_of(columns, j0_); t < t1;) {
        const int T = product_lines(t1 - t);
        const int64_t most = one ? 1 : clamp(steps_kept / (T * (u1 - u0)), 1, tiles_kept);
        int64_t count = 1;
        while (count < most && product_lines(t1 - t - count * T) == T && t1 - t - count * T > 0) ++count;
        for (int64_t v = v0; v < v1; ++v) sums_.count(v - vector_begin_, T * count * (u1 - u0));
        for (const Piece* piece = pieces_; piece < pieces_ + piece_count_; ++piece) {
          if (whole > v0) run_piece(*piece, columns, t, T, count, v0, whole, ahead);
          if (whole < v1) run_piece(*piece, columns, t, T, count, whole, v1, ahead + whole - v0);
        }
        t += T * count;
      }
    }
  }
  static constexpr int64_t tiles_kept = steps_kept / (max_lines - 1);

  // Taps that are summed together, in rows of gy in which all of them are inside the image; the same for all tiles.
  struct Piece {
    int taps, cross_taps;
    const Step* x_offset;
    int64_t first, last, rows;  // x lines inside the image, numbered from the one of gy's line 0
    Step x, g, sums, sums_tap;  // elements from x_, g_ and a set's start
  };

  void list_pieces(const LinePhase& columns, int64_t u0, int64_t u1) {
    if (listed_rows_ == rows_ && listed_columns_ == &columns && listed_u0_ == u0 && listed_u1_ == u1) return;
    listed_rows_ = rows_;
    listed_columns_ = &columns;
    listed_u0_ = u0;
    listed_u1_ = u1;
    piece_count_ = 0;
    const CrossTap* tap = lat_.cross_taps + rows_->taps_begin;
    const int64_t cross_taps = rows_->taps_end - rows_->taps_begin;
    for (const TapSet* tap_set = lat_.tap_sets + columns.sets_begin; tap_set < lat_.tap_sets + columns.sets_end;
         ++tap_set) {
      const int64_t count = chunks_of(tap_set->taps, S::max_taps);
      for (int64_t k = 0; k < count; ++k) {
        const int64_t a0 = k * tap_set->taps / count, a1 = (k + 1) * tap_set->taps / count;
        const int A = static_cast<int>(a1 - a0);
        const auto add = [&](int64_t o0, int64_t o1, int64_t row0, int64_t row1) {
          if (row0 >= row1) return;
          pieces_[piece_count_++] = {
              A,
              static_cast<int>(o1 - o0),
              x_offset_ + o0,
              tap_set->first - a0,
              tap_set->last - a0,
              row1 - row0,
              (tap_set->in0 + a0 * lat_.line_in_step) * x_column_ + row0 * x_row_,
              (rows_->out0 + row0 * rows_->out_step) * g_row_,
              (tap_set->tap0 + a0 * tap_set->tap_step) * job_.sum_line * S::N + tap[o0].tap * job_.sum_cross * S::N,
              tap_set->tap_step * job_.sum_line * S::N};
        };
        const int64_t groups = divide_up(cross_taps, max_cross_taps<S>(A));
        for (int64_t i = 0; i < groups; ++i) {
          const int64_t o0 = i * cross_taps / groups, o1 = (i + 1) * cross_taps / groups;
          // All taps of the group are inside the image in rows [inner, inner_end); beside those they go one by one.
          int64_t inner = at_least(u0, first_inside(tap[o0])), inner_end = at_most(u1, end_inside(tap[o1 - 1]));
          if (inner >= inner_end || o1 - o0 == 1) inner = inner_end = u1;
          add(o0, o1, inner, inner_end);
          for (int64_t o = o0; o < o1; ++o) {
            const int64_t first = at_least(u0, first_inside(tap[o])), last = at_most(u1, end_inside(tap[o]));
            add(o, o + 1, first, at_most(last, inner));
            add(o, o + 1, at_least(first, inner_end), last);
          }
        }
      }
    }
  }
  int64_t most_pieces() const {
    return lat_.max_sets * chunks_of(lat_.max_set_taps, S::max_taps) * 3 * job_.kernel_cross;
  }

  // The first row of the phase in which a tap is inside the image, and the end of such rows.
  int64_t first_inside(const CrossTap& tap) const { return -floor_div(tap.in0, lat_.cross_in_step); }
  int64_t end_inside(const CrossTap& tap) const {
    return floor_div(job_.x.cross_size - 1 - tap.in0, lat_.cross_in_step) + 1;
  }

  // For `count` tiles of T columns of gy of a phase, from column t on.
  void run_piece(const Piece& piece, const LinePhase& c, int64_t t, int T, int64_t count, int64_t v0, int64_t v1,
                 int64_t ahead) {
    Products<E> p;
    p.x_line = lat_.line_in_step * x_column_;
    p.g_line = c.out_step * g_column_;
    PixelTile tiles[tiles_kept];
    uint32_t any = 0;
    for (int64_t i = 0; i < count; ++i) {
      tiles[i] = {i * T * p.x_line, i * T * p.g_line,
                  live_lines(piece.first - t - i * T, piece.last - t - i * T, T + piece.taps - 1)};
      any |= tiles[i].live;
    }
    if (!any) return;
    p.tiles = tiles;
    p.tile_count = count;
    p.rows = piece.rows;
    p.x_row = x_row_;
    p.g_row = rows_->out_step * g_row_;
    p.vectors = v1 - v0;
    p.sums_vector = taps_ * S::N;
    p.x = x_ + ahead * S::N + t * p.x_line + piece.x;
    p.g = g_ + ahead * S::N + (c.out0 + t * c.out_step) * g_column_ + piece.g;
    p.x_offset = piece.x_offset;
    p.sums = sums_.set(v0 - vector_begin_) + piece.sums;
    p.sums_cross = job_.sum_cross * S::N;
    p.sums_tap = piece.sums_tap;
    p.spans_ahead = 0;
    if (job_.row_by_row && &piece == pieces_) fetch_next_row(p, c, T);
    p.lanes = at_most(S::N, job_.out_channels - v0 * S::N);
    if (p.lanes == S::N || !(job_.x.direct || job_.g.direct))
      return add_products_of<S, false>(T, piece.taps, piece.cross_taps, p);
    for (int o = 0; o < piece.cross_taps; ++o, ++p.x_offset, p.sums += p.sums_cross)
      add_products_of<S, true>(T, piece.taps, 1, p);
  }

  // The next row of gy is the first to read a row of x, or two where rows lie a stride of two apart.
  void fetch_next_row(Products<E>& p, const LinePhase& c, int T) {
    const Step pixels = T * S::N * Step{sizeof(E)}, last = rows_->taps_end - rows_->taps_begin - 1;
    const E* next = p.x + x_offset_[last] + x_row_;
    p.runs[0] = p.g + p.g_row;
    p.span_bytes[0] = pixels * c.out_step;
    for (p.spans_ahead = 1; p.spans_ahead <= at_most(lat_.cross_in_step, 2); ++p.spans_ahead) {
      p.runs[p.spans_ahead] = next - (p.spans_ahead - 1) * job_.x.cross;
      p.span_bytes[p.spans_ahead] = pixels * at_most(lat_.line_in_step, 2);
    }
  }

  const WeightGradient& job_;
  const depthwise::LatticeView& lat_;
  RowWindows<S> x_rows_;
  PackedPixels<S> g_pixels_;
  Sums<S> sums_, gb_;
  const int64_t vectors_in_all_, taps_;
  int64_t scratch_bytes_ = 0;
  Step* x_offset_ = nullptr;
  Piece* pieces_ = nullptr;
  int64_t piece_count_ = 0, listed_u0_ = 0, listed_u1_ = 0;
  const CrossPhase* listed_rows_ = nullptr;
  const LinePhase* listed_columns_ = nullptr;
  E* g_rows_ = nullptr;
  const CrossPhase* rows_ = nullptr;
  const E *x_ = nullptr, *g_ = nullptr;
  Step x_column_ = 0, x_row_ = 0, g_column_ = 0, g_row_ = 0;
  Range columns_ = {0, 0};
  int64_t image_ = 0, vector_begin_ = 0, vector_end_ = 0, j0_ = 0, j1_ = 0;
};

}  // namespace
