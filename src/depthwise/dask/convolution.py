"""What :func:`depthwise.depthwise_convolution_2d` and its like make of Dask's arrays."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from ..arguments import spatial_axes
from .passes import forward


def depthwise_convolution(
    spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any, method: str, pad_mode: str
) -> da.Array:
    """:func:`depthwise.depthwise_convolution_2d` and its like where x is a Dask array; errors are Chainer's."""
    for name, a in (("W", W), ("b", b)):
        if not isinstance(a, da.Array | np.ndarray) and not (name == "b" and a is None):
            msg = f"{name} must be a NumPy or a Dask array, got {type(a).__name__}"
            raise TypeError(msg)
    if b is not None and b.dtype != x.dtype:
        msg = f"b must have x's dtype {x.dtype}, got {b.dtype}"
        raise TypeError(msg)
    spatial_axes(spatial, W=W.shape, x=x.shape)
    return forward(x, W, b, stride=stride, pad=pad, pad_mode=pad_mode, dilate=dilate, method=method)
