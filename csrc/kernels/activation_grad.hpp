// Gradient for what an activation was given: piece by piece, in the accumulator's type.
#pragma once
#include "activation.hpp"
#include "job.hpp"
#include "pack.hpp"

namespace {

using depthwise::ActivationGradient;

template <class S>
class ActivationGrad {
  using E = typename S::E;

 public:
  ActivationGrad(const ActivationGradient& job, void* scratch) : job_(job) {
    Arena arena(scratch);
    const int64_t padded = divide_up(job.piece, S::N) * S::N;
    z_ = arena.take<E>(padded);
    gy_ = arena.take<E>(padded);
    bytes_ = arena.used_bytes();
  }
  int64_t scratch_bytes() const { return bytes_; }

  void run(int64_t begin, int64_t end) {
    clear<S>(z_, bytes_ / static_cast<int64_t>(sizeof(E)));  // lanes behind a piece are computed, too
    with_activation(job_.activation, [&](auto activation) {
      using A = decltype(activation);
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t from = unit % job_.pieces * job_.piece;
        const int64_t row = unit / job_.pieces, count = at_most(job_.piece, job_.sizes[last] - from);
        read(z_, job_.z, row, from, count);
        read(gy_, job_.gy, row, from, count);
        for (int64_t i = 0; i < count; i += S::N)
          S::store(gy_ + i, A::template gradient<S>(S::load(z_ + i), S::load(gy_ + i)));
        with_type(job_.gz.dtype, [&](auto type) {
          using T = typename decltype(type)::type;
          narrow_span<S>(static_cast<T*>(job_.gz.data) + place(job_.gz, row, from), job_.gz.strides[last], gy_, count);
        });
      }
    });
  }

 private:
  static constexpr int last = depthwise::array_axes - 1;

  Step place(const depthwise::Array& a, int64_t row, int64_t element) const {
    Step at = element * a.strides[last];
    for (int axis = last; axis-- > 0; row /= job_.sizes[axis]) at += row % job_.sizes[axis] * a.strides[axis];
    return at;
  }

  void read(E* to, const depthwise::Array& a, int64_t row, int64_t from, int64_t count) const {
    with_type(a.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      widen_span<S>(to, static_cast<const T*>(a.data) + place(a, row, from), a.strides[last], count);
    });
  }

  const ActivationGradient& job_;
  E *z_ = nullptr, *gy_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace
