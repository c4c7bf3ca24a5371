// Each rate is the best of several rounds: what disturbs a round can only make it slower.
#include "roofline.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "pool.hpp"
#include "targets.hpp"

namespace depthwise {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double multiply_add_rate(const Target& target, bool float64, int threads) {
  struct Spending {
    void (*spend)(int64_t, double*);
    int64_t rounds;
  } job{target.kernels->spend_multiply_adds[float64], 200'000};
  double best = 0;
  for (int round = 0; round < 9; ++round) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(
        threads, threads, 64,
        [](const void* p, int64_t begin, int64_t end, void* scratch) {
          const auto& it = *static_cast<const Spending*>(p);
          for (int64_t i = begin; i < end; ++i) it.spend(it.rounds, static_cast<double*>(scratch));
        },
        &job, pool());
    const double flop = threads * target.kernels->multiply_add_flop[float64] * static_cast<double>(job.rounds);
    best = std::max(best, flop / seconds_since(start));
  }
  return best;
}

double copy_rate(int64_t bytes, int threads) {
  const auto half = static_cast<size_t>(std::max<int64_t>(bytes / 2, 4096));
  // Not a multiple of a page apart: some processors (AMD's Zen 3) take twenty times as long for a copy that writes
  // where it has just read but for the number of the page.
  constexpr size_t page = 4096;
  const size_t apart = (half + page - 1) / page * page + page / 2;
  std::vector<char> memory(apart + half, 1);
  struct Job {
    const char* from;
    char* to;
    size_t size;
    int64_t threads, repeats;
  } job{memory.data(), memory.data() + apart, half, threads,
        std::max<int64_t>(1, (int64_t{20} << 20) / static_cast<int64_t>(half))};
  double best = 0;
  for (int round = 0; round < 9; ++round) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(
        threads, threads, 64,
        [](const void* p, int64_t begin, int64_t end, void*) {
          const Job& j = *static_cast<const Job*>(p);
          const size_t a = j.size * static_cast<size_t>(begin) / static_cast<size_t>(j.threads);
          const size_t b = j.size * static_cast<size_t>(end) / static_cast<size_t>(j.threads);
          for (int64_t i = 0; i < j.repeats; ++i) {
            std::memcpy(j.to + a, j.from + a, b - a);
            std::atomic_signal_fence(std::memory_order_seq_cst);
          }
        },
        &job, pool());
    best = std::max(best, 2.0 * static_cast<double>(half) * static_cast<double>(job.repeats) / seconds_since(start));
  }
  return best;
}

}  // namespace depthwise
