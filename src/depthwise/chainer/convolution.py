"""The three operators of depthwise convolution as Functions; the backward of each is made of the three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import passes
from ..arrays import empty
from ..cupy import passes as gpu_passes
from ..cupy.arrays import check_cupy, is_cupy
from ..geometry import Geometry, geometry
from ..samples import image_shape
from .arithmetic import BroadcastTo, Reshape, cast
from .graph import Function
from .variable import Variable, as_array, as_variable, check_data, is_array

AnyArray = npt.NDArray[Any]
Gradients = Sequence[Variable | None]


class _Operator(Function):
    """One of the three; all that derivatives of any order are made of share one geometry."""

    retains = (0, 1)

    def __init__(self, g: Geometry) -> None:
        self.geometry = g

    def _forward(self, x: Variable, W: Variable) -> Variable:
        return Convolution(self.geometry)(x, W)

    def _input_grad(self, gy: Variable, W: Variable, x: Variable) -> Variable:
        return cast(InputGrad(self.geometry)(gy, W), x.dtype)

    def _weight_grad(self, x: Variable, gy: Variable, W: Variable, gb: AnyArray | None = None) -> Variable:
        return WeightGrad(self.geometry, W.dtype, gb)(x, gy)


class Convolution(_Operator):
    """y from x, W and perhaps b."""

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return (gpu_passes.forward_of if is_cupy(arrays[0]) else passes.forward)(self.geometry, *arrays)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        x, W = retained
        gx = self._input_grad(gy, W, x) if needs[0] else None
        if len(needs) == 2:
            return gx, self._weight_grad(x, gy, W) if needs[1] else None
        fused = needs[1] and needs[2] and not is_cupy(gy.array)
        gb = np.empty(gy.shape[1], gy.dtype) if fused else None
        gW = self._weight_grad(x, gy, W, gb) if needs[1] else None
        return gx, gW, BiasGrad(gb)(gy) if needs[2] else None


class InputGrad(_Operator):
    """gx from gy and W."""

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return (gpu_passes.input_grad_of if is_cupy(arrays[0]) else passes.input_grad)(self.geometry, *arrays)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        g, W = retained
        return (
            cast(self._forward(gy, W), g.dtype) if needs[0] else None,
            self._weight_grad(gy, g, W) if needs[1] else None,
        )


class WeightGrad(_Operator):
    """gW from x and gy; the same pass fills an array of the bias's gradient, if it is given one."""

    def __init__(self, g: Geometry, dtype: Any, gb: AnyArray | None) -> None:
        super().__init__(g)
        self.dtype, self.gb = dtype, gb

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        x, gy = arrays
        if is_cupy(x):
            return gpu_passes.weight_grad_of(self.geometry, x, gy, self.dtype)
        gW = empty(self.geometry.W_shape, self.dtype)
        passes.weight_grad(self.geometry, x, gy, gW, self.gb)
        self.gb = None  # the graph need not keep it
        return gW

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        x, g = retained
        return (
            self._input_grad(g, gy, x) if needs[0] else None,
            cast(self._forward(x, gy), g.dtype) if needs[1] else None,
        )


class BiasGrad(Function):
    """gb from gy, unless a weight gradient's pass has summed it."""

    def __init__(self, gb: AnyArray | None) -> None:
        self.gb = gb

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        self.before = arrays[0].shape
        gb, self.gb = self.gb, None
        if gb is not None:
            return gb
        return gpu_passes.bias_grad(arrays[0]) if is_cupy(arrays[0]) else passes.bias_grad(arrays[0])

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (BroadcastTo(self.before)(Reshape((-1, *[1] * (len(self.before) - 2)))(gy)),)


def depthwise_convolution(
    spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any, method: str, pad_mode: str
) -> Variable:
    """:func:`depthwise.depthwise_convolution_2d`, or its like for one or three, of NumPy arrays and Variables."""
    for name, a in (("x", x), ("W", W), ("b", b)):
        if not isinstance(a, Variable) and not is_array(a) and not (name == "b" and a is None):
            msg = f"{name} must be a NumPy array or a Variable, got {type(a).__name__}"
            raise TypeError(msg)
        if is_array(a):
            check_data(name, a)
        if isinstance(a, Variable) and a.array is None:
            msg = f"{name} is a Variable without an array"
            raise TypeError(msg)
    arrays = {name: as_array(a) for name, a in (("x", x), ("W", W), ("b", b))}
    if any(is_cupy(a) for a in arrays.values()):
        check_cupy(next(a for a in arrays.values() if is_cupy(a)), **arrays)
    passes.check_bias_dtype(x, b)
    if (x.ndim, W.ndim) == (spatial + 2, spatial + 3):
        return _per_sample(spatial, as_variable(x), as_variable(W), b, stride, pad, dilate, method, pad_mode)
    inputs = (x, W) if b is None else (x, W, b)
    g = geometry(x.shape, W.shape, stride, pad, dilate, spatial, method, pad_mode)
    return Convolution(g)(*(as_variable(a) for a in inputs))


def _per_sample(
    spatial: int, x: Variable, W: Variable, b: Any, stride: Any, pad: Any, dilate: Any, method: str, pad_mode: str
) -> Variable:
    """Filters of its own for each image: the images are channels of one."""
    shape = image_shape("x", x, W)
    g = geometry(x.shape, shape, stride, pad, dilate, spatial, method, pad_mode)
    if b is not None:
        passes.check_bias(g, x, W, b)
    n, channels, outs = x.shape[0], x.shape[1], g.y_shape[1]
    folded = W.transpose(1, 0, *range(2, W.ndim)).reshape(shape[0], n * channels, *shape[2:])
    biases = None if b is None else BroadcastTo((n, outs))(as_variable(b)).reshape(n * outs)
    image = x.reshape(1, n * channels, *x.shape[2:])
    y = depthwise_convolution(spatial, image, folded, biases, stride, pad, dilate, method, pad_mode)
    return y.reshape(g.y_shape)
