#include "cpu.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace depthwise {
namespace {

int positive_from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (!text) return 0;
  const long value = std::strtol(text, nullptr, 10);  // OMP_NUM_THREADS may be a list: the first counts
  return value > 0 && value <= 4096 ? static_cast<int>(value) : 0;
}

std::string text_of(const std::string& file) {
  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

}  // namespace

int cpus_of_quota(const char* text) {
  char* end;
  const long quota = std::strtol(text, &end, 10), period = std::strtol(end, nullptr, 10);
  if (quota <= 0 || period <= 0) return 0;  // "max", or the first version's -1
  return static_cast<int>(std::min(4096L, (quota + period - 1) / period));
}

int cpus_of_all_quotas() {
  int least = 0;
  const auto count = [&](const std::string& text) {
    const int cpus = cpus_of_quota(text.c_str());
    if (cpus && (!least || cpus < least)) least = cpus;
  };
  std::istringstream groups(text_of("/proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {  // number:controllers:path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool second_version = controllers.empty();
    if (!second_version && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
    const std::string root = second_version ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + controllers;
    for (std::string path = line.substr(second + 1);; path.erase(path.find_last_of('/'))) {
      const std::string folder = root + (path == "/" ? "" : path);
      if (second_version)
        count(text_of(folder + "/cpu.max"));
      else
        count(text_of(folder + "/cpu.cfs_quota_us") + " " + text_of(folder + "/cpu.cfs_period_us"));
      if (path.find_first_not_of('/') == std::string::npos) break;
    }
  }
  return least;
}

int default_threads() {
  for (const char* name : {"DEPTHWISE_NUM_THREADS", "OMP_NUM_THREADS"})
    if (const int n = positive_from_environment(name)) return n;
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cpus = CPU_COUNT(&mask);
  if (const int paid = cpus_of_all_quotas()) cpus = std::min(cpus, paid);
#endif
  return std::max(1, cpus);
}

// __builtin_cpu_supports also checks that the operating system saves the wider registers.

#if defined(__x86_64__)
bool cpu_has_sse4() { return __builtin_cpu_supports("sse4.1"); }
bool cpu_has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool cpu_has_avx512() {
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool cpu_has_neon() { return false; }
#else
bool cpu_has_sse4() { return false; }
bool cpu_has_avx2() { return false; }
bool cpu_has_avx512() { return false; }
#if defined(__aarch64__)
bool cpu_has_neon() { return true; }
#else
bool cpu_has_neon() { return false; }
#endif
#endif

}  // namespace depthwise
