#include "parallel.hpp"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>

#include "pool.hpp"

namespace depthwise {
namespace {

// libgomp would wait for ever in a forked child for the threads that its parent had.
std::atomic<bool> forked{false};
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, [] { forked = true; });

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

class OpenMPCrew final : public Crew {
 public:
  bool run(int ranges, int helpers, Call call, const void* job) override {
    if (forked) return pool().run(ranges, helpers, call, job);
#pragma omp parallel for num_threads(helpers + 1) schedule(static, 1)
    for (int i = 0; i < ranges; ++i) call(job, i);
    return true;
  }
};

}  // namespace

Crew& openmp_crew() {
  static OpenMPCrew crew;
  return crew;
}

int default_threads() {
  for (const char* name : {"DEPTHWISE_NUM_THREADS", "OMP_NUM_THREADS"})
    if (const int n = positive_from_environment(name)) return n;
#if defined(__linux__)
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) return std::max(1, CPU_COUNT(&cpus));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void parallel_for(int64_t units, int threads, int64_t scratch_bytes, RangeBody body, const void* job, Crew& crew) {
  if (units <= 0) return;
  struct Ranges {
    int64_t units, count, scratch_bytes;
    RangeBody body;
    const void* job;
    mutable std::atomic<bool> enough{true};

    void run(int64_t i) const {
      if (!run_range(units * i / count, units * (i + 1) / count, scratch_bytes, body, job)) enough = false;
    }
  };
  const Ranges ranges{units, std::min<int64_t>(threads, units), scratch_bytes, body, job};
  const int count = static_cast<int>(ranges.count);
  const auto run = [](const void* r, int i) { static_cast<const Ranges*>(r)->run(i); };
  if (count == 1 || !crew.run(count, count - 1, run, &ranges))
    for (int i = 0; i < count; ++i) ranges.run(i);
  if (!ranges.enough) throw std::bad_alloc();
}

}  // namespace depthwise
