#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

namespace depthwise {
namespace {

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

void parallel_for(int64_t units, int threads, int64_t scratch_bytes, RangeBody body, const void* job,
                  Executor& executor) {
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
  if (count == 1 || !executor.run(count, count - 1, run, &ranges))
    for (int i = 0; i < count; ++i) ranges.run(i);
  if (!ranges.enough) throw std::bad_alloc();
}

}  // namespace depthwise
