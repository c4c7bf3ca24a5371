#include "machine.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "cpu.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace depthwise {
namespace {

constexpr Machine typical{.first_cache = 32 << 10, .second_cache = 1 << 20, .last_cache = 32 << 20, .cpus_sharing = 1};

struct Cache {
  int level;
  int64_t bytes;
  int cpus;
};

// How many numbers a list as "0-3,8" names.
int count_of(const std::string& list) {
  int count = 0;
  std::istringstream ranges(list);
  for (std::string range; std::getline(ranges, range, ',');) {
    const int first = std::atoi(range.c_str());
    const size_t dash = range.find('-');
    count += (dash == std::string::npos ? first : std::atoi(range.c_str() + dash + 1)) - first + 1;
  }
  return count;
}

std::vector<Cache> caches_of_system() {
  std::vector<Cache> found;
  for (int i = 0; i < 16; ++i) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    const auto word = [&](const char* file) {
      std::string text;
      std::ifstream(folder + file) >> text;
      return text;
    };
    const std::string type = word("type");
    if (type.empty()) break;
    if (type != "Instruction")
      found.push_back({std::atoi(word("level").c_str()), bytes_of(word("size")), count_of(word("shared_cpu_list"))});
  }
  return found;
}

// Intel has its caches in leaf 4, AMD the same in leaf 0x8000001d.
std::vector<Cache> caches_of_processor() {
  std::vector<Cache> found;
#if defined(__x86_64__)
  for (const unsigned leaf : {0x4u, 0x8000001du}) {
    unsigned a, b, c, d;
    for (unsigned i = 0; found.size() < 16 && __get_cpuid_count(leaf, i, &a, &b, &c, &d) && (a & 31); ++i) {
      constexpr unsigned instructions = 2;
      if ((a & 31) == instructions) continue;
      const int64_t ways = (b >> 22) + 1, partitions = (b >> 12 & 1023) + 1, line = (b & 4095) + 1,
                    sets = int64_t{c} + 1;
      found.push_back(
          {static_cast<int>(a >> 5 & 7), ways * partitions * line * sets, static_cast<int>(a >> 14 & 4095) + 1});
    }
    if (!found.empty()) break;
  }
#endif
  return found;
}

// Whatever is missing is as on a typical machine; without a third level the second is the last.
Machine machine_of(const std::vector<Cache>& caches) {
  Machine m = typical;
  int last_level = 0;
  for (const Cache& c : caches) {
    if (c.bytes <= 0) continue;
    if (c.level == 1) m.first_cache = c.bytes;
    if (c.level == 2) m.second_cache = c.bytes;
    if (c.level >= 2 && c.level > last_level) {
      last_level = c.level;
      m.last_cache = c.bytes;
      m.cpus_sharing = std::max(1, c.cpus);
    }
  }
  if (const int paid = cpus_of_all_quotas(); paid && paid < m.cpus_sharing)
    m.last_cache = std::max(m.second_cache, m.last_cache / m.cpus_sharing * paid);
  return m;
}

bool is_amd() {
#if defined(__x86_64__)
  constexpr unsigned auth = 0x68747541, hygo = 0x6f677948;  // AuthenticAMD, and HygonGenuine, which is built alike
  unsigned a, b, c, d;
  return __get_cpuid(0, &a, &b, &c, &d) && (b == auth || b == hygo);
#else
  return false;
#endif
}

Machine find_machine() {
  if (const char* forced = std::getenv("DEPTHWISE_CACHES"); forced && *forced) return parse_caches(forced);
  const std::vector<Cache> caches = caches_of_system();
  Machine m = machine_of(caches.empty() ? caches_of_processor() : caches);
  m.spares_caches = is_amd();
  return m;
}

}  // namespace

int64_t bytes_of(const std::string& text) {
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (!digits || digits > 9 || text.size() > digits + 1) return -1;
  const int64_t number = std::stoll(text.substr(0, digits));
  const std::string unit = text.substr(digits);
  const int shift = unit.empty() ? 0 : unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : -1;
  return shift < 0 ? -1 : number << shift;
}

Machine parse_caches(const std::string& text) {
  int64_t sizes[3] = {};
  size_t count = 0;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ','); ++count)
    if (count < 3) sizes[count] = bytes_of(word);
  if (count != 3 || sizes[0] <= 0 || sizes[1] < sizes[0] || sizes[2] < sizes[1] || text.back() == ',')
    throw std::invalid_argument(
        "DEPTHWISE_CACHES must be the sizes of three caches, the nearest first, such as "
        "'32K,1M,32M', got '" +
        text + "'");
  return {.first_cache = sizes[0], .second_cache = sizes[1], .last_cache = sizes[2], .cpus_sharing = 1};
}

const Machine& this_machine() {
  static const Machine machine = find_machine();
  return machine;
}

}  // namespace depthwise
