"""The type of x decides who computes.

A framework is looked for in sys.modules: whoever has its array has imported it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .convolution import convolution_2d
from .variable import Variable, as_variable

_arrays = np.ndarray, Variable


def convolution(x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any) -> Any:
    """:func:`depthwise.depthwise_convolution_2d` for whatever kind of array x is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        from .torch.convolution import depthwise_convolution_2d

        return depthwise_convolution_2d(x, W, b, stride, pad, dilate)
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(x, jax.Array):
        from .jax.convolution import depthwise_convolution_2d as of_jax_arrays

        return of_jax_arrays(x, W, b, stride, pad, dilate)
    for name, a in (("x", x), ("W", W), ("b", b)):
        if not isinstance(a, _arrays) and not (name == "b" and a is None):
            msg = f"{name} must be a NumPy array or a Variable, got {type(a).__name__}"
            raise TypeError(msg)
        if isinstance(a, Variable) and a.array is None:
            msg = f"{name} is a Variable without an array"
            raise TypeError(msg)
    if b is not None and b.dtype != x.dtype:
        msg = f"b must have x's dtype {x.dtype}, got {b.dtype}"
        raise TypeError(msg)
    return convolution_2d(as_variable(x), as_variable(W), None if b is None else as_variable(b), stride, pad, dilate)
