// OpenMP, because its pool is the one that NumPy's and PyTorch's users already have running.
#include "parallel.hpp"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

namespace depthwise {
namespace {

std::atomic<bool> ran_in_parallel{false}, forked{false};

// libgomp would wait for ever in a child for the threads that its parent had.
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, [] {
  if (ran_in_parallel) forked = true;
});

int positive_from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (!text) return 0;
  const long value = std::strtol(text, nullptr, 10);  // OMP_NUM_THREADS may be a list: the first counts
  return value > 0 && value <= 4096 ? static_cast<int>(value) : 0;
}

// Scratch memory outlives the call that needed it: fresh pages would cost more than most layers. What is beyond
// `kept_bytes` goes back at once.
class Scratch {
 public:
  static constexpr int64_t kept_bytes = int64_t{1} << 20;

  void* at_least(int64_t bytes) {
    if (bytes > size_) {
      memory_.reset();
      size_ = 0;
      memory_.reset(std::aligned_alloc(64, static_cast<size_t>((bytes + 63) / 64 * 64)));
      if (memory_) size_ = bytes;
    }
    return memory_.get();
  }
  void trim() {
    if (size_ <= kept_bytes) return;
    memory_.reset();
    size_ = 0;
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> memory_;
  int64_t size_ = 0;
};
thread_local Scratch scratch;

bool run_range(int64_t begin, int64_t end, int64_t scratch_bytes, RangeBody body, const void* job) {
  void* memory = scratch.at_least(std::max<int64_t>(scratch_bytes, 64));
  if (!memory) return false;
  body(job, begin, end, memory);
  scratch.trim();
  return true;
}

}  // namespace

int default_threads() {
  for (const char* name : {"DEPTHWISE_NUM_THREADS", "OMP_NUM_THREADS"})
    if (const int n = positive_from_environment(name)) return n;
#if defined(__linux__)
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) return std::max(1, CPU_COUNT(&cpus));
#endif
  return std::max(1, omp_get_num_procs());
}

bool forked_after_parallel() { return forked; }

void parallel_for(int64_t units, int threads, int64_t scratch_bytes, RangeBody body, const void* job) {
  if (units <= 0) return;
  const int team = static_cast<int>(std::min<int64_t>(threads, units));
  if (team <= 1 || forked) {
    if (!run_range(0, units, scratch_bytes, body, job)) throw std::bad_alloc();
    return;
  }
  ran_in_parallel = true;
  std::atomic<bool> enough{true};
#pragma omp parallel num_threads(team)
  {
    // The team may be smaller than asked for.
    const int64_t members = omp_get_num_threads(), me = omp_get_thread_num();
    const int64_t begin = units * me / members, end = units * (me + 1) / members;
    if (begin < end && !run_range(begin, end, scratch_bytes, body, job)) enough = false;
  }
  if (!enough) throw std::bad_alloc();
}

}  // namespace depthwise
