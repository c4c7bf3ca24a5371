// What each operating system does in its own way. No other file of the engine asks which one it runs on.
#pragma once
#include <cstdint>
#include <string>

namespace depthwise {

// Memory that `release` frees; null where there is none.
void* allocate(int64_t alignment, int64_t bytes);
void release(void* memory);

// A wish: memory is as it was where it is not granted. It begins with a page.
void want_huge_pages(void* memory, int64_t bytes);

// Lets the system take pages back, each until something is stored there. False where it takes no such offers.
bool offer_pages(void* memory, int64_t bytes);

// Gives the C library's free memory back.
void trim_heap();

// A thread of its own until `body` returns, which leaves signals to the threads that the process has made itself. False
// where the system gives no more.
bool start_thread(void (*body)(void*), void* data);

// Calls these around each fork of the process, where there is such a thing; null is nothing to call.
void around_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

// CPUs that this process may use; 0 where the system does not say.
int cpus_allowed();

// A library, opened if it is not yet; or one that the process has open already. Null where there is none.
void* open_library(const std::string& path);
void* opened_library(const std::string& path);

// A function of a library, or of whatever is loaded in the process; null where there is none of this name.
void* function_of(void* library, const char* name);
void* function_of_process(const char* name);

// Holds other processes off while it lives, as far as the file can be had.
class FileLock {
 public:
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  intptr_t file_;
};

}  // namespace depthwise
