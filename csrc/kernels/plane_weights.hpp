// The taps and the bias of an output plane in the accumulator's type: where they lie, if memory has them so, else
// copied for each plane.
#pragma once
#include "job.hpp"
#include "pack.hpp"

namespace {

// Whether `count` neighbours are all finite: zero times anything else is NaN. It is over soon where one is not.
template <class S>
inline bool all_finite(const typename S::E* from, int64_t count) {
  constexpr int64_t some = 64 * S::N;
  for (; count > some; from += some, count -= some)
    if (!all_finite<S>(from, some)) return false;
  typename S::V nothing[4] = {S::zero(), S::zero(), S::zero(), S::zero()};
  int64_t i = 0;
  for (; i + 4 * S::N <= count; i += 4 * S::N)
    for (int k = 0; k < 4; ++k) nothing[k] = S::fma(S::load(from + i + k * S::N), S::zero(), nothing[k]);
  for (int k = 0; i < count; i += S::N, ++k) {
    const bool whole = i + S::N <= count;
    const typename S::V last = whole ? S::load(from + i) : S::load(from + i, S::mask(0, count - i));
    nothing[k] = S::fma(last, S::zero(), nothing[k]);
  }
  return S::sum(S::add(S::add(nothing[0], nothing[1]), S::add(nothing[2], nothing[3]))) == 0;
}

template <class S>
class PlaneWeights {
  using E = typename S::E;
  static constexpr DType sums = sizeof(E) == 4 ? DType::f32 : DType::f64;

 public:
  explicit PlaneWeights(const depthwise::Correlation& job) : job_(job) {}

  void take(Arena& arena) {
    if (!taps_direct()) copy_ = arena.take<E>(job_.kernel_depth * job_.sum * taps());
  }

  // Whether planes can be done together because nothing is copied.
  bool direct() const { return taps_direct() && (!job_.b || job_.b_dtype == sums); }

  // Elements from tap to tap in depth, from plane to plane of a sum, from line to line of taps, and from tap to tap of
  // a line.
  Step depth_step() const { return taps_direct() ? job_.W_depth : job_.sum * taps(); }
  Step sum_step() const { return taps_direct() ? job_.W_multiplier : taps(); }
  Step line_step() const { return taps_direct() ? job_.W_line : job_.kernel_cross; }
  Step cross_step() const { return taps_direct() ? job_.W_cross : 1; }
  // Elements from output plane to output plane.
  Step plane_step() const { return job_.divide > 1 ? job_.W_multiplier : job_.W_channel; }

  // For output channel o.
  void enter(int64_t o) {
    const Step first = o / job_.divide * job_.W_channel + o % job_.divide * job_.W_multiplier;
    at_ = static_cast<const E*>(job_.W) + first;
    if (!taps_direct()) copy_taps(first);
    if (!job_.b) return;
    bias_ = static_cast<const E*>(job_.b) + o * job_.b_stride;
    if (job_.b_dtype == sums) return;
    bias_copy_ = load_as<E>(job_.b, job_.b_dtype, o * job_.b_stride);
    bias_ = &bias_copy_;
  }

  const E* taps_at() const { return at_; }
  const E* bias() const { return bias_; }

  // Whether all weights of so many output planes are finite.
  bool finite(int64_t planes) const {
    const bool dense = cross_step() == 1 && (line_step() == job_.kernel_cross || job_.kernel_lines == 1);
    const bool whole = job_.sum == 1 && (depth_step() == taps() || job_.kernel_depth == 1);
    if (dense && whole && plane_step() == job_.kernel_depth * taps()) return all_finite<S>(at_, planes * plane_step());
    for (int64_t i = 0; i < planes; ++i)
      for (int64_t t = 0; t < job_.kernel_depth; ++t)
        for (int64_t k = 0; k < job_.sum; ++k)
          if (!plane_finite(at_ + i * plane_step() + t * depth_step() + k * sum_step(), dense)) return false;
    return true;
  }

 private:
  bool plane_finite(const E* plane, bool dense) const {
    if (dense) return all_finite<S>(plane, taps());
    for (int64_t p = 0; p < job_.kernel_lines; ++p)
      for (int64_t q = 0; q < job_.kernel_cross; ++q)
        if (!all_finite<S>(plane + p * line_step() + q * cross_step(), 1)) return false;
    return true;
  }

  bool taps_direct() const { return job_.W_dtype == sums; }
  int64_t taps() const { return job_.kernel_lines * job_.kernel_cross; }

  void copy_taps(Step first) {
    E* to = copy_;
    for (int64_t t = 0; t < job_.kernel_depth; ++t)
      for (int64_t k = 0; k < job_.sum; ++k)
        for (int64_t p = 0; p < job_.kernel_lines; ++p)
          for (int64_t q = 0; q < job_.kernel_cross; ++q)
            *to++ = load_as<E>(job_.W, job_.W_dtype,
                               first + t * job_.W_depth + k * job_.W_multiplier + p * job_.W_line + q * job_.W_cross);
    at_ = copy_;
  }

  const depthwise::Correlation& job_;
  E* copy_ = nullptr;
  const E *at_ = nullptr, *bias_ = nullptr;
  E bias_copy_ = 0;
};

}  // namespace
