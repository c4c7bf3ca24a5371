"""Depthwise convolution for PyTorch, on its tensors, as PyTorch's own operators are.

``conv1d`` to ``3d`` and ``conv_transpose1d`` to ``3d`` are the functions, ``DepthwiseConv1d`` to ``3d`` the layers,
``accelerate(model)`` the one line that makes a model's depthwise layers fast, and ``restore(model)`` the way back.
``causal_conv1d_fn`` and ``causal_conv1d_update`` are those of the package ``causal_conv1d``, and
``install_causal_conv1d()`` lets models of transformers call them.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as e:
    if e.name != "torch":
        raise
    msg = "depthwise.torch needs PyTorch: pip install 'depthwise[torch]', or pip install torch"
    raise ModuleNotFoundError(msg, name="torch") from e

from .causal import causal_conv1d_fn
from .causal_package import install_causal_conv1d, uninstall_causal_conv1d
from .causal_update import causal_conv1d_update
from .functions import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from .layers import DepthwiseConv1d, DepthwiseConv2d, DepthwiseConv3d
from .modules import Changes, accelerate, restore
from .rerouting import accelerated

__all__ = [
    "Changes",
    "DepthwiseConv1d",
    "DepthwiseConv2d",
    "DepthwiseConv3d",
    "accelerate",
    "accelerated",
    "causal_conv1d_fn",
    "causal_conv1d_update",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "install_causal_conv1d",
    "restore",
    "uninstall_causal_conv1d",
]
