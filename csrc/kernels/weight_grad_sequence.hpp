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

template <class S>
struct ProductsOfRows {
  using E = typename S::E;
  const E *x, *g;
  Step x_image, g_image, images;
  Step x_channel, g_channel, channels;  // channels of gy
  Step share, sharing;                  // so many of which share one of x; the first is so far in its share
  const Step* offsets;                  // to what each tap reads of x for the first output
  RowEdges<S> edges;
  E* sums;  // of one channel, vectors [tap], which are added to; or null and
  E* totals;
  Step totals_channel;
};

template <class S, bool neighbours, int taps>
DEPTHWISE_NOINLINE void add_products_of_rows(const ProductsOfRows<S>& p) {
  using V = typename S::V;
  using E = typename S::E;
  // Few taps are too few chains of sums: even and odd vectors are summed apart.
  constexpr int apart = taps <= 4 ? 2 : 1;
  Step offset[taps];
#pragma GCC unroll 8
  for (int k = 0; k < taps; ++k) offset[k] = p.offsets[k];
  const E *x_channel = p.x + offset[0], *g_channel = p.g;
  Step share = p.share;
  E* totals = p.totals;
  for (Step channel = 0; channel < p.channels; ++channel) {
    V sum[apart][taps];
#pragma GCC unroll 8
    for (int k = 0; k < taps; ++k) {
      sum[0][k] = p.sums ? S::load(p.sums + k * S::N) : S::zero();
      if constexpr (apart > 1) sum[1][k] = S::zero();
    }
    const E *x = x_channel, *g = g_channel;
    for (Step image = 0; image < p.images; ++image, x += p.x_image, g += p.g_image) {
      const typename S::M* mask = p.edges.masks;
      for (const RowEdge* e = p.edges.edges; e < p.edges.edges + p.edges.count; ++e, mask += taps) {
        // What lies beside the row is zero, and so is what it meets: zero times what is not finite would not be.
#pragma GCC unroll 8
        for (int k = 0; k < taps; ++k)
          sum[0][k] = S::fma(S::load(x + e->at + (neighbours ? k : offset[k] - offset[0]), mask[k]),
                             S::load(g + e->at, mask[k]), sum[0][k]);
      }
      const auto add = [&](const E* at, const E* gy, V(&to)[taps]) __attribute__((always_inline)) {
        const V v = S::pin(S::load(gy));
#pragma GCC unroll 8
        for (int k = 0; k < taps; ++k) to[k] = S::fma(S::load(at + (neighbours ? k : offset[k] - offset[0])), v, to[k]);
      };
      const E *at = x + p.edges.inner.begin, *gy = g + p.edges.inner.begin, *const end = g + p.edges.inner.end;
      if constexpr (apart > 1)
        for (; gy + S::N < end; at += 2 * S::N, gy += 2 * S::N) {
          add(at, gy, sum[0]);
          add(at + S::N, gy + S::N, sum[1]);
        }
      for (; gy < end; at += S::N, gy += S::N) add(at, gy, sum[0]);
    }
#pragma GCC unroll 8
    for (int k = 0; k < taps; ++k) {
      if constexpr (apart > 1) sum[0][k] = S::add(sum[0][k], sum[1][k]);
      if (p.sums)
        S::store(p.sums + k * S::N, sum[0][k]);
      else
        totals[k] = S::sum(sum[0][k]);
    }
    totals += p.totals_channel;
    g_channel += p.g_channel;
    if (++share == p.sharing) {
      share = 0;
      x_channel += p.x_channel;
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
        g_(job.g, &itself, 1, 1),
        vectors_(divide_up(job.strip, S::N)),
        images_(divide_up(job.batch, job.parts)) {
    const int64_t copied = (x_.lies_so() ? 0 : x_.copy_size(job.strip)) + (g_.lies_so() ? 0 : g_.copy_size(job.strip));
    const int64_t rows = copied ? at_least(1, rows_together_bytes / (copied * Step{sizeof(E)})) : most_rows;
    // All rows of a channel at once, if its sums need not be emptied meanwhile.
    at_once_ = job.strip >= job.g.cross_size && images_ * vectors_ <= steps_kept && images_ <= rows;
    images_together_ = at_once_ ? images_ : clamp(steps_kept / vectors_, 1, rows);
    channels_together_ = at_once_ ? clamp(rows / at_least(1, images_), 1, job.out_channels) : 1;
    const int64_t copies = images_together_ * channels_together_;
    Arena arena(scratch);
    sums_.take(arena, 1, count_);
    totals_ = arena.take<E>(channels_together_ * count_);
    x_.take(arena, job.strip, x_.lies_so() ? 0 : copies);
    g_.take(arena, job.strip, g_.lies_so() ? 0 : copies);
    edges_ = arena.take<RowEdges<S>>(chunks_.count);
    for (int64_t i = 0; i < chunks_.count; ++i) {
      RowEdges<S> edges;
      const CrossTap &first = taps_[chunks_.begin(i)], &last = taps_[chunks_.end(i) - 1];
      edges.take(arena, job.strip, chunks_.length(i), divide_up(last.in0 - first.in0, stride_));
      if (scratch) edges_[i] = edges;
    }
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  void run(int64_t begin, int64_t end) {
    if (count_) job_.parts == 1 && at_once_ ? run_channels(begin, end) : run_units(begin, end);
    if (!job_.gb_sums) return;
    for (int64_t unit = begin; unit < end; ++unit) {
      const Cut images{job_.batch, job_.parts};
      double total = 0;
      for (int64_t n = images.begin(unit % job_.parts); n < images.end(unit % job_.parts); ++n)
        total += sum_area<S>(job_.g, job_.g.plane(n) + unit / job_.parts * job_.g.channel, 1, job_.g.cross_size);
      job_.gb_sums[unit % job_.parts * job_.out_channels + unit / job_.parts] = total;
    }
  }

 private:
  static constexpr int64_t most_rows = 1024;  // that lie as they are read: of so many totals are kept

  // Channels [begin, end), each summed at once.
  void run_channels(int64_t begin, int64_t end) {
    enter({0, job_.g.cross_size});
    for (int64_t o = begin; o < end; o += channels_together_) {
      const Range channels{o, at_most(end, o + channels_together_)};
      add_rows(channels, {0, job_.batch}, nullptr);
      for (int64_t c = channels.begin; c < channels.end; ++c)
        for (int64_t k = 0; k < count_; ++k) store(0, c, k, static_cast<double>(totals_[(c - o) * count_ + k]));
    }
  }

  void run_units(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t o = unit / job_.parts, part = unit % job_.parts;
      const Cut images{job_.batch, job_.parts};
      sums_.clear();
      for (int64_t at = 0; at < job_.g.cross_size; at += job_.strip) {
        enter({at, at_most(job_.g.cross_size, at + job_.strip)});
        for (int64_t n = images.begin(part); n < images.end(part); n += images_together_) {
          const Range some{n, at_most(images.end(part), n + images_together_)};
          sums_.count(0, some.size() * divide_up(outs_.size(), S::N));
          add_rows({o, o + 1}, some, sums_.set(0));
        }
      }
      for (int64_t k = 0; k < count_; ++k) store(part, o, k, sums_.all_lanes(0, k));
    }
  }

  void store(int64_t part, int64_t o, int64_t tap, double total) const {
    if (job_.gW)
      static_cast<E*>(job_.gW)[o % job_.divide * job_.gW_multiplier + o / job_.divide * job_.gW_channel + tap] =
          static_cast<E>(total);
    else
      job_.sums[(part * job_.out_channels + o) * count_ + tap] = total;
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

  void add_rows(Range channels, Range images, E* sums) {
    ProductsOfRows<S> p{.images = images.size(),
                        .channels = channels.size(),
                        .share = channels.begin % job_.divide,
                        .sharing = job_.divide,
                        .sums = sums,
                        .totals_channel = count_};
    p.g = rows(g_, channels, images, job_.g, p.g_image, p.g_channel) + g_.offsets()[0];
    const Range of_x{channels.begin / job_.divide, (channels.end - 1) / job_.divide + 1};
    p.x = rows(x_, of_x, images, job_.x, p.x_image, p.x_channel);
    for (int64_t i = 0; i < chunks_.count; ++i) {
      const int64_t first = chunks_.begin(i);
      p.offsets = x_.offsets() + first;
      p.edges = edges_[i];
      p.sums = sums ? sums + first * S::N : nullptr;
      p.totals = totals_ + first;
      with_number<few_taps>(chunks_.length(i), [&](auto taps) {
        constexpr int n = decltype(taps)::value;
        if (are_neighbours(p.offsets, n))
          add_products_of_rows<S, true, n>(p);
        else
          add_products_of_rows<S, false, n>(p);
      });
    }
  }

  // Rows of some channels and images, and the steps from one to the next.
  static const E* rows(SequenceWindow<S>& window, Range channels, Range images, const depthwise::Side& side,
                       Step& image, Step& channel) {
    const auto row = [&](int64_t c, int64_t n) { return side.plane(n) + c * side.channel; };
    channel = side.channel;
    image = side.batch;
    if (window.in_place()) return window.where_it_lies(row(channels.begin, images.begin));
    image = window.copy_step();
    channel = images.size() * image;
    const E* first = nullptr;
    for (int64_t c = channels.begin, i = 0; c < channels.end; ++c)
      for (int64_t n = images.begin; n < images.end; ++n, ++i) {
        const E* copy = window.copy(i, row(c, n));
        if (!i) first = copy;
      }
    return first;
  }

  const WeightGradient& job_;
  const CrossTap* taps_;
  const int64_t count_, stride_;
  const Cut chunks_;  // of taps
  Sums<S> sums_;
  SequenceWindow<S> x_, g_;
  const int64_t vectors_, images_;  // of a strip, of a part
  bool at_once_ = false;
  int64_t images_together_ = 1, channels_together_ = 1;
  Range outs_ = {-1, -1};  // that the edges are of
  E* totals_ = nullptr;
  RowEdges<S>* edges_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
