// The running sums of a weight gradient: vectors in the accumulator's type, emptied into float64 totals before they
// grow long, so that the error of float32 sums is bounded by the steps between two such moments.
#pragma once
#include "job.hpp"
#include "pack.hpp"
#include "require.hpp"
#include "transpose.hpp"

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
    if (!state_[set].emptied) return sums;
    empty(set);
    const double* totals = this->totals(set);
    for (int64_t i = 0; i < size_; ++i) sums[i] = static_cast<E>(totals[i]);
    return sums;
  }
  // The same, not rounded.
  const double* exact(int64_t set) {
    empty(set);
    return totals(set);
  }

  // The total of all lanes of a vector.
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

  double* totals(int64_t set) { return totals_ + set * size_; }

  void empty(int64_t set) {
    E* sums = this->set(set);
    double* totals = this->totals(set);
    if (!state_[set].emptied)
      for (int64_t i = 0; i < size_; ++i) totals[i] = 0;
    for (int64_t i = 0; i < size_; i += S::N) {
      for (int l = 0; l < S::N; ++l) totals[i + l] += static_cast<double>(sums[i + l]);
      S::store(sums + i, S::zero());
    }
    state_[set] = {0, true};
  }

  int64_t sets_ = 0, size_ = 0;
  State* state_ = nullptr;
  E* sums_ = nullptr;
  double* totals_ = nullptr;
};

// Stores a part's set of sums whose lanes hold the channels from `first` on, from channel `own` on: those before it are
// another set's.
template <class S>
void store_channels(const depthwise::WeightGradient& job, int64_t part, int64_t first, int64_t own, int64_t taps,
                    Sums<S>& sums, int64_t set) {
  using E = typename S::E;
  const int64_t end = at_most(S::N, job.out_channels - first);
  E* gW = static_cast<E*>(job.gW);
  if (gW && own == first && end == S::N)
    return pixels_to_columns<S>(gW + first * job.gW_channel, job.gW_channel, sums.rounded(set), taps);
  const double* totals = sums.exact(set);
  for (int64_t l = own - first; l < end; ++l)
    for (int64_t tap = 0; tap < taps; ++tap) {
      const double total = totals[tap * S::N + l];
      if (gW)
        gW[(first + l) * job.gW_channel + tap] = static_cast<E>(total);
      else
        job.sums[(part * job.out_channels + first + l) * taps + tap] = total;
    }
}

}  // namespace
