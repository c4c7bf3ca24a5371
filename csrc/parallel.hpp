// Ranges of units to threads, and scratch memory to each.
#pragma once
#include <cstdint>

namespace depthwise {

// DEPTHWISE_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that this process may use.
int default_threads();

// Whose threads help.
class Crew {
 public:
  using Call = void (*)(const void* job, int range);

  // Calls call(job, range) for each range in [0, ranges), on this thread and at most so many others. False, and nothing
  // done, where there is no help now.
  virtual bool run(int ranges, int helpers, Call call, const void* job) = 0;

 protected:
  ~Crew() = default;
};

// PyTorch's threads stay awake after its operators, and its OpenMP runtime has them at once, where a pool of our own
// would wait for a core (two cores, 32x112x112 with 3x3 after a matrix product of PyTorch's: 0.14 to 0.2 ms by OpenMP,
// 0.25 to 0.5 by our own). Without PyTorch it is the other way round: pool.hpp.
Crew& openmp_crew();

using RangeBody = void (*)(const void* job, int64_t begin, int64_t end, void* scratch);

// Calls body on ranges that together cover [0, units), on at most `threads` threads; on this one alone where the crew
// has no help. Throws std::bad_alloc if the scratch memory cannot be had.
void parallel_for(int64_t units, int threads, int64_t scratch_bytes, RangeBody body, const void* job, Crew& crew);

}  // namespace depthwise
