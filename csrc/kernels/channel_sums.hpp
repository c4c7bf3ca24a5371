// The sums of gy of neighbouring channels, over some bands: by vectors where channels are neighbours and fill them,
// else channel by channel.
#pragma once
#include "bias_sums.hpp"
#include "walk.hpp"

namespace {

template <class S>
class ChannelSums {
  using E = typename S::E;

 public:
  explicit ChannelSums(const depthwise::WeightGradient& job) : job_(job), g_(job.g) {}

  void take(Arena& arena) { sums_.take(arena, job_.group, 1); }

  // The totals of the channels of `vectors`, of which there are a group's at most.
  void add(Range cells, Range vectors, double* totals) {
    DEPTHWISE_REQUIRE(vectors.size() <= job_.group, "the vectors are of one group");
    const int64_t first = vectors.begin * S::N, end = at_most(vectors.end * S::N, job_.out_channels);
    const bool converts = g_.dtype == DType::f64 ? sizeof(E) == 8 : sizeof(E) == 4;
    const int64_t whole = g_.channel == 1 && converts ? end / S::N - vectors.begin : 0;
    sums_.clear();
    if (whole)
      each_band(cells, first, [&](Step at, int64_t rows) {
        for (int64_t row = 0; row < rows; ++row) add_pixels<S>(g_, at + row * g_.cross, g_.lines, sums_, whole);
      });
    for (int64_t v = 0; v < whole; ++v) {
      const double* exact = sums_.exact(v);
      for (int64_t l = 0; l < S::N; ++l) totals[first + v * S::N + l] = exact[l];
    }
    for (int64_t o = first + whole * S::N; o < end; ++o) {
      totals[o] = 0;
      each_band(cells, o, [&](Step at, int64_t rows) { totals[o] += sum_area<S>(g_, at, g_.lines, rows); });
    }
  }

 private:
  // Calls f(the element where channel o of the band's first row starts, rows).
  template <class F>
  void each_band(Range cells, int64_t o, const F& f) const {
    for (int64_t cell = cells.begin; cell < cells.end; ++cell) {
      const Band band = band_at(cell, job_.bands, job_.band, g_.cross_size);
      f(g_.plane(band.image) + o * g_.channel + band.rows.begin * g_.cross, band.rows.size());
    }
  }

  const depthwise::WeightGradient& job_;
  const depthwise::Side& g_;
  Sums<S> sums_;
};

}  // namespace
