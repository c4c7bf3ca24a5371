// Forward pass and input gradient of images of one line, with lanes along its columns.
//
// A unit is a strip of the outputs of one row; rows that are one strip are done many at a time. Of few taps what lies
// beside the row is masked, of many a row that is read there is copied with zeros beside it. An input gradient of a
// stride has a phase of outputs for each of its residues. No bit hangs on where a row is cut.
#pragma once
#include "activation.hpp"
#include "plane_weights.hpp"
#include "row_sums.hpp"
#include "sequence_window.hpp"
#include "skewed_sums.hpp"
#include "walk.hpp"

namespace {

using depthwise::Correlation;

// to[2 * i] = even[i], to[2 * i + 1] = odd[i] for i < count.
template <class S>
inline void interleave_span(typename S::E* to, const typename S::E* even, const typename S::E* odd, int64_t count) {
  int64_t i = 0;
  for (; i + S::N <= count; i += S::N) {
    typename S::V a, b;
    S::interleave(S::load(even + i), S::load(odd + i), a, b);
    S::store(to + 2 * i, a);
    S::store(to + 2 * i + S::N, b);
  }
  for (; i < count; ++i) {
    to[2 * i] = even[i];
    to[2 * i + 1] = odd[i];
  }
}

template <class S>
class CorrelateSequence {
  using E = typename S::E;
  using Phase = depthwise::CrossPhase;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelateSequence(const Correlation& job, void* scratch)
      : job_(job),
        lat_(job.lattice),
        count_(lat_.cross_tap_count),
        few_(count_ && job.sum * most_taps(lat_) <= few_taps),
        staged_(!job.out.direct || lat_.cross_phase_count > 1 || (!few_ && job.sum > 1) || stride_of(lat_) > 1),
        weights_(job),
        window_(job.in, lat_.cross_taps, count_, lat_.cross_in_step),
        stage_part_(divide_up(job.strip, S::N) * S::N),
        stage_row_(rows_apart<E>(stage_part_ * lat_.cross_phase_count)) {
    const int64_t copied = window_.lies_so() ? 0 : job.sum * window_.copy_size(job.strip);
    const int64_t row_bytes = Step{sizeof(E)} * (job.sum * count_ + copied + (staged_ ? stage_row_ : 0));
    rows_ = few_ && job.strips == 1 ? clamp(rows_together_bytes / at_least(1, row_bytes), 1, job.out_channels) : 1;
    Arena arena(scratch);
    weights_.take(arena);
    w_ = arena.take<E>(rows_ * job.sum * count_);
    bias_ = arena.take<E>(rows_);
    offsets_ = arena.take<Step>(job.sum * count_);
    window_.take(arena, stage_part_, !few_ ? 1 : window_.lies_so() ? 0 : rows_ * job.sum);
    stage_ = arena.take<E>(staged_ ? rows_ * stage_row_ : stage_part_);
    edges_ = arena.take<RowEdges<S>>(lat_.cross_phase_count);
    for (int64_t i = 0; few_ && i < lat_.cross_phase_count; ++i) {
      RowEdges<S> edges;
      edges.take(arena, job.strip, taps_of(phase(i)), job.sum, job.strip);
      if (scratch) edges_[i] = edges;
    }
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Units are numbered by row and strip, the last fastest.
  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end;) {
      const int64_t row = unit / job_.strips, o = row % job_.out_channels, last = unit + at_most(rows_, end - unit);
      const Range channels{o, at_most(job_.out_channels, o + last - unit)};
      enter_strip(unit % job_.strips * job_.strip);
      enter_channels(channels);
      if (few_)
        run_rows(row / job_.out_channels, channels);
      else
        run_row(row / job_.out_channels, o);
      unit += channels.size();
    }
  }

 private:
  static int64_t taps_of(const Phase& p) { return p.taps_end - p.taps_begin; }
  static int64_t most_taps(const depthwise::LatticeView& lat) {
    int64_t most = 0;
    for (int64_t i = 0; i < lat.cross_phase_count; ++i) most = at_least(most, taps_of(lat.cross_phases[i]));
    return most;
  }
  static Step stride_of(const depthwise::LatticeView& lat) {
    return lat.cross_phase_count ? lat.cross_phases[0].out_step : 1;
  }
  const Phase& phase(int64_t i) const { return lat_.cross_phases[i]; }
  const CrossTap* taps(const Phase& p) const { return lat_.cross_taps + p.taps_begin; }
  // A phase's outputs of the strip.
  Range outs_of(const Phase& p) const { return {at_most(at_, p.outs), at_most(at_ + job_.strip, p.outs)}; }

  Step in_row(int64_t n, int64_t o) const { return n * job_.in.batch + o / job_.divide * job_.sum * job_.in.channel; }
  Step out_row(int64_t n, int64_t o) const { return n * job_.out.batch + o * job_.out.channel; }

  void enter_strip(int64_t at) {
    if (at == at_) return;
    at_ = at;
    Range all{at, at};
    for (int64_t i = 0; i < lat_.cross_phase_count; ++i) all.end = at_least(all.end, outs_of(phase(i)).end);
    if (!few_ && all.size() < S::N) all.end = at + S::N;  // many taps store whole vectors
    window_.enter(staged_ && !few_ ? Range{at, at + stage_part_} : all, !few_);
    neighbours_ = true;
    for (int64_t i = 0; i < lat_.cross_phase_count; ++i)
      neighbours_ &= are_neighbours(window_.offsets() + phase(i).taps_begin, taps_of(phase(i)));
    const Step plane = window_.step(job_.in.channel);
    for (int64_t i = 0; few_ && i < lat_.cross_phase_count; ++i) {
      const Phase& p = phase(i);
      for (int64_t m = 0; m < job_.sum; ++m)
        for (int64_t k = 0; k < taps_of(p); ++k)
          offsets_[p.taps_begin * job_.sum + m * taps_of(p) + k] = window_.offsets()[p.taps_begin + k] + m * plane;
      list_edges<S>(edges_[i], Listed::all, outs_of(p), taps(p), taps_of(p), lat_.cross_in_step, job_.in.cross_size,
                    job_.sum);
    }
  }

  // The weights of a channel lie by phase, plane and tap.
  void enter_channels(Range channels) {
    if (channels == channels_) return;
    channels_ = channels;
    E* w = w_;
    for (int64_t o = channels.begin; o < channels.end; ++o) {
      weights_.enter(o);
      bias_[o - channels.begin] = job_.b ? *weights_.bias() : E{0};
      for (int64_t i = 0; i < lat_.cross_phase_count; ++i)
        for (int64_t m = 0; m < job_.sum; ++m)
          for (int64_t k = 0; k < taps_of(phase(i)); ++k)
            *w++ = weights_.taps_at()[m * weights_.sum_step() + taps(phase(i))[k].tap * weights_.cross_step()];
    }
    careful_ = !few_ && !weights_.finite(1);
  }

  // Few taps: rows of image n.
  void run_rows(int64_t n, Range channels) {
    const bool direct = !staged_;
    SumsOfRows<S> sums{.share = channels.begin % job_.divide,
                       .sharing = job_.divide,
                       .w_channel = job_.sum * count_,
                       .bias = bias_,
                       .channels = channels.size()};
    const int64_t planes = ((channels.end - 1) / job_.divide - channels.begin / job_.divide + 1) * job_.sum;
    const auto x = window_.rows(in_row(n, channels.begin), job_.in.channel, planes);
    sums.x = x.first;
    sums.x_channel = job_.sum * x.step;
    E* const y = direct ? static_cast<E*>(job_.out.data) + out_row(n, channels.begin) + at_ : stage_;
    sums.y_channel = direct ? job_.out.channel : stage_row_;
    for (int64_t i = 0; i < lat_.cross_phase_count; ++i) {
      const Phase& p = phase(i);
      if (outs_of(p).empty()) continue;
      sums.offsets = offsets_ + p.taps_begin * job_.sum;
      sums.w = w_ + p.taps_begin * job_.sum;
      sums.edges = edges_[i];
      sums.y = y + i * stage_part_;
      sum_rows<S>(job_.sum * taps_of(p), sums);
    }
    for (int64_t o = channels.begin; o < channels.end; ++o)
      finish(n, o, y + (o - channels.begin) * sums.y_channel, !direct);
  }

  // Many taps: one row.
  void run_row(int64_t n, int64_t o) {
    if (!lat_.cross_phase_count) return;
    const bool laps = !staged_ && outs_of(phase(0)).size() >= S::N;
    E* const y = laps ? static_cast<E*>(job_.out.data) + out_row(n, o) + at_ : stage_;
    for (int64_t m = 0; m < job_.sum; ++m) {
      const E* x = window_.rows(in_row(n, o) + m * job_.in.channel, job_.in.channel, 1).first;
      for (int64_t i = 0; i < lat_.cross_phase_count; ++i) {
        const Phase& p = phase(i);
        const Range outs = outs_of(p);
        if (outs.empty()) continue;
        const RowSums<S> sums{.x = x,
                              .offsets = window_.offsets() + p.taps_begin,
                              .neighbours = neighbours_,
                              .w = w_ + p.taps_begin * job_.sum + m * taps_of(p),
                              .taps = taps_of(p),
                              .start = bias_[0],
                              .adds = m > 0,
                              .y = y + i * stage_part_,
                              .outs = outs.size(),
                              .laps = laps};
        if (careful_)
          sum_inside(sums, outs, taps(p));
        else
          sum_row(sums);
      }
    }
    finish(n, o, y, !laps);
  }

  // Zero times a weight that is not finite would not be zero: tap by tap, of the outputs that read inside the row.
  void sum_inside(const RowSums<S>& sums, Range outs, const CrossTap* tap) const {
    const Step stride = lat_.cross_in_step;
    for (int64_t i = 0; !sums.adds && i < outs.size(); ++i) sums.y[i] = sums.start;
    for (int64_t k = 0; k < sums.taps; ++k) {
      const int64_t column = tap[k].in0 + outs.begin * stride;
      const int64_t first = clamp(divide_up(at_least(-column, 0), stride), 0, outs.size());
      const int64_t last = clamp(floor_div(job_.in.cross_size - 1 - column, stride) + 1, first, outs.size());
      const typename S::V weight = S::set1(sums.w[k]);
      for (int64_t i = first; i < last; i += S::N) {
        const typename S::M mask = S::mask(0, last - i);
        const typename S::V x = S::load(sums.x + i + sums.offsets[k], mask), y = S::load(sums.y + i, mask);
        S::store_first(sums.y + i, S::fma(x, weight, y), at_most(S::N, last - i));
      }
    }
  }

  // What is staged of a row has a part for each phase.
  void finish(int64_t n, int64_t o, E* y, bool staged) const {
    if (job_.activation != depthwise::Activation::none) activate_span<S>(job_.activation, y, outs_of(phase(0)).size());
    if (staged)
      with_type(job_.out.dtype, [&](auto type) {
        using O = typename decltype(type)::type;
        store<O>(static_cast<O*>(job_.out.data) + out_row(n, o), y);
      });
  }
  template <class O>
  void store(O* row, const E* from) const {
    int64_t done = 0;
    if constexpr (__is_same(O, E))
      if (lat_.cross_phase_count == 2 && phase(0).out_step == 2 && job_.out.cross == 1 && phase(0).out0 == 0 &&
          phase(1).out0 == 1) {
        done = outs_of(phase(1)).size();
        interleave_span<S>(row + 2 * at_, from, from + stage_part_, done);
      }
    for (int64_t i = 0; i < lat_.cross_phase_count; ++i) {
      const Phase& p = phase(i);
      const Range outs = outs_of(p);
      if (done < outs.size())
        narrow_span<S, O>(row + (p.out0 + (outs.begin + done) * p.out_step) * job_.out.cross,
                          p.out_step * job_.out.cross, from + i * stage_part_ + done, outs.size() - done);
    }
  }

  const Correlation& job_;
  const depthwise::LatticeView& lat_;
  const int64_t count_;
  const bool few_;
  const bool staged_;  // outputs are stored by a copy
  PlaneWeights<S> weights_;
  SequenceWindow<S> window_;
  const int64_t stage_part_, stage_row_;
  int64_t rows_ = 1;  // that are done together
  E *w_ = nullptr, *bias_ = nullptr, *stage_ = nullptr;
  Step* offsets_ = nullptr;       // few taps: in the order of the weights
  RowEdges<S>* edges_ = nullptr;  // few taps: of each phase
  int64_t scratch_bytes_ = 0;
  int64_t at_ = -1;  // the strip's first output of each phase
  Range channels_ = {-1, -1};
  bool neighbours_ = false;  // what taps read for an output
  bool careful_ = false;     // some weight of the channel is not finite
};

}  // namespace
