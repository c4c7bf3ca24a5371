// How a problem is done by Fourier transforms: on circles of how many places, and what that takes.
#pragma once
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../targets.hpp"
#include "facts.hpp"

namespace depthwise {

struct SpectralPlan {
  SpectralPlan(const Problem&, const Target&, int most_threads);
  SpectralPlan(const SpectralPlan&) = delete;

  Problem problem;  // normalised
  Facts facts;
  const char* misfit = nullptr;  // why it cannot be done so, or null
  double cycles = 0;             // as those of candidates are estimated
  double cycles_of_filters = 0;  // of these, what the filters' spectra take, which may be kept
  Spectral job{};
  const Kernel<Spectral>* kernel = nullptr;
  int64_t scratch_bytes = 0;
  int threads = 1;
};

// Why a problem whose method is "fft" is refused, or nothing. Where no tiling fits it is done directly.
std::string refusal(const SpectralPlan&);

// Whether a problem is done so, by its method.
bool is_taken(const SpectralPlan&, bool spectra_are_kept = false);

// Bytes of the spectra of all filters, and what they hang on beside the filters themselves.
int64_t bytes_of_spectra(const SpectralPlan&);
bool have_same_spectra(const SpectralPlan&, const SpectralPlan&);

// As those of plan.hpp.
std::vector<std::pair<std::string, std::string>> describe(const SpectralPlan&);
std::tuple<std::string, double, std::string> describe_way(const SpectralPlan&);

}  // namespace depthwise
