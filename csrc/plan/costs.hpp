// What lanes along the columns, or along the channels, cost: estimates in multiply-adds of one vector.
#pragma once
#include "facts.hpp"

namespace depthwise {

// Lanes beside a row, and under taps beside it, are idle. Memory of another dtype or with gaps is packed.
double by_columns(const Facts&);

// Every lane of a whole vector is of use, but all elements of planar memory are transposed.
double by_channels(const Facts&);

// The same where what could be read in place is packed.
double packed_by_columns(const Facts&);
double packed_by_channels(const Facts&);

// Such takes single columns of taps at the rows' ends.
bool weight_gradient_without_masks(const Facts&);

}  // namespace depthwise
