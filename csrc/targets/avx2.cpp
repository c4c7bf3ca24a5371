// Built with this target's flags and no others. Everything but the table is in an unnamed namespace.
#include "../simd/avx2.hpp"
// The order matters: the kernels use the names that the vector header defines.
#include "../kernels/table.hpp"

namespace depthwise {
extern const Kernels avx2_kernels;
const Kernels avx2_kernels = kernels_of_this_target;
}  // namespace depthwise
