// Problems of small planar images by padded copies of a few planes at a time, which stay in a cache. Strips of a column
// or two beside them would take longer.
#pragma once
#include "engine.hpp"

namespace depthwise {

// Whether a problem that meets its border is best done so.
bool takes_padded_planes(const Problem&);
void solve_by_padded_planes(const Problem&, const Target&, int threads, Executor&);

}  // namespace depthwise
