// Weight gradient with lanes along the columns: lines are image rows, offsets are kernel columns.
//
// A unit is one output channel and one part of the images and bands. The sums of all its taps are vectors of
// lane-wise partial sums; the lanes are added once, at the end.
#pragma once
#include "job.hpp"
#include "packed_rows.hpp"
#include "products.hpp"
#include "sums.hpp"
#include "walk.hpp"

namespace {

using depthwise::LineClass;
using depthwise::OffsetTap;
using depthwise::Part;
using depthwise::WeightGradient;

template <class S>
class WeightGradPlanar {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  WeightGradPlanar(const WeightGradient& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        x_rows_(job.x, job.lattice, job.strip, job.lattice.offset_in_step),
        g_rows_(job.g, plain_rows, job.strip, 1),
        taps_(job.kernel_lines * job.kernel_offsets) {
    Arena arena(scratch);
    x_offset_ = arena.take<Step>(job.kernel_offsets);
    first_ = arena.take<int64_t>(job.kernel_offsets);
    last_ = arena.take<int64_t>(job.kernel_offsets);
    sums_.take(arena, 1, taps_);
    if (!job.x.direct) x_rows_.take(arena, lat_.max_parts, job.ring);
    if (!job.g.direct) g_rows_.take(arena, 1, max_lines);
    scratch_bytes_ = arena.used_bytes();
    if (!scratch) return;
    const int64_t step = lat_.offset_in_step;
    for (int64_t o = 0; o < job.kernel_offsets; ++o) {
      const int64_t in0 = lat_.taps[o].in0;
      x_offset_[o] = job.x.direct ? in0 : x_rows_.offset(in0);
      first_[o] = at_least(0, -floor_div(in0, step));  // the first output whose input is not left of the row
      last_[o] = floor_div(job.x.offsets - 1 - in0, step) + 1;
    }
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    const int64_t cells = job_.batch * job_.bands;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t o = unit / job_.parts, part = unit % job_.parts;
      sums_.clear();
      for (int64_t cell = part * cells / job_.parts; cell < (part + 1) * cells / job_.parts; ++cell)
        run_cell(o, cell / job_.bands, cell % job_.bands);
      for (int64_t tap = 0; tap < taps_; ++tap)
        if (job_.gW)
          static_cast<E*>(job_.gW)[o * job_.gW_channel + tap] = static_cast<E>(sums_.all_lanes(0, tap));
        else
          job_.sums[(part * job_.out_channels + o) * taps_ + tap] = sums_.all_lanes(0, tap);
    }
  }

 private:
  // gy's rows are packed as they are: no phases, no padding.
  static constexpr depthwise::LatticeView plain_rows = {nullptr, 0, 1, 0, 1, nullptr, 0, 0, nullptr, 0, 1, nullptr};

  void run_cell(int64_t o, int64_t n, int64_t band) {
    x_from_ = n * job_.x.batch + o / job_.divide * job_.x.channel;
    g_from_ = n * job_.g.batch + o * job_.g.channel;
    const int64_t row0 = band * job_.band, row1 = at_most(job_.g.lines, row0 + job_.band);
    for (int64_t j0 = 0; j0 < job_.g.offsets; j0 += job_.strip) {
      const int64_t j1 = at_most(job_.g.offsets, j0 + job_.strip);
      for (int64_t i = 0; i < lat_.line_classes; ++i) {
        const LineClass& c = lat_.lines[i];
        if (!job_.x.direct) x_rows_.forget(j0);
        const int64_t t1 = first_of(c, row1);
        for (int64_t t = first_of(c, row0); t < t1;) {
          const int lines = product_lines(t1 - t);
          sums_.count(0, lines * divide_up(j1 - j0, S::N));
          run_rows(c, t, lines, j0, j1);
          t += lines;
        }
      }
    }
  }

  // gy rows [t0, t0 + T) of the class, columns [j0, j1).
  void run_rows(const LineClass& c, int64_t t0, int T, int64_t j0, int64_t j1) {
    Products<E> p{};
    p.x_tile = p.g_tile = S::N;
    const Step row = g_from_ + (c.out0 + t0 * c.out_step) * job_.g.line;
    const E* g = nullptr;
    if (job_.g.direct) {
      p.g_line = c.out_step * job_.g.line;
      g = static_cast<const E*>(job_.g.data) + row;
    } else {
      g_rows_.forget(j0);
      const Step line = c.out_step * job_.g.line;
      g = g_rows_.data() - j0 + g_rows_.lines(0, 0, T, [&](int64_t t) { return row + t * line; });
      p.g_line = g_rows_.line_size();
    }
    for (int64_t i = c.parts_begin; i < c.parts_end; ++i) {
      const Part& part = lat_.parts[i];
      const int64_t first = at_least(part.first, t0), last = at_most(part.last, t0 + T + part.taps - 1);
      if (first >= last) continue;
      const E* x = nullptr;  // the line of output t0 and tap 0
      if (job_.x.direct) {
        p.x_line = lat_.line_in_step * job_.x.line;
        x = static_cast<const E*>(job_.x.data) + x_from_ + part.in0 * job_.x.line + t0 * p.x_line;
      } else {
        p.x_line = x_rows_.line_size();
        const Step at = x_rows_.lines(i - c.parts_begin, first, last, [&](int64_t s) {
          return x_from_ + (part.in0 + s * lat_.line_in_step) * job_.x.line;
        });
        x = x_rows_.data() - j0 + at + (t0 - first) * p.x_line;
      }
      const int64_t count = chunks_of(part.taps, S::max_taps);
      for (int64_t k = 0; k < count; ++k) {
        const int64_t a0 = k * part.taps / count, a1 = (k + 1) * part.taps / count;
        p.live = live_lines(part.first - t0 - a0, part.last - t0 - a0, T + a1 - a0 - 1);
        if (!p.live) continue;
        p.sums_offset = job_.sum_offset * S::N;
        p.sums_tap = part.tap_step * job_.sum_line * S::N;
        run_columns(p, x + a0 * p.x_line, g, T, static_cast<int>(a1 - a0),
                    sums_.set(0) + (part.tap0 + a0 * part.tap_step) * job_.sum_line * S::N, j0, j1);
      }
    }
  }

  void run_columns(Products<E>& p, const E* x, const E* g, int T, int A, E* sums, int64_t j0, int64_t j1) {
    const int most = max_offsets<S>(A);
    const int64_t offsets = job_.kernel_offsets, count = divide_up(offsets, most);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t o0 = k * offsets / count, o1 = (k + 1) * offsets / count;
      // Vectors in [inner, inner_end) have every lane of every tap inside the row.
      int64_t first = INT64_MAX, last = INT64_MIN, inner = j0, inner_end = j1;
      for (int64_t o = o0; o < o1; ++o) {
        first = at_most(first, first_[o]);
        last = at_least(last, last_[o]);
        inner = at_least(inner, first_[o]);
        inner_end = at_most(inner_end, last_[o]);
      }
      inner = j0 + divide_up(inner - j0, S::N) * S::N;
      inner_end = at_least(inner, j0 + floor_div(inner_end - j0, S::N) * S::N);
      p.x_offset = x_offset_ + o0;
      p.first = first_ + o0;
      p.last = last_ + o0;
      p.sums = sums + o0 * p.sums_offset;
      for (int64_t j = j0; j < j1;) {
        const bool edge = j < inner || j >= inner_end;
        p.x = x + j;
        p.g = g + j;
        p.tiles = edge ? 1 : (inner_end - j) / S::N;
        p.column = j;
        p.lanes = at_most(S::N, j1 - j);
        if (!edge || (j + S::N > first && j < last)) add_products_of<S>(edge, T, A, static_cast<int>(o1 - o0), p);
        j += p.tiles * S::N;
      }
    }
  }

  const WeightGradient& job_;
  const depthwise::LatticeView& lat_;
  PackedRows<S> x_rows_, g_rows_;
  Sums<S> sums_;
  const int64_t taps_;
  int64_t scratch_bytes_ = 0;
  Step* x_offset_ = nullptr;
  int64_t *first_ = nullptr, *last_ = nullptr;
  Step x_from_ = 0, g_from_ = 0;
};

template <class S>
constexpr depthwise::Kernel<WeightGradient> weight_grad_planar = {
    [](const WeightGradient& job) { return WeightGradPlanar<S>(job, nullptr).scratch_bytes(); },
    [](const WeightGradient& job, int64_t begin, int64_t end, void* scratch) {
      WeightGradPlanar<S>(job, scratch).run(begin, end);
    }};

}  // namespace
