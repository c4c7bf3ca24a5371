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
    for (int64_t i = 0; i < vectors_ * S::N; ++i) sums_[i] = 0;
    for (int64_t i = 0; i < vectors_ * S::N; ++i) totals_[i] = 0;
  }

  E* data() { return sums_; }

  // To be told of additions before they are made.
  void count(int64_t steps) {
    if (steps_ + steps > steps_kept) flush();
    steps_ += steps;
  }

  // After a flush: the total of one lane, and of all lanes of a vector.
  double lane(int64_t i) const { return totals_[i]; }
  double all_lanes(int64_t vector) const {
    double total = 0;
    for (int64_t l = 0; l < S::N; ++l) total += totals_[vector * S::N + l];
    return total;
  }

  void flush() {
    for (int64_t i = 0; i < vectors_ * S::N; ++i) {
      totals_[i] += static_cast<double>(sums_[i]);
      sums_[i] = 0;
    }
    steps_ = 0;
  }

 private:
  int64_t vectors_ = 0, steps_ = 0;
  E* sums_ = nullptr;
  double* totals_ = nullptr;
};

}  // namespace
