// Built with this target's flags and no others. Everything but the table is in an unnamed namespace.
#include "../simd/sse4.hpp"
// The order matters: the kernels use the names that the vector header defines.
#include "../kernels/table.hpp"

namespace depthwise {
extern const Kernels sse4_kernels;
const Kernels sse4_kernels = kernels_of_this_target;
}  // namespace depthwise
