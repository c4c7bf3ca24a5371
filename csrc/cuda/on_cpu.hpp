// The kernels on a CPU, thread after thread, for tests: the few words of CUDA that they use, and a loop over the grid.
// Compiled with a source as `-include`d by tests/gpu_on_cpu.py; a block's barrier is the end of one loop over its
// threads.
#pragma once
#include <stdint.h>  // and no more, which every kernel would be compiled with

#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static

inline float exp(float x) { return __builtin_expf(x); }
inline double exp(double x) { return __builtin_exp(x); }
inline float tanh(float x) { return __builtin_tanhf(x); }
inline double tanh(double x) { return __builtin_tanh(x); }
inline float erfc(float x) { return __builtin_erfcf(x); }
inline double erfc(double x) { return __builtin_erfc(x); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }

struct Index {
  unsigned x;
};
inline Index threadIdx, blockIdx;

inline void __syncthreads() {}
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t{a} * b >> 32); }

template <class To, class From>
To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}
inline float __uint_as_float(unsigned bits) { return same_bits<float>(bits); }
inline unsigned __float_as_uint(float value) { return same_bits<unsigned>(value); }
inline float __double2float_rz(double value) {
  const float nearest = static_cast<float>(value);
  if (!isfinite(value) || __builtin_fabs(static_cast<double>(nearest)) <= __builtin_fabs(value)) return nearest;
  return __builtin_nextafterf(nearest, 0.0f);
}

namespace depthwise::cuda {

inline float half_to_float(unsigned short bits) { return static_cast<float>(same_bits<_Float16>(bits)); }
inline unsigned short float_to_half(float value) { return same_bits<unsigned short>(static_cast<_Float16>(value)); }
inline unsigned short float_to_bfloat(float value) {
  const unsigned bits = same_bits<unsigned>(value);
  if (value != value) return static_cast<unsigned short>(bits >> 16 | 0x40);
  return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline bool all_threads(bool condition) { return condition; }

// `kernel(block, thread)` for all threads of all blocks.
template <class Kernel>
void for_all_threads(unsigned blocks, unsigned threads, Kernel kernel) {
  for (unsigned block = 0; block < blocks; ++block)
    for (unsigned thread = 0; thread < threads; ++thread) kernel(block, thread);
}

}  // namespace depthwise::cuda
