// Linux, macOS and their kin.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <thread>

#include "system.hpp"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace depthwise {

void* allocate(int64_t alignment, int64_t bytes) {
  void* memory;
  return posix_memalign(&memory, static_cast<size_t>(alignment), static_cast<size_t>(bytes)) ? nullptr : memory;
}

void release(void* memory) { std::free(memory); }

void want_huge_pages([[maybe_unused]] void* memory, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_HUGEPAGE
  madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
}

bool offer_pages([[maybe_unused]] void* memory, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_FREE
  return madvise(memory, static_cast<size_t>(bytes), MADV_FREE) == 0;
#else
  return false;
#endif
}

void trim_heap() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

bool start_thread(void (*body)(void*), void* data) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  try {
    std::thread(body, data).detach();
  } catch (const std::exception&) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

void around_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) {
  pthread_atfork(before, in_parent, in_child);
}

int cpus_allowed() {
#if defined(__linux__)
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) return CPU_COUNT(&mask);
#endif
  return 0;
}

void* open_library(const std::string& path) { return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); }

void* opened_library(const std::string& path) { return dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD); }

void* function_of(void* library, const char* name) { return dlsym(library, name); }

void* function_of_process(const char* name) { return dlsym(RTLD_DEFAULT, name); }

FileLock::FileLock(const std::string& path) : file_(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)) {
  if (file_ >= 0) flock(static_cast<int>(file_), LOCK_EX);
}

FileLock::~FileLock() {
  if (file_ >= 0) close(static_cast<int>(file_));
}

}  // namespace depthwise
