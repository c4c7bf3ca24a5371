// Weight gradient with lanes along the columns: lines are image rows, the cross axis is columns.
//
// A unit is one output channel and one part of the images and bands. The sums of its taps are vectors of lane-wise
// partial sums; the lanes are added once, at the end. Channels of small images are done several in a call.
#pragma once
#include "../heights.hpp"
#include "array_bounds.hpp"
#include "bias_sums.hpp"
#include "cut.hpp"
#include "product_strip.hpp"
#include "product_tiles.hpp"
#include "sums.hpp"
#include "walk.hpp"

namespace {

using depthwise::LinePhase;
using depthwise::TapSet;
using depthwise::WeightGradient;

template <class S>
class WeightGradPlanar {
  using E = typename S::E;
  static constexpr int64_t planes_bytes = 16 << 10;  // of planes that several calls take together
  static constexpr int64_t tiles_kept = 64;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  WeightGradPlanar(const WeightGradient& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        strip_(job),
        x_rows_(job.x, job.rows),
        g_segment_{0, 0, divide_up(job.strip, S::N) * S::N + S::N, 0},
        g_layout_{&g_segment_, 1, g_segment_.length, nullptr, 1, g_segment_.length},
        g_rows_(job.g, g_layout_),
        taps_(job.kernel_lines * job.kernel_cross) {
    Arena arena(scratch);
    strip_.take(arena);
    sums_.take(arena, 1, taps_);
    x_rows_.take(arena, 1, lat_.max_sets, job.ring);
    runs_ = arena.take<ProductRun>(steps_kept);
    if (!job.g.direct) g_rows_.take(arena, 1, 1, job.tile);
    scratch_bytes_ = arena.used_bytes();
    if (!scratch) return;
    strip_.set_offsets(x_rows_);
    bounds_ = bounds_of(job.x, job.batch / job.x.depths, job.out_channels / job.divide, job.spare);
    x_rows_.stay_inside(bounds_);
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    images_together_ = images_together();
    const bool whole = images_together_ && job_.parts == 1 && images_together_ >= job_.batch;
    for (int64_t unit = begin; unit < end;) {
      const int64_t o = unit / job_.parts, part = unit % job_.parts;
      const int64_t planes = whole ? planes_together(o, end - unit) : 0;
      if (planes)
        run_planes_with_care(o, planes);
      else if (taps_)
        with_care([&] { run_part(o, part); });
      if (job_.gb_sums)
        for (int64_t i = 0; i < at_least(planes, 1); ++i) sum_part(o + i, part);
      unit += at_least(planes, 1);
    }
  }

 private:
  // Zeros beside a row stand for nothing while gy is finite. Where it is not, a total is not, either: then all is done
  // again, one tap at a time, with products that are left out.
  template <class F>
  void with_care(const F& sum) {
    finite_ = true;
    sum();
    careful_ = !S::masked_fma && !finite_;
    if (careful_) sum();
    careful_ = false;
  }

  // Careful sums have another order, and which planes are done together hangs on the threads: each alone says whether
  // it needs them.
  void run_planes_with_care(int64_t o, int64_t planes) {
    finite_ = true;
    if (planes > 1) run_planes(o, planes);
    if (planes > 1 && (S::masked_fma || finite_)) return;
    for (int64_t i = 0; i < planes; ++i) with_care([&] { run_planes(o + i, 1); });
  }

  E* weights_of(int64_t o) {
    return static_cast<E*>(job_.gW) + o % job_.divide * job_.gW_multiplier + o / job_.divide * job_.gW_channel;
  }

  void run_part(int64_t o, int64_t part) {
    const Cut cells{job_.batch * job_.bands, job_.parts};
    sums_.clear();
    const int64_t end = cells.end(part);
    if (images_together_) {
      const int64_t last = end / job_.bands;
      for (int64_t n = cells.begin(part) / job_.bands; n < last; n += images_together_)
        run_images(o, {n, at_most(n + images_together_, last)});
      return store_sums(o, part);
    }
    for (int64_t cell = cells.begin(part), next; cell < end; cell = next) {
      const int64_t n = cell / job_.bands, band = cell % job_.bands;
      next = at_most(end, (n + 1) * job_.bands);
      run_bands(o, n, {band, band + next - cell});
    }
    store_sums(o, part);
  }

  void store_sums(int64_t o, int64_t part) {
    for (int64_t tap = 0; tap < taps_; ++tap) {
      const double total = sums_.all_lanes(0, tap);
      finite_ &= total * 0 == 0;
      if (job_.gW)
        weights_of(o)[tap] = static_cast<E>(total);
      else
        job_.sums[(part * job_.out_channels + o) * taps_ + tap] = total;
    }
  }

  // The sum of gy. Bands that follow one another are taken together: small planes would be divided for longer than
  // summed.
  void sum_part(int64_t o, int64_t part) {
    const Cut cells{job_.batch * job_.bands, job_.parts};
    const int64_t whole = job_.parts == 1 ? job_.batch : 0;
    const Step channel = o * job_.g.channel;
    double total = 0;
    for (int64_t n = 0; n < whole; ++n)
      total += sum_area<S>(job_.g, job_.g.plane(n) + channel, job_.g.lines, job_.g.cross_size);
    for (int64_t cell = cells.begin(part); !whole && cell < cells.end(part); ++cell) {
      const int64_t row0 = cell % job_.bands * job_.band, row1 = at_most(job_.g.lines, row0 + job_.band);
      total += sum_area<S>(job_.g, job_.g.plane(cell / job_.bands) + channel + row0 * job_.g.line, row1 - row0,
                           job_.g.cross_size);
    }
    job_.gb_sums[part * job_.out_channels + o] = total;
  }

  // How many images of a channel are so small that they are summed before sums are emptied, all rows of each at once; 0
  // where rows are packed or images are cut.
  int64_t images_together() {
    if (!taps_ || !job_.batch || !job_.g.lines || !job_.g.cross_size || job_.g.lines > tiles_kept * job_.tile) return 0;
    if (!job_.x.direct || !job_.g.direct || lat_.line_phase_count != 1 || job_.g.cross_size > job_.strip ||
        (job_.bands > 1 && job_.parts > 1))
      return 0;
    strip_.enter(0, job_.g.cross_size);
    return steps_kept / (job_.g.lines * strip_.vectors());
  }

  // How many channels, from this one on, are summed by calls of their own for each chunk of taps, lanes and all; 0
  // where whole vectors would leave the array.
  int64_t planes_together(int64_t o, int64_t most) {
    if (!job_.gW) return 0;
    const int64_t bytes =
        job_.batch * (job_.x.lines * job_.x.cross_size + job_.g.lines * job_.g.cross_size) * Step{sizeof(E)};
    if (job_.kernel_lines > 3 || job_.kernel_cross > 3)
      most = at_most(most, at_least(1, planes_bytes / at_least(1, bytes)));
    if (job_.divide > 1) most = at_most(most, job_.divide - o % job_.divide);
    if (!lie_inside(o, {0, job_.batch})) return 0;
    while (most > 1 && !lie_inside(o + most - 1, {0, job_.batch})) --most;
    return most;
  }

  // Whether whole vectors of these images' planes may be read.
  bool lie_inside(int64_t o, Range images) const {
    const Extent read = extent(lat_.line_phases[0], 0, job_.g.lines);
    for (int64_t n = images.begin; n < images.end; ++n)
      if (!lies_in(bounds_, read, job_.x.plane(n) + o / job_.divide * job_.x.channel)) return false;
    return true;
  }

  // Whole images, in the same order whether their rows have to be packed or not, so that a channel's bits do not hang
  // on its place.
  void run_images(int64_t o, Range images) {
    const TilesOfRows tiles(0, job_.g.lines, job_.tile);
    const Step x = o / job_.divide * job_.x.channel, g = o * job_.g.channel;
    sums_.count(0, images.size() * job_.g.lines * strip_.vectors());
    if (lie_inside(o, images)) {
      const Source from{.x = x, .g = g, .images = images};
      RowProducts<E> p = call(from);
      return run_taps(p, from, lat_.line_phases[0], tiles, 0, tiles.count());
    }
    for (int64_t n = images.begin; n < images.end; ++n)
      for (int64_t k = 0; k < tiles.count(); ++k)
        run_tile_of_rows(lat_.line_phases[0], tiles, k, job_.x.plane(n) + x, job_.g.plane(n) + g);
  }

  // What whole vectors of rows [t0, t1) of a phase read, from a plane's start.
  Extent extent(const LinePhase& phase, int64_t t0, int64_t t1) const {
    Cover cover;
    for (const TapSet* set = lat_.tap_sets + phase.sets_begin; set < lat_.tap_sets + phase.sets_end; ++set) {
      const Range lines = lines_met(*set, t0, t1, lat_.lines_per_out);
      if (lines.begin >= lines.end) continue;
      for (const int64_t s : {lines.begin, lines.end - 1})
        cover.add_line((set->in0 + s * lat_.line_in_step) * job_.x.line);
    }
    strip_.cover(cover);
    return cover.extent();
  }

  void run_planes(int64_t o, int64_t planes) {
    const TilesOfRows tiles(0, job_.g.lines, job_.tile);
    const Source from{.x = o / job_.divide * job_.x.channel, .g = o * job_.g.channel, .images = {0, job_.batch}};
    RowProducts<E> p = call(from);
    p.planes = planes;
    p.totals = weights_of(o);
    run_taps(p, from, lat_.line_phases[0], tiles, 0, tiles.count());
  }

  // Where a tile finds a plane's rows: elements to row 0 and column 0 of memory, unless rows are packed.
  struct Source {
    Step x, g;
    bool packs_x = false;
    const E* packed_g = nullptr;  // row 0 of the tile
    Range images = {0, 0};        // all of these; none: x and g are where a plane begins
  };

  // What all calls for a strip have in common.
  RowProducts<E> call(const Source& from) const {
    RowProducts<E> p{};
    p.x = static_cast<const E*>(job_.x.data) + from.x + strip_.column() * lat_.cross_in_step;
    p.g = from.packed_g ? from.packed_g : static_cast<const E*>(job_.g.data) + from.g + strip_.column();
    p.x_plane = job_.divide > 1 ? 0 : job_.x.channel;
    p.g_plane = job_.g.channel;
    p.planes = 1;
    p.x_line = lat_.line_in_step * job_.x.line;
    p.sums_cross = job_.sum_cross * S::N;
    p.totals_plane = job_.divide > 1 ? job_.gW_multiplier : job_.gW_channel;
    p.totals_cross = job_.sum_cross;
    p.fetch = job_.fetches && !from.packs_x && !from.packed_g;
    return p;
  }

  // Neighbouring bands of a plane, one after the other as they lie in memory, unless rows of x are packed: then strip
  // by strip, so that they are packed once for all of them.
  void run_bands(int64_t o, int64_t n, Range bands) {
    const int64_t together = job_.x.direct ? 1 : bands.size();
    for (int64_t band = bands.begin; band < bands.end; band += together) run_strips(o, n, {band, band + together});
  }
  DEPTHWISE_NOINLINE void run_strips(int64_t o, int64_t n, Range bands) {
    const Step x = job_.x.plane(n) + o / job_.divide * job_.x.channel, g = job_.g.plane(n) + o * job_.g.channel;
    for (int64_t j0 = 0; j0 < job_.g.cross_size; j0 += job_.strip) {
      strip_.enter(j0, at_most(job_.g.cross_size, j0 + job_.strip));
      for (int64_t i = 0; i < lat_.line_phase_count; ++i) {
        const LinePhase& c = lat_.line_phases[i];
        if (!job_.x.direct) x_rows_.forget(j0);
        for (int64_t band = bands.begin; band < bands.end; ++band) {
          const int64_t row0 = band * job_.band, row1 = at_most(job_.g.lines, row0 + job_.band);
          const TilesOfRows tiles(first_of(c, row0), first_of(c, row1), job_.tile);
          for (int64_t k = 0; k < tiles.count(); ++k) {
            sums_.count(0, tiles.lines(k) * strip_.vectors());
            run_tile_of_rows(c, tiles, k, x, g);
          }
        }
      }
    }
  }

  // One tile of gy rows, through packed rows where memory is not as lanes want it.
  void run_tile_of_rows(const LinePhase& c, const TilesOfRows& tiles, int64_t k, Step x, Step g) {
    const int64_t t0 = tiles.begin(k), lines = tiles.lines(k);
    Source from{.x = x, .g = g};
    from.packs_x = !job_.x.direct || !lies_in(bounds_, extent(c, t0, t0 + lines), x);
    const Step column = strip_.column();
    if (!job_.g.direct) {
      g_rows_.forget(column);
      const Step row = g + (c.out0 + t0 * c.out_step) * job_.g.line, line = c.out_step * job_.g.line;
      from.packed_g =
          g_rows_.data() + g_rows_.lines(g_rows_.windows_of(0), 0, lines, [&](int64_t t) { return row + t * line; });
    }
    if (from.packs_x && job_.x.direct) x_rows_.forget(column * lat_.cross_in_step);
    RowProducts<E> p = call(from);
    run_taps(p, from, c, tiles, k, k + 1);
  }

  // All taps of tiles [begin, end).
  void run_taps(RowProducts<E>& p, const Source& from, const LinePhase& c, const TilesOfRows& tiles, int64_t begin,
                int64_t end) {
    const int64_t apart = lat_.lines_per_out, t0 = tiles.begin(begin), t1 = tiles.begin(end);
    p.g_line = from.packed_g ? g_rows_.line_size() : c.out_step * job_.g.line;
    for (int64_t i = c.sets_begin; i < c.sets_end; ++i) {
      const TapSet& set = lat_.tap_sets[i];
      const Range read = lines_met(set, t0, t1, apart), taps = taps_met(set, t0, t1, apart);
      const Step first_sum = set.tap0 * job_.sum_line;
      p.sums_tap = set.tap_step * job_.sum_line * S::N;
      p.totals_tap = set.tap_step * job_.sum_line;
      clear_totals(p, first_sum, taps.begin, 0, job_.kernel_cross);
      clear_totals(p, first_sum + taps.end * p.totals_tap, set.taps - taps.end, 0, job_.kernel_cross);
      if (taps.empty()) continue;
      Step line = set.in0 * job_.x.line;  // elements to the line of row 0 and tap 0
      if (from.packs_x) {
        line = x_rows_.lines(x_rows_.windows_of(from.x) + i - c.sets_begin, read.begin, read.end,
                             [&](int64_t s) { return from.x + (set.in0 + s * lat_.line_in_step) * job_.x.line; });
        line -= read.begin * x_rows_.line_size();
        p.x = x_rows_.data();
        p.x_line = x_rows_.line_size();
      }
      const Step g_line0 = from.packed_g ? -t0 * p.g_line : c.out0 * job_.g.line;
      const Cut chunks = fewest_pieces(taps.size(), at_most(most_rows(), (tiles.least() + 1) * apart));
      const auto run_chunk = [&](int64_t a0, int64_t count) {
        ProductTile list[3 * tiles_kept], *list_end = list;
        for (int64_t t = begin; t < end; ++t)
          if (!place_tile(set, {tiles.begin(t), tiles.begin(t) + tiles.lines(t)}, {a0, a0 + count}, apart, list_end))
            return false;
        for (ProductTile* tile = list; tile < list_end; ++tile) {
          tile->x = line + tile->x * p.x_line;
          tile->g = g_line0 + tile->g * p.g_line;
        }
        run_columns(p, {list, list_end, from.images, from.packs_x}, count, first_sum + a0 * p.totals_tap);
        return true;
      };
      for (int64_t k = 0; k < chunks.count; ++k) {
        const int64_t a0 = taps.begin + chunks.begin(k), count = chunks.length(k);
        if (run_chunk(a0, count)) continue;
        for (int64_t a = a0; a < a0 + count; ++a) run_chunk(a, 1);
      }
    }
  }

  // Where totals are stored, those of taps that meet nothing are zero.
  void clear_totals(const RowProducts<E>& p, Step first, int64_t taps, int64_t o0, int64_t columns) {
    for (int64_t plane = 0; p.totals && plane < p.planes; ++plane)
      for (int64_t a = 0; a < taps; ++a)
        for (int64_t o = o0; o < o0 + columns; ++o)
          p.totals[plane * p.totals_plane + first + a * p.totals_tap + o * p.totals_cross] = 0;
  }

  struct Tiles {
    const ProductTile *begin, *end;
    Range images;
    bool packed;
  };

  // The columns of a chunk of taps, of which the first has its sum at `tap`.
  void run_columns(RowProducts<E>& all, const Tiles& tiles, int64_t taps, Step tap) {
    const Step x_vector = tiles.packed && !job_.x.direct ? S::N : S::N * lat_.cross_in_step;
    const Cut columns = fewest_pieces(job_.kernel_cross, most_columns(taps));
    for (int64_t k = 0; k < columns.count; ++k) {
      const int64_t o0 = columns.begin(k), count = columns.length(k);
      RowProducts<E> p = all;
      ProductRun* end = runs_;
      for (int64_t n = tiles.images.begin; n < at_least(tiles.images.end, 1); ++n)
        for (const ProductTile* tile = tiles.begin; tile < tiles.end; ++tile) {
          ProductTile there = *tile;
          if (!tiles.images.empty()) {
            there.x += job_.x.plane(n);
            there.g += job_.g.plane(n);
          }
          end = strip_.runs_of(there, o0, count, x_vector, end);
        }
      DEPTHWISE_REQUIRE(end - runs_ <= steps_kept, "the runs fit");
      if (end == runs_) {
        clear_totals(p, tap, taps, o0, count);
        continue;
      }
      p.runs = runs_;
      p.runs_end = end;
      p.masks_g = -1 - o0;
      p.x_offset = (tiles.packed ? strip_.packed_offset() : strip_.x_offset()) + o0;
      p.sums = sums_.set(0) + (tap + o0 * job_.sum_cross) * S::N;
      if (p.totals) p.totals += tap + o0 * job_.sum_cross;
      with_vectors([&]<class V, Beside B, int most>() { finite_ &= add_row_products<V, B, most>(taps, count, p); });
      all.fetch = false;  // what lies behind these tiles is at hand for the other taps
    }
  }

  int64_t most_rows() const {
    int64_t rows = 1;
    with_vectors([&]<class V, Beside B, int most>() { rows = most; });
    return rows;
  }
  int64_t most_columns(int64_t taps) const {
    int64_t columns = 1;
    with_vectors([&]<class V, Beside B, int most>() { columns = product_columns<V, B, most>(taps); });
    return columns;
  }

  // f<vectors, what is beside a row, most rows of taps>().
  template <class F>
  void with_vectors(const F& f) const {
    if constexpr (sizeof(E) == 4)
      if (lat_.lines_per_out == 2) return with_vectors_of<StrideTwo<S>>(f);
    with_vectors_of<S>(f);
  }

  template <class V, class F>
  void with_vectors_of(const F& f) const {
    if constexpr (S::masked_fma)
      f.template operator()<V, Beside::masked, most_product_rows<V>>();
    else if (careful_)
      f.template operator()<V, Beside::masked, 1>();
    else
      f.template operator()<V, Beside::zero, most_product_rows<V>>();
  }

  const WeightGradient& job_;
  const depthwise::LatticeView& lat_;
  ProductStrip<S> strip_;
  PackedRows<S> x_rows_;
  const depthwise::Segment g_segment_;  // gy's rows are packed as they are
  const depthwise::RowLayoutView g_layout_;
  PackedRows<S> g_rows_;
  Sums<S> sums_;
  ProductRun* runs_ = nullptr;
  const int64_t taps_;
  int64_t scratch_bytes_ = 0;
  Extent bounds_{};
  int64_t images_together_ = 0;
  bool careful_ = false, finite_ = true;  // finite_: all totals of a unit were, until now
};

}  // namespace
