// Threads that share the ranges of a job with the one that asks. It waits for none that has not begun: NumPy's BLAS and
// PyTorch leave their threads spinning on every core, and a barrier would wait for the system to run ours beside them
// (two cores, 32x112x112 with 3x3 after a matrix product of NumPy's: 3.5 ms by OpenMP, 0.05 without the product).
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "parallel.hpp"

namespace depthwise {

class Pool final : public Executor {
 public:
  // False while another thread's job is here.
  bool run(int ranges, int helpers, Call call, const void* job) override;

 private:
  struct alignas(64) Bell {
    explicit Bell(Pool* of) : pool(of) {}
    Pool* const pool;
    std::atomic<uint32_t> job{0};  // the number of the last job that its thread was called to
  };

  void hire(int helpers);
  void help(Bell& bell);
  bool take(uint32_t number);

  std::mutex one_job_;
  std::vector<std::unique_ptr<Bell>> bells_;
  Call call_ = nullptr;
  const void* job_ = nullptr;
  alignas(64) std::atomic<uint64_t> open_{0};  // the number of the job, and below it the ranges that nobody has begun
  alignas(64) std::atomic<uint32_t> unfinished_{0};
};

// The process's own: a forked child, which has none of its parent's threads, gets a new one.
Pool& pool();

}  // namespace depthwise
