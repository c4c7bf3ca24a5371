// The running sums of a weight gradient: vectors in the accumulator's type, emptied into float64 totals before they
// grow long, so that the error of float32 sums is bounded by the steps between two such moments.
#pragma once
#include "job.hpp"
#include "pack.hpp"
#include "require.hpp"

namespace {

using depthwise::steps_kept;

// Sets of sums that grow at their own pace: one for each vector of channels.
template <class S>
class Sums {
  using E = typename S::E;

 public:
  void take(Arena& arena, int64_t sets, int64_t vectors) {
    sets_ = sets;
    size_ = vectors * S::N;
    state_ = arena.take<State>(sets);
    sums_ = arena.take<E>(sets * size_);
    totals_ = arena.take<double>(sets * size_);
  }

  void clear() {
    for (int64_t i = 0; i < sets_; ++i) state_[i] = {0, false};
    for (int64_t i = 0; i < sets_ * size_; i += S::N) S::store(sums_ + i, S::zero());
  }

  E* set(int64_t i) { return sums_ + i * size_; }

  // To be told of additions before they are made.
  void count(int64_t set, int64_t steps) {
    DEPTHWISE_REQUIRE(set >= 0 && set < sets_ && steps <= steps_kept,
                      "no set takes more at once than the bound allows");
    if (state_[set].steps + steps > steps_kept) empty(set);
    state_[set].steps += steps;
  }

  // The set with what has been emptied added back, rounded once: no more is to be added.
  const E* rounded(int64_t set) {
    E* sums = this->set(set);
    const double* totals = totals_ + set * size_;
    if (state_[set].emptied)
      for (int64_t i = 0; i < size_; ++i) sums[i] = static_cast<E>(static_cast<double>(sums[i]) + totals[i]);
    return sums;
  }

  // The total of one lane, and of all lanes of a vector.
  double lane(int64_t set, int64_t i) const {
    return static_cast<double>(sums_[set * size_ + i]) + (state_[set].emptied ? totals_[set * size_ + i] : 0);
  }
  double all_lanes(int64_t set, int64_t vector) const {
    const int64_t first = set * size_ + vector * S::N;
    double total = static_cast<double>(S::sum(S::load(sums_ + first)));
    if (state_[set].emptied)
      for (int64_t l = 0; l < S::N; ++l) total += totals_[first + l];
    return total;
  }

 private:
  struct State {
    int64_t steps;
    bool emptied;  // the totals hold something
  };

  void empty(int64_t set) {
    E* sums = this->set(set);
    double* totals = totals_ + set * size_;
    for (int64_t i = 0; i < size_; ++i) {
      totals[i] = (state_[set].emptied ? totals[i] : 0) + static_cast<double>(sums[i]);
      sums[i] = 0;
    }
    state_[set] = {0, true};
  }

  int64_t sets_ = 0, size_ = 0;
  State* state_ = nullptr;
  E* sums_ = nullptr;
  double* totals_ = nullptr;
};

}  // namespace
