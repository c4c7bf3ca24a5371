// The engine as XLA calls it, for depthwise.jax. Built where DEPTHWISE_JAX is on, from jaxlib's headers alone.
#pragma once

namespace depthwise {

// The handlers that XLA's foreign function interface takes: of a CPU and of CUDA.
void* xla_handler();
void* xla_gpu_handler();

}  // namespace depthwise
