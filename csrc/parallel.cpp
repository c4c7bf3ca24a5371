#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <new>

#include "blocks.hpp"

namespace depthwise {
namespace {

// Scratch memory outlives the call that needed it: fresh pages would cost more than most layers. No thread keeps more
// than `kept_bytes`.
class Scratch {
 public:
  static constexpr int64_t kept_bytes = int64_t{1} << 20;

  void* at_least(int64_t bytes) {
    if (bytes > memory_.size()) {
      memory_ = Block();
      try {
        memory_ = Block(bytes);
      } catch (const std::bad_alloc&) {
      }
    }
    return memory_.data();
  }
  void trim() {
    if (memory_.size() > kept_bytes) memory_ = Block();
  }

 private:
  Block memory_;
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
