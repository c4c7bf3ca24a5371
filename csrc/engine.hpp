// Runs a plan.
#pragma once
#include "kept_spectra.hpp"
#include "parallel.hpp"
#include "plan.hpp"

namespace depthwise {

// Bytes from the arrays of a plan to others that lie alike, and elements before and behind those of x that may be read.
struct Moved {
  int64_t x = 0, W = 0, b = 0, y = 0, spare = 0;
};

// Both throw std::bad_alloc where scratch memory cannot be had.
void execute(const Plan&, Executor&, const Moved& = {});
// A problem by the plan that is made for it, or by one for each tap in depth of a weight gradient. Spectra of the
// problem's filters are kept where somebody keeps them.
void solve(const Problem&, const Target&, int threads, Executor&, KeptSpectra* = nullptr);
// The same for a part of a problem that is being solved.
void solve_part(const Problem&, const Target&, int threads, Executor&, KeptSpectra* = nullptr);
// The problem without the first and the last taps that no output meets, as `solve` takes it.
Problem of_taps_met(const Problem&);
// The one of those problems that stands for all when a plan is described.
Problem largest_part(const Problem&);

// Tells of a problem that is solved with these kernels.
void count_execution(const Kernels*);

// Problems so far that were solved with the kernels of a target, by its index: how a test proves which code it ran.
int64_t executions(int target);

}  // namespace depthwise
