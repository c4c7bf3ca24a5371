// Forward passes and input gradients as products of spectra: that of a tile of the input by the conjugate of the
// filter's. A circle of places stands for the line: where it wraps around, it meets zeros or outputs of another tile.
#pragma once
#include "activation.hpp"
#include "spectral_plane.hpp"
#include "spectral_tiles.hpp"

namespace {

// The spectra of the filters of a unit's lanes, [m][column][place][part][lane]; where all are kept [filter set] of
// such.
template <class S>
class FilterSpectra {
  using E = typename S::E;

 public:
  explicit FilterSpectra(const Spectral& job)
      : job_(job),
        side_{.data = const_cast<void*>(job.W),
              .dtype = job.W_dtype,
              .batch = job.W_multiplier,
              .channel = job.W_channel,
              .line = job.W_w,
              .cross = job.W_h},
        windows_(side_) {}

  void take(Arena& arena, const SpectralPlane<S>& plane) {
    column_size_ = plane.column_size();
    columns_ = plane.columns();
    if (!job_.spectra) own_ = arena.take<E>(set_size());
    windows_.take(arena);
  }

  // Finds those of a filter set, or makes them by way of `plane` unless they were the last.
  void find(int64_t filter, SpectralPlane<S>& plane) {
    if (job_.spectra)
      spectra_ = static_cast<E*>(job_.spectra) + filter * set_size();
    else if (filter != filter_)
      make(filter, plane, own_);
    filter_ = filter;
  }
  void keep(int64_t filter, SpectralPlane<S>& plane) {
    make(filter, plane, static_cast<E*>(job_.spectra) + filter * set_size());
  }
  E* column(int64_t m, int64_t k) const { return spectra_ + (m * columns_ + k) * column_size_; }

 private:
  int64_t set_size() const { return job_.multiplier * columns_ * column_size_; }

  void make(int64_t filter, SpectralPlane<S>& plane, E* to) {
    spectra_ = to;
    const int64_t count = job_.lanes_of_tiles ? S::N : at_most(S::N, job_.channels - filter * S::N);
    for (int64_t m = 0; m < job_.multiplier; ++m) {
      LaneWindow lanes[S::N] = {};
      for (int64_t l = 0; l < count; ++l)
        lanes[l] = {.at = m * side_.batch + (job_.lanes_of_tiles ? filter : filter * S::N + l) * side_.channel,
                    .rows = {0, job_.h.taps},
                    .columns = {0, job_.w.taps}};
      windows_.set(lanes, count);
      plane.transform_rows(windows_, {job_.h.tap_first, job_.h.tap_step}, {job_.w.tap_first, job_.w.tap_step});
      for (int64_t k = 0; k < columns_; ++k) plane.transform_column(k, column(m, k));
    }
  }

  const Spectral& job_;
  const Side side_;
  LaneWindows<S> windows_;
  E *own_ = nullptr, *spectra_ = nullptr;
  int64_t filter_ = -1, columns_ = 0, column_size_ = 0;
};

// Makes those of filter sets [begin, end), to be kept.
template <class S>
class TransformFilters {
 public:
  TransformFilters(const Spectral& job, void* scratch) : filters_(job), plane_(job.h, job.w) {
    Arena arena(scratch);
    plane_.take(arena);
    filters_.take(arena, plane_);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }
  void run(int64_t begin, int64_t end) {
    for (int64_t filter = begin; filter < end; ++filter) filters_.keep(filter, plane_);
  }

 private:
  FilterSpectra<S> filters_;
  SpectralPlane<S> plane_;
  int64_t scratch_bytes_ = 0;
};

// to = a * conjugate(b), or to += that, number by number of a column.
template <class S, bool adds>
DEPTHWISE_NOINLINE void multiply_columns(typename S::E* to, const typename S::E* a, const typename S::E* b,
                                         int64_t elements) {
  for (int64_t i = 0; i < elements; i += 2 * S::N) {
    Complex<S> v =
        product_conjugate<S>({S::load(a + i), S::load(a + i + S::N)}, {S::load(b + i), S::load(b + i + S::N)});
    if constexpr (adds) v = v + Complex<S>{S::load(to + i), S::load(to + i + S::N)};
    S::store(to + i, v.re);
    S::store(to + i + S::N, v.im);
  }
}

template <class S>
class CorrelateSpectral {
  using E = typename S::E;
  using V = typename S::V;

 public:
  CorrelateSpectral(const Spectral& job, void* scratch)
      : job_(job), in_(job.in), out_(job.out), filters_(job), plane_(job.h, job.w), other_(job.h, job.w) {
    Arena arena(scratch);
    in_.take(arena);
    out_.take(arena);
    plane_.take(arena);
    // The sum of several spectra, or what is left of one after each of several products.
    if (job.multiplier > 1) other_.take(arena);
    filters_.take(arena, plane_);
    column_ = arena.take<E>(plane_.column_size());
    sum_ = arena.take<E>(plane_.column_size());
    outputs_ = arena.take<E>(job.w.size * S::N);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Units are numbered by filter set and cell, the cell faster.
  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t filter = unit / job_.cells;
      filters_.find(filter, plane_);
      const LaneTiles<S> tiles = lane_tiles<S>(job_, filter, unit % job_.cells);
      job_.adds ? add(tiles) : spread(tiles);
    }
  }

 private:
  // One input to each of its channels' outputs.
  void spread(const LaneTiles<S>& tiles) {
    transform_input(tiles, plane_, 1, 0);
    SpectralPlane<S>& products = job_.multiplier > 1 ? other_ : plane_;
    for (int64_t m = 0; m < job_.multiplier; ++m) {
      for (int64_t k = 0; k < plane_.columns(); ++k) {
        if (m) {
          plane_.load_column(k, column_);
        } else {
          plane_.transform_column(k, column_);
          if (job_.multiplier > 1) plane_.store_column(column_, k);
        }
        multiply_columns<S, false>(column_, column_, filters_.column(m, k), plane_.column_size());
        products.transform_column_back(column_, k);
      }
      store(tiles, products, job_.multiplier, m);
    }
  }

  // The inputs of all m to one output.
  void add(const LaneTiles<S>& tiles) {
    for (int64_t m = 0; m < job_.multiplier; ++m) {
      SpectralPlane<S>& inputs = m ? other_ : plane_;
      transform_input(tiles, inputs, job_.multiplier, m);
      for (int64_t k = 0; k < plane_.columns(); ++k) {
        inputs.transform_column(k, column_);
        if (m) plane_.load_column(k, sum_);
        if (m)
          multiply_columns<S, true>(sum_, column_, filters_.column(m, k), plane_.column_size());
        else
          multiply_columns<S, false>(sum_, column_, filters_.column(m, k), plane_.column_size());
        if (m + 1 < job_.multiplier)
          plane_.store_column(sum_, k);
        else
          plane_.transform_column_back(sum_, k);
      }
    }
    store(tiles, plane_, 1, 0);
  }

  void transform_input(const LaneTiles<S>& tiles, SpectralPlane<S>& plane, int64_t multiplier, int64_t m) {
    set_inputs(in_, tiles, job_.in, multiplier, m);
    plane.transform_rows(in_, {tiles.lanes[0].h.in_first, job_.h.in_step}, {tiles.lanes[0].w.in_first, job_.w.in_step});
  }

  void store(const LaneTiles<S>& tiles, SpectralPlane<S>& plane, int64_t multiplier, int64_t m) {
    set_outputs(out_, tiles, job_.out, multiplier, m);
    E bias[S::N] = {};
    if (job_.b)
      for (int64_t l = 0; l < tiles.count; ++l)
        bias[l] = load_as<E>(job_.b, job_.b_dtype, (tiles.lanes[l].channel * multiplier + m) * job_.b_stride);
    const V start = S::load(bias), scale = S::set1(static_cast<E>(spectral_scale(job_.h, job_.w)));
    V wrong = S::zero();
    const Range rows = out_.rows(), columns = out_.columns();
    for (int64_t u = rows.begin; u < rows.end; u += 2) {
      const bool two = u + 1 < rows.end;
      const E* lines = plane.transform_rows_back(u * job_.h.out_step, (two ? u + 1 : u) * job_.h.out_step);
      for (int64_t row = u; row < at_most(u + 2, rows.end); ++row, lines += job_.w.size * S::N) {
        for (int64_t c = columns.begin; c < columns.end; ++c) {
          const V sum = S::fma(S::load(lines + c * job_.w.out_step * S::N), scale, start);
          wrong = S::fma(sum, S::zero(), wrong);  // NaN where it is not finite
          S::store(outputs_ + (c - columns.begin) * S::N, sum);
        }
        if (job_.activation != depthwise::Activation::none)
          activate_span<S>(job_.activation, outputs_, columns.size() * S::N);
        out_.store(outputs_, row);
      }
    }
    E lanes[S::N];
    S::store(lanes, wrong);
    for (int64_t l = 0; l < tiles.count; ++l)
      if (lanes[l] != lanes[l]) tell_unfit(job_, tiles.lanes[l].image * job_.channels + tiles.lanes[l].channel);
  }

  const Spectral& job_;
  LaneWindows<S> in_, out_;
  FilterSpectra<S> filters_;
  SpectralPlane<S> plane_, other_;
  E *column_ = nullptr, *sum_ = nullptr, *outputs_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
