// Weight gradient of images of one line, with lanes along its columns.
//
// A unit is one output channel and one part of the images. A vector of gy meets x under each tap, at any alignment; a
// few taps' sums stand in registers while all rows of a channel pass by: a row may be shorter than a call.
#pragma once
#include "bias_sums.hpp"
#include "cut.hpp"
#include "row_edges.hpp"
#include "row_sums.hpp"
#include "sequence_window.hpp"
#include "sums.hpp"

namespace {

using depthwise::WeightGradient;

// Rows of neighbouring channels of gy.
template <class S>
struct ProductsOfRows {
  using E = typename S::E;
  const E *x, *g;
  Step x_channel, g_channel, channels;
  Step share, sharing;  // so many channels share one of x; the first is so far in its share
  const Step* offsets;  // to what each tap reads of x for the first output
  RowEdges<S> edges;
  E* sums;  // vectors [channel][tap], added to
  Step sums_channel;
};

template <class S, bool neighbours, int taps>
DEPTHWISE_NOINLINE void add_products_of_rows(const ProductsOfRows<S>& p) {
  using V = typename S::V;
  using E = typename S::E;
  // Few taps are too few chains of sums: even and odd vectors are summed apart.
  constexpr int apart = taps <= 4 ? 2 : 1;
  Step offset[taps];  // from the first tap
#pragma GCC unroll 8
  for (int k = 0; k < taps; ++k) offset[k] = p.offsets[k] - p.offsets[0];
  const E *x = p.x + p.offsets[0], *g = p.g;
  E* sums = p.sums;
  const Step inner = p.edges.inner.begin, inner_end = p.edges.inner.end;
  Step share = p.share;
  for (Step channel = 0; channel < p.channels; ++channel) {
    V sum[apart][taps];
#pragma GCC unroll 8
    for (int k = 0; k < taps; ++k) {
      sum[0][k] = S::load(sums + k * S::N);
      if constexpr (apart > 1) sum[1][k] = S::zero();
    }
    // What lies beside the row is zero, and so is what it meets: zero times what is not finite would not be.
    const typename S::M* mask = p.edges.masks;
    for (const RowEdge* e = p.edges.edges; e < p.edges.edges + p.edges.count; ++e, mask += taps)
#pragma GCC unroll 8
      for (int k = 0; k < taps; ++k)
        sum[0][k] =
            S::fma(S::load(x + e->at + (neighbours ? k : offset[k]), mask[k]), S::load(g + e->at, mask[k]), sum[0][k]);
    const auto add = [&](Step at, V(&to)[taps]) __attribute__((always_inline)) {
      const V v = S::pin(S::load(g + at));
#pragma GCC unroll 8
      for (int k = 0; k < taps; ++k) to[k] = S::fma(S::load(x + at + (neighbours ? k : offset[k])), v, to[k]);
    };
    Step at = inner;
    if constexpr (apart > 1)
      for (; at + S::N < inner_end; at += 2 * S::N) {
        add(at, sum[0]);
        add(at + S::N, sum[1]);
      }
    for (; at < inner_end; at += S::N) add(at, sum[0]);
#pragma GCC unroll 8
    for (int k = 0; k < taps; ++k) {
      if constexpr (apart > 1) sum[0][k] = S::add(sum[0][k], sum[1][k]);
      S::store(sums + k * S::N, sum[0][k]);
    }
    sums += p.sums_channel;
    g += p.g_channel;
    if (++share == p.sharing) {
      share = 0;
      x += p.x_channel;
    }
  }
}

template <class S>
class WeightGradSequence {
  using E = typename S::E;
  static constexpr CrossTap itself{0, 0};

 public:
  // Lays the scratch memory out; without memory, only measures it.
  WeightGradSequence(const WeightGradient& job, void* scratch)
      : job_(job),
        taps_(job.lattice.cross_taps),
        count_(job.lattice.cross_tap_count),
        stride_(job.lattice.cross_in_step),
        chunks_(fewest_pieces(count_, few_taps)),
        x_(job.x, taps_, count_, stride_),
        g_(job.g, &itself, 1, 1) {
    const int64_t copied = (x_.lies_so() ? 0 : x_.copy_size(job.strip)) + (g_.lies_so() ? 0 : g_.copy_size(job.strip));
    const int64_t row_bytes = Step{sizeof(E)} * (copied + count_ * S::N);
    together_ =
        job.parts > 1 ? 1 : clamp(rows_together_bytes / at_least(1, row_bytes), 1, at_least(1, job.out_channels));
    Arena arena(scratch);
    sums_.take(arena, together_, count_);
    x_.take(arena, job.strip, x_.lies_so() ? 0 : together_);
    g_.take(arena, job.strip, g_.lies_so() ? 0 : together_);
    edges_ = arena.take<RowEdges<S>>(chunks_.count);
    for (int64_t i = 0; i < chunks_.count; ++i) {
      RowEdges<S> edges;
      const CrossTap &first = taps_[chunks_.begin(i)], &last = taps_[chunks_.end(i) - 1];
      edges.take(arena, job.strip, chunks_.length(i), 1, divide_up(last.in0 - first.in0, stride_));
      if (scratch) edges_[i] = edges;
    }
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Units are numbered by channel of gy and part, the last fastest.
  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end;) {
      const int64_t o = unit / job_.parts, part = unit % job_.parts;
      const Range channels{o, at_most(o + together_, job_.parts > 1 ? o + 1 : end)};
      const Cut cut{job_.batch, job_.parts};
      const Range images{cut.begin(part), cut.end(part)};
      if (count_) add_channels(channels, images, part);
      if (job_.gb_sums)
        for (int64_t c = channels.begin; c < channels.end; ++c) {
          double total = 0;
          for (int64_t n = images.begin; n < images.end; ++n)
            total += sum_area<S>(job_.g, row(job_.g, n, c), 1, job_.g.cross_size);
          job_.gb_sums[part * job_.out_channels + c] = total;
        }
      unit += channels.size();
    }
  }

 private:
  static Step row(const depthwise::Side& side, int64_t n, int64_t channel) {
    return side.plane(n) + channel * side.channel;
  }

  // Image by image, as memory lies.
  void add_channels(Range channels, Range images, int64_t part) {
    sums_.clear();
    for (int64_t n = images.begin; n < images.end; ++n)
      for (int64_t at = 0; at < job_.g.cross_size; at += job_.strip) {
        enter({at, at_most(job_.g.cross_size, at + job_.strip)});
        for (int64_t i = 0; i < channels.size(); ++i) sums_.count(i, divide_up(outs_.size(), S::N));
        add_rows(channels, n);
      }
    E* const gW = static_cast<E*>(job_.gW);
    for (int64_t i = 0; i < channels.size(); ++i) {
      const int64_t o = channels.begin + i;
      const Step to = gW ? o % job_.divide * job_.gW_multiplier + o / job_.divide * job_.gW_channel
                         : (part * job_.out_channels + o) * count_;
      for (int64_t k = 0; k < count_; ++k)
        if (gW)
          gW[to + k] = static_cast<E>(sums_.all_lanes(i, k));
        else
          job_.sums[to + k] = sums_.all_lanes(i, k);
    }
  }

  void enter(Range outs) {
    if (outs == outs_) return;
    outs_ = outs;
    x_.enter(outs, false);
    g_.enter(outs, false);
    for (int64_t i = 0; i < chunks_.count; ++i)
      list_edges<S>(edges_[i], Listed::met, outs, taps_ + chunks_.begin(i), chunks_.length(i), stride_,
                    job_.x.cross_size, 1);
  }

  void add_rows(Range channels, int64_t n) {
    ProductsOfRows<S> p{.channels = channels.size(),
                        .share = channels.begin % job_.divide,
                        .sharing = job_.divide,
                        .sums_channel = count_ * S::N};
    const int64_t first_of_x = channels.begin / job_.divide;
    const auto x =
        x_.rows(row(job_.x, n, first_of_x), job_.x.channel, (channels.end - 1) / job_.divide + 1 - first_of_x);
    const auto g = g_.rows(row(job_.g, n, channels.begin), job_.g.channel, channels.size());
    p.x = x.first;
    p.x_channel = x.step;
    p.g = g.first + g_.offsets()[0];
    p.g_channel = g.step;
    for (int64_t i = 0; i < chunks_.count; ++i) {
      const int64_t first = chunks_.begin(i);
      p.offsets = x_.offsets() + first;
      p.edges = edges_[i];
      p.sums = sums_.set(0) + first * S::N;
      with_number<few_taps>(chunks_.length(i), [&](auto taps) {
        constexpr int number = decltype(taps)::value;
        if (are_neighbours(p.offsets, number))
          add_products_of_rows<S, true, number>(p);
        else
          add_products_of_rows<S, false, number>(p);
      });
    }
  }

  const WeightGradient& job_;
  const CrossTap* taps_;
  const int64_t count_, stride_;
  const Cut chunks_;  // of taps
  Sums<S> sums_;
  SequenceWindow<S> x_, g_;
  int64_t together_ = 1;   // channels
  Range outs_ = {-1, -1};  // that the edges are of
  RowEdges<S>* edges_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
