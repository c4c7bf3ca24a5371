#include "cpu.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "system/system.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
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
  int cpus = cpus_allowed();
  if (!cpus) cpus = static_cast<int>(std::thread::hardware_concurrency());
  if (const int paid = cpus_of_all_quotas()) cpus = std::min(cpus, paid);
  return std::max(1, cpus);
}

// Asked of the processor itself: __builtin_cpu_supports needs a library of the compiler's that Windows does not link.
namespace {

struct Features {
  bool sse4 = false, avx2 = false, avx512 = false;
};

Features find_features() {
  Features f;
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  f.sse4 = c & bit_SSE4_1;
  if (!(c & bit_OSXSAVE)) return f;
  // The registers that the operating system saves when it changes threads.
  unsigned saved, high;
  asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  constexpr unsigned of_avx = 0x06, of_avx512 = 0xe6;
  const bool fused = (c & bit_AVX) && (c & bit_FMA) && (c & bit_F16C);
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  f.avx2 = fused && (b & bit_AVX2) && (saved & of_avx) == of_avx;
  constexpr unsigned wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  f.avx512 = f.avx2 && (b & wide) == wide && (saved & of_avx512) == of_avx512;
#endif
  return f;
}

const Features& features() {
  static const Features it = find_features();
  return it;
}

}  // namespace

bool cpu_has_sse4() { return features().sse4; }
bool cpu_has_avx2() { return features().avx2; }
bool cpu_has_avx512() { return features().avx512; }
bool cpu_has_neon() {
#if defined(__aarch64__)
  return true;
#else
  return false;
#endif
}

}  // namespace depthwise
