// A target each: name, kernels, what the CPU must have.
#include "targets.hpp"

#include "cpu.hpp"

namespace depthwise {

extern const Kernels scalar_kernels, sse4_kernels, avx2_kernels, avx512_kernels, neon_kernels;

const Target targets[] = {
#ifdef DEPTHWISE_HAS_avx512
#ifdef DEPTHWISE_HAS_avx2
    {"avx512", &avx512_kernels, cpu_has_avx512, &avx2_kernels},
#else
    {"avx512", &avx512_kernels, cpu_has_avx512},
#endif
#endif
#ifdef DEPTHWISE_HAS_avx2
    {"avx2", &avx2_kernels, cpu_has_avx2},
#endif
#ifdef DEPTHWISE_HAS_sse4
    {"sse4", &sse4_kernels, cpu_has_sse4},
#endif
#ifdef DEPTHWISE_HAS_neon
    {"neon", &neon_kernels, cpu_has_neon},
#endif
    {"scalar", &scalar_kernels, [] { return true; }},
};
const int target_count = sizeof(targets) / sizeof(targets[0]);
static_assert(sizeof(targets) / sizeof(targets[0]) <= most_targets);
std::atomic<int> active_target{target_count - 1};

}  // namespace depthwise
