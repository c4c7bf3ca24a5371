#include "blocks.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>

#include "machine.hpp"
#include "system/system.hpp"

namespace depthwise {
namespace {

// Below, the C library's own caches serve, and a lock would cost as much as it spares.
constexpr int64_t least_kept = int64_t{32} << 10;

// From here on memory is asked for in pages of this size, the huge ones of x86-64 and of most ARM systems.
constexpr int64_t huge_page = int64_t{2} << 20;

constexpr int64_t usual_limit = int64_t{256} << 20;

// What is kept beyond this, the oldest first, the system may claim. glibc keeps as much, too.
constexpr int64_t most_unclaimable = int64_t{64} << 20;

constexpr int most_blocks = 32;
static_assert(most_blocks * huge_page <= most_unclaimable);

// Eight sizes for each power of two, so that results of nearly one size share blocks and less than an eighth is lost.
int64_t rounded_up(int64_t bytes) {
  const auto step = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes))) / 8;
  return (bytes + step - 1) / step * step;
}

void* fresh(int64_t size) {
  const bool huge = size >= huge_page;
  void* const data = allocate(huge ? huge_page : 64, size);
  if (data && huge) want_huge_pages(data, size);
  return data;
}

int64_t limit_of_environment() {
  const char* said = std::getenv("DEPTHWISE_CACHE_LIMIT");
  if (!said || !*said) return usual_limit;
  const int64_t bytes = bytes_of(said);
  if (bytes < 0)
    throw std::invalid_argument(std::string("DEPTHWISE_CACHE_LIMIT must be a size such as '64M', or '0', got '") +
                                said + "'");
  return bytes;
}

struct FreeBlock {
  void* data;
  int64_t size;
  bool claimable;
};

class Cache {
 public:
  // The block of this size that was freed last, as the processor's caches may hold it; or null. The size is rounded up
  // where blocks are kept.
  void* take(int64_t& size) {
    const std::lock_guard guard(lock_);
    if (limit_) size = rounded_up(size);
    for (int i = count_; i-- > 0;)
      if (free_[i].size == size) return remove(i);
    return nullptr;
  }

  void keep(void* data, int64_t size) {
    const std::lock_guard guard(lock_);
    // A block from before blocks were kept ends within a page, whose rest is not ours to offer.
    if (size > limit_ || size != rounded_up(size)) return release(data);
    shrink(limit_ - size, most_blocks - 1);
    free_[count_++] = {data, size, false};
    bytes_ += size;
    offer();
  }

  void empty() {
    const std::lock_guard guard(lock_);
    shrink(0, 0);
  }

  int64_t limit() {
    const std::lock_guard guard(lock_);
    return limit_;
  }

  void set_limit(int64_t limit) {
    const std::lock_guard guard(lock_);
    limit_ = limit;
    shrink(limit_, most_blocks);
  }

  Kept kept() {
    const std::lock_guard guard(lock_);
    return {count_, bytes_, claimable_};
  }

  // A child that is forked while another thread has the lock would never get it.
  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }

 private:
  void* remove(int i) {
    const FreeBlock block = free_[i];
    std::copy(free_.begin() + i + 1, free_.begin() + count_, free_.begin() + i);
    --count_;
    bytes_ -= block.size;
    if (block.claimable) claimable_ -= block.size;
    return block.data;
  }

  // Frees the oldest ones until so much is left.
  void shrink(int64_t bytes, int blocks) {
    while (bytes_ > bytes || count_ > blocks) release(remove(0));
  }

  // Huge pages are offered by hundreds of times the speed at which they are touched first, and taken back by a store.
  void offer() {
    for (int i = 0; i < count_ && bytes_ - claimable_ > most_unclaimable; ++i) {
      FreeBlock& block = free_[i];
      if (block.claimable || block.size < huge_page) continue;
      if (!offer_pages(block.data, block.size)) break;
      block.claimable = true;
      claimable_ += block.size;
    }
    // Where the system takes no offers: small blocks alone are never so many.
    while (bytes_ - claimable_ > most_unclaimable) release(remove(0));
  }

  std::mutex lock_;
  std::array<FreeBlock, most_blocks> free_{};  // the oldest first
  int count_ = 0;
  int64_t bytes_ = 0, claimable_ = 0;
  int64_t limit_ = limit_of_environment();
};

// Never destroyed: blocks may be freed until the process ends.
Cache& cache() {
  static Cache* const it = [] {
    auto* const made = new Cache;
    around_fork([] { cache().lock(); }, [] { cache().unlock(); }, [] { cache().unlock(); });
    return made;
  }();
  return *it;
}

}  // namespace

Block::Block(int64_t bytes) : size_(bytes) {
  if (size_ >= least_kept) data_ = cache().take(size_);
  if (!data_) data_ = fresh(size_);
  if (!data_) {
    cache().empty();
    data_ = fresh(size_);
  }
  if (!data_) throw std::bad_alloc();
}

Block::~Block() {
  if (data_ && size_ >= least_kept)
    cache().keep(data_, size_);
  else
    release(data_);
}

Kept kept_memory() { return cache().kept(); }

int64_t cache_limit() { return cache().limit(); }

void set_cache_limit(int64_t bytes) { cache().set_limit(bytes); }

void empty_cache() {
  cache().empty();
  trim_heap();
}

}  // namespace depthwise
