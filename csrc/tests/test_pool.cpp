// The pool: every range is done exactly once, whoever calls and from wherever, and results are there when it returns.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "../pool.hpp"

using namespace depthwise;

// Sanitizers are to refuse memory as an allocator does.
extern "C" [[gnu::visibility("default")]] const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::_Exit(1);
}

// How often each range was done.
struct Counts {
  explicit Counts(int ranges) : done(static_cast<size_t>(ranges)) {}
  std::vector<std::atomic<int>> done;

  static void call(const void* job, int range) {
    const auto& counts = *static_cast<const Counts*>(job);
    const_cast<std::atomic<int>&>(counts.done[static_cast<size_t>(range)]).fetch_add(1, std::memory_order_relaxed);
  }
  bool all_are(int times) const {
    for (const auto& n : done)
      if (n.load(std::memory_order_relaxed) != times) return false;
    return true;
  }
};

void every_range_once(int ranges, int helpers) {
  Counts counts(ranges);
  check(pool().run(ranges, helpers, Counts::call, &counts), "a pool that nobody uses gives no help");
  check(counts.all_are(1), "a range was not done exactly once");
}

void any_number_of_ranges_and_helpers() {
  for (int round = 0; round < 300; ++round)
    for (const int ranges : {1, 2, 3, 17, 500})
      for (const int helpers : {0, 1, 3, 16}) every_range_once(ranges, helpers);
}

// A job within a job gets no help, and parallel_for does it alone.
void nested() {
  struct Job {
    Counts outer{8};
    std::vector<Counts> inner;
  } job;
  for (int i = 0; i < 8; ++i) job.inner.emplace_back(16);
  check(pool().run(
            8, 3,
            [](const void* j, int range) {
              auto& nesting = *static_cast<const Job*>(j);
              Counts::call(&nesting.outer, range);
              const Counts& counts = nesting.inner[static_cast<size_t>(range)];
              check(!pool().run(16, 3, Counts::call, &counts), "a job within a job was given help");
              parallel_for(
                  16, 4, 0,
                  [](const void* c, int64_t begin, int64_t end, void*) {
                    for (int64_t i = begin; i < end; ++i) Counts::call(c, static_cast<int>(i));
                  },
                  &counts, pool());
            },
            &job),
        "a pool that nobody uses gives no help");
  check(job.outer.all_are(1), "a range was not done exactly once");
  for (const Counts& counts : job.inner) check(counts.all_are(1), "a nested range was not done exactly once");
}

void concurrent_callers() {
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([] {
      for (int round = 0; round < 2000; ++round) {
        Counts counts(23);
        parallel_for(
            23, 5, 64,
            [](const void* c, int64_t begin, int64_t end, void* scratch) {
              *static_cast<volatile char*>(scratch) = 1;
              for (int64_t i = begin; i < end; ++i) Counts::call(c, static_cast<int>(i));
            },
            &counts, pool());
        check(counts.all_are(1), "a caller beside others misses a range");
      }
    });
  for (std::thread& caller : callers) caller.join();
}

void units_of_any_number() {
  for (const int64_t units : {0, 1, 2, 7, 100})
    for (const int threads : {1, 2, 5, 200}) {
      Counts counts(static_cast<int>(units));
      parallel_for(
          units, threads, 0,
          [](const void* c, int64_t begin, int64_t end, void*) {
            check(begin < end, "a range is empty");
            for (int64_t i = begin; i < end; ++i) Counts::call(c, static_cast<int>(i));
          },
          &counts, pool());
      check(counts.all_are(1), "a unit was not done exactly once");
    }
}

void too_much_scratch_memory() {
  bool thrown = false;
  try {
    parallel_for(4, 2, int64_t{1} << 60, [](const void*, int64_t, int64_t, void*) {}, nullptr, pool());
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  check(thrown, "scratch memory that cannot be had is no error");
  units_of_any_number();
}

// A child has none of its parent's threads, but a pool, also where the parent's was at work as it forked.
[[maybe_unused]] void forked() {
  std::atomic<int> state{0};  // 1: at work, 2: to end
  std::thread worker([&] {
    pool().run(
        1, 0,
        [](const void* s, int) {
          auto& seen = *static_cast<std::atomic<int>*>(const_cast<void*>(s));
          seen = 1;
          while (seen != 2) std::this_thread::yield();
        },
        &state);
  });
  while (state != 1) std::this_thread::yield();
  const pid_t child = fork();
  if (child == 0) {
    for (int round = 0; round < 100; ++round) every_range_once(50, 3);
    std::_Exit(0);
  }
  state = 2;
  worker.join();
  int status = 1;
  check(child > 0 && waitpid(child, &status, 0) == child, "fork");
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the pool of a forked child");
  every_range_once(50, 3);
}

}  // namespace

int main() {
  any_number_of_ranges_and_helpers();
  nested();
  concurrent_callers();
  units_of_any_number();
  too_much_scratch_memory();
#ifndef __SANITIZE_THREAD__  // which cannot follow a fork beside other threads
  forked();
#endif
  std::printf("6 passed, 0 failed\n");
  return 0;
}
