// The compiled instruction sets and their kernels, best first.
#pragma once
#include <atomic>

#include "kernels/job.hpp"

namespace depthwise {

struct Target {
  const char* name;
  const Kernels* kernels;
  bool (*supported)();
  const Kernels* narrow = nullptr;  // another target's, whose vectors are half as long, for short rows
};

constexpr int most_targets = 5;  // avx512, avx2, sse4, neon, scalar
extern const Target targets[];
extern const int target_count;

// Index of the target that runs where the caller names none; Python sets it.
extern std::atomic<int> active_target;

}  // namespace depthwise
