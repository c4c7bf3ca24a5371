// Planar arrays of another dtype than the sums': planes are brought into the accumulator's type, as many as stay in the
// cache, handed to the kernel that takes planes in place, and the results brought back. Row by row, as other memory is
// packed, a small plane would cost more than its products (512x14x14 with 3x3, bfloat16: 285 us so, 40 here).
#pragma once
#include "correlate_planar.hpp"

namespace {

template <class S>
class CorrelateConverted {
  using E = typename S::E;
  static constexpr DType sums = sizeof(E) == 4 ? DType::f32 : DType::f64;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  CorrelateConverted(const Correlation& job, void* scratch) : job_(job), planes_(job) {
    Arena arena(scratch);
    const int64_t cells = job.cells, taps = job.kernel_lines * job.kernel_offsets;
    x_ = arena.take<E>(cells * job.sum * size(job.in) + 2 * spare) + spare;
    y_ = arena.take<E>(cells * job.divide * size(job.out));
    W_ = arena.take<E>(cells * job.sum * job.divide * taps);
    b_ = arena.take<E>(cells * job.divide);
    planes_.in = {x_, sums, 0, size(job.in), job.in.offsets, 1, job.in.lines, job.in.offsets, true};
    planes_.out = {y_, sums, 0, size(job.out), job.out.offsets, 1, job.out.lines, job.out.offsets, true};
    planes_.W = W_;
    planes_.W_dtype = planes_.b_dtype = sums;
    planes_.W_multiplier = cells * taps;
    planes_.W_channel = taps;
    planes_.W_line = job.kernel_offsets;
    planes_.W_offset = planes_.b_stride = 1;
    planes_.b = job.b ? b_ : nullptr;
    planes_.batch = 1;
    planes_.out_channels = cells * job.divide;
    planes_.spare = spare;
    const int64_t scratch_bytes = CorrelatePlanar<S>(planes_, nullptr).scratch_bytes();
    scratch_ = arena.take<char>(scratch_bytes);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // A unit is a cell: the channels of the input, and of the output, that belong to one channel of W.
  void run(int64_t begin, int64_t end) {
    CorrelatePlanar<S> kernel(planes_, scratch_);
    const int64_t channels = job_.out_channels / job_.divide, tiles = job_.strips * job_.lattice.line_tiles;
    for (int64_t unit = begin; unit < end;) {
      const int64_t n = unit / channels, c = unit % channels;
      const int64_t cells = at_most(at_most(job_.cells, end - unit), channels - c);
      widen_planes(n * job_.in.batch + c * job_.sum * job_.in.channel, cells * job_.sum);
      widen_weights(c, cells);
      kernel.start_over();
      kernel.run(0, cells * job_.divide * tiles);
      narrow_planes(n * job_.out.batch + c * job_.divide * job_.out.channel, cells * job_.divide);
      unit += cells;
    }
  }

 private:
  // Elements that whole vectors may read beside the planes.
  static constexpr int64_t spare = 64;

  static int64_t size(const depthwise::Side& side) { return side.lines * side.offsets; }

  // Calls f(scratch, memory, count) for each run of elements that has no gap in memory.
  template <class F>
  static void each_run(const depthwise::Side& side, E* scratch, Step at, int64_t planes, const F& f) {
    const bool whole_planes = side.line == side.offsets, all = whole_planes && side.channel == size(side);
    if (all) return f(scratch, at, planes * size(side));
    for (int64_t i = 0; i < planes; ++i, at += side.channel)
      for (int64_t line = 0; line < (whole_planes ? 1 : side.lines); ++line) {
        const int64_t count = whole_planes ? size(side) : side.offsets;
        f(scratch, at + line * side.line, count);
        scratch += count;
      }
  }

  void widen_planes(Step at, int64_t planes) {
    with_type(job_.in.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      each_run(job_.in, x_, at, planes, [&](E* to, Step from, int64_t count) {
        widen_run<S, T>(to, static_cast<const T*>(job_.in.data) + from, 1, count);
      });
    });
  }

  void narrow_planes(Step at, int64_t planes) {
    with_type(job_.out.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      each_run(job_.out, y_, at, planes, [&](const E* from, Step to, int64_t count) {
        narrow_run<S, T>(static_cast<T*>(job_.out.data) + to, 1, from, count);
      });
    });
  }

  void widen_weights(int64_t c, int64_t cells) {
    const int64_t multiplier = job_.sum * job_.divide, taps = job_.kernel_lines * job_.kernel_offsets;
    const bool together = job_.W_offset == 1 && job_.W_line == job_.kernel_offsets && job_.W_channel == taps;
    with_type(job_.W_dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T* W = static_cast<const T*>(job_.W) + c * job_.W_channel;
      for (int64_t m = 0; m < multiplier; ++m) {
        if (together) {
          widen_run<S, T>(W_ + m * job_.cells * taps, W + m * job_.W_multiplier, 1, cells * taps);
          continue;
        }
        for (int64_t i = 0; i < cells; ++i) {
          const auto* from = W + m * job_.W_multiplier + i * job_.W_channel;
          E* to = W_ + (m * job_.cells + i) * taps;
          for (int64_t p = 0; p < job_.kernel_lines; ++p)
            for (int64_t q = 0; q < job_.kernel_offsets; ++q)
              *to++ = convert<E>(from[p * job_.W_line + q * job_.W_offset]);
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
