// What the vector lanes hold: neighbouring columns, or neighbouring channels.
#pragma once
#include "../kernels/job.hpp"

namespace depthwise {

bool lanes_along_channels(const Problem&, const Kernels&, DType sums);

// Whether a stride of two is taken by loads of every other element, from every other row.
bool takes_pairs(const Problem&, DType sums);

// Channels whose planes of another dtype are converted together: none where a plane is too large for the cache, or has
// gaps in its rows. A weight gradient takes those of all images, if it can.
int64_t channels_together(const Problem&, DType sums);

// Whether an array (batch, channels, height, width) is laid out with neighbouring channels closest.
bool channels_are_closest(const int64_t strides[4], int64_t channels, int64_t height, int64_t width);

}  // namespace depthwise
