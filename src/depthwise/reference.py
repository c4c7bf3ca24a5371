"""The definition: float64, one loop over the taps. Slow, short, and the oracle of every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import erfc, pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import Ints, Pad
from .arrays import check_array
from .geometry import Axis, Geometry, geometry, input_grad_geometry, weight_grad_geometry

Array = npt.NDArray[np.float64]


def _check(**arrays: Any) -> None:
    for name, a in arrays.items():
        if a is not None:
            check_array(name, a)


def _widened(a: npt.NDArray[Any]) -> Array:
    """In float64, planar however `a` lies: NumPy walks the places of a tap in pieces as long as rows are."""
    return a.astype(np.float64, order="C")


def _meeting(a: Axis, tap: int) -> tuple[slice, slice]:
    """The outputs of an axis for which a tap lies inside the image, and the inputs that it meets there."""
    shift = tap * a.dilate - a.pad[0]
    first = max(0, -(shift // a.stride))
    last = max(first, min(a.out, (a.size - 1 - shift) // a.stride + 1))
    start = first * a.stride + shift
    return slice(first, last), slice(start, start + (last - first) * a.stride, a.stride)


def _meetings(g: Geometry) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]]:
    """Each tap, and where outputs and inputs meet under it; taps in the padding add nothing."""
    for tap in np.ndindex(g.W_shape[2:]):
        outputs, inputs = zip(*map(_meeting, g.axes, tap), strict=True)
        if all(met.start < met.stop for met in outputs):
            yield (..., *tap), (..., *outputs), (..., *inputs)


def _by_channel(gy: Array, g: Geometry) -> Array:
    """An array of y's shape as (n, c_I, c_M, ...)."""
    return gy.reshape(g.batch, g.channels, g.multiplier, *g.y_shape[2:])


def _over_image(a: Array, g: Geometry) -> Array:
    """`a` with an axis of one for each spatial axis."""
    return a.reshape(*a.shape, *[1] * len(g.axes))


def _sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))
    share: Array = np.where(z < 0, e, 1) / (1 + e)
    return share


def _normal(z: Array) -> Array:
    """The share of a normal distribution below z."""
    share: Array = np.vectorize(erfc, otypes=[float])(-z / sqrt(2)) / 2
    return share


def _silu_grad(z: Array) -> Array:
    return _sigmoid(z) * (1 + z * _sigmoid(-z))


def _tanh_argument(z: Array) -> Array:
    return sqrt(8 / pi) * (z + 0.044715 * z**3)


def _gelu_tanh_grad(z: Array) -> Array:
    u = _tanh_argument(z)
    return _sigmoid(u) * (1 + z * _sigmoid(-u) * sqrt(8 / pi) * (1 + 3 * 0.044715 * z**2))


# Each activation and its derivative.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "silu": (lambda z: z * _sigmoid(z), _silu_grad),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "relu6": (lambda z: np.clip(z, 0, 6), lambda z: np.where((z > 0) & (z < 6), 1.0, 0.0)),
    "hardswish": (
        lambda z: z * (np.clip(z + 3, 0, 6) / 6),
        lambda z: np.where(z <= -3, 0.0, np.where(z < 3, z / 3 + 0.5, 1.0)),
    ),
    "gelu": (lambda z: z * _normal(z), lambda z: _normal(z) + z * np.exp(-(z**2) / 2) / sqrt(2 * pi)),
    "gelu_tanh": (lambda z: z * _sigmoid(_tanh_argument(z)), _gelu_tanh_grad),
}


def forward(
    x: npt.NDArray[Any],
    W: npt.NDArray[Any],
    b: npt.NDArray[Any] | None = None,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    dilate: Ints = 1,
    activation: str | None = None,
) -> Array:
    """As :func:`depthwise.ops.forward`, in float64."""
    _check(x=x, W=W, b=b)
    g = geometry(x.shape, W.shape, stride, pad, dilate)
    x, W = _widened(x), _widened(W)
    y = np.zeros(g.y_shape)
    for tap, outputs, inputs in _meetings(g):
        _by_channel(y, g)[outputs] += x[inputs][:, :, None] * _over_image(W[tap].T, g)
    if b is not None:
        y += _over_image(b.astype(np.float64), g)
    return y if activation is None else ACTIVATIONS[activation][0](y)


def input_grad(
    gy: npt.NDArray[Any],
    W: npt.NDArray[Any],
    input_size: Ints,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    dilate: Ints = 1,
) -> Array:
    """As :func:`depthwise.ops.input_grad`, in float64."""
    _check(gy=gy, W=W)
    g = input_grad_geometry(gy.shape, W.shape, input_size, stride, pad, dilate)
    W, gy = _widened(W), _by_channel(_widened(gy), g)
    gx = np.zeros(g.x_shape)
    for tap, outputs, inputs in _meetings(g):
        gx[inputs] += np.einsum("ncm...,mc->nc...", gy[outputs], W[tap])
    return gx


def weight_grad(
    x: npt.NDArray[Any],
    gy: npt.NDArray[Any],
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    dilate: Ints = 1,
) -> Array:
    """As :func:`depthwise.ops.weight_grad`, in float64."""
    _check(x=x, gy=gy)
    g = weight_grad_geometry(x.shape, gy.shape, kernel_size, stride, pad, dilate, 0)
    x, gy = _widened(x), _by_channel(_widened(gy), g)
    gW = np.zeros(g.W_shape)
    spatial = "ijk"[: len(g.axes)]
    for tap, outputs, inputs in _meetings(g):
        gW[tap] = np.einsum(f"nc{spatial},ncm{spatial}->mc", x[inputs], gy[outputs])
    return gW


def bias_grad(gy: npt.NDArray[Any]) -> Array:
    """As :func:`depthwise.ops.bias_grad`, in float64."""
    _check(gy=gy)
    total: Array = gy.astype(np.float64).sum(axis=(0, *range(2, gy.ndim)))
    return total
