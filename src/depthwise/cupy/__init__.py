"""The passes over CuPy's arrays, on the current stream, by CUDA kernels that are compiled when they are first needed.

They were written and proven on a CPU, by the same source, and run and timed on an H100: see docs/gpu.md.
"""

from .passes import bias_grad, forward, input_grad, weight_grad

__all__ = ["bias_grad", "forward", "input_grad", "weight_grad"]
