// The spectra of filters that are used again and again, kept from call to call.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "blocks.hpp"
#include "plan/spectral.hpp"

namespace depthwise {

// Of one array of filters, which must not change. Several threads may ask.
class KeptSpectra {
 public:
  struct Spectra {
    SpectralPlan plan;  // what they were made for
    Block memory;
  };

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
};

}  // namespace depthwise
