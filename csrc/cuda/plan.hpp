// What a GPU is to do for a Problem: kernels, how they are compiled, how many threads run them, and what they are told.
// No driver is needed for this.
#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "../problem.hpp"
#include "parameters.cuh"

namespace depthwise::cuda {

// A kernel: an entry of one of the sources, compiled with these options.
struct Kernel {
  std::string source;  // a file of csrc/cuda
  std::string entry;
  std::string options;  // -DDW_...=..., with blanks between them
};

// Where the arrays of a step begin, in elements from those of the call.
struct FirstImage {
  int64_t x = 0, y = 0;
};

using Parameters = std::variant<CorrelateParameters, WeightGradParameters, FoldParameters>;

// One launch.
struct Step {
  Kernel kernel;
  unsigned blocks, threads;  // threads of a block
  Parameters parameters;     // without addresses
  FirstImage first;
  bool to_workspace = false;  // an input gradient that is still to be folded
};

struct GpuPlan {
  std::vector<Step> steps;
  int64_t workspace = 0;  // bytes
};

// Throws std::invalid_argument for what a GPU does not do.
GpuPlan make_plan(const Problem&, int multiprocessors);

// The parameters of a step with the addresses of a call.
Parameters addressed(const Step&, const Problem&, void* workspace);

}  // namespace depthwise::cuda
