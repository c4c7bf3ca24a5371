#include "pool.hpp"

#include <chrono>

#include "system/system.hpp"

namespace depthwise {
namespace {

// A thread stays awake for so long after a job, since waking it takes as long as a small layer. No longer: other
// libraries' threads want the core.
constexpr std::chrono::microseconds awake{100};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

uint32_t wait_for_change(const std::atomic<uint32_t>& value, uint32_t from) {
  const auto end = std::chrono::steady_clock::now() + awake;
  do {
    for (int i = 0; i < 64; ++i) {
      const uint32_t now = value.load(std::memory_order_acquire);
      if (now != from) return now;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  value.wait(from, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

std::atomic<Pool*> current{new Pool};
[[maybe_unused]] const int fork_handler = (around_fork(nullptr, nullptr, [] { current = new Pool; }), 0);

}  // namespace

Pool& pool() { return *current; }

// Takes one range of the job with this number, if there are any left. Until that range is finished the job stays.
bool Pool::take(uint32_t number) {
  uint64_t open = open_.load(std::memory_order_acquire);
  do {
    if (open >> 32 != number || static_cast<uint32_t>(open) == 0) return false;
  } while (!open_.compare_exchange_weak(open, open - 1, std::memory_order_acq_rel, std::memory_order_acquire));
  call_(job_, static_cast<int>(static_cast<uint32_t>(open) - 1));
  if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  return true;
}

void Pool::help(Bell& bell) {
  for (uint32_t number = 0;;) {
    number = wait_for_change(bell.job, number);
    while (take(number)) {
    }
  }
}

// Threads live as long as the process.
void Pool::hire(int helpers) {
  while (bells_.size() < static_cast<size_t>(helpers)) {
    bells_.push_back(std::make_unique<Bell>(this));
    const auto help = [](void* bell) { static_cast<Bell*>(bell)->pool->help(*static_cast<Bell*>(bell)); };
    if (!start_thread(help, bells_.back().get())) return bells_.pop_back();  // those that are there will do
  }
}

bool Pool::run(int ranges, int helpers, Call call, const void* job) {
  const std::unique_lock lock(one_job_, std::try_to_lock);
  if (!lock) return false;
  hire(helpers);
  call_ = call;
  job_ = job;
  unfinished_.store(static_cast<uint32_t>(ranges), std::memory_order_relaxed);
  const auto number = static_cast<uint32_t>(open_.load(std::memory_order_relaxed) >> 32) + 1;
  open_.store(uint64_t{number} << 32 | static_cast<uint32_t>(ranges), std::memory_order_release);
  for (size_t i = 0; i < bells_.size() && i < static_cast<size_t>(helpers); ++i) {
    bells_[i]->job.store(number, std::memory_order_release);
    bells_[i]->job.notify_one();
  }
  while (take(number)) {
  }
  for (uint32_t left = unfinished_.load(std::memory_order_acquire); left;) left = wait_for_change(unfinished_, left);
  return true;
}

}  // namespace depthwise
