"""The three operators of depthwise convolution as Functions; the backward of each is made of the three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import ops
from .arithmetic import BroadcastTo, Reshape, cast
from .variable import Function, Variable

AnyArray = npt.NDArray[Any]
Gradients = Sequence[Variable | None]


class _Operator(Function):
    retains = (0, 1)

    def __init__(self, stride: Any, pad: Any, dilate: Any) -> None:
        self.steps = {"stride": stride, "pad": pad, "dilate": dilate}

    def _forward(self, x: Variable, W: Variable) -> Variable:
        return Convolution(**self.steps)(x, W)

    def _input_grad(self, gy: Variable, W: Variable, x: Variable) -> Variable:
        return cast(InputGrad(x.shape[2:], **self.steps)(gy, W), x.dtype)

    def _weight_grad(self, x: Variable, gy: Variable, W: Variable) -> Variable:
        return WeightGrad(W.shape, W.dtype, **self.steps)(x, gy)


class Convolution(_Operator):
    """y from x, W and perhaps b."""

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return ops.forward(*arrays, **self.steps)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        x, W = retained
        gradients = [
            self._input_grad(gy, W, x) if needs[0] else None,
            self._weight_grad(x, gy, W) if needs[1] else None,
        ]
        if len(needs) == 3:
            gradients.append(BiasGrad()(gy) if needs[2] else None)
        return gradients


class InputGrad(_Operator):
    """gx from gy and W."""

    def __init__(self, size: tuple[int, ...], stride: Any, pad: Any, dilate: Any) -> None:
        super().__init__(stride, pad, dilate)
        self.size = size

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        gy, W = arrays
        return ops.input_grad(gy, W, (self.size[0], self.size[1]), **self.steps)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        g, W = retained
        return (
            cast(self._forward(gy, W), g.dtype) if needs[0] else None,
            self._weight_grad(gy, g, W) if needs[1] else None,
        )


class WeightGrad(_Operator):
    """gW from x and gy."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, stride: Any, pad: Any, dilate: Any) -> None:
        super().__init__(stride, pad, dilate)
        self.shape, self.dtype = shape, dtype

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        x, gy = arrays
        gW = np.empty(self.shape, self.dtype)
        return ops.weight_grad(x, gy, (self.shape[2], self.shape[3]), out=gW, **self.steps)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        x, g = retained
        return (
            self._input_grad(g, gy, x) if needs[0] else None,
            cast(self._forward(x, gy), g.dtype) if needs[1] else None,
        )


class BiasGrad(Function):
    """gb from gy."""

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        self.before = arrays[0].shape
        return ops.bias_grad(arrays[0])

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (BroadcastTo(self.before)(Reshape((1, -1, 1, 1))(gy)),)


def convolution_2d(x: Variable, W: Variable, b: Variable | None, stride: Any, pad: Any, dilate: Any) -> Variable:
    """Y as a Variable with its place in the graph."""
    operator = Convolution(stride, pad, dilate)
    return operator(x, W) if b is None else operator(x, W, b)
