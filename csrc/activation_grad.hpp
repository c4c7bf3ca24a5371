// The gradient of an activation, element by element: the forward pass has it in its sums, the passes back do not.
#pragma once
#include "parallel.hpp"
#include "targets.hpp"

namespace depthwise {

// gz = gy * activation'(z) for arrays of these sizes. In float64 where z or gy is, else in float32; each element is
// rounded once more, to gz's dtype. Throws std::bad_alloc where scratch memory cannot be had.
void activation_grad(Activation, const int64_t (&sizes)[array_axes], const Array& z, const Array& gy, const Array& gz,
                     const Target&, int threads, Executor&);

}  // namespace depthwise
