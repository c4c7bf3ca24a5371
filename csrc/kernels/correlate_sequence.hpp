// Forward pass and input gradient of images of one line, with lanes along its columns.
//
// A unit is a strip of the outputs of one row. Most read what lies inside the row, where it lies; those whose taps
// reach beside it read a copy that has zeros there. No bit hangs on where a row is cut.
#pragma once
#include "activation.hpp"
#include "plane_weights.hpp"
#include "row_sums.hpp"
#include "sequence_window.hpp"
#include "walk.hpp"

namespace {

using depthwise::Correlation;

template <class S>
class CorrelateSequence {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelateSequence(const Correlation& job, void* scratch)
      : job_(job), taps_(job.lattice.cross_taps), count_(job.lattice.cross_tap_count), weights_(job), window_(job.in) {
    Arena arena(scratch);
    weights_.take(arena);
    w_ = arena.take<E>(job.sum * count_);
    window_.take(arena, most_columns(job.strip), count_ > few_taps);
    stage_ = arena.take<E>(divide_up(job.strip, S::N) * S::N);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Units are numbered by row and strip, the last fastest.
  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t row = unit / job_.strips, at = unit % job_.strips * job_.strip;
      enter(row);
      run_strip({at, at_most(job_.out.cross_size, at + job_.strip)});
    }
  }

 private:
  int64_t spread() const { return count_ ? taps_[count_ - 1].in0 - taps_[0].in0 : 0; }
  int64_t first_in() const { return count_ ? taps_[0].in0 : 0; }
  Step step() const { return count_ > 1 ? taps_[1].in0 - taps_[0].in0 : 1; }
  int64_t most_columns(int64_t outs) const { return divide_up(outs, S::N) * S::N + spread(); }

  void enter(int64_t row) {
    if (row == row_) return;
    row_ = row;
    const int64_t n = row / job_.out_channels, o = row % job_.out_channels;
    in_ = n * job_.in.batch + o / job_.divide * job_.sum * job_.in.channel;
    out_ = n * job_.out.batch + o * job_.out.channel;
    if (o == channel_) return;
    channel_ = o;
    weights_.enter(o);
    careful_ = count_ > few_taps && !weights_.finite(1);
    for (int64_t m = 0; m < job_.sum; ++m)
      for (int64_t k = 0; k < count_; ++k)
        w_[m * count_ + k] = weights_.taps_at()[m * weights_.sum_step() + taps_[k].tap * weights_.cross_step()];
  }

  void run_strip(Range outs) {
    const int64_t vectors = divide_up(outs.size(), S::N);
    const bool few = count_ <= few_taps;
    const bool direct = job_.out.direct && (few || outs.size() == vectors * S::N);  // many taps store whole vectors
    E* const y = direct ? static_cast<E*>(job_.out.data) + out_ + outs.begin : stage_;
    const Range columns{outs.begin + first_in(), outs.begin + first_in() + vectors * S::N + spread()};
    for (int64_t m = 0; m < job_.sum; ++m) {
      const Step row = in_ + m * job_.in.channel;
      const E* x = few ? window_.columns(row, columns) : window_.padded_columns(row, columns);
      const RowSums<S> sums{.x = x + columns.begin,
                            .w = w_ + m * count_,
                            .step = step(),
                            .taps = count_,
                            .bias = job_.b ? weights_.bias() : nullptr,
                            .adds = m > 0,
                            .y = y,
                            .vectors = vectors};
      if (few)
        sum_in_and_beside(sums, outs);
      else if (careful_)
        sum_inside(sums, outs);
      else
        sum_row(sums);
    }
    activate_span<S>(job_.activation, y, outs.size());
    if (!direct) store(outs);
  }

  void sum_in_and_beside(const RowSums<S>& sums, Range outs) const {
    const Range inner = outputs_inside<S>(outs, first_in(), spread(), job_.in.cross_size);
    const auto at = [&](int64_t output) {
      RowSums<S> some = sums;
      some.x += output - outs.begin;
      some.y += output - outs.begin;
      return some;
    };
    const auto beside = [&](Range some) {
      if (!some.empty()) sum_beside(at(some.begin), some.begin + first_in(), job_.in.cross_size, some.size());
    };
    beside({outs.begin, inner.begin});
    if (!inner.empty()) {
      RowSums<S> some = at(inner.begin);
      some.vectors = inner.size() / S::N;
      sum_row(some);
    }
    beside({inner.end, outs.end});
  }

  // Zero times a weight that is not finite would not be zero: tap by tap, of the outputs that read inside the row.
  void sum_inside(const RowSums<S>& sums, Range outs) const {
    const E start = sums.bias ? *sums.bias : E{0};
    for (int64_t i = 0; !sums.adds && i < outs.size(); ++i) sums.y[i] = start;
    for (int64_t k = 0; k < count_; ++k) {
      const int64_t first = clamp(-taps_[k].in0 - outs.begin, 0, outs.size());
      const int64_t last = clamp(job_.in.cross_size - taps_[k].in0 - outs.begin, first, outs.size());
      const typename S::V weight = S::set1(sums.w[k]);
      for (int64_t i = first; i < last; i += S::N) {
        const typename S::M mask = S::mask(0, last - i);
        const typename S::V x = S::load(sums.x + i + k * sums.step, mask), y = S::load(sums.y + i, mask);
        S::store_first(sums.y + i, S::fma(x, weight, y), at_most(S::N, last - i));
      }
    }
  }

  void store(Range outs) const {
    with_type(job_.out.dtype, [&](auto type) {
      using O = typename decltype(type)::type;
      O* y = static_cast<O*>(job_.out.data) + out_ + outs.begin * job_.out.cross;
      narrow_span<S, O>(y, job_.out.cross, stage_, outs.size());
    });
  }

  const Correlation& job_;
  const depthwise::CrossTap* taps_;
  const int64_t count_;
  PlaneWeights<S> weights_;
  SequenceWindow<S> window_;
  E *w_ = nullptr, *stage_ = nullptr;
  int64_t scratch_bytes_ = 0;
  int64_t row_ = -1, channel_ = -1;
  Step in_ = 0, out_ = 0;  // elements from the arrays' data to the row
  bool careful_ = false;   // some weight of the channel is not finite
};

}  // namespace
