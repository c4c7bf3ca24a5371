// Ranges of units to threads, and scratch memory to each.
#pragma once
#include <cstdint>

namespace depthwise {

// Whose threads help.
class Executor {
 public:
  using Call = void (*)(const void* job, int range);

  // Calls call(job, range) for each range in [0, ranges), on this thread and at most so many others. False, and nothing
  // done, where there is no help now.
  virtual bool run(int ranges, int helpers, Call call, const void* job) = 0;

 protected:
  ~Executor() = default;
};

using RangeBody = void (*)(const void* job, int64_t begin, int64_t end, void* scratch);

// Calls body on ranges that together cover [0, units), on at most `threads` threads; on this one alone where the
// executor has no help. Throws std::bad_alloc if the scratch memory cannot be had.
void parallel_for(int64_t units, int threads, int64_t scratch_bytes, RangeBody body, const void* job,
                  Executor& executor);

}  // namespace depthwise
