// The parts of a weight gradient's sums.
#pragma once
#include "facts.hpp"

namespace depthwise {

// In how many parts the sums of a channel are taken, from the job's bands and groups. Parts are made of bands, or of
// images where planes are converted, as many as stay in the cache.
int64_t parts_of(const Facts&, const WeightGradient&);

// Where a single part's sums may go at once, if a channel's taps lie there as they do; else null. `placed`: the kernel
// can put them where they belong.
void* kept_sums(const Facts&, const WeightGradient&, bool placed);

}  // namespace depthwise
