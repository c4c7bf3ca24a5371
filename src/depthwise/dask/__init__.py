"""The passes for Dask's arrays: lazy, chunk by chunk, for what is larger than memory or than a machine.

A task takes one thread of the engine, since tasks run beside one another; where chunks are few and large,
``dask.config.set({"depthwise.threads": 4})`` gives each four.
"""

from .passes import bias_grad, forward, input_grad, weight_grad

__all__ = ["bias_grad", "forward", "input_grad", "weight_grad"]
