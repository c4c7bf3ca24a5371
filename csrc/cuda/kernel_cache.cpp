#include "kernel_cache.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "../system/system.hpp"
#include "driver.hpp"
#include "sources.hpp"

namespace depthwise::cuda {

namespace {

namespace fs = std::filesystem;

// FNV-1a.
uint64_t hash_of(const std::string& text, uint64_t hash) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

constexpr uint64_t hash_start = 0xcbf29ce484222325u;

uint64_t hash_of_sources() {
  static const uint64_t hash = [] {
    uint64_t all = hash_start;
    for (const Source& s : sources()) all = hash_of(s.text, hash_of(s.name, all));
    return all;
  }();
  return hash;
}

// All that the code hangs on, in words: a file begins with it, so that no two are ever confused.
std::string key_of(const Kernel& kernel, int architecture) {
  return "depthwise kernel, sources " + std::to_string(hash_of_sources()) + ", NVRTC " +
         std::to_string(nvrtc_version()) + ", sm_" + std::to_string(architecture) + ", " + kernel.source + " " +
         kernel.options + "\n";
}

// The code, or "" where the file is lacking, of another kernel, or cut short.
std::string read_code(const fs::path& path, const std::string& key) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return "";
  const std::string all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (all.compare(0, key.size(), key) != 0 || all.size() < key.size() + sizeof(uint64_t)) return "";
  const std::string code = all.substr(key.size() + sizeof(uint64_t));
  uint64_t sum = 0;
  all.copy(reinterpret_cast<char*>(&sum), sizeof sum, key.size());
  return hash_of(code, hash_start) == sum ? code : "";
}

// Under another name until it is complete. An error leaves no file, which is no harm.
void write_code(const fs::path& path, const std::string& key, const std::string& code) {
  // A name that nobody else takes, whatever machine shares the folder, but by a chance of one in 2^64.
  std::string number;
  try {
    std::random_device random;
    number = std::to_string(random()) + "." + std::to_string(random());
  } catch (const std::exception&) {
    return;  // the system has none
  }
  const fs::path unfinished = path.string() + "." + number;
  const uint64_t sum = hash_of(code, hash_start);
  std::error_code ignored;
  {
    std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
    file << key;
    file.write(reinterpret_cast<const char*>(&sum), sizeof sum);
    file << code;
    file.close();
    if (!file) {
      fs::remove(unfinished, ignored);
      return;
    }
  }
  fs::rename(unfinished, path, ignored);
}

}  // namespace

std::string cache_folder() {
  const auto variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (const char* const own = std::getenv("DEPTHWISE_KERNEL_CACHE")) return own;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg + "/depthwise";
  if (const std::string home = variable("HOME"); !home.empty()) return home + "/.cache/depthwise";
  if (const std::string local = variable("LOCALAPPDATA"); !local.empty()) return local + "/depthwise";  // Windows
  return "";
}

std::string machine_code(const Kernel& kernel, int architecture) {
  const std::string folder = cache_folder();
  std::error_code failed;
  if (folder.empty() || (fs::create_directories(folder, failed), failed))
    return compile(kernel.source, kernel.options, architecture);
  const std::string key = key_of(kernel, architecture);
  char name[32];
  std::snprintf(name, sizeof name, "%016llx", static_cast<unsigned long long>(hash_of(key, hash_start)));
  const fs::path path = fs::path(folder) / (std::string(name) + ".kernel");
  if (std::string code = read_code(path, key); !code.empty()) return code;
  const FileLock alone((fs::path(folder) / (std::string(name) + ".lock")).string());
  if (std::string code = read_code(path, key); !code.empty()) return code;
  std::string code = compile(kernel.source, kernel.options, architecture);
  write_code(path, key, code);
  return code;
}

}  // namespace depthwise::cuda
