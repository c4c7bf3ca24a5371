// Ranges of units to threads, and scratch memory to each.
#pragma once
#include <cstdint>

namespace depthwise {

// DEPTHWISE_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that this process may use.
int default_threads();

// True in a child forked from a process that had run in parallel: its threads are gone, so work there is serial.
bool forked_after_parallel();

using RangeBody = void (*)(const void* job, int64_t begin, int64_t end, void* scratch);

// Calls body on ranges that together cover [0, units), on at most `threads` threads. Throws std::bad_alloc if the
// scratch memory cannot be had.
void parallel_for(int64_t units, int threads, int64_t scratch_bytes, RangeBody body, const void* job);

}  // namespace depthwise
