// The machine's limits, measured: how fast it multiplies and adds, and how fast it copies.
#pragma once
#include <cstdint>

namespace depthwise {

struct Target;

// Floating-point operations a second of float32 (or float64) multiply-adds, on all `threads` together.
double multiply_add_rate(const Target&, bool float64, int threads);

// Bytes read and written a second by copies of `bytes` / 2 from one array to another, on all `threads` together.
double copy_rate(int64_t bytes, int threads);

}  // namespace depthwise
