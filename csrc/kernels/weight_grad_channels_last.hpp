// Weight gradient with lanes along the channels: lines are image columns, offsets are kernel rows.
//
// A unit is one group of channel vectors and one part of the images and bands; each lane sums for its own channel.
#pragma once
#include "job.hpp"
#include "packed_pixels.hpp"
#include "products.hpp"
#include "sums.hpp"

namespace {

using depthwise::LineClass;
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
        x_pixels_(job.x, job.out_channels, job.divide, 1, job.columns_packed),
        g_pixels_(job.g, job.out_channels, 1, 1, job.strip),
        vectors_in_all_(divide_up(job.out_channels, S::N)),
        taps_(job.kernel_lines * job.kernel_offsets) {
    Arena arena(scratch);
    x_offset_ = arena.take<Step>(job.kernel_offsets);
    sums_.take(arena, job.group * taps_);
    if (!job.x.direct) x_pixels_.take(arena, job.ring);
    if (!job.g.direct) g_pixels_.take(arena, 1);
    scratch_bytes_ = arena.used_bytes();
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
      for (int64_t o = vector_begin_ * S::N; o < at_most(vector_end_ * S::N, job_.out_channels); ++o) {
        double* to = job_.sums + (part * job_.out_channels + o) * taps_;
        const int64_t v = o / S::N - vector_begin_;
        for (int64_t tap = 0; tap < taps_; ++tap) to[tap] = sums_.lane((v * taps_ + tap) * S::N + o % S::N);
      }
    }
  }

 private:
  static int64_t first_out(const LineClass& c, int64_t column) {
    return at_most(c.outs, divide_up(at_least(column - c.out0, 0), c.out_step));
  }

  void run_cell(int64_t n, int64_t band) {
    image_ = n;
    const int64_t u0 = band * job_.band, u1 = at_most(job_.g.offsets, u0 + job_.band);
    const bool direct = job_.x.direct && job_.g.direct;
    for (int64_t j0 = 0; j0 < job_.g.lines; j0 += job_.strip) {
      const int64_t j1 = at_most(job_.g.lines, j0 + job_.strip);
      // What is packed is packed for one vector of channels: then vectors go outermost.
      for (int64_t v = vector_begin_; v < vector_end_; v = direct ? vector_end_ : v + 1) {
        if (!job_.x.direct) find_packed_columns(j0, j1);
        for (int64_t u = u0; u < u1; ++u) {
          sums_.count(j1 - j0);
          enter_row(u, v, j0, j1);
          for (int64_t i = v; i < (direct ? vector_end_ : v + 1); ++i) run_row(u, i, j0, j1);
        }
      }
    }
  }

  void find_packed_columns(int64_t j0, int64_t j1) {
    int64_t least = INT64_MAX, most = INT64_MIN;
    for (int64_t i = 0; i < lat_.line_classes; ++i) {
      const LineClass& c = lat_.lines[i];
      const int64_t begin = first_out(c, j0), end = first_out(c, j1);
      if (begin >= end) continue;
      for (const Part* p = lat_.parts + c.parts_begin; p < lat_.parts + c.parts_end; ++p) {
        least = at_most(least, p->in0 + begin * lat_.line_in_step);
        most = at_least(most, p->in0 + (end - 1 + p->taps - 1) * lat_.line_in_step);
      }
    }
    column_begin_ = at_least(least, 0);
    column_end_ = at_most(most, job_.x.lines - 1) + 1;
    x_pixels_.forget();
  }

  // The kernel rows that meet the image from gy row u, and where; packs what they read.
  void enter_row(int64_t u, int64_t v, int64_t j0, int64_t j1) {
    const int64_t row0 = u * lat_.offset_in_step;
    o_begin_ = 0;
    o_end_ = job_.kernel_offsets;
    while (o_begin_ < o_end_ && lat_.taps[o_begin_].in0 + row0 < 0) ++o_begin_;
    while (o_begin_ < o_end_ && lat_.taps[o_end_ - 1].in0 + row0 >= job_.x.offsets) --o_end_;
    for (int64_t o = o_begin_; o < o_end_; ++o) {
      const int64_t row = lat_.taps[o].in0 + row0;
      if (job_.x.direct) {
        x_offset_[o] = row * job_.x.offset;
      } else {
        const int64_t slot = (job_.ring_by_tap ? o : row) % job_.ring;
        x_offset_[o] = slot * x_pixels_.row_size();
        x_pixels_.row(slot, row, image_ * job_.x.batch + row * job_.x.offset, v, 0, column_begin_, column_end_);
      }
    }
    if (!job_.g.direct) {
      g_pixels_.forget();
      g_pixels_.row(0, u, image_ * job_.g.batch + u * job_.g.offset, v, 0, j0, j1);
    }
  }

  void run_row(int64_t u, int64_t v, int64_t j0, int64_t j1) {
    Products<E> p{};
    const Step x_column = job_.x.direct ? job_.x.line : S::N, g_column = job_.g.direct ? job_.g.line : S::N;
    const E* x = x_pixels_.data() - column_begin_ * S::N;
    if (job_.x.direct) x = static_cast<const E*>(job_.x.data) + image_ * job_.x.batch + v * S::N;
    const E* g = g_pixels_.data() - j0 * S::N;
    if (job_.g.direct) g = static_cast<const E*>(job_.g.data) + image_ * job_.g.batch + u * job_.g.offset + v * S::N;
    E* sums = sums_.data() + (v - vector_begin_) * taps_ * S::N;
    p.first = &no_lane_before_;
    p.last = &every_lane_;
    p.lanes = at_most(S::N, job_.out_channels - v * S::N);
    p.sums_offset = job_.sum_offset * S::N;
    p.x_line = lat_.line_in_step * x_column;
    for (int64_t i = 0; i < lat_.line_classes; ++i) {
      const LineClass& c = lat_.lines[i];
      const int64_t t1 = first_out(c, j1);
      p.g_line = c.out_step * g_column;
      for (int64_t t = first_out(c, j0); t < t1;) {
        const int T = product_lines(t1 - t);
        p.g = g + (c.out0 + t * c.out_step) * g_column;
        for (const Part* part = lat_.parts + c.parts_begin; part < lat_.parts + c.parts_end; ++part) {
          p.x = x + (part->in0 + t * lat_.line_in_step) * x_column;
          p.sums_tap = part->tap_step * job_.sum_line * S::N;
          run_taps(p, *part, t, T, sums + part->tap0 * job_.sum_line * S::N);
        }
        t += T;
      }
    }
  }

  void run_taps(Products<E>& p, const Part& part, int64_t t0, int T, E* sums) {
    const int64_t count = chunks_of<S>(part.taps);
    const E* x = p.x;
    for (int64_t k = 0; k < count; ++k) {
      const int64_t a0 = k * part.taps / count, a1 = (k + 1) * part.taps / count;
      p.live = live_lines(part.first - t0 - a0, part.last - t0 - a0, T + a1 - a0 - 1);
      if (!p.live) continue;
      p.x = x + a0 * p.x_line;
      p.tiles = 1;
      const int A = static_cast<int>(a1 - a0);
      const int64_t offsets = o_end_ - o_begin_, pieces = divide_up(offsets, max_offsets<S>(A));
      for (int64_t i = 0; i < pieces; ++i) {
        const int64_t o0 = o_begin_ + i * offsets / pieces, o1 = o_begin_ + (i + 1) * offsets / pieces;
        p.x_offset = x_offset_ + o0;
        p.sums = sums + a0 * p.sums_tap + o0 * p.sums_offset;
        const int O = static_cast<int>(o1 - o0);
        if (p.lanes == S::N)
          add_products_of<S>(false, T, A, O, p);
        else
          add_edge(T, A, O, p);
      }
    }
  }

  // The last channels: the lanes are the same for every tap.
  void add_edge(int T, int A, int O, Products<E> p) {
    for (int o = 0; o < O; ++o, ++p.x_offset, p.sums += p.sums_offset) add_products_of<S>(true, T, A, 1, p);
  }

  const WeightGradient& job_;
  const depthwise::LatticeView& lat_;
  PackedPixels<S> x_pixels_, g_pixels_;
  Sums<S> sums_;
  const int64_t vectors_in_all_, taps_;
  const int64_t no_lane_before_ = 0, every_lane_ = S::N;
  int64_t scratch_bytes_ = 0;
  Step* x_offset_ = nullptr;
  int64_t image_ = 0, vector_begin_ = 0, vector_end_ = 0, o_begin_ = 0, o_end_ = 0;
  int64_t column_begin_ = 0, column_end_ = 0;
};

template <class S>
constexpr depthwise::Kernel<WeightGradient> weight_grad_channels_last = {
    [](const WeightGradient& job) { return WeightGradChannelsLast<S>(job, nullptr).scratch_bytes(); },
    [](const WeightGradient& job, int64_t begin, int64_t end, void* scratch) {
      WeightGradChannelsLast<S>(job, scratch).run(begin, end);
    }};

}  // namespace
