// The engine as XLA calls it, for depthwise.jax. Built where DEPTHWISE_JAX is on, from jaxlib's headers alone.
#pragma once

namespace depthwise {

// The handler that XLA's foreign function interface takes.
void* xla_handler();

}  // namespace depthwise
