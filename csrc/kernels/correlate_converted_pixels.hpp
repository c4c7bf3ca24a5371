// Channels-last arrays of another dtype than the sums': the rows of an image, or of some planes of it, that a band of
// outputs reads are brought into the accumulator's type, handed to the kernel that takes pixels in place, and the
// results brought back.
#pragma once
#include "correlate_channels_last.hpp"

namespace {

template <class S>
class CorrelateConvertedPixels {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelateConvertedPixels(const Correlation& job, void* scratch)
      : job_(job),
        slices_(job),
        pixels_(job),
        writes_(job.out.dtype != dtype_of<E>),
        pixel_(pixels_apart<E>(at_most(job.group * S::N, job.out_channels))),
        in_row_(rows_apart<E>(job.in.lines * pixel_)),
        in_plane_(job.rows_packed * in_row_),
        out_row_(rows_apart<E>(job.out.lines * pixel_)) {
    Arena arena(scratch);
    x_ = arena.take<E>(job.planes_packed * in_plane_);
    pixels_.in = in_scratch(job.in, x_, in_row_, in_plane_);
    if (writes_) {
      y_ = arena.take<E>(job.band * out_row_);
      pixels_.out = in_scratch(job.out, y_, out_row_, 0);
    }
    pixels_.batch = 1;
    const int64_t scratch_bytes = CorrelateChannelsLast<S>(pixels_, nullptr).scratch_bytes();
    scratch_ = arena.take<char>(scratch_bytes);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // A unit is a band of output rows of a plane, for a group of channel vectors. Bands of one plane follow one another,
  // as they lie in memory.
  void run(int64_t begin, int64_t end) {
    CorrelateChannelsLast<S> kernel(pixels_, scratch_);
    const int64_t outs = job_.lattice.depth_outs;
    for (int64_t unit = begin; unit < end; ++unit) {
      const Band band = band_at(unit % job_.bands, job_.bands, job_.band, job_.out.cross_size);
      const int64_t plane = unit / job_.bands % outs, image = unit / job_.bands / outs % job_.batch;
      const int64_t group = unit / job_.bands / outs / job_.batch;
      const Slice slice = slices_.of_row(image, plane);
      const Range read = crosses_read(job_.lattice, band.rows, job_.in.cross_size);
      const Range channels{group * job_.group * S::N, at_most((group + 1) * job_.group * S::N, job_.out_channels)};
      DEPTHWISE_REQUIRE(read.size() <= job_.rows_packed, "the rows fit");
      widen_rows(slice, read, channels);
      if (writes_) {
        pixels_.out.data = y_ - channels.begin;
        if (!job_.lattice.covers) clear<S>(y_, band.rows.size() * out_row_);
      } else {
        with_memory_of(job_.out, [&](auto* out) { pixels_.out.data = out + image * job_.out.batch; });
      }
      const int64_t of_image = (group * job_.bands + unit % job_.bands) * outs + plane;
      kernel.run(of_image, of_image + 1, {.in = read.begin, .out = writes_ ? band.rows.begin : 0});
      if (writes_) narrow_rows(slice, band, channels);
    }
  }

 private:
  depthwise::Side in_scratch(const depthwise::Side& side, E* data, Step row, Step plane) const {
    return {.data = data,
            .dtype = dtype_of<E>,
            .batch = 0,
            .channel = 1,
            .line = pixel_,
            .cross = row,
            .lines = side.lines,
            .cross_size = side.cross_size,
            .depth = plane,
            .depths = side.depths,
            .direct = true};
  }

  template <class F>
  static void with_memory_of(const depthwise::Side& side, const F& f) {
    with_type(side.dtype, [&](auto type) { f(static_cast<typename decltype(type)::type*>(side.data)); });
  }

  // Calls f(scratch, memory, count) for the spans of a row of pixels that follow one another in both.
  template <class F>
  void each_span(int64_t columns, Range channels, const F& f) const {
    if (channels.size() == job_.out_channels && pixel_ == job_.out_channels)
      return f(0, 0, columns * job_.out_channels);
    for (int64_t i = 0; i < columns; ++i) f(i * pixel_, i * job_.out_channels + channels.begin, channels.size());
  }

  // Of the planes that the slice is summed over; the first of them is where scratch memory begins.
  void widen_rows(const Slice& slice, Range rows, Range channels) {
    const depthwise::CrossTap* tap = slices_.taps(*slice.phase);
    const int64_t at = slice.u * job_.lattice.depth_in_step;
    const int64_t first = slice.taps.empty() ? 0 : tap[slice.taps.begin].in0 + at;
    pixels_.in.data = x_ - first * in_plane_ - channels.begin;
    with_memory_of(job_.in, [&](const auto* in) {
      const auto* image = in + slice.row * job_.in.batch + rows.begin * job_.in.cross;
      for (int64_t t = slice.taps.begin; t < slice.taps.end; ++t) {
        const int64_t plane = tap[t].in0 + at;
        DEPTHWISE_REQUIRE(plane - first < job_.planes_packed, "the planes fit");
        for (int64_t i = 0; i < rows.size(); ++i) {
          E* const to = x_ + (plane - first) * in_plane_ + i * in_row_;
          const auto* from = image + plane * job_.in.depth + i * job_.in.cross;
          each_span(job_.in.lines, channels,
                    [&](Step s, Step m, int64_t count) { widen_span<S>(to + s, from + m, 1, count); });
        }
      }
    });
  }

  void narrow_rows(const Slice& slice, const Band& band, Range channels) const {
    with_memory_of(job_.out, [&](auto* out) {
      auto* to = out + slice.row * job_.out.batch + slices_.out(slice) + band.rows.begin * job_.out.cross;
      for (int64_t i = 0; i < band.rows.size(); ++i)
        each_span(job_.out.lines, channels, [&](Step s, Step m, int64_t count) {
          narrow_span<S>(to + i * job_.out.cross + m, 1, y_ + i * out_row_ + s, count);
        });
    });
  }

  const Correlation& job_;
  const Slices slices_;
  Correlation pixels_;
  const bool writes_;  // results have another dtype, and are staged
  const Step pixel_, in_row_, in_plane_, out_row_;
  E *x_ = nullptr, *y_ = nullptr;
  char* scratch_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
