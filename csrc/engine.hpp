// Runs a plan.
#pragma once
#include "plan.hpp"

namespace depthwise {

// Throws std::bad_alloc where scratch memory cannot be had.
void execute(const Plan&);

}  // namespace depthwise
