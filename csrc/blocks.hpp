// Memory of results, and of scratch that is too large for a thread to keep. The first touch of a page costs more than
// most layers, and NumPy's allocator gives large arrays back to the system: so a few freed blocks are kept for the
// next.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

namespace depthwise {

// Memory that begins at a multiple of 64 bytes and holds whatever it held before. Any thread may free it.
class Block {
 public:
  Block() = default;
  // Throws std::bad_alloc; std::invalid_argument where DEPTHWISE_CACHE_LIMIT is malformed.
  explicit Block(int64_t bytes);
  Block(Block&& other) noexcept { *this = std::move(other); }
  Block& operator=(Block&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Block();

  void* data() const { return data_; }
  int64_t size() const { return size_; }  // at least what was asked for

 private:
  void* data_ = nullptr;
  int64_t size_ = 0;
};

// Of `bytes`, the system may take those that are `claimable` as soon as it needs them.
struct Kept {
  int64_t blocks, bytes, claimable;
};
Kept kept_memory();

// Most bytes that are kept: DEPTHWISE_CACHE_LIMIT, such as "64M", where it is set and nobody has said otherwise.
// Throws std::invalid_argument where it is malformed.
int64_t cache_limit();
void set_cache_limit(int64_t bytes);

// Frees all that is kept, and has the C library give back to the system what it can.
void empty_cache();

}  // namespace depthwise
