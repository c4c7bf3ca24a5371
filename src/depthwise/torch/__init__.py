"""Depthwise convolution for PyTorch, on its CPU tensors, as PyTorch's own operators are.

``conv2d`` is the function, ``DepthwiseConv2d`` the layer, ``accelerate(model)`` the one line that makes a model's
depthwise layers fast, and ``restore(model)`` the way back.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as e:
    if e.name != "torch":
        raise
    msg = "depthwise.torch needs PyTorch: pip install 'depthwise[torch]'"
    raise ModuleNotFoundError(msg, name="torch") from e

from .convolution import conv2d
from .modules import Changes, DepthwiseConv2d, accelerate, restore

__all__ = ["Changes", "DepthwiseConv2d", "accelerate", "conv2d", "restore"]
