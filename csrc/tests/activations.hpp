// The activations of a target as plain functions, so that a test that is built for every processor can call them.
#pragma once
#include "../kernels/job.hpp"

namespace depthwise {

struct Activations {
  int64_t lanes;
  // In place, in the accumulator's type: `count` values, and one vector.
  void (*span)(Activation, void* values, int64_t count);
  void (*vector)(Activation, void* values);
  Kernel<ActivationGradient> gradient;
};

}  // namespace depthwise
