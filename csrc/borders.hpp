// Problems whose images go on beyond their borders as numpy.pad has it: made of problems that have nothing but zeros
// there.
#pragma once
#include "engine.hpp"

namespace depthwise {

// Whether a window leaves the image, and what it meets there is not zeros.
bool meets_border(const Problem&);

// Small planar images: see padded_planes.hpp. Else outputs whose windows lie inside the image are computed in place,
// those around them from copies of what they meet. An input gradient is first that of zeros; then what belongs beside
// the image is added where it comes from, one axis after the other. A weight gradient is the sum of its parts', in
// float64. Copies take at most 8 MiB, or one plane.
void solve_with_border(const Problem&, const Target&, int threads, Executor&, KeptSpectra*);

// The problem of the outputs whose windows lie inside the image, or of all of them on a copy of the image; what stands
// for all when a plan is described. A problem that meets no border is itself.
Problem largest_inside(const Problem&);
// The problem on a copy of the image and all that its windows meet around it: every tap counts.
Problem on_padded_image(const Problem&);
// The same of an input gradient whose x has the type of the sums.
Problem sums_beside(const Problem&);

}  // namespace depthwise
