// Compiled kernels, kept on disk for the next process.
#pragma once
#include <string>

#include "plan.hpp"

namespace depthwise::cuda {

// Machine code of a kernel: from the cache, or compiled and put there. Of many processes that want one kernel, one
// compiles it and the others wait. Where the cache cannot be written, every process compiles for itself.
std::string machine_code(const Kernel&, int architecture);

// DEPTHWISE_KERNEL_CACHE where it is set, else "depthwise" in XDG_CACHE_HOME or ~/.cache; "" where there is none.
std::string cache_folder();

}  // namespace depthwise::cuda
