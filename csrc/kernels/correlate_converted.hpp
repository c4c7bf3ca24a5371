// Planar arrays of another dtype than the sums': planes are brought into the accumulator's type, as many as stay in
// the cache, handed to the kernel that takes planes in place, and the results brought back. Row by row, as other memory
// is packed, a small plane would cost more than its products (512x14x14 with 3x3, bfloat16: 285 us so, 46 here).
#pragma once
#include "correlate_planar.hpp"
#include "planes.hpp"

namespace {

template <class S>
class CorrelateConverted {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelateConverted(const Correlation& job, void* scratch) : job_(job), planes_(job) {
    Arena arena(scratch);
    const int64_t cells = job.channels_together, taps = job.kernel_depth * job.kernel_lines * job.kernel_cross;
    x_ = arena.take<E>(cells * job.sum * volume(job.in) + 2 * spare_elements) + spare_elements;
    y_ = arena.take<E>(cells * job.divide * volume(job.out));
    W_ = arena.take<E>(cells * job.sum * job.divide * taps);
    b_ = arena.take<E>(cells * job.divide);
    planes_.in = dense_volumes(job.in, x_);
    planes_.out = dense_volumes(job.out, y_);
    planes_.W = W_;
    planes_.W_dtype = planes_.b_dtype = dtype_of<E>;
    planes_.W_multiplier = cells * taps;
    planes_.W_channel = taps;
    planes_.W_depth = job.kernel_lines * job.kernel_cross;
    planes_.W_line = job.kernel_cross;
    planes_.W_cross = planes_.b_stride = 1;
    planes_.b = job.b ? b_ : nullptr;
    planes_.batch = 1;
    planes_.out_channels = cells * job.divide;
    planes_.spare = spare_elements;
    const int64_t scratch_bytes = CorrelatePlanar<S>(planes_, nullptr).scratch_bytes();
    scratch_ = arena.take<char>(scratch_bytes);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // A unit is a cell: the channels of the input, and of the output, that belong to one channel of W.
  void run(int64_t begin, int64_t end) {
    CorrelatePlanar<S> kernel(planes_, scratch_);
    const int64_t channels = job_.out_channels / job_.divide,
                  tiles = job_.strips * job_.lattice.line_tiles * job_.lattice.depth_outs;
    for (int64_t unit = begin; unit < end;) {
      const int64_t n = unit / channels, c = unit % channels;
      const int64_t cells = at_most(at_most(job_.channels_together, end - unit), channels - c);
      widen_volumes<S>(job_.in, x_, n * job_.in.batch + c * job_.sum * job_.in.channel, cells * job_.sum);
      widen_weights(c, cells);
      if (!job_.lattice.covers) clear<S>(y_, cells * job_.divide * volume(job_.out));
      planes_.out_channels = cells * job_.divide;
      kernel.start_over();
      kernel.run(0, cells * job_.divide * tiles);
      narrow_volumes<S>(job_.out, y_, n * job_.out.batch + c * job_.divide * job_.out.channel, cells * job_.divide);
      unit += cells;
    }
  }

 private:
  void widen_weights(int64_t c, int64_t cells) {
    const int64_t multiplier = job_.sum * job_.divide, plane = job_.kernel_lines * job_.kernel_cross;
    const int64_t taps = job_.kernel_depth * plane;
    const bool together = job_.W_cross == 1 && job_.W_line == job_.kernel_cross &&
                          (job_.kernel_depth == 1 || job_.W_depth == plane) && job_.W_channel == taps;
    with_type(job_.W_dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T* W = static_cast<const T*>(job_.W) + c * job_.W_channel;
      for (int64_t m = 0; m < multiplier; ++m) {
        if (together) {
          widen_span<S, T>(W_ + m * job_.channels_together * taps, W + m * job_.W_multiplier, 1, cells * taps);
          continue;
        }
        for (int64_t i = 0; i < cells; ++i) {
          const auto* from = W + m * job_.W_multiplier + i * job_.W_channel;
          E* to = W_ + (m * job_.channels_together + i) * taps;
          for (int64_t t = 0; t < job_.kernel_depth; ++t)
            for (int64_t p = 0; p < job_.kernel_lines; ++p)
              for (int64_t q = 0; q < job_.kernel_cross; ++q)
                *to++ = convert<E>(from[t * job_.W_depth + p * job_.W_line + q * job_.W_cross]);
        }
      }
    });
    for (int64_t o = 0; job_.b && o < cells * job_.divide; ++o)
      b_[o] = load_as<E>(job_.b, job_.b_dtype, (c * job_.divide + o) * job_.b_stride);
  }

  const Correlation& job_;
  Correlation planes_;
  E *x_ = nullptr, *y_ = nullptr, *W_ = nullptr, *b_ = nullptr;
  char* scratch_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
