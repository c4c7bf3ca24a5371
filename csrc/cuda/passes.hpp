// The passes that a plan is made of.
#pragma once
#include "plan.hpp"

namespace depthwise::cuda {

// A forward pass, or an input gradient of an image that zeros lie around.
std::vector<Step> correlation_steps(const Problem&, int multiprocessors);

GpuPlan weight_grad_plan(const Problem&, int multiprocessors);

}  // namespace depthwise::cuda
