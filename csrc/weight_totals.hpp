// The sums of a weight gradient in float64, before they are rounded: those of its parts are added up there.
#pragma once
#include "problem.hpp"

namespace depthwise {

// How many there are: of each filter its taps, and then of each output channel its bias, where somebody asks for them.
int64_t weight_totals(const Problem&);
// The problem with the sums in place of its results.
Problem into_totals(const Problem&, double* totals);
// The results from the sums.
void store_totals(const Problem&, const double* totals);

}  // namespace depthwise
