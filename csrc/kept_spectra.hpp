// The spectra of filters that are used again and again, kept from call to call.
#pragma once
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "blocks.hpp"
#include "plan/spectral.hpp"

namespace depthwise {

// Of one array of filters. Several threads may ask.
class KeptSpectra {
 public:
  struct Spectra {
    SpectralPlan plan;  // what they were made for
    Block memory;
  };

  // To be told of filters that may have changed, as so many bytes: then what is kept is dropped. They are compared
  // whole, which takes a hundredth of a transform, since no one counts all that may have been written to a framework's
  // memory.
  void follow(const void* filters, size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (followed_.size() == bytes && std::memcmp(followed_.data(), filters, bytes) == 0) return;
    kept_.clear();
    followed_.assign(static_cast<const char*>(filters), static_cast<const char*>(filters) + bytes);
  }

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
    if (kept_.size() == most) kept_.erase(kept_.begin());
    kept_.push_back(std::move(made));
  }
  int64_t bytes() {
    const std::lock_guard lock(mutex_);
    int64_t bytes = 0;
    for (const auto& one : kept_) bytes += bytes_of_spectra(one->plan);
    return bytes;
  }

 private:
  static constexpr size_t most = 4;
  std::mutex mutex_;
  std::vector<std::shared_ptr<const Spectra>> kept_;
  std::vector<char> followed_;
};

}  // namespace depthwise
