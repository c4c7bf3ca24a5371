// Runs a plan.
#pragma once
#include "parallel.hpp"
#include "plan.hpp"

namespace depthwise {

// Throws std::bad_alloc where scratch memory cannot be had.
void execute(const Plan&, Executor&);

// Tells of an execution with these kernels.
void count_execution(const Kernels*);

// Executions so far with the kernels of a target, by its index: how a test proves which code it ran.
int64_t executions(int target);

}  // namespace depthwise
