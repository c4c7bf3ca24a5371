// The OpenMP runtime that another library has brought into the process. Nothing is linked with one.
//
// PyTorch's threads stay awake after its operators, and its OpenMP runtime has them at once, where a pool of our own
// would wait for a core (two cores, 32x112x112 with 3x3 after a matrix product of PyTorch's: 0.14 to 0.2 ms by OpenMP,
// 0.25 to 0.5 by our own). Without PyTorch it is the other way round: pool.hpp.
#pragma once
#include "parallel.hpp"

namespace depthwise {

// Looks for the runtime that a loaded library brings, by the library's path. Whether it was found.
bool find_openmp(const char* library);

// Whether one has been found.
bool has_openmp();

// Its threads; those of our own pool where no runtime was found, and in a forked child, in which it would wait for ever
// for the threads that its parent had.
Executor& openmp_executor();

}  // namespace depthwise
