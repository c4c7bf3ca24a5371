// Forward pass and input gradient with lanes along the columns: lines are image rows, the cross axis is columns.
//
// A unit is one tile of output rows of one plane, in one strip of columns. What a tile and a strip look like does not
// depend on the plane, so both are worked out once: the tile as chunks of taps, the strip as runs of vectors. Input
// that cannot be loaded as it lies (another dtype, columns of any stride) is packed.
#pragma once
#include "job.hpp"
#include "packed_rows.hpp"
#include "rows.hpp"
#include "walk.hpp"

namespace {

using depthwise::Correlation;
using depthwise::CrossPhase;
using depthwise::CrossTap;
using depthwise::LinePhase;
using depthwise::TapSet;

template <class S>
class CorrelatePlanar {
  using E = typename S::E;
  using Half = typename S::Half;  // narrower vectors for the end of a row, or S again
  static constexpr bool halves = Half::N < S::N;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelatePlanar(const Correlation& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        most_taps_(job.joined ? Interleaved<S>::max_taps : S::max_taps),
        phases_joined_(job.joined ? 2 : 1),
        one_row_(job.out.lines == 1 && job.kernel_lines == 1 && !job.joined && lat_.lines_per_out == 1),
        rows_(job.in, job.rows) {
    Arena arena(scratch);
    tile_chunks_ = at_least(1, job.sum * lat_.max_sets * chunks_of(lat_.max_set_taps, most_taps_));
    tiles_kept_ = tiles_that_fit(tile_chunks_);
    const int64_t strip_vectors = job.strip / S::N + 1;
    tiles_ = arena.take<RowTile>(tiles_kept_);
    chunks_ = arena.take<Chunk>((tiles_kept_ + 1) * tile_chunks_);
    stretches_ = arena.take<Stretch>(lat_.cross_phase_count * strip_vectors);
    for (Step** at : {&x_offset_, &packed_offset_, &w_offset_}) *at = arena.take<Step>(lat_.cross_tap_count);
    masks_ = arena.take<char>(strip_vectors * lat_.cross_tap_count * mask_bytes());
    half_masks_ = arena.take<typename Half::M>(lat_.cross_tap_count);
    if (!weights_direct()) weights_ = arena.take<E>(job.sum * job.kernel_lines * job.kernel_cross);
    if (!job.out.direct) y_ = arena.take<E>(lat_.cross_phase_count * max_lines * job.strip);
    if (S::masked_fma || !job.in.direct) rows_.take(arena, job.packed_sum * lat_.max_sets, job.ring);
    scratch_bytes_ = arena.used_bytes();
    if (!scratch) return;
    for (int64_t i = 0; i < tiles_kept_; ++i)
      tiles_[i] = {-1, nullptr, 0, 0, chunks_ + i * tile_chunks_, 0, 0, 0, 0, 0};
    w_sum_ = weights_direct() ? job.W_multiplier : job.kernel_lines * job.kernel_cross;
    w_line_ = weights_direct() ? job.W_line : job.kernel_cross;
    w_offset_step_ = weights_direct() ? job.W_cross : 1;
    const int64_t in_channels = job.out_channels / job.divide * job.sum;
    for (const Step reach : {(job.batch - 1) * job.in.batch, (in_channels - 1) * job.in.channel,
                             (job.in.lines - 1) * job.in.line, job.in.cross_size - 1})
      (reach < 0 ? first_element_ : last_element_) += reach;
    first_element_ -= job.spare;
    last_element_ += job.spare;
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // What the arrays hold has changed.
  void start_over() { plane_ = -1; }

  void run(int64_t begin, int64_t end) {
    const int64_t tiles = lat_.line_tiles;
    for (int64_t unit = begin; unit < end;) {
      const int64_t plane = unit / (job_.strips * tiles), tile = unit % tiles, left = at_most(tiles - tile, end - unit);
      enter_plane(plane);
      enter_strip(unit / tiles % job_.strips);
      const int64_t planes = left == tiles ? planes_together(plane, (end - unit) / tiles) : 1;
      run_tiles(tile, tile + left, planes);
      unit += planes * left;
    }
    if (job_.non_temporal) S::fence();
  }

 private:
  // Neighbouring vectors of a strip that are done alike, of one phase of columns or of two that are joined.
  struct Stretch {
    bool edge, half;
    int64_t column, vectors, last_lanes;  // first output of the phase, vectors, lanes of the last to store
    int64_t taps_begin, taps_end;         // taps of the one phase that some lane has inside the row
    int64_t first_phase;
    int64_t masks;  // index of the first
    int64_t stack;  // a single row: so many vectors are the lines of a tile; else 0
  };

  bool weights_direct() const { return job_.W_dtype == (sizeof(E) == 4 ? DType::f32 : DType::f64); }
  bool bias_direct() const { return !job_.b || job_.b_dtype == (sizeof(E) == 4 ? DType::f32 : DType::f64); }

  void enter_plane(int64_t plane) {
    if (plane == plane_) return;
    plane_ = plane;
    const int64_t n = plane / job_.out_channels, o = plane % job_.out_channels;
    in_ = n * job_.in.batch + o / job_.divide * job_.sum * job_.in.channel;
    out_ = n * job_.out.batch + o * job_.out.channel;
    const Step w0 = o / job_.divide * job_.W_channel + o % job_.divide * job_.W_multiplier;
    w_ = static_cast<const E*>(job_.W) + w0;
    if (!weights_direct()) {
      w_ = weights_;
      E* to = weights_;
      for (int64_t k = 0; k < job_.sum; ++k)
        for (int64_t p = 0; p < job_.kernel_lines; ++p)
          for (int64_t q = 0; q < job_.kernel_cross; ++q)
            *to++ = load_as<E>(job_.W, job_.W_dtype, w0 + k * job_.W_multiplier + p * job_.W_line + q * job_.W_cross);
    }
    if (job_.b && bias_direct()) bias_at_ = static_cast<const E*>(job_.b) + o * job_.b_stride;
    if (job_.b && !bias_direct()) {
      bias_ = load_as<E>(job_.b, job_.b_dtype, o * job_.b_stride);
      bias_at_ = &bias_;
    }
    packed_phase_ = nullptr;
    // The zeros beside a packed row count for nothing while weights are finite.
    const bool masks = S::masked_fma || job_.in.direct || !weights_are_finite();
    if (masks != masks_rows_) strip_ = -1;
    masks_rows_ = masks;
  }

  bool weights_are_finite() const {
    E nothing = 0;
    for (int64_t k = 0; k < job_.sum; ++k)
      for (int64_t p = 0; p < job_.kernel_lines; ++p)
        for (int64_t q = 0; q < job_.kernel_cross; ++q)
          nothing += 0 * w_[k * w_sum_ + p * w_line_ + q * w_offset_step_];
    return nothing == 0;
  }

  // How many planes, from this one on, are done together: they lie evenly, and their whole vectors stay inside the
  // array. Where that takes several calls, as many as a first-level cache holds.
  int64_t planes_together(int64_t plane, int64_t most) {
    if (!job_.in.direct || !job_.out.direct || !weights_direct() || !bias_direct() || job_.strips != 1 ||
        lat_.line_tiles > tiles_kept_)
      return 1;
    const bool one_call = stretch_count_ == 1 && lat_.line_phase_count == 1 && chunks_of_all(tile_at(0)) == 1;
    const int64_t plane_bytes =
        (job_.in.lines * job_.in.cross_size + job_.out.lines * job_.out.cross_size) * Step{sizeof(E)};
    if (!one_call) most = at_most(most, planes_bytes / at_least(plane_bytes, 1));
    const int64_t o = plane % job_.out_channels, row = job_.divide > 1 ? job_.divide : job_.out_channels;
    most = at_most(most, row - o % row);
    if (most > 1 && !plane_stays_inside(in_)) return 1;
    while (most > 1 && !plane_stays_inside(in_ + (most - 1) * in_plane())) --most;
    return at_least(most, 1);
  }
  static constexpr int64_t planes_bytes = 16 << 10;
  int64_t chunks_of_all(const RowTile& tile) const {
    int64_t count = 0;
    for (int64_t i = tile.rows->sets_begin; i < tile.rows->sets_end; ++i)
      count += chunks_of(lat_.tap_sets[i].taps, most_taps_);
    return count * job_.sum;
  }
  Step in_plane() const { return job_.divide > 1 ? 0 : job_.sum * job_.in.channel; }

  void enter_strip(int64_t strip) {
    if (strip == strip_) return;
    strip_ = strip;
    packed_phase_ = nullptr;
    stretch_count_ = 0;
    int64_t masks = 0;
    const int64_t j0 = strip * job_.strip;
    for (int64_t i = 0; i < lat_.cross_phase_count; i += phases_joined_) {
      const CrossPhase& c = lat_.cross_phases[i];
      const CrossTap* tap = lat_.cross_taps + c.taps_begin;
      const int64_t taps = lat_.cross_phases[i + phases_joined_ - 1].taps_end - c.taps_begin;
      for (int64_t o = 0; o < taps; ++o) {
        w_offset_[c.taps_begin + o] = tap[o].tap * w_offset_step_;
        x_offset_[c.taps_begin + o] = tap[o].in0;
        packed_offset_[c.taps_begin + o] = rows_.offset(c.taps_begin + o);
      }
      const int64_t count = job_.joined ? at_most(2 * job_.strip, job_.out.cross_size - 2 * j0)
                                        : at_most(job_.strip, c.outs - j0);  // outputs of the strip
      Stretch* last = nullptr;
      for (int64_t j = 0; j < count;) {
        const bool half = halves && count <= Half::N * phases_joined_;
        const int64_t N = half ? Half::N : S::N, lanes = at_most(N * phases_joined_, count - j),
                      at = j0 + j / phases_joined_;
        const bool edge = reaches_beside(tap, taps, at, N) && (!S::masked_fma || one_row_);
        Stretch next{edge || (one_row_ && lanes < N), half, at, 1, lanes, 0, taps, i, half ? c.taps_begin : masks, 0};
        if (!job_.joined) {
          while (next.taps_begin < taps && input_column(tap[next.taps_begin], at + lanes - 1) < 0) ++next.taps_begin;
          while (next.taps_begin < next.taps_end && input_column(tap[next.taps_end - 1], at) >= job_.in.cross_size)
            --next.taps_end;
        }
        if (half)
          mark_lanes<Half>(half_masks_ + next.masks, tap, taps, at);
        else if (lat_.lines_per_out == 2)
          mark_lanes<StrideTwo<S>>(masks_of<StrideTwo<S>>(masks), tap, taps, at), masks += taps;
        else
          mark_lanes<S>(masks_of<S>(masks), tap, taps, at), masks += taps;
        if (last && last->edge == next.edge && last->half == half && last->taps_begin == next.taps_begin &&
            last->taps_end == next.taps_end) {
          last->vectors += 1;
          last->last_lanes = lanes;
        } else {
          last = &(stretches_[stretch_count_++] = next);
        }
        j += N * phases_joined_;
      }
    }
    if (one_row_) stack_stretches();
  }

  // Neighbouring vectors of a single row become the lines of a tile: alone each would be a chain of sums.
  void stack_stretches() {
    for (int64_t i = 0; i < stretch_count_; ++i) {
      Stretch& r = stretches_[i];
      if (r.edge || r.half || r.vectors < 2) continue;
      const int64_t lines = at_most(r.vectors, max_lines), rest = r.vectors % lines;
      r.vectors /= lines;
      r.stack = lines;
      if (!rest) continue;
      for (int64_t k = stretch_count_++; k > i + 1; --k) stretches_[k] = stretches_[k - 1];
      Stretch& last = stretches_[i + 1] = r;
      last.column += r.vectors * lines * S::N;
      last.vectors = 1;
      last.stack = rest;
      ++i;
    }
  }

  int64_t input_column(const CrossTap& tap, int64_t output) const { return tap.in0 + output * lat_.cross_in_step; }

  // Whether some lane of a vector reads beside the row, and is to be masked.
  bool reaches_beside(const CrossTap* tap, int64_t taps, int64_t j, int64_t N) const {
    if (!masks_rows_) return false;
    for (int64_t o = 0; o < taps; ++o)
      if (input_column(tap[o], j) < 0 || input_column(tap[o], j + N) > job_.in.cross_size) return true;
    return false;
  }

  // For each tap, the lanes that lie inside the row.
  template <class V>
  void mark_lanes(typename V::M* masks, const CrossTap* tap, int64_t taps, int64_t j) const {
    const int64_t step = lines_per_out<V> == 2 ? 1 : lat_.cross_in_step;  // StrideTwo count elements
    for (int64_t o = 0; o < taps; ++o) {
      const int64_t at = input_column(tap[o], j);
      masks[o] = V::mask(divide_up(at_least(-at, 0), step), floor_div(job_.in.cross_size - 1 - at, step) + 1);
    }
  }

  // The tile, worked out unless it is still there from the last plane.
  RowTile& tile_at(int64_t index) {
    RowTile& tile = tiles_[index % tiles_kept_];
    if (tile.index == index) return tile;
    tile.index = index;
    const LinePhase* c = lat_.line_phases;
    while (c + 1 < lat_.line_phases + lat_.line_phase_count && (c + 1)->tiles_before <= index) ++c;
    tile.rows = c;
    const int64_t tiles = divide_up(c->outs, max_lines), k = index - c->tiles_before;
    const int64_t least = c->outs / tiles, longer = c->outs % tiles;
    tile.t0 = k * least + at_most(k, longer);
    tile.lines = least + (k < longer);
    tile.y = (c->out0 + tile.t0 * c->out_step) * job_.out.line;
    tile.lowest = INT64_MAX;
    tile.highest = INT64_MIN;
    Step behind = 0;  // the line after the last that is read
    Chunk* chunk = tile.chunks;
    *chunk = {1, 0, 0, 0, 0};  // all there is where no tap meets the phase
    for (int64_t k = 0; k < job_.sum; ++k) {
      for (int64_t i = c->sets_begin; i < c->sets_end; ++i) {
        const TapSet& p = lat_.tap_sets[i];
        const auto [first, end] = lines_of(p, tile);
        for (const int64_t s : {first, end - 1}) {
          if (first >= end) break;
          const Step line = (p.in0 + s * lat_.line_in_step) * job_.in.line + k * job_.in.channel;
          tile.lowest = at_most(tile.lowest, line);
          tile.highest = at_least(tile.highest, line);
          behind = at_least(behind, p.in0 + s * lat_.line_in_step + 1);
        }
        const int64_t count = chunks_of(p.taps, most_taps_), s0 = tile.t0 * lat_.lines_per_out;
        for (int64_t j = 0; j < count; ++j) {
          const int64_t a0 = j * p.taps / count, a1 = (j + 1) * p.taps / count;
          const int64_t lines = (tile.lines - 1) * lat_.lines_per_out + a1 - a0;
          *chunk++ = {static_cast<int>(a1 - a0), live_lines(p.first - s0 - a0, p.last - s0 - a0, lines),
                      (p.in0 + (s0 + a0) * lat_.line_in_step) * job_.in.line + k * job_.in.channel,
                      k * w_sum_ + (p.tap0 + a0 * p.tap_step) * w_line_, p.tap_step * w_line_};
        }
      }
    }
    // Rows of several phases take turns in memory: then the next plane is fetched, a part of it for each tile.
    tile.ahead = lat_.line_phase_count == 1 ? behind * job_.in.line
                                            : job_.in.channel + index * job_.in.lines / lat_.line_tiles * job_.in.line;
    tile.y_ahead = lat_.line_phase_count == 1
                       ? tile.y + tile.lines * job_.out.line
                       : job_.out.channel + index * job_.out.lines / lat_.line_tiles * job_.out.line;
    return tile;
  }

  // The lines inside the image, numbered as in the tap set, that a tile meets.
  Range lines_of(const TapSet& p, const RowTile& tile) const {
    const int64_t s0 = tile.t0 * lat_.lines_per_out;
    return {at_least(p.first, s0), at_most(p.last, s0 + (tile.lines - 1) * lat_.lines_per_out + p.taps)};
  }

  // Packs the rows that a tile meets of the planes [begin, end) of a sum; `packed` is the tile as it finds them.
  void pack_rows(const RowTile& tile, RowTile& packed, int64_t begin, int64_t end) {
    packed = tile;
    packed.chunks = chunks_ + tiles_kept_ * tile_chunks_;
    const int64_t chunks = chunks_of_all(tile) / job_.sum;
    const Chunk* from = tile.chunks + begin * chunks;
    Chunk* to = packed.chunks + begin * chunks;
    *to = *from;
    for (int64_t k = begin; k < end; ++k) {
      for (int64_t i = tile.rows->sets_begin; i < tile.rows->sets_end; ++i) {
        const TapSet& p = lat_.tap_sets[i];
        const auto [first, end] = lines_of(p, tile);
        Step at = 0;
        if (first < end)
          at = rows_.lines((k - begin) * lat_.max_sets + i - tile.rows->sets_begin, first, end, [&](int64_t s) {
            return in_ + k * job_.in.channel + (p.in0 + s * lat_.line_in_step) * job_.in.line;
          });
        const int64_t count = chunks_of(p.taps, most_taps_);
        for (int64_t j = 0; j < count; ++j) {
          *to = *from++;
          (to++)->x = at + (tile.t0 * lat_.lines_per_out + j * p.taps / count - first) * rows_.line_size();
        }
      }
    }
  }

  // Tiles [begin, end) of the planes, as many together as lie in one phase.
  void run_tiles(int64_t begin, int64_t end, int64_t planes) {
    const bool inside = planes > 1 || plane_stays_inside(in_);
    for (int64_t i = begin; i < end;) {
      const RowTile& tile = tile_at(i);
      int64_t next = i + 1;
      if (!job_.in.direct || !(inside || stays_inside(i, in_))) {
        run_packed(tile);
      } else {
        const bool one_call = planes > 1 || (stretch_count_ == 1 && job_.out.direct && chunks_of_all(tile) == 1);
        while (one_call && next < end && next % tiles_kept_ && tile_at(next).rows == tile.rows &&
               (inside || stays_inside(next, in_)))
          ++next;
        run_group(tile, next - i, planes);
      }
      if (!job_.out.direct) store_rows(tile);
      i = next;
    }
  }

  void run_group(const RowTile& tiles, int64_t count, int64_t planes) {
    run_all(&tiles, count, planes, static_cast<const E*>(job_.in.data) + in_, -1);
  }

  void run_packed(const RowTile& tile) {
    const Step begin = strip_ * job_.strip * (job_.in.direct ? lat_.cross_in_step : 1);
    const bool apart = job_.packed_sum < job_.sum;
    if (packed_phase_ != tile.rows || job_.in.direct) rows_.forget(begin);
    packed_phase_ = tile.rows;
    for (int64_t k = 0; k < job_.sum; k += job_.packed_sum) {
      if (apart) rows_.forget(begin);
      RowTile packed;
      pack_rows(tile, packed, k, k + job_.packed_sum);
      run_all(&packed, 1, 1, rows_.data() - begin, k);
    }
  }

  // `packed`: what was packed, from this plane of a sum on; -1 where all is read in place.
  void run_all(const RowTile* tiles, int64_t count, int64_t planes, const E* x, int64_t packed) {
    // The plan takes strides of two as such for float32 sums alone.
    if constexpr (sizeof(E) == 4) {
      if (lat_.lines_per_out == 2) return run_all_as<StrideTwo>(tiles, count, planes, x, packed);
      if (job_.joined) return run_all_as<Interleaved>(tiles, count, planes, x, packed);
    }
    run_all_as<Plain>(tiles, count, planes, x, packed);
  }

  template <class V>
  using Plain = V;

  // All runs of a row, chunk by chunk.
  template <template <class> class Kind>
  void run_all_as(const RowTile* tiles, int64_t count, int64_t planes, const E* x, int64_t packed) {
    const int64_t all = chunks_of_all(*tiles), begin = packed < 0 ? 0 : packed * all / job_.sum;
    const int64_t end = packed < 0 ? all : begin + job_.packed_sum * all / job_.sum;
    for (const Stretch* r = stretches_; r < stretches_ + stretch_count_; ++r)
      for (int64_t i = begin; i < at_least(end, 1); ++i) {
        if constexpr (halves)
          if (r->half) {
            run_as<Kind<Half>>(*r, tiles, count, planes, i, x, packed >= 0);
            continue;
          }
        run_as<Kind<S>>(*r, tiles, count, planes, i, x, packed >= 0);
      }
  }

  template <class V>
  void run_as(const Stretch& r, const RowTile* tiles, int64_t count, int64_t planes, int64_t chunk, const E* x,
              bool packed) {
    const Step step = packed && !job_.in.direct ? 1 : lat_.cross_in_step;  // from lane to lane
    const CrossPhase* c = lat_.cross_phases + r.first_phase;
    Rows<V> rows;
    rows.x = x + r.column * step;
    rows.w = w_;
    rows.bias = job_.b ? bias_at_ : nullptr;
    rows.x_plane = in_plane();
    rows.w_plane = job_.divide > 1 ? job_.W_multiplier : job_.W_channel;
    rows.bias_plane = job_.b_stride;
    rows.y_plane = job_.out.channel;
    rows.planes = planes;
    rows.tiles = tiles;
    rows.tile_count = count;
    rows.chunk = chunk;
    rows.adds = chunk > 0;
    for (int i = 0; i < phases_of<V>; ++i) {
      const int64_t tap = c[i].taps_begin + r.taps_begin;
      const int64_t end = phases_of<V> > 1 ? c[i].taps_end : c[i].taps_begin + r.taps_end;
      rows.taps[i] = {packed ? rows_.line_size() : lat_.line_in_step * job_.in.line,
                      (packed ? packed_offset_ : x_offset_) + tap,
                      w_offset_ + tap,
                      end - tap,
                      masks_of<V>(r.masks + tap - c->taps_begin),
                      V::N};
      rows.masks_vector[i] = c[phases_of<V> - 1].taps_end - c->taps_begin;
    }
    if (job_.out.direct) {
      rows.y = static_cast<E*>(job_.out.data) + out_ + c->out0 + r.column * phases_joined_;
      rows.y_line = tiles->rows->out_step * job_.out.line;
    } else {
      rows.y =
          y_ + r.first_phase * max_lines * job_.strip + (r.column - strip_ * job_.strip) * phases_joined_ - tiles->y;
      rows.y_line = staged_line();
    }
    rows.x_vector = V::N * step;
    rows.y_vector = V::N * phases_joined_;
    rows.vectors = r.vectors;
    rows.last_lanes = r.last_lanes;
    rows.fetch_bytes = packed || chunk ? 0 : job_.fetch_bytes * V::N / S::N;
    rows.fetch_y = job_.out.direct;
    const int taps = tiles->chunks[chunk].taps;
    const LinePhase& rows_class = *tiles->rows;
    int64_t lines = divide_up(rows_class.outs, divide_up(rows_class.outs, max_lines));  // the highest tile's
    RowTile stack;
    Chunk stacked;
    if (r.stack) {
      lines = r.stack;
      stacked = tiles->chunks[chunk];
      if (stacked.live) stacked.live = (1u << lines) - 1u;
      stack = *tiles;
      stack.lines = lines;
      stack.chunks = &stacked;
      rows.tiles = &stack;
      rows.chunk = 0;
      rows.taps[0].x_line = rows.x_vector;
      rows.y_line = V::N;
      rows.x_vector *= lines;
      rows.y_vector *= lines;
      rows.masks_vector[0] = 0;
    }
    if constexpr (S::masked_fma)
      run_rows<V, Lanes::columns_masked>(lines, taps, rows);
    else if (r.edge)
      run_rows<V, Lanes::columns_edge>(lines, taps, rows);
    else
      run_rows<V, Lanes::columns>(lines, taps, rows);
  }

  template <class V>
  typename V::M* masks_of(int64_t index) const {
    if constexpr (V::N == S::N)
      return reinterpret_cast<typename V::M*>(masks_) + index;
    else
      return half_masks_ + index;
  }
  int64_t mask_bytes() const {
    return lat_.lines_per_out == 2 ? sizeof(typename StrideTwo<S>::M) : sizeof(typename S::M);
  }

  // Whether whole vectors of a tile of a plane read only what lies between the first and the last element of the input
  // array. Asked only where lanes beside the row are loaded, though not used.
  bool stays_inside(int64_t tile, Step plane) { return inside(extent(tile, tile + 1), plane); }

  // The same for all tiles; but a plane with more tiles than are kept is asked about tile by tile.
  bool plane_stays_inside(Step plane) {
    if (lat_.line_tiles > tiles_kept_) return false;
    if (extent_strip_ != strip_) plane_extent_ = extent(0, lat_.line_tiles);
    extent_strip_ = strip_;
    return inside(plane_extent_, plane);
  }
  bool inside(const Range& extent, Step plane) const {
    return !S::masked_fma || (plane + extent.begin >= first_element_ && plane + extent.end <= last_element_);
  }

  // From a plane's start to the first and the last element that whole vectors of the tiles read.
  Range extent(int64_t begin, int64_t end) {
    Step lowest = INT64_MAX, highest = INT64_MIN;
    for (int64_t i = begin; i < end; ++i) {
      lowest = at_most(lowest, tile_at(i).lowest);
      highest = at_least(highest, tile_at(i).highest);
    }
    int64_t left = INT64_MAX, right = INT64_MIN;
    for (const Stretch* r = stretches_; r < stretches_ + stretch_count_; ++r) {
      const CrossTap* tap = lat_.cross_taps + lat_.cross_phases[r->first_phase].taps_begin;
      for (int64_t o = r->taps_begin; o < r->taps_end; ++o) {
        left = at_most(left, input_column(tap[o], r->column));
        right = at_least(
            right,
            input_column(tap[o], r->column + r->vectors * (r->half ? Half::N : S::N * at_least(r->stack, 1))) - 1);
      }
    }
    if (lowest > highest || left > right) return {0, 0};
    return {lowest + left, highest + right};
  }

  // Elements from line to line of y_: none between them where a tile is stored as one run.
  Step staged_line() const { return job_.non_temporal ? job_.out.cross_size : job_.strip * phases_joined_; }

  void store_rows(const RowTile& tile) {
    if (job_.non_temporal)
      return stream_span<S>(static_cast<E*>(job_.out.data) + out_ + tile.y, y_, tile.lines * staged_line());
    with_type(job_.out.dtype, [&](auto type) {
      using O = typename decltype(type)::type;
      const int64_t j0 = strip_ * job_.strip, step = job_.out.cross;
      for (int64_t t = 0; t < tile.lines; ++t) {
        O* row = static_cast<O*>(job_.out.data) + out_ + tile.y + t * tile.rows->out_step * job_.out.line;
        const E* from = y_ + t * staged_line();
        if (job_.joined)
          narrow_span<S, O>(row + 2 * j0 * step, step, from, at_most(2 * job_.strip, job_.out.cross_size - 2 * j0));
        else
          for (const CrossPhase* c = lat_.cross_phases; c < lat_.cross_phases + lat_.cross_phase_count; ++c)
            narrow_span<S, O>(row + (c->out0 + j0 * c->out_step) * step, c->out_step * step,
                              from + (c - lat_.cross_phases) * max_lines * job_.strip,
                              at_most(job_.strip, c->outs - j0));
      }
    });
  }

  const Correlation& job_;
  const depthwise::LatticeView& lat_;
  const int64_t most_taps_, phases_joined_;  // phases of columns that are done together
  const bool one_row_;
  bool masks_rows_ = false;  // lanes beside a row
  PackedRows<S> rows_;
  RowTile* tiles_ = nullptr;
  Chunk* chunks_ = nullptr;
  Stretch* stretches_ = nullptr;
  Step *x_offset_ = nullptr, *packed_offset_ = nullptr, *w_offset_ = nullptr;
  char* masks_ = nullptr;  // of S or StrideTwo<S>
  typename Half::M* half_masks_ = nullptr;
  E *weights_ = nullptr, *y_ = nullptr;
  const LinePhase* packed_phase_ = nullptr;
  Range plane_extent_ = {0, 0};
  int64_t plane_ = -1, strip_ = -1, extent_strip_ = -1, stretch_count_ = 0, tile_chunks_ = 0, tiles_kept_ = 0,
          scratch_bytes_ = 0;
  Step in_ = 0, out_ = 0, first_element_ = 0, last_element_ = 0;
  const E *w_ = nullptr, *bias_at_ = nullptr;
  Step w_sum_ = 0, w_line_ = 0, w_offset_step_ = 0;
  E bias_ = 0;
};

}  // namespace
