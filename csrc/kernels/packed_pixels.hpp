// Image rows in the accumulator's type, as lanes along the channels want them: one vector of channels a column, idle
// lanes zero. A slot holds one row of one vector.
#pragma once
#include "job.hpp"
#include "pack.hpp"

namespace {

template <class S>
class PackedPixels {
  using E = typename S::E;

 public:
  // Lane l of vector v holds channel (v * N + l) / divide * sum + k of the side's memory, for v * N + l < channels.
  PackedPixels(const depthwise::Side& side, int64_t channels, int64_t divide, int64_t sum, int64_t columns)
      : side_(side), channels_(channels), divide_(divide), sum_(sum), row_size_(columns * S::N) {}

  void take(Arena& arena, int64_t slots) {
    slots_ = slots;
    tags_ = arena.take<int64_t>(slots);
    rows_ = arena.take<E>(slots * row_size_);
  }

  void forget() {
    for (int64_t i = 0; i < slots_; ++i) tags_[i] = INT64_MIN;
  }

  const E* data() const { return rows_; }
  int64_t row_size() const { return row_size_; }

  // Makes `slot` hold columns [begin, end) of a row of vector v; `from` is the element at the row's column 0,
  // channel 0.
  void row(int64_t slot, int64_t row, Step from, int64_t v, int64_t k, int64_t begin, int64_t end) {
    if (tags_[slot] == row) return;
    tags_[slot] = row;
    E* to = rows_ + slot * row_size_;
    const int64_t columns = end - begin, lanes = at_most(S::N, channels_ - v * S::N);
    with_type(side_.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const T* data = static_cast<const T*>(side_.data) + from + begin * side_.line + k * side_.channel;
      if (lanes == S::N && divide_ == 1 && sum_ == 1 && side_.channel == 1) {
        data += v * S::N;
        for (int64_t i = 0; i < columns; ++i) widen_run<S, T>(to + i * S::N, data + i * side_.line, 1, S::N);
        return;
      }
      if constexpr (__is_same(T, E))
        if (lanes == S::N && divide_ == 1 && can_load_apart<S>(sum_ * side_.channel)) {
          data += v * S::N * sum_ * side_.channel;
          for (int64_t i = 0; i < columns; ++i)
            S::store(to + i * S::N, S::load_apart(data + i * side_.line, sum_ * side_.channel));
          return;
        }
      for (int64_t l = 0; l < S::N; ++l) {
        const T* lane = data + (l < lanes ? (v * S::N + l) / divide_ * sum_ * side_.channel : 0);
        for (int64_t i = 0; i < columns; ++i) to[i * S::N + l] = l < lanes ? convert<E>(lane[i * side_.line]) : E{0};
      }
    });
  }

 private:
  const depthwise::Side& side_;
  const int64_t channels_, divide_, sum_, row_size_;
  int64_t slots_ = 0;
  int64_t* tags_ = nullptr;
  E* rows_ = nullptr;
};

}  // namespace
