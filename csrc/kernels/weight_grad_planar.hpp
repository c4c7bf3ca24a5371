// Weight gradient with lanes along the columns: lines are image rows, the cross axis is columns.
//
// A unit is one output channel and one part of the images and bands. The sums of its taps are vectors of lane-wise
// partial sums; the lanes are added once, at the end. Channels of small images are done several in a call.
#pragma once
#include "bias_sums.hpp"
#include "job.hpp"
#include "packed_rows.hpp"
#include "row_products.hpp"
#include "sums.hpp"
#include "walk.hpp"

namespace {

using depthwise::CrossTap;
using depthwise::LinePhase;
using depthwise::TapSet;
using depthwise::WeightGradient;

template <class S>
class WeightGradPlanar {
  using E = typename S::E;
  using Half = Few<typename S::Half, 3>;
  using StrideTwoFew = StrideTwo<Few<S, 5>>;
  static constexpr bool halves = Half::N < S::N;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  WeightGradPlanar(const WeightGradient& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        x_rows_(job.x, job.rows),
        g_segment_{0, 0, divide_up(job.strip, S::N) * S::N + S::N, 0},
        g_layout_{&g_segment_, 1, g_segment_.length, nullptr, 1, g_segment_.length},
        g_rows_(job.g, g_layout_),
        taps_(job.kernel_lines * job.kernel_cross) {
    Arena arena(scratch);
    x_offset_ = arena.take<Step>(job.kernel_cross);
    packed_offset_ = arena.take<Step>(job.kernel_cross);
    stretches_ = arena.take<Stretch>(job.strip / S::N + 1);
    masks_ = arena.take<char>((job.strip / S::N + 1) * job.kernel_cross * mask_bytes());
    half_masks_ = arena.take<typename Half::M>(job.kernel_cross);
    sums_.take(arena, 1, taps_);
    if (S::masked_fma || !job.x.direct) x_rows_.take(arena, lat_.max_sets, job.ring);
    if (!job.g.direct) g_rows_.take(arena, 1, max_lines);
    scratch_bytes_ = arena.used_bytes();
    if (!scratch) return;
    for (int64_t o = 0; o < job.kernel_cross; ++o) {
      x_offset_[o] = lat_.cross_taps[o].in0;
      packed_offset_[o] = x_rows_.offset(o);
    }
    const int64_t channels = job.out_channels / job.divide;
    first_element_ = -job.spare;
    last_element_ = job.spare;
    for (const Step reach : {(job.batch - 1) * job.x.batch, (channels - 1) * job.x.channel,
                             (job.x.lines - 1) * job.x.line, job.x.cross_size - 1})
      (reach < 0 ? first_element_ : last_element_) += reach;
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end;) {
      const int64_t o = unit / job_.parts, planes = planes_together(o, end - unit);
      if (planes)
        run_planes(o, planes);
      else if (taps_)
        run_part(o, unit % job_.parts);
      if (job_.gb_sums)
        for (int64_t i = 0; i < at_least(planes, 1); ++i) sum_part(o + i, unit % job_.parts);
      unit += at_least(planes, 1);
    }
  }

 private:
  static constexpr int64_t planes_bytes = 16 << 10;

  // Neighbouring vectors of a strip that are done alike.
  struct Stretch {
    bool edge;
    int64_t column, vectors, last_lanes, masks;
  };

  // Rows [t0, t1) of a phase in few tiles of equal height, or nearly so where only low ones are equal.
  struct Tiles {
    int64_t t0, count, least = 0, longer = 0;  // so many of the tiles, the first, have a row more
    Tiles(int64_t begin, int64_t end) : t0(begin), count(divide_up(end - begin, max_lines)) {
      const int64_t rows = end - begin;
      if (!count) return;
      for (int64_t more = count; rows / more >= low_lines; ++more)
        if (rows % more == 0) {
          count = more;
          break;
        }
      least = rows / count;
      longer = rows % count;
    }
    int64_t first(int64_t k) const { return t0 + k * least + at_most(k, longer); }
    int64_t lines(int64_t k) const { return least + (k < longer); }
  };

  E* weights_of(int64_t o) {
    return static_cast<E*>(job_.gW) + o % job_.divide * job_.gW_multiplier + o / job_.divide * job_.gW_channel;
  }

  void run_part(int64_t o, int64_t part) {
    const int64_t cells = job_.batch * job_.bands;
    sums_.clear();
    for (int64_t cell = part * cells / job_.parts; cell < (part + 1) * cells / job_.parts; ++cell)
      run_cell(o, cell / job_.bands, cell % job_.bands);
    for (int64_t tap = 0; tap < taps_; ++tap)
      if (job_.gW)
        weights_of(o)[tap] = static_cast<E>(sums_.all_lanes(0, tap));
      else
        job_.sums[(part * job_.out_channels + o) * taps_ + tap] = sums_.all_lanes(0, tap);
  }

  // The sum of gy. Bands that follow one another are taken together: small planes would be divided for longer than
  // summed.
  void sum_part(int64_t o, int64_t part) {
    const int64_t cells = job_.batch * job_.bands, whole = job_.parts == 1 ? job_.batch : 0;
    const Step channel = o * job_.g.channel;
    double total = 0;
    for (int64_t n = 0; n < whole; ++n)
      total += sum_area<S>(job_.g, n * job_.g.batch + channel, job_.g.lines, job_.g.cross_size);
    const int64_t end = whole ? 0 : (part + 1) * cells / job_.parts;
    for (int64_t cell = part * cells / job_.parts; cell < end; ++cell) {
      const int64_t row0 = cell % job_.bands * job_.band, row1 = at_most(job_.g.lines, row0 + job_.band);
      total += sum_area<S>(job_.g, cell / job_.bands * job_.g.batch + channel + row0 * job_.g.line, row1 - row0,
                           job_.g.cross_size);
    }
    job_.gb_sums[part * job_.out_channels + o] = total;
  }

  // How many channels, from this one on, are summed by calls of their own for each chunk of taps, lanes and all; 0
  // where sums have to be kept between calls.
  int64_t planes_together(int64_t o, int64_t most) {
    if (!taps_ || !job_.batch || !job_.g.lines || !job_.g.cross_size || job_.g.lines > tiles_kept * max_lines) return 0;
    const Tiles tiles(0, job_.g.lines);
    if (!job_.gW || job_.parts != 1 || !job_.x.direct || !job_.g.direct || lat_.line_phase_count != 1 ||
        job_.g.cross_size > job_.strip || tiles.count > tiles_kept)
      return 0;
    enter_strip(0, job_.g.cross_size);
    if (stretch_count_ != 1 || job_.batch * job_.g.lines * stretches_->vectors > steps_kept) return 0;
    const int64_t bytes =
        job_.batch * (job_.x.lines * job_.x.cross_size + job_.g.lines * job_.g.cross_size) * Step{sizeof(E)};
    if (tiles.longer) most = 1;
    if (job_.kernel_lines > 3 || job_.kernel_cross > 3)
      most = at_most(most, at_least(1, planes_bytes / at_least(1, bytes)));
    if (job_.divide > 1) most = at_most(most, job_.divide - o % job_.divide);
    const auto inside = [&](int64_t o) {
      const Step channel = o / job_.divide * job_.x.channel;
      return stays_inside(0, job_.g.lines, channel) &&
             stays_inside(0, job_.g.lines, channel + (job_.batch - 1) * job_.x.batch);
    };
    if (!inside(o)) return 0;
    while (most > 1 && !inside(o + most - 1)) --most;
    return most;
  }
  static constexpr int64_t tiles_kept = 64;

  void run_planes(int64_t o, int64_t planes) {
    const Tiles tiles(0, job_.g.lines);
    RowProducts<E> p = call(o / job_.divide * job_.x.channel, o * job_.g.channel, *stretches_);
    p.planes = planes;
    p.images = job_.batch;
    if (tiles.longer) {
      sums_.clear();
      run_taps(p, *stretches_, lat_.line_phases[0], tiles, 0, tiles.longer);
      p.adds = true;
    }
    p.totals = weights_of(o);
    run_taps(p, *stretches_, lat_.line_phases[0], tiles, tiles.longer, tiles.count);
  }

  // What all calls for a run of vectors have in common; x and g are the elements at row 0, column 0.
  RowProducts<E> call(Step x, Step g, const Stretch& r) {
    RowProducts<E> p{};
    p.x = static_cast<const E*>(job_.x.data) + x + r.column * lat_.cross_in_step;
    p.g = static_cast<const E*>(job_.g.data) + g + r.column;
    p.x_plane = job_.divide > 1 ? 0 : job_.x.channel;
    p.g_plane = job_.g.channel;
    p.x_image = job_.x.batch;
    p.g_image = job_.g.batch;
    p.planes = p.images = 1;
    p.x_line = lat_.line_in_step * job_.x.line;
    p.x_offset = x_offset_;
    p.vectors = r.vectors;
    p.last_lanes = r.last_lanes;
    p.masks_vector = job_.kernel_cross;
    p.sums_cross = job_.sum_cross * S::N;
    p.totals_plane = job_.divide > 1 ? job_.gW_multiplier : job_.gW_channel;
    p.totals_cross = job_.sum_cross;
    p.fetch = job_.fetches;
    return p;
  }

  void run_cell(int64_t o, int64_t n, int64_t band) {
    const Step x = n * job_.x.batch + o / job_.divide * job_.x.channel, g = n * job_.g.batch + o * job_.g.channel;
    const int64_t row0 = band * job_.band, row1 = at_most(job_.g.lines, row0 + job_.band);
    for (int64_t j0 = 0; j0 < job_.g.cross_size; j0 += job_.strip) {
      enter_strip(j0, at_most(job_.g.cross_size, j0 + job_.strip));
      for (int64_t i = 0; i < lat_.line_phase_count; ++i) {
        const LinePhase& c = lat_.line_phases[i];
        if (!job_.x.direct) x_rows_.forget(j0);
        const Tiles tiles(first_of(c, row0), first_of(c, row1));
        for (int64_t k = 0; k < tiles.count; ++k) run_tile_of_rows(c, tiles, k, x, g);
      }
    }
  }

  // One tile of gy rows, through packed rows where memory is not as lanes want it.
  void run_tile_of_rows(const LinePhase& c, const Tiles& tiles, int64_t k, Step x, Step g) {
    const int64_t t0 = tiles.first(k), lines = tiles.lines(k);
    int64_t vectors = 0;
    for (const Stretch* r = stretches_; r < stretches_ + stretch_count_; ++r) vectors += r->vectors;
    sums_.count(0, lines * vectors);
    const bool packs = !job_.x.direct || !stays_inside_of(c, t0, t0 + lines, x);
    const Step column = stretches_->column;
    const E* packed_g = nullptr;
    if (!job_.g.direct) {
      g_rows_.forget(column);
      const Step row = g + (c.out0 + t0 * c.out_step) * job_.g.line, line = c.out_step * job_.g.line;
      packed_g = g_rows_.data() - column + g_rows_.lines(0, 0, lines, [&](int64_t t) { return row + t * line; });
    }
    if (packs && job_.x.direct) x_rows_.forget(column * lat_.cross_in_step);
    for (const Stretch* r = stretches_; r < stretches_ + stretch_count_; ++r) {
      RowProducts<E> p = call(x, g, *r);
      if (packed_g) p.g = packed_g + r->column;
      run_taps(p, *r, c, tiles, k, k + 1, packs, packed_g != nullptr, x, column);
    }
  }

  // All taps of tiles [begin, end), of one height, of a run.
  void run_taps(RowProducts<E>& p, const Stretch& r, const LinePhase& c, const Tiles& tiles, int64_t begin, int64_t end,
                bool packs = false, bool packed_g = false, Step x = 0, Step column = 0) {
    ProductTile list[tiles_kept];
    p.tiles = list;
    p.tile_count = end - begin;
    p.g_line = packed_g ? g_rows_.line_size() : c.out_step * job_.g.line;
    const int64_t apart = lat_.lines_per_out, lines = tiles.lines(begin);
    p.fetch = p.fetch && !packs && !packed_g;
    const Step step = packs && !job_.x.direct ? 1 : lat_.cross_in_step;  // from lane to lane
    for (int64_t i = c.sets_begin; i < c.sets_end; ++i) {
      const TapSet& tap_set = lat_.tap_sets[i];
      const int64_t t0 = tiles.first(begin) * apart;
      Step packed = 0;  // of the line of the tile's first row and tap 0
      if (packs) {
        const int64_t first = at_least(tap_set.first, t0);
        const int64_t last = at_most(tap_set.last, t0 + (lines - 1) * apart + tap_set.taps);
        if (first >= last) continue;
        packed = x_rows_.lines(i - c.sets_begin, first, last,
                               [&](int64_t s) { return x + (tap_set.in0 + s * lat_.line_in_step) * job_.x.line; });
        packed += (t0 - first) * x_rows_.line_size();
        p.x = x_rows_.data() + (r.column - column) * step;
        p.x_line = x_rows_.line_size();
      }
      const int64_t count = chunks_of(tap_set.taps, lat_.lines_per_out == 2 ? StrideTwoFew::max_taps : S::max_taps);
      for (int64_t k = 0; k < count; ++k) {
        const int64_t a0 = k * tap_set.taps / count, a1 = (k + 1) * tap_set.taps / count;
        uint32_t any = 0;
        for (int64_t t = begin; t < end; ++t) {
          const int64_t s0 = tiles.first(t) * apart + a0;
          ProductTile& tile = list[t - begin];
          tile.live = live_lines(tap_set.first - s0, tap_set.last - s0, (lines - 1) * apart + a1 - a0);
          tile.x = packs ? packed + a0 * p.x_line : (tap_set.in0 + s0 * lat_.line_in_step) * job_.x.line;
          tile.g = packed_g ? 0 : (c.out0 + tiles.first(t) * c.out_step) * job_.g.line;
          any |= tile.live;
        }
        if (!any && !p.totals) continue;
        const Step tap = (tap_set.tap0 + a0 * tap_set.tap_step) * job_.sum_line;
        p.sums_tap = tap_set.tap_step * job_.sum_line * S::N;
        p.totals_tap = tap_set.tap_step * job_.sum_line;
        run_columns(p, r, lines, a1 - a0, tap, packs ? packed_offset_ : x_offset_, step);
      }
    }
  }

  void run_columns(RowProducts<E> p, const Stretch& r, int64_t lines, int64_t taps, Step tap, const Step* x_offset,
                   Step step) {
    E* const totals = p.totals;
    const int64_t most = r.edge ? 1 : max_columns<S>(static_cast<int>(taps)), columns = job_.kernel_cross;
    const int64_t count = divide_up(columns, lines < low_lines ? 1 : most);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t o0 = k * columns / count, o1 = (k + 1) * columns / count;
      p.x_offset = x_offset + o0;
      p.sums = sums_.set(0) + (tap + o0 * job_.sum_cross) * S::N;
      p.totals = totals ? totals + tap + o0 * job_.sum_cross : nullptr;
      if constexpr (halves)
        if (half_) {
          p.masks = half_masks_ + r.masks + o0;
          p.x_vector = p.g_vector = Half::N;
          add<Half>(r, lines, taps, o1 - o0, p);
          continue;
        }
      p.masks = masks_ + (r.masks + o0) * mask_bytes();
      p.x_vector = S::N * step;
      p.g_vector = S::N;
      if constexpr (sizeof(E) == 4)
        if (lat_.lines_per_out == 2) {
          add<StrideTwoFew>(r, lines, taps, o1 - o0, p);
          continue;
        }
      add<S>(r, lines, taps, o1 - o0, p);
    }
  }

  template <class V>
  static void add(const Stretch& r, int64_t lines, int64_t taps, int64_t columns, const RowProducts<E>& p) {
    if constexpr (S::masked_fma)
      add_row_products<V, RowEnds::masked>(lines, taps, columns, p);
    else if (r.edge)
      add_row_products<V, RowEnds::edge>(lines, taps, columns, p);
    else
      add_row_products<V, RowEnds::inside>(lines, taps, columns, p);
  }

  int64_t mask_bytes() const {
    return lat_.lines_per_out == 2 ? sizeof(typename StrideTwoFew::M) : sizeof(typename S::M);
  }

  int64_t input_column(int64_t o, int64_t output) const { return lat_.cross_taps[o].in0 + output * lat_.cross_in_step; }

  void enter_strip(int64_t j0, int64_t j1) {
    if (j0 == strip_begin_) return;
    strip_begin_ = j0;
    stretch_count_ = 0;
    half_ = halves && lat_.lines_per_out == 1 && job_.g.cross_size <= Half::N && job_.kernel_lines <= Half::max_taps;
    const int64_t N = half_ ? Half::N : S::N, columns = job_.kernel_cross, step = lat_.cross_in_step;
    for (int64_t j = j0, v = 0; j < j1; j += N, ++v) {
      const int64_t lanes = at_most(N, j1 - j);
      bool edge = !S::masked_fma && lanes < N;
      for (int64_t o = 0; o < columns; ++o) {
        const int64_t at = input_column(o, j);
        const int64_t first = divide_up(at_least(-at, 0), step);
        const int64_t last = at_most(lanes, floor_div(job_.x.cross_size - 1 - at, step) + 1);
        if (!S::masked_fma && (at < 0 || input_column(o, j + N) > job_.x.cross_size)) edge = true;
        if (half_)
          half_masks_[o] = Half::mask(first, last);
        else if (lat_.lines_per_out == 2)
          reinterpret_cast<typename StrideTwoFew::M*>(masks_)[v * columns + o] =
              StrideTwoFew::mask(2 * first, 2 * last - 1);
        else
          reinterpret_cast<typename S::M*>(masks_)[v * columns + o] = S::mask(first, last);
      }
      if (stretch_count_ && stretches_[stretch_count_ - 1].edge == edge) {
        stretches_[stretch_count_ - 1].vectors += 1;
        stretches_[stretch_count_ - 1].last_lanes = lanes;
      } else {
        stretches_[stretch_count_++] = {edge, j, 1, lanes, half_ ? 0 : v * columns};
      }
    }
  }

  bool stays_inside(int64_t t0, int64_t t1, Step plane) const {
    return stays_inside_of(lat_.line_phases[0], t0, t1, plane);
  }

  // Whether whole vectors read only what lies between the first and the last element of x.
  bool stays_inside_of(const LinePhase& c, int64_t t0, int64_t t1, Step plane) const {
    if (!S::masked_fma || !stretch_count_ || !taps_) return true;
    Step lowest = INT64_MAX, highest = INT64_MIN;
    for (const TapSet* p = lat_.tap_sets + c.sets_begin; p < lat_.tap_sets + c.sets_end; ++p) {
      const int64_t first = at_least(p->first, t0 * lat_.lines_per_out);
      const int64_t last = at_most(p->last, (t1 - 1) * lat_.lines_per_out + p->taps) - 1;
      for (const int64_t s : {first, last}) {
        if (first > last) break;
        lowest = at_most(lowest, (p->in0 + s * lat_.line_in_step) * job_.x.line);
        highest = at_least(highest, (p->in0 + s * lat_.line_in_step) * job_.x.line);
      }
    }
    if (lowest > highest) return true;
    const Stretch& last = stretches_[stretch_count_ - 1];
    const int64_t end = last.column + last.vectors * (half_ ? Half::N : S::N);
    return plane + lowest + input_column(0, stretches_->column) >= first_element_ &&
           plane + highest + input_column(job_.kernel_cross - 1, end) - 1 <= last_element_;
  }

  const WeightGradient& job_;
  const depthwise::LatticeView& lat_;
  PackedRows<S> x_rows_;
  const depthwise::Segment g_segment_;  // gy's rows are packed as they are
  const depthwise::RowLayoutView g_layout_;
  PackedRows<S> g_rows_;
  Sums<S> sums_;
  const int64_t taps_;
  int64_t scratch_bytes_ = 0, stretch_count_ = 0, strip_begin_ = -1;
  bool half_ = false;
  Step *x_offset_ = nullptr, *packed_offset_ = nullptr;
  Stretch* stretches_ = nullptr;
  char* masks_ = nullptr;  // of S or StrideTwoFew
  typename Half::M* half_masks_ = nullptr;
  Step first_element_ = 0, last_element_ = 0;
};

}  // namespace
