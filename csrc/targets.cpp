// One line a target: name, kernels, what the CPU must have.
#include "targets.hpp"

#include "cpu.hpp"

namespace depthwise {

extern const Kernels scalar_kernels, sse4_kernels, avx2_kernels, avx512_kernels, neon_kernels;

const Target targets[] = {
#if defined(__x86_64__)
    {"avx512", &avx512_kernels, cpu_has_avx512},
    {"avx2", &avx2_kernels, cpu_has_avx2},
    {"sse4", &sse4_kernels, cpu_has_sse4},
#elif defined(__aarch64__)
    {"neon", &neon_kernels, cpu_has_neon},
#endif
    {"scalar", &scalar_kernels, [] { return true; }},
};
const int target_count = sizeof(targets) / sizeof(targets[0]);
std::atomic<int> active_target{target_count - 1};

}  // namespace depthwise
