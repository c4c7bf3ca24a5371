#include "openmp.hpp"

#include <atomic>

#include "pool.hpp"
#include "system/system.hpp"

namespace depthwise {
namespace {

std::atomic<bool> forked{false};
[[maybe_unused]] const int fork_handler = (around_fork(nullptr, nullptr, [] { forked = true; }), 0);

// What a compiler calls for `#pragma omp parallel num_threads(threads)`. Runtimes of GCC, LLVM and Intel have it.
using Parallel = void (*)(void (*body)(void*), void* data, unsigned threads, unsigned flags);
using ThreadNumber = int (*)();

struct Runtime {
  std::atomic<Parallel> parallel{nullptr};
  std::atomic<ThreadNumber> thread_number{nullptr};
} runtime;

class OpenMPExecutor final : public Executor {
 public:
  bool run(int ranges, int helpers, Call call, const void* job) override {
    const Parallel parallel = runtime.parallel.load(std::memory_order_acquire);
    if (!parallel || forked) return pool().run(ranges, helpers, call, job);
    struct Region {
      int ranges, threads;
      Call call;
      const void* job;
      std::atomic<int> begun{0};
    } region{ranges, helpers + 1, call, job};
    parallel(
        [](void* p) {
          Region& r = *static_cast<Region*>(p);
          // A thread begins with the range of its number, which it had the last time. The runtime may have lent fewer.
          const int mine = runtime.thread_number.load(std::memory_order_relaxed)();
          r.begun.fetch_add(1, std::memory_order_relaxed);
          for (int i = mine; i < r.ranges; i += r.threads) r.call(r.job, i);
        },
        &region, static_cast<unsigned>(region.threads), 0);
    // Ranges of threads that were not lent; the region's end has made `begun` final.
    for (int lent = region.begun; lent < region.threads; ++lent)
      for (int i = lent; i < ranges; i += region.threads) call(job, i);
    return true;
  }
};

}  // namespace

bool find_openmp(const char* library) {
  // The library is there already: its own dependencies are searched, whoever else has brought a runtime.
  void* handle = opened_library(library);
  if (!handle) return false;
  const auto number = reinterpret_cast<ThreadNumber>(function_of(handle, "omp_get_thread_num"));
  const auto parallel = reinterpret_cast<Parallel>(function_of(handle, "GOMP_parallel"));
  if (!number || !parallel) return false;
  runtime.thread_number.store(number, std::memory_order_relaxed);
  runtime.parallel.store(parallel, std::memory_order_release);
  return true;
}

bool has_openmp() { return runtime.parallel.load(std::memory_order_acquire) != nullptr; }

Executor& openmp_executor() {
  static OpenMPExecutor executor;
  return executor;
}

}  // namespace depthwise
