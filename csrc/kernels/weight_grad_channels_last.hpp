// Weight gradient with lanes along the channels: lines are image columns, offsets are kernel rows.
//
// A unit is one group of channel vectors and one part of the images and bands; each lane sums for its own channel.
// What does not lie as lanes want it is packed for a band, one vector of channels after another.
#pragma once
#include "job.hpp"
#include "packed_pixels.hpp"
#include "products.hpp"
#include "sums.hpp"
#include "walk.hpp"

namespace {

using depthwise::LineClass;
using depthwise::OffsetClass;
using depthwise::OffsetTap;
using depthwise::Part;
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
        taps_(job.kernel_lines * job.kernel_offsets) {
    Arena arena(scratch);
    x_offset_ = arena.take<Step>(job.kernel_offsets);
    sums_.take(arena, job.group, taps_);
    if (!job.x.direct) x_rows_.take(arena, job.kernel_offsets);
    if (!job.g.direct) {
      g_pixels_.take(arena);
      g_rows_ = arena.take<E>(job.band * job.strip * S::N);
    }
    scratch_bytes_ = arena.used_bytes();
    x_column_ = job.x.direct ? job.x.line : S::N;
    x_row_ = job.x.direct ? lat_.offset_in_step * job.x.offset : x_rows_.row_size();
    g_column_ = job.g.direct ? job.g.line : S::N;
    g_row_ = job.g.direct ? job.g.offset : job.strip * S::N;
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    const int64_t cells = job_.batch * job_.bands;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t part = unit % job_.parts;
      vector_begin_ = unit / job_.parts * job_.group;
      vector_end_ = at_most(vector_begin_ + job_.group, vectors_in_all_);
      sums_.clear();
      for (int64_t cell = part * cells / job_.parts; cell < (part + 1) * cells / job_.parts; ++cell)
        run_cell(cell / job_.bands, cell % job_.bands);
      store_sums(part);
    }
  }

 private:
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
    const int64_t row0 = band * job_.band, row1 = at_most(job_.g.offsets, row0 + job_.band);
    const bool direct = job_.x.direct && job_.g.direct;
    for (int64_t j0 = 0; j0 < job_.g.lines; j0 += job_.strip) {
      j0_ = j0;
      j1_ = at_most(job_.g.lines, j0 + job_.strip);
      if (!job_.x.direct) columns_ = lines_read(lat_, j0_, j1_, job_.x.lines);
      // What is packed is packed for one vector of channels: then vectors go outermost.
      for (int64_t v = vector_begin_; v < vector_end_; v = direct ? vector_end_ : v + 1) {
        if (!job_.g.direct) pack_g(v, row0, row1);
        for (int64_t i = 0; i < lat_.offset_classes; ++i)
          run_rows_of(lat_.offsets[i], row0, row1, v, direct ? vector_end_ : v + 1);
      }
    }
  }

  void pack_g(int64_t v, int64_t row0, int64_t row1) {
    for (int64_t row = row0; row < row1; ++row)
      g_pixels_.load(g_rows_ + (row - row0) * g_row_, image_ * job_.g.batch + row * job_.g.offset + j0_ * job_.g.line,
                     v, 0, j1_ - j0_);
  }

  // The rows of gy of one class in [row0, row1), for the channel vectors [v0, v1).
  void run_rows_of(const OffsetClass& c, int64_t row0, int64_t row1, int64_t v0, int64_t v1) {
    const int64_t u0 = first_of(c, row0), u1 = first_of(c, row1);
    if (u0 >= u1) return;
    rows_ = &c;
    const OffsetTap* tap = lat_.taps + c.taps_begin;
    const int64_t taps = c.taps_end - c.taps_begin;
    if (job_.x.direct) {
      for (int64_t o = 0; o < taps; ++o) x_offset_[o] = (tap[o].in0 + u0 * lat_.offset_in_step) * job_.x.offset;
      x_ = static_cast<const E*>(job_.x.data) + image_ * job_.x.batch + v0 * S::N;
    } else {
      x_rows_.enter(tap, taps, lat_.offset_in_step, u0, u1, x_offset_);
      x_rows_.pack(image_ * job_.x.batch, v0, columns_.begin, columns_.end);
      x_ = x_rows_.data() - columns_.begin * S::N;
    }
    g_ = job_.g.direct ? static_cast<const E*>(job_.g.data) + image_ * job_.g.batch + v0 * S::N
                       : g_rows_ - row0 * g_row_ - j0_ * S::N;
    x_ -= u0 * x_row_;
    const int64_t step = job_.vectors_outermost ? 1 : v1 - v0;
    for (int64_t v = v0; v < v1; v += step) run_tiles_along(u0, u1, v, v + step, v - v0);
  }

  // The tiles of columns one after another, each for the channel vectors [v0, v1), of which the first lies `ahead`
  // vectors on from x_ and g_.
  void run_tiles_along(int64_t u0, int64_t u1, int64_t v0, int64_t v1, int64_t ahead) {
    for (int64_t i = 0; i < lat_.line_classes; ++i) {
      const LineClass& columns = lat_.lines[i];
      const int64_t t1 = first_of(columns, j1_);
      for (int64_t t = first_of(columns, j0_); t < t1;) {
        const int T = product_lines(t1 - t);
        for (int64_t v = v0; v < v1; ++v) {
          sums_.count(v - vector_begin_, T * (u1 - u0));
          run_tile_down(columns, t, T, u0, u1, v, ahead + v - v0);
        }
        t += T;
      }
    }
  }

  // Columns [t, t + T) of gy of a class, in its rows [u0, u1); vector v lies `ahead` vectors on from x_ and g_.
  void run_tile_down(const LineClass& c, int64_t t, int T, int64_t u0, int64_t u1, int64_t v, int64_t ahead) {
    Products<E> p{};
    E* sums = sums_.set(v - vector_begin_);
    p.first = &no_lane_before_;
    p.last = &every_lane_;
    p.lanes = at_most(S::N, job_.out_channels - v * S::N);
    p.sums_offset = job_.sum_offset * S::N;
    p.x_line = lat_.line_in_step * x_column_;
    p.x_tile = x_row_;
    p.g_tile = rows_->out_step * g_row_;
    p.g_line = c.out_step * g_column_;
    p.g = g_ + ahead * S::N + (c.out0 + t * c.out_step) * g_column_ + rows_->out0 * g_row_;
    for (const Part* part = lat_.parts + c.parts_begin; part < lat_.parts + c.parts_end; ++part) {
      p.x = x_ + ahead * S::N + (part->in0 + t * lat_.line_in_step) * x_column_;
      p.sums_tap = part->tap_step * job_.sum_line * S::N;
      run_taps(p, *part, t, T, u0, u1, sums + part->tap0 * job_.sum_line * S::N);
    }
  }

  void run_taps(const Products<E>& tile, const Part& part, int64_t t0, int T, int64_t u0, int64_t u1, E* sums) {
    const OffsetTap* tap = lat_.taps + rows_->taps_begin;
    const int64_t count = chunks_of(part.taps, S::max_taps), offsets = rows_->taps_end - rows_->taps_begin;
    for (int64_t k = 0; k < count; ++k) {
      const int64_t a0 = k * part.taps / count, a1 = (k + 1) * part.taps / count;
      Products<E> p = tile;
      p.live = live_lines(part.first - t0 - a0, part.last - t0 - a0, T + a1 - a0 - 1);
      if (!p.live) continue;
      p.x += a0 * p.x_line;
      p.sums = sums + a0 * p.sums_tap;
      const int A = static_cast<int>(a1 - a0);
      const int64_t pieces = divide_up(offsets, max_offsets<S>(A));
      for (int64_t i = 0; i < pieces; ++i) {
        const int64_t o0 = i * offsets / pieces, o1 = (i + 1) * offsets / pieces;
        // All taps of the piece are inside the image in rows [inner, inner_end); beside those they go one by one.
        int64_t inner = at_least(u0, first_inside(tap[o0])), inner_end = at_most(u1, end_inside(tap[o1 - 1]));
        if (inner >= inner_end || o1 - o0 == 1) inner = inner_end = u1;
        run_tiles(p, T, A, o0, o1, inner, inner_end);
        for (int64_t o = o0; o < o1; ++o) {
          const int64_t first = at_least(u0, first_inside(tap[o])), last = at_most(u1, end_inside(tap[o]));
          run_tiles(p, T, A, o, o + 1, first, at_most(last, inner));
          run_tiles(p, T, A, o, o + 1, at_least(first, inner_end), last);
        }
      }
    }
  }

  // The first row of the class in which a tap is inside the image, and the end of such rows.
  int64_t first_inside(const OffsetTap& tap) const { return -floor_div(tap.in0, lat_.offset_in_step); }
  int64_t end_inside(const OffsetTap& tap) const {
    return floor_div(job_.x.offsets - 1 - tap.in0, lat_.offset_in_step) + 1;
  }

  void run_tiles(Products<E> p, int T, int A, int64_t o0, int64_t o1, int64_t u0, int64_t u1) {
    if (u0 >= u1) return;
    p.tiles = u1 - u0;
    p.x += u0 * p.x_tile;
    p.g += u0 * p.g_tile;
    p.x_offset = x_offset_ + o0;
    p.sums += lat_.taps[rows_->taps_begin + o0].tap * p.sums_offset;
    const int O = static_cast<int>(o1 - o0);
    if (p.lanes == S::N || !(job_.x.direct || job_.g.direct)) return add_products_of<S>(false, T, A, O, p);
    // The last channels: the lanes are the same for every tap.
    for (int o = 0; o < O; ++o, ++p.x_offset, p.sums += p.sums_offset) add_products_of<S>(true, T, A, 1, p);
  }

  const WeightGradient& job_;
  const depthwise::LatticeView& lat_;
  RowWindows<S> x_rows_;
  PackedPixels<S> g_pixels_;
  Sums<S> sums_;
  const int64_t vectors_in_all_, taps_;
  const int64_t no_lane_before_ = 0, every_lane_ = S::N;
  int64_t scratch_bytes_ = 0;
  Step* x_offset_ = nullptr;
  E* g_rows_ = nullptr;
  const OffsetClass* rows_ = nullptr;
  const E *x_ = nullptr, *g_ = nullptr;
  Step x_column_ = 0, x_row_ = 0, g_column_ = 0, g_row_ = 0;
  Range columns_ = {0, 0};
  int64_t image_ = 0, vector_begin_ = 0, vector_end_ = 0, j0_ = 0, j1_ = 0;
};

template <class S>
constexpr depthwise::Kernel<WeightGradient> weight_grad_channels_last = {
    [](const WeightGradient& job) { return WeightGradChannelsLast<S>(job, nullptr).scratch_bytes(); },
    [](const WeightGradient& job, int64_t begin, int64_t end, void* scratch) {
      WeightGradChannelsLast<S>(job, scratch).run(begin, end);
    }};

}  // namespace
