"""What :func:`depthwise.depthwise_convolution_2d` and its like make of CuPy's arrays."""

from __future__ import annotations

from typing import Any

from ..arguments import spatial_axes
from ..passes import check_bias_dtype
from .arrays import check_cupy
from .passes import forward


def depthwise_convolution(
    spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any, method: str, pad_mode: str
) -> Any:
    """:func:`depthwise.depthwise_convolution_2d` and its like where x is a CuPy array; errors are Chainer's.

    Variables that hold CuPy's arrays are differentiable, and are the graph's.
    """
    from ..chainer.variable import Variable

    if any(isinstance(a, Variable) for a in (W, b)):
        from ..chainer.convolution import depthwise_convolution as of_variables

        return of_variables(spatial, x, W, b, stride, pad, dilate, method, pad_mode)
    check_cupy(x, x=x, W=W, b=b)
    check_bias_dtype(x, b)
    spatial_axes(spatial, W=W.shape, x=x.shape)
    return forward(x, W, b, stride=stride, pad=pad, pad_mode=pad_mode, dilate=dilate, method=method)
