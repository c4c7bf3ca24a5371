// The compiled instruction sets and their kernels, best first.
#pragma once
#include "kernels/job.hpp"

namespace depthwise {

struct Target {
  const char* name;
  const Kernels* kernels;
  bool (*supported)();
};

extern const Target targets[];
extern const int target_count;

}  // namespace depthwise
