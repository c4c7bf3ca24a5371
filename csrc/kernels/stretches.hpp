// A strip of columns as vectors: stretches of neighbouring vectors that are done alike, the taps that each meets, and
// the lanes of each vector that lie inside the row under each tap. The same for all rows and planes.
#pragma once
#include "../heights.hpp"
#include "array_bounds.hpp"
#include "pack.hpp"
#include "packed_rows.hpp"
#include "require.hpp"
#include "rows.hpp"

namespace {

using depthwise::CrossPhase;
using depthwise::CrossTap;

struct Stretch {
  int64_t first_phase;                  // of columns; two phases that are interleaved are done together
  bool beside;                          // of a single row: a lane lies beside it under some tap
  int64_t column, vectors, last_lanes;  // first output of the phase, vectors, lanes of the last to store
  int64_t taps_begin, taps_end;         // taps of a phase that some lane has inside the row
  int64_t masks;                        // index of the first
  int64_t stack;                        // a single row: so many vectors are the lines of a tile; else 0
  InnerVectors inner[2];                // of each phase; a stack counts as one vector
};

template <class S>
class Stretches {
 public:
  explicit Stretches(const depthwise::Correlation& job)
      : job_(job),
        lat_(job.lattice),
        phases_together_(job.interleaved ? 2 : 1),
        one_row_(job.out.lines == 1 && job.kernel_lines == 1 && !job.interleaved && !job.pairs) {}

  void take(Arena& arena) {
    const int64_t vectors = job_.strip / S::N + 1;
    stretches_ = arena.take<Stretch>(lat_.cross_phase_count * vectors);
    for (Step** at : {&x_offset_, &packed_offset_, &w_offset_}) *at = arena.take<Step>(lat_.cross_tap_count);
    masks_ = arena.take<typename S::M>(vectors * lat_.cross_tap_count);
  }

  // Elements from a row's first output to each tap, in memory, in packed rows, and among the weights.
  const Step* x_offset() const { return x_offset_; }
  const Step* packed_offset() const { return packed_offset_; }
  const Step* w_offset() const { return w_offset_; }
  void set_offsets(const PackedRows<S>& rows, Step w_cross) {
    for (int64_t i = 0; i < lat_.cross_tap_count; ++i) {
      x_offset_[i] = lat_.cross_taps[i].in0;
      packed_offset_[i] = rows.offset(i);
      w_offset_[i] = lat_.cross_taps[i].tap * w_cross;
    }
  }

  const Stretch* begin() const { return stretches_; }
  const Stretch* end() const { return stretches_ + count_; }
  int64_t count() const { return count_; }

  const typename S::M* masks(int64_t index) const { return masks_ + index; }

  // Whether a phase's taps are a kernel's three columns: the same in every part of an array, since the order of sums
  // hangs on it. A part may have but one phase of those that are interleaved in the whole.
  bool three_columns(const CrossPhase& c) const {
    return job_.kernel_cross == 3 && c.taps_end - c.taps_begin == 3 && c.out_step == 1;
  }

  void enter(int64_t strip) {
    count_ = 0;
    int64_t masks = 0;
    for (int64_t i = 0; i < lat_.cross_phase_count; i += phases_together_) add_phase(i, strip * job_.strip, masks);
    if (one_row_) stack();
    for (int64_t i = 0; i < count_; ++i)
      for (int64_t k = 0; k < phases_together_; ++k) stretches_[i].inner[k] = inner(stretches_[i], k);
  }

  // Adds the columns that whole vectors read.
  void cover(Cover& cover) const {
    for (const Stretch& s : *this) {
      const int64_t lanes = S::N * at_least(s.stack, 1);
      const CrossTap* tap = lat_.cross_taps + lat_.cross_phases[s.first_phase].taps_begin;
      for (int64_t o = s.taps_begin; o < s.taps_end; ++o)
        cover.add_columns(input_column(tap[o], s.column), input_column(tap[o], s.column + s.vectors * lanes) - 1);
    }
  }

 private:
  // The columns of a phase, or of two that are interleaved, from output j0 of it on.
  void add_phase(int64_t phase, int64_t j0, int64_t& masks) {
    const CrossPhase& c = lat_.cross_phases[phase];
    const CrossTap* tap = lat_.cross_taps + c.taps_begin;
    const int64_t taps = lat_.cross_phases[phase + phases_together_ - 1].taps_end - c.taps_begin;
    const int64_t outs =
        job_.interleaved ? at_most(2 * job_.strip, job_.out.cross_size - 2 * j0) : at_most(job_.strip, c.outs - j0);
    Stretch* last = nullptr;
    for (int64_t j = 0; j < outs; j += S::N * phases_together_) {
      Stretch next{.first_phase = phase,
                   .beside = false,
                   .column = j0 + j / phases_together_,
                   .vectors = 1,
                   .last_lanes = at_most(S::N * phases_together_, outs - j),
                   .taps_begin = 0,
                   .taps_end = taps,
                   .masks = masks,
                   .stack = 0,
                   .inner = {}};
      next.beside = one_row_ && (next.last_lanes < S::N || reaches_beside(tap, taps, next.column));
      if (!job_.interleaved && !(sums_nine_by_lines<S> && three_columns(c))) leave_out_taps(next, tap);
      if (job_.pairs)
        mark_lanes<EveryOther<S>>(masks_ + next.masks, tap, taps, next.column);
      else
        mark_lanes<S>(masks_ + next.masks, tap, taps, next.column);
      masks += taps;
      if (last && last->beside == next.beside && last->taps_begin == next.taps_begin &&
          last->taps_end == next.taps_end) {
        last->vectors += 1;
        last->last_lanes = next.last_lanes;
      } else {
        DEPTHWISE_REQUIRE(count_ < lat_.cross_phase_count * (job_.strip / S::N + 1), "the stretches fit");
        last = &(stretches_[count_++] = next);
      }
    }
  }

  // Taps at either end that no lane has inside the row.
  void leave_out_taps(Stretch& s, const CrossTap* tap) const {
    while (s.taps_begin < s.taps_end && input_column(tap[s.taps_begin], s.column + s.last_lanes - 1) < 0)
      ++s.taps_begin;
    if (job_.pairs) s.taps_begin -= s.taps_begin % 2;  // the same taps are pairs wherever they are summed
    while (s.taps_begin < s.taps_end && input_column(tap[s.taps_end - 1], s.column) >= job_.in.cross_size) --s.taps_end;
  }

  // Neighbouring vectors of a single row become the lines of a tile: alone each would be a chain of sums.
  void stack() {
    for (int64_t i = 0; i < count_; ++i) {
      Stretch& s = stretches_[i];
      if (s.beside || s.vectors < 2) continue;
      int64_t lines = at_most(s.vectors, max_lines);
      while (!depthwise::is_tile_height(lines, max_lines)) --lines;
      const int64_t rest = s.vectors % lines;
      s.vectors /= lines;
      s.stack = lines;
      if (!rest) continue;
      DEPTHWISE_REQUIRE(count_ < lat_.cross_phase_count * (job_.strip / S::N + 1), "the stretches fit");
      for (int64_t k = count_++; k > i + 1; --k) stretches_[k] = stretches_[k - 1];
      Stretch& last = stretches_[i + 1] = s;
      last.column += s.vectors * lines * S::N;
      last.vectors = rest;
      last.stack = 0;
    }
  }

  int64_t input_column(const CrossTap& tap, int64_t output) const { return tap.in0 + output * lat_.cross_in_step; }

  bool reaches_beside(const CrossTap* tap, int64_t taps, int64_t j) const {
    for (int64_t o = 0; o < taps; ++o)
      if (input_column(tap[o], j) < 0 || input_column(tap[o], j + S::N) > job_.in.cross_size) return true;
    return false;
  }

  InnerVectors inner(const Stretch& s, int64_t phase) const {
    const CrossPhase& c = lat_.cross_phases[s.first_phase + phase];
    const CrossTap* tap = lat_.cross_taps + c.taps_begin + (job_.interleaved ? 0 : s.taps_begin);
    const int64_t taps = job_.interleaved ? c.taps_end - c.taps_begin : s.taps_end - s.taps_begin, half = taps / 2;
    const int64_t lanes = S::N * at_least(s.stack, 1),
                  last_lanes = s.stack ? lanes : (s.last_lanes + phases_together_ - 1 - phase) / phases_together_;
    InnerVectors inner{0, s.vectors, true};
    for (int64_t v = 0; v < s.vectors; ++v)
      for (int64_t o = 0; o < taps; ++o) {
        const int64_t first = s.column + v * lanes, last = first + (v + 1 < s.vectors ? lanes : last_lanes) - 1;
        if (input_column(tap[o], first) >= 0 && input_column(tap[o], last) < job_.in.cross_size) continue;
        if (o < half)
          inner.left_end = v + 1;
        else if (o >= taps - half)
          inner.right_begin = at_most(inner.right_begin, v);
        else
          inner.middle = false;
      }
    return inner;
  }

  // For each tap, the lanes that lie inside the row.
  template <class V>
  void mark_lanes(typename V::M* masks, const CrossTap* tap, int64_t taps, int64_t j) const {
    const int64_t step = pairs_columns<V> ? 1 : lat_.cross_in_step;  // EveryOther counts elements
    for (int64_t o = 0; o < taps; ++o) {
      const int64_t at = input_column(tap[o], j);
      masks[o] = V::mask(divide_up(at_least(-at, 0), step), floor_div(job_.in.cross_size - 1 - at, step) + 1);
    }
  }

  const depthwise::Correlation& job_;
  const depthwise::LatticeView& lat_;
  const int64_t phases_together_;
  const bool one_row_;
  int64_t count_ = 0;
  Stretch* stretches_ = nullptr;
  Step *x_offset_ = nullptr, *packed_offset_ = nullptr, *w_offset_ = nullptr;
  typename S::M* masks_ = nullptr;
};

}  // namespace
