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
        in_row_(rows_apart<E>(job.in.lines * job.out_channels)),
        in_plane_(job.rows_packed * in_row_),
        out_row_(rows_apart<E>(job.out.lines * job.out_channels)) {
    Arena arena(scratch);
    x_ = arena.take<E>(job.planes_packed * in_plane_);
    y_ = arena.take<E>(job.band * out_row_);
    pixels_.in = in_scratch(job.in, x_, in_row_, in_plane_);
    pixels_.out = in_scratch(job.out, y_, out_row_, 0);
    pixels_.batch = 1;
    const int64_t scratch_bytes = CorrelateChannelsLast<S>(pixels_, nullptr).scratch_bytes();
    scratch_ = arena.take<char>(scratch_bytes);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // A unit is a band of output rows of a plane. Bands of one plane follow one another, as they lie in memory.
  void run(int64_t begin, int64_t end) {
    CorrelateChannelsLast<S> kernel(pixels_, scratch_);
    const int64_t outs = job_.lattice.depth_outs;
    for (int64_t unit = begin; unit < end; ++unit) {
      const Band band = band_at(unit % job_.bands, job_.bands, job_.band, job_.out.cross_size);
      const int64_t plane = unit / job_.bands % outs;
      const Slice slice = slices_.of_row(unit / job_.bands / outs, plane);
      const Range read = crosses_read(job_.lattice, band.rows, job_.in.cross_size);
      DEPTHWISE_REQUIRE(read.size() <= job_.rows_packed, "the rows fit");
      widen_rows(slice, read);
      if (!job_.lattice.covers) clear<S>(y_, band.rows.size() * out_row_);
      const int64_t of_image = unit % job_.bands * outs + plane;
      kernel.run(of_image, of_image + 1, {.in = read.begin, .out = band.rows.begin});
      narrow_rows(slice, band);
    }
  }

 private:
  depthwise::Side in_scratch(const depthwise::Side& side, E* data, Step row, Step plane) const {
    return {.data = data,
            .dtype = dtype_of<E>,
            .batch = 0,
            .channel = 1,
            .line = job_.out_channels,
            .cross = row,
            .lines = side.lines,
            .cross_size = side.cross_size,
            .depth = plane,
            .depths = side.depths,
            .direct = true};
  }

  // Of the planes that the slice is summed over; the first of them is where scratch memory begins.
  void widen_rows(const Slice& slice, Range rows) {
    const depthwise::CrossTap* tap = slices_.taps(*slice.phase);
    const int64_t at = slice.u * job_.lattice.depth_in_step;
    const int64_t first = slice.taps.empty() ? 0 : tap[slice.taps.begin].in0 + at;
    pixels_.in.data = x_ - first * in_plane_;
    with_type(job_.in.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T* image = static_cast<const T*>(job_.in.data) + slice.row * job_.in.batch + rows.begin * job_.in.cross;
      for (int64_t t = slice.taps.begin; t < slice.taps.end; ++t) {
        const int64_t plane = tap[t].in0 + at;
        DEPTHWISE_REQUIRE(plane - first < job_.planes_packed, "the planes fit");
        for (int64_t i = 0; i < rows.size(); ++i)
          widen_span<S, T>(x_ + (plane - first) * in_plane_ + i * in_row_,
                           image + plane * job_.in.depth + i * job_.in.cross, 1, job_.in.lines * job_.out_channels);
      }
    });
  }

  void narrow_rows(const Slice& slice, const Band& band) const {
    with_type(job_.out.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      T* to = static_cast<T*>(job_.out.data) + slice.row * job_.out.batch + slices_.out(slice) +
              band.rows.begin * job_.out.cross;
      for (int64_t i = 0; i < band.rows.size(); ++i)
        narrow_span<S, T>(to + i * job_.out.cross, 1, y_ + i * out_row_, job_.out.lines * job_.out_channels);
    });
  }

  const Correlation& job_;
  const Slices slices_;
  Correlation pixels_;
  const Step in_row_, in_plane_, out_row_;
  E *x_ = nullptr, *y_ = nullptr;
  char* scratch_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
