"""What :func:`depthwise.depthwise_convolution_2d` and its like make of Dask's arrays."""

from __future__ import annotations

from typing import Any

import dask.array as da

from ..arguments import spatial_axes
from ..passes import check_bias_dtype
from .passes import forward


def depthwise_convolution(
    spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any, method: str, pad_mode: str
) -> da.Array:
    """:func:`depthwise.depthwise_convolution_2d` and its like where x is a Dask array; errors are Chainer's."""
    check_bias_dtype(x, b)
    if hasattr(W, "shape"):  # else the next says what it is
        spatial_axes(spatial, W=W.shape, x=x.shape)
    return forward(x, W, b, stride=stride, pad=pad, pad_mode=pad_mode, dilate=dilate, method=method)
