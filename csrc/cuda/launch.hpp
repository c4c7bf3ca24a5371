// The passes on a GPU. Work is only started: the stream says when it is done.
#pragma once
#include "../problem.hpp"
#include "driver.hpp"

namespace depthwise::cuda {

// Bytes of the GPU's memory that a problem needs beside its arrays; compiles what is still to be compiled.
int64_t workspace_bytes(const Problem&, int device);

// Throws GpuError, or std::invalid_argument for what a GPU does not do.
void launch(const Problem&, int device, Stream, void* workspace);

// Kernels that were started so far: how a test proves which code it ran.
int64_t launches();

}  // namespace depthwise::cuda
