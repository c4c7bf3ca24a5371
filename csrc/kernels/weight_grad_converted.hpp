// Planar weight gradient of another dtype than the sums': planes of x and gy are brought into the accumulator's type
// and handed to the kernel that takes them in place (512x14x14 with 3x3, bfloat16: 480 us row by row, 80 here).
#pragma once
#include "cut.hpp"
#include "planes.hpp"
#include "weight_grad_planar.hpp"

namespace {

template <class S>
class WeightGradConverted {
  using E = typename S::E;

 public:
  // Lays the scratch memory out; without memory, only measures it.
  WeightGradConverted(const WeightGradient& job, void* scratch)
      : job_(job), planes_(job), taps_(job.kernel_lines * job.kernel_cross) {
    Arena arena(scratch);
    const int64_t images = divide_up(job.batch, job.parts), outs = job.channels_together * job.divide;
    x_ = arena.take<E>(images * job.channels_together * plane_size(job.x) + 2 * spare_elements) + spare_elements;
    g_ = arena.take<E>(images * outs * plane_size(job.g));
    gW_ = arena.take<E>(outs * taps_);
    planes_.x = dense_volumes(one_plane(job.x), x_);
    planes_.g = dense_volumes(one_plane(job.g), g_);
    planes_.parts = 1;
    planes_.gW_multiplier = taps_;
    planes_.gW_channel = job.divide * taps_;
    planes_.spare = spare_elements;
    set_up(images, job.channels_together);
    const int64_t scratch_bytes = WeightGradPlanar<S>(planes_, nullptr).scratch_bytes();
    scratch_ = arena.take<char>(scratch_bytes);
    scratch_bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // A unit is a channel of x, with the channels of gy that belong to it, and a part of the images.
  void run(int64_t begin, int64_t end) {
    const int64_t channels = job_.out_channels / job_.divide;
    const Cut images{.size = job_.batch, .count = job_.parts};
    for (int64_t unit = begin; unit < end;) {
      const int64_t c = unit / job_.parts, part = unit % job_.parts;
      const int64_t cells = job_.parts > 1 ? 1 : at_most(at_most(job_.channels_together, end - unit), channels - c);
      const int64_t n0 = images.begin(part), n1 = images.end(part);
      set_up(n1 - n0, cells);
      for (int64_t n = n0; n < n1; ++n) {
        widen_volumes<S>(one_plane(job_.x), x_ + (n - n0) * planes_.x.batch, job_.x.plane(n) + c * job_.x.channel,
                         cells);
        widen_volumes<S>(one_plane(job_.g), g_ + (n - n0) * planes_.g.batch,
                         job_.g.plane(n) + c * job_.divide * job_.g.channel, cells * job_.divide);
      }
      double* to = planes_.sums = job_.sums + (part * job_.out_channels + c * job_.divide) * taps_;
      if (job_.gb_sums) planes_.gb_sums = job_.gb_sums + part * job_.out_channels + c * job_.divide;
      WeightGradPlanar<S>(planes_, scratch_).run(0, cells * job_.divide);
      for (int64_t i = 0; planes_.gW && i < cells * job_.divide * taps_; ++i) to[i] = static_cast<double>(gW_[i]);
      unit += cells;
    }
  }

 private:
  // Planes are converted one by one: they are the job's images.
  static depthwise::Side one_plane(depthwise::Side side) {
    side.depths = 1;
    return side;
  }

  void set_up(int64_t images, int64_t cells) {
    planes_.batch = images;
    planes_.out_channels = cells * job_.divide;
    planes_.x.batch = cells * plane_size(job_.x);
    planes_.g.batch = cells * job_.divide * plane_size(job_.g);
    // Sums that are never emptied are numbers of E, and those that the kernel stores itself it may sum planes together.
    planes_.gW = images * job_.g.lines * divide_up(job_.g.cross_size, S::N) <= steps_kept ? gW_ : nullptr;
  }

  const WeightGradient& job_;
  WeightGradient planes_;
  const int64_t taps_;
  E *x_ = nullptr, *g_ = nullptr, *gW_ = nullptr;
  char* scratch_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

}  // namespace
