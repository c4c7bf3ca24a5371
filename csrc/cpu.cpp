// __builtin_cpu_supports also checks that the operating system saves the wider registers.
#include "cpu.hpp"

namespace depthwise {

#if defined(__x86_64__)
bool cpu_has_sse4() { return __builtin_cpu_supports("sse4.1"); }
bool cpu_has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool cpu_has_avx512() {
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool cpu_has_neon() { return false; }
#else
bool cpu_has_sse4() { return false; }
bool cpu_has_avx2() { return false; }
bool cpu_has_avx512() { return false; }
#if defined(__aarch64__)
bool cpu_has_neon() { return true; }
#else
bool cpu_has_neon() { return false; }
#endif
#endif

}  // namespace depthwise
