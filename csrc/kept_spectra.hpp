// The spectra of filters that are used again and again, kept from call to call.
#pragma once
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "blocks.hpp"
#include "plan/spectral.hpp"

namespace depthwise {

// Of one array of filters, which does not change. Several threads may ask.
class KeptSpectra {
 public:
  struct Spectra {
    SpectralPlan plan;  // what they were made for
    Block memory;
  };
  // Of more nothing is kept.
  static constexpr int64_t most_bytes = int64_t{64} << 20;

  // Those for a plan, if they have been made.
  std::shared_ptr<const Spectra> find(const SpectralPlan& plan) {
    const std::lock_guard lock(mutex_);
    for (const auto& one : kept_)
      if (have_same_spectra(one->plan, plan)) return one;
    return nullptr;
  }
  // Keeps the few that were made last: a model has images of few sizes.
  void keep(std::shared_ptr<const Spectra> made) {
    const std::lock_guard lock(mutex_);
    for (const auto& one : kept_)
      if (have_same_spectra(one->plan, made->plan)) return;  // another thread's
    kept_.push_back(std::move(made));
    while (kept_.size() > most || bytes_kept() > most_bytes) kept_.erase(kept_.begin());
  }
  int64_t bytes() {
    const std::lock_guard lock(mutex_);
    return bytes_kept();
  }

 private:
  int64_t bytes_kept() const {
    int64_t bytes = 0;
    for (const auto& one : kept_) bytes += bytes_of_spectra(one->plan);
    return bytes;
  }

  static constexpr size_t most = 4;
  std::mutex mutex_;
  std::vector<std::shared_ptr<const Spectra>> kept_;
};

// The same for whoever has filters that may change.
class SpectraKeeper {
 public:
  // What is kept of filters that are these bytes: nothing, where they were others. They are compared whole, which takes
  // little beside a transform, since no one counts all that may have been written to a framework's memory.
  std::shared_ptr<KeptSpectra> of(const void* filters, size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (filters_.size() != bytes || std::memcmp(filters_.data(), filters, bytes) != 0) {
      kept_ = std::make_shared<KeptSpectra>();
      filters_.assign(static_cast<const char*>(filters), static_cast<const char*>(filters) + bytes);
    }
    return kept_;
  }
  // ... of filters that never change.
  std::shared_ptr<KeptSpectra> of_all() {
    const std::lock_guard lock(mutex_);
    return kept_;
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<KeptSpectra> kept_ = std::make_shared<KeptSpectra>();
  std::vector<char> filters_;
};

}  // namespace depthwise
