// Blocks of many threads are apart, wherever they are freed, and a forked child has a cache that works.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "../blocks.hpp"

using namespace depthwise;

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::_Exit(1);
}

// A block whose every 4096th byte says whose it is.
class Marked {
 public:
  Marked(int64_t bytes, int mark) : block_(bytes), mark_(mark) {
    check(reinterpret_cast<uintptr_t>(block_.data()) % 64 == 0, "a block does not start where vectors do");
    check(block_.size() >= bytes, "a block is smaller than what was asked for");
    each([this](char& byte) { byte = static_cast<char>(mark_); });
  }
  ~Marked() {
    each([this](const char& byte) { check(byte == static_cast<char>(mark_), "two threads have one block"); });
  }

 private:
  template <class F>
  void each(const F& f) {
    for (int64_t i = 0; i < block_.size(); i += 4096) f(static_cast<char*>(block_.data())[i]);
  }

  Block block_;
  int mark_;
};

constexpr std::array<int64_t, 6> sizes{40, 40'000, 41'000, 300'000, 2 << 20, 3 << 20};

void blocks_of_many_threads() {
  std::array<std::unique_ptr<Marked>, 16> shared;
  std::mutex lock;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        auto mine = std::make_unique<Marked>(sizes[static_cast<size_t>(i + t) % sizes.size()], i * 4 + t);
        const std::lock_guard guard(lock);
        std::swap(shared[static_cast<size_t>(i * 7 + t) % shared.size()], mine);  // another thread's is freed here
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (auto& block : shared) block.reset();
  const Kept kept = kept_memory();
  check(kept.blocks > 0 && kept.blocks <= 32 && kept.bytes <= cache_limit(), "the bound does not hold");
  empty_cache();
  check(kept_memory().bytes == 0, "something is kept");
}

void children_of_a_busy_process() {
  std::atomic<bool> ends{false};
  std::thread busy([&] {
    while (!ends) Marked(40'000, 1);
  });
  for (int i = 0; i < 200; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      for (const int64_t size : sizes) Marked(size, i);
      std::_Exit(0);
    }
    int status = -1;
    check(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a forked child has no cache");
  }
  ends = true;
  busy.join();
}

void nothing_is_kept_beyond_the_limit() {
  const int64_t before = cache_limit();
  set_cache_limit(1 << 20);
  {
    const Block large(2 << 20), small(1 << 19), other(1 << 19), third(1 << 19);
  }
  check(kept_memory().bytes == 1 << 20, "the limit was not reached, or passed");
  set_cache_limit(0);
  check(kept_memory().blocks == 0, "something is kept");
  set_cache_limit(before);
}

}  // namespace

int main() {
  blocks_of_many_threads();
  nothing_is_kept_beyond_the_limit();
  children_of_a_busy_process();
  std::puts("blocks: all well");
}
