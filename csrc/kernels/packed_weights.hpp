// Weights and bias as lanes of channels take them, for a group of channel vectors at a time:
// [vector][kernel plane][k][kernel row][kernel column][lane], zero in idle lanes.
#pragma once
#include "job.hpp"
#include "packed_pixels.hpp"
#include "walk.hpp"

namespace {

using depthwise::Correlation;

template <class E>
struct GroupWeights {
  int64_t index = -1;
  Range vectors = {0, 0};
  const E *weights = nullptr, *bias = nullptr;  // of the first vector
  Step vector_size = 0;                         // elements from the weights of one vector to those of the next
};

template <class S>
class PackedWeights {
  using E = typename S::E;

 public:
  explicit PackedWeights(const Correlation& job)
      : job_(job),
        taps_(job.kernel_lines * job.kernel_cross),
        planes_(job.kernel_depth * job.sum),
        vectors_in_all_(divide_up(job.out_channels, S::N)) {}

  void take(Arena& arena) {
    weights_ = arena.take<E>(job_.group * planes_ * taps_ * S::N);
    bias_ = arena.take<E>(job_.group * S::N);
    widened_ = arena.take<E>(taps_ * S::N);
  }

  // The group's weights, packed unless they were the last.
  const GroupWeights<E>& pack(int64_t index) {
    if (index == group_.index) return group_;
    DEPTHWISE_REQUIRE(index >= 0 && index * job_.group < vectors_in_all_, "a group has a vector");
    const int64_t first = index * job_.group;
    group_ = {.index = index,
              .vectors = {first, at_most(first + job_.group, vectors_in_all_)},
              .weights = weights_,
              .bias = bias_,
              .vector_size = planes_ * taps_ * S::N};
    for (int64_t v = first; v < group_.vectors.end; ++v) {
      pack_bias(v, bias_ + (v - first) * S::N);
      with_type(job_.W_dtype, [&](auto type) {
        using T = typename decltype(type)::type;
        pack_vector(v, static_cast<const T*>(job_.W), weights_ + (v - first) * group_.vector_size);
      });
    }
    return group_;
  }

 private:
  void pack_bias(int64_t v, E* to) const {
    for (int64_t l = 0; l < S::N; ++l) {
      const bool idle = l >= lanes_in<S>(v, job_.out_channels);
      to[l] = job_.b && !idle ? load_as<E>(job_.b, job_.b_dtype, (v * S::N + l) * job_.b_stride) : E{0};
    }
  }

  template <class T>
  void pack_vector(int64_t v, const T* W, E* to) const {
    const int64_t lanes = lanes_in<S>(v, job_.out_channels);
    // A channel's taps are neighbours: they are transposed as the columns of planar memory are.
    const bool neighbours = lanes == S::N && job_.divide == 1 && taps_ >= S::block && job_.W_line == 1 &&
                            (job_.W_cross == job_.kernel_lines || job_.kernel_cross == 1);
    if constexpr (vector_converts<S, T>)
      if (neighbours && (__is_same(T, E) || job_.W_channel == taps_)) return transpose(v, W, to);
    for (int64_t k = 0; k < planes_; ++k)
      for (int64_t p = 0; p < job_.kernel_cross; ++p)
        for (int64_t q = 0; q < job_.kernel_lines; ++q, to += S::N)
          pick(v, lanes, W + plane(k) + p * job_.W_cross + q * job_.W_line, to);
  }

  // Elements to a kernel plane, of those of all k.
  Step plane(int64_t k) const { return k / job_.sum * job_.W_depth + k % job_.sum * job_.W_multiplier; }

  // One tap of each lane's channel.
  template <class T>
  void pick(int64_t v, int64_t lanes, const T* tap, E* to) const {
    for (int64_t l = 0; l < S::N; ++l) {
      const int64_t o = v * S::N + l;
      to[l] =
          l < lanes ? convert<E>(tap[o / job_.divide * job_.W_channel + o % job_.divide * job_.W_multiplier]) : E{0};
    }
  }

  template <class T>
  void transpose(int64_t v, const T* W, E* to) const {
    for (int64_t k = 0; k < planes_; ++k, to += taps_ * S::N) {
      const T* from = W + plane(k) + v * S::N * job_.W_channel;
      if constexpr (__is_same(T, E)) {
        columns_to_pixels<S>(to, from, job_.W_channel, taps_);
      } else {
        widen_span<S, T>(widened_, from, 1, S::N * taps_);
        columns_to_pixels<S>(to, widened_, taps_, taps_);
      }
    }
  }

  const Correlation& job_;
  const int64_t taps_, planes_, vectors_in_all_;
  GroupWeights<E> group_ = {};
  E *weights_ = nullptr, *bias_ = nullptr, *widened_ = nullptr;
};

}  // namespace
