// Windows, whose processes do not fork and whose threads get no signals.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
// After windows.h, whose names it uses.
#include <malloc.h>
#include <psapi.h>

#include <bit>
#include <exception>
#include <thread>

#include "system.hpp"

namespace depthwise {

void* allocate(int64_t alignment, int64_t bytes) {
  return _aligned_malloc(static_cast<size_t>(bytes), static_cast<size_t>(alignment));
}

void release(void* memory) { _aligned_free(memory); }

// Large pages need a right of the user's that programs do not have.
void want_huge_pages(void*, int64_t) {}

bool offer_pages(void*, int64_t) { return false; }

void trim_heap() {}

bool start_thread(void (*body)(void*), void* data) {
  try {
    std::thread(body, data).detach();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void around_fork(void (*)(), void (*)(), void (*)()) {}

int cpus_allowed() {
  DWORD_PTR mine = 0, all = 0;
  return GetProcessAffinityMask(GetCurrentProcess(), &mine, &all) ? std::popcount(uint64_t{mine}) : 0;
}

void* open_library(const std::string& path) { return LoadLibraryA(path.c_str()); }

void* opened_library(const std::string& path) { return GetModuleHandleA(path.c_str()); }

void* function_of(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

void* function_of_process(const char* name) {
  HMODULE modules[1024];
  DWORD bytes = 0;
  if (!K32EnumProcessModules(GetCurrentProcess(), modules, sizeof modules, &bytes)) return nullptr;
  for (DWORD i = 0; i < bytes / sizeof *modules && i < 1024; ++i)
    if (void* found = function_of(modules[i], name)) return found;
  return nullptr;
}

FileLock::FileLock(const std::string& path)
    : file_(reinterpret_cast<intptr_t>(CreateFileA(path.c_str(), GENERIC_READ | GENERIC_WRITE,
                                                   FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_ALWAYS,
                                                   FILE_ATTRIBUTE_NORMAL, nullptr))) {
  OVERLAPPED from_start{};
  const auto file = reinterpret_cast<HANDLE>(file_);
  if (file != INVALID_HANDLE_VALUE) LockFileEx(file, LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, &from_start);
}

FileLock::~FileLock() {
  const auto file = reinterpret_cast<HANDLE>(file_);
  if (file != INVALID_HANDLE_VALUE) CloseHandle(file);
}

}  // namespace depthwise
