// The running sums of a weight gradient: vectors in the accumulator's type, emptied into float64 totals before they
// grow long, so that the error of float32 sums is bounded by the steps between two such moments.
#pragma once
#include "job.hpp"
#include "pack.hpp"

namespace {

// Additions into one lane before it is emptied.
constexpr int64_t steps_kept = 512;

template <class S>
class Sums {
  using E = typename S::E;

 public:
  void take(Arena& arena, int64_t vectors) {
    vectors_ = vectors;
    sums_ = arena.take<E>(vectors * S::N);
    totals_ = arena.take<double>(vectors * S::N);
  }

  void clear() {
    steps_ = 0;
    emptied_ = false;
    for (int64_t i = 0; i < vectors_ * S::N; i += S::N) S::store(sums_ + i, S::zero());
  }

  E* data() { return sums_; }

  // To be told of additions before they are made.
  void count(int64_t steps) {
    if (steps_ + steps > steps_kept) empty();
    steps_ += steps;
  }

  // What has been emptied is added back, rounded once: no more is to be added.
  const E* rounded() {
    if (emptied_)
      for (int64_t i = 0; i < vectors_ * S::N; ++i)
        sums_[i] = static_cast<E>(static_cast<double>(sums_[i]) + totals_[i]);
    emptied_ = false;
    return sums_;
  }

  // The total of one lane, and of all lanes of a vector.
  double lane(int64_t i) const { return static_cast<double>(sums_[i]) + (emptied_ ? totals_[i] : 0); }
  double all_lanes(int64_t vector) const {
    double total = static_cast<double>(S::sum(S::load(sums_ + vector * S::N)));
    if (emptied_)
      for (int64_t l = 0; l < S::N; ++l) total += totals_[vector * S::N + l];
    return total;
  }

 private:
  void empty() {
    for (int64_t i = 0; i < vectors_ * S::N; ++i) {
      totals_[i] = (emptied_ ? totals_[i] : 0) + static_cast<double>(sums_[i]);
      sums_[i] = 0;
    }
    emptied_ = true;
    steps_ = 0;
  }

  int64_t vectors_ = 0, steps_ = 0;
  bool emptied_ = false;  // the totals hold something
  E* sums_ = nullptr;
  double* totals_ = nullptr;
};

}  // namespace
