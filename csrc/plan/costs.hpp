// What lanes along the columns, or along the channels, cost: estimates of the multiply-adds that are spent for one of
// use.
#pragma once
#include "facts.hpp"

namespace depthwise {

// Lanes beside a row, and under taps beside it, are idle.
double by_columns(const Facts&);

// Every lane of a whole vector is of use, but all elements of planar memory are transposed.
double by_channels(const Facts&);

// Kernels of one line read any columns, and neighbouring channels of any dtype.
double by_columns_of_line(const Facts&);
double by_channels_of_line(const Facts&);

// The same where what could be read in place is packed.
double packed_by_columns(const Facts&);
double packed_by_channels(const Facts&);

// What is left out above: planar memory of another dtype, or with gaps, is packed for either kind of lanes.
double packed_by_all(const Facts&);

// Such has costs of its own: see row_ends_cost.
bool weight_gradient_without_masks(const Facts&);

}  // namespace depthwise
