// Weight gradients as sums of products of spectra: that of a tile of x by the conjugate of gy's, over all tiles of a
// part, and one transform back.
#pragma once
#include "correlate_spectral.hpp"

namespace {

template <class S>
class WeightGradSpectral {
  using E = typename S::E;
  using V = typename S::V;

 public:
  WeightGradSpectral(const Spectral& job, void* scratch)
      : job_(job), x_(job.in), gy_(job.out), x_plane_(job.h, job.w), gy_plane_(job.h, job.w) {
    Arena arena(scratch);
    x_.take(arena);
    gy_.take(arena);
    x_plane_.take(arena);
    gy_plane_.take(arena);
    x_column_ = arena.take<E>(x_plane_.column_size());
    gy_column_ = arena.take<E>(x_plane_.column_size());
    sums_ = arena.take<E>(x_plane_.columns() * x_plane_.column_size());
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Units are numbered by filter set, m and part, the last fastest.
  void run(int64_t begin, int64_t end) {
    const Cut parts{.size = job_.cells, .count = job_.parts};
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t part = unit % job_.parts, m = unit / job_.parts % job_.multiplier;
      const int64_t filter = unit / job_.parts / job_.multiplier;
      for (int64_t cell = parts.begin(part); cell < parts.end(part); ++cell)
        add(lane_tiles<S>(job_, filter, cell), m, cell == parts.begin(part));
      store(filter, m, part);
    }
  }

 private:
  void add(const LaneTiles<S>& tiles, int64_t m, bool first) {
    const LaneTile& tile = tiles.lanes[0];
    set_inputs(x_, tiles, job_.in, 1, 0);
    set_outputs(gy_, tiles, job_.out, job_.multiplier, m);
    x_plane_.transform_rows(x_, {tile.h.in_first, job_.h.in_step}, {tile.w.in_first, job_.w.in_step});
    gy_plane_.transform_rows(gy_, {0, job_.h.out_step}, {0, job_.w.out_step});
    for (int64_t k = 0; k < x_plane_.columns(); ++k) {
      x_plane_.transform_column(k, x_column_);
      gy_plane_.transform_column(k, gy_column_);
      E* sums = sums_ + k * x_plane_.column_size();
      if (first)
        multiply_columns<S, false>(sums, x_column_, gy_column_, x_plane_.column_size());
      else
        multiply_columns<S, true>(sums, x_column_, gy_column_, x_plane_.column_size());
    }
  }

  void store(int64_t filter, int64_t m, int64_t part) {
    for (int64_t k = 0; k < x_plane_.columns(); ++k)
      x_plane_.transform_column_back(sums_ + k * x_plane_.column_size(), k);
    const FourierAxis &h = job_.h, &w = job_.w;
    const double scale = spectral_scale(h, w);
    for (int64_t p = 0; p < h.taps; p += 2) {
      const bool two = p + 1 < h.taps;
      const E* lines = x_plane_.transform_rows_back(p * h.tap_step, (two ? p + 1 : p) * h.tap_step);
      for (int64_t row = p; row < at_most(p + 2, h.taps); ++row, lines += w.size * S::N)
        for (int64_t q = 0; q < w.taps; ++q)
          store_tap(lines + q * w.tap_step * S::N, filter, m, part, row * w.taps + q, scale);
    }
  }

  void store_tap(const E* lanes, int64_t filter, int64_t m, int64_t part, int64_t tap, double scale) const {
    const auto put = [&](int64_t channel, double sum) {
      if (!(sum - sum == 0)) tell_unfit(job_, channel);
      job_.sums[((part * job_.channels + channel) * job_.multiplier + m) * job_.h.taps * job_.w.taps + tap] =
          sum * scale;
    };
    if (!job_.lanes_of_tiles) {
      for (int64_t l = 0; l < at_most(S::N, job_.channels - filter * S::N); ++l)
        put(filter * S::N + l, static_cast<double>(lanes[l]));
      return;
    }
    double sum = 0;
    for (int64_t l = 0; l < S::N; ++l) sum += static_cast<double>(lanes[l]);
    put(filter, sum);
  }

  const Spectral& job_;
  LaneWindows<S> x_, gy_;
  SpectralPlane<S> x_plane_, gy_plane_;
  E *x_column_ = nullptr, *gy_column_ = nullptr, *sums_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
