// Weight gradient of images of one line, with lanes along its columns.
//
// A unit is one output channel and one part of the images. A vector of gy meets x under each tap, at any alignment; a
// few taps' sums stand in registers.
#pragma once
#include "bias_sums.hpp"
#include "cut.hpp"
#include "plane_weights.hpp"
#include "row_sums.hpp"
#include "sequence_window.hpp"
#include "sums.hpp"

namespace {

using depthwise::WeightGradient;

// sums[k] += the sum over j of g[j] * x[j + k * step], lane by lane.
template <class S, int taps>
DEPTHWISE_NOINLINE void add_products_of_row(const typename S::E* x, Step step, const typename S::E* g,
                                            typename S::E* sums, int64_t vectors) {
  using V = typename S::V;
  // Few taps are too few chains of sums: even and odd vectors are summed apart.
  constexpr int apart = taps <= 4 ? 2 : 1;
  V sum[apart][taps];
#pragma GCC unroll 8
  for (int k = 0; k < taps; ++k) {
    sum[0][k] = S::load(sums + k * S::N);
    if constexpr (apart > 1) sum[1][k] = S::zero();
  }
  const auto add = [&](int64_t v, V(&to)[taps]) __attribute__((always_inline)) {
    const V gy = S::pin(S::load(g + v * S::N));
#pragma GCC unroll 8
    for (int k = 0; k < taps; ++k) to[k] = S::fma(S::load(x + v * S::N + k * step), gy, to[k]);
  };
  int64_t v = 0;
  if constexpr (apart > 1)
    for (; v + 2 <= vectors; v += 2) {
      add(v, sum[0]);
      add(v + 1, sum[1]);
    }
  for (; v < vectors; ++v) add(v, sum[0]);
#pragma GCC unroll 8
  for (int k = 0; k < taps; ++k) {
    if constexpr (apart > 1) sum[0][k] = S::add(sum[0][k], sum[1][k]);
    S::store(sums + k * S::N, sum[0][k]);
  }
}

template <class S>
class WeightGradSequence {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  WeightGradSequence(const WeightGradient& job, void* scratch)
      : job_(job), taps_(job.lattice.cross_taps), count_(job.lattice.cross_tap_count), x_(job.x), g_(job.g) {
    Arena arena(scratch);
    sums_.take(arena, 1, count_);
    x_.take(arena, job.strip + spread(), true);
    g_.take(arena, job.strip, true);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t o = unit / job_.parts, part = unit % job_.parts;
      const Cut images{job_.batch, job_.parts};
      double total = 0;
      sums_.clear();
      for (int64_t n = images.begin(part); n < images.end(part); ++n) {
        const Step x = job_.x.plane(n) + o / job_.divide * job_.x.channel, g = job_.g.plane(n) + o * job_.g.channel;
        for (int64_t at = 0; count_ && at < job_.g.cross_size; at += job_.strip)
          run_strip(x, g, {at, at_most(job_.g.cross_size, at + job_.strip)});
        if (job_.gb_sums) total += sum_area<S>(job_.g, g, 1, job_.g.cross_size);
      }
      if (count_) store_sums(o, part);
      if (job_.gb_sums) job_.gb_sums[part * job_.out_channels + o] = total;
    }
  }

 private:
  int64_t spread() const { return count_ ? taps_[count_ - 1].in0 - taps_[0].in0 : 0; }
  Step step() const { return count_ > 1 ? taps_[1].in0 - taps_[0].in0 : 1; }

  void store_sums(int64_t o, int64_t part) {
    E* gW = static_cast<E*>(job_.gW);
    if (gW) gW += o % job_.divide * job_.gW_multiplier + o / job_.divide * job_.gW_channel;
    for (int64_t tap = 0; tap < count_; ++tap)
      if (gW)
        gW[tap] = static_cast<E>(sums_.all_lanes(0, tap));
      else
        job_.sums[(part * job_.out_channels + o) * count_ + tap] = sums_.all_lanes(0, tap);
  }

  void run_strip(Step x, Step g, Range outs) {
    const Range inner = outputs_inside<S>(outs, taps_[0].in0, spread(), job_.x.cross_size);
    run_outputs(x, g, {outs.begin, inner.begin}, true);
    run_outputs(x, g, inner, false);
    run_outputs(x, g, {inner.end, outs.end}, true);
  }

  // `beside`: a lane reads beside the row, or beside gy's.
  void run_outputs(Step x, Step g, Range outs, bool beside) {
    if (outs.empty()) return;
    const int64_t vectors = divide_up(outs.size(), S::N), column = outs.begin + taps_[0].in0;
    const Range of_x{column, column + vectors * S::N + spread()}, of_g{outs.begin, outs.begin + vectors * S::N};
    const E* gy = g_.padded_columns(g, of_g) + of_g.begin;
    const E* from = x_.padded_columns(x, of_x) + of_x.begin;
    sums_.count(0, vectors);
    if (beside && !(all_finite<S>(gy, of_g.size()) && all_finite<S>(from, of_x.size())))
      return add_inside(from, gy, outs);
    for (int64_t k = 0; k < count_; k += few_taps)
      with_number<few_taps>(at_most(few_taps, count_ - k), [&](auto taps) {
        add_products_of_row<S, decltype(taps)::value>(from + k * step(), step(), gy, sums_.set(0) + k * S::N, vectors);
      });
  }

  // Zero times what is not finite would not be zero: tap by tap, of the outputs that read inside the row.
  void add_inside(const E* x, const E* gy, Range outs) {
    for (int64_t k = 0; k < count_; ++k) {
      const int64_t first = clamp(-taps_[k].in0 - outs.begin, 0, outs.size());
      const int64_t last = clamp(job_.x.cross_size - taps_[k].in0 - outs.begin, first, outs.size());
      typename S::V sum = S::load(sums_.set(0) + k * S::N);
      for (int64_t i = first; i < last; i += S::N) {
        const typename S::M mask = S::mask(0, last - i);
        sum = S::fma(S::load(x + i + k * step(), mask), S::load(gy + i, mask), sum);
      }
      S::store(sums_.set(0) + k * S::N, sum);
    }
  }

  const WeightGradient& job_;
  const depthwise::CrossTap* taps_;
  const int64_t count_;
  Sums<S> sums_;
  SequenceWindow<S> x_, g_;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
