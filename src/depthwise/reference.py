"""The definition: float64, one loop over the taps. Slow, short, and the oracle of every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import check_array
from .geometry import Axis, Geometry, IntPair, Pad, geometry

Array = npt.NDArray[np.float64]


def _check(**arrays: Any) -> None:
    for name, a in arrays.items():
        if a is not None:
            check_array(name, a)


def _meeting(a: Axis, tap: int) -> tuple[slice, slice]:
    """The outputs of an axis for which a tap lies inside the image, and the inputs that it meets there."""
    shift = tap * a.dilate - a.pad[0]
    first = max(0, -(shift // a.stride))
    last = max(first, min(a.out, (a.size - 1 - shift) // a.stride + 1))
    start = first * a.stride + shift
    return slice(first, last), slice(start, start + (last - first) * a.stride, a.stride)


def _meetings(g: Geometry) -> Iterator[tuple[int, int, tuple[Any, ...], tuple[Any, ...]]]:
    """Each tap, and where outputs and inputs meet under it; taps in the padding add nothing."""
    for p, q in np.ndindex(g.h.kernel, g.w.kernel):
        (rows, in_rows), (columns, in_columns) = _meeting(g.h, p), _meeting(g.w, q)
        if rows.start < rows.stop and columns.start < columns.stop:
            yield p, q, (..., rows, columns), (..., in_rows, in_columns)


def forward(
    x: npt.NDArray[Any],
    W: npt.NDArray[Any],
    b: npt.NDArray[Any] | None = None,
    *,
    stride: IntPair = 1,
    pad: Pad = 0,
    dilate: IntPair = 1,
) -> Array:
    """As :func:`depthwise.ops.forward`, in float64."""
    _check(x=x, W=W, b=b)
    g = geometry(x.shape, W.shape, stride, pad, dilate)
    x, W = x.astype(np.float64), W.astype(np.float64)
    y = np.zeros((g.batch, g.channels, g.multiplier, g.h.out, g.w.out))
    for p, q, outputs, inputs in _meetings(g):
        y[outputs] += x[inputs][:, :, None] * W[:, :, p, q].T[None, :, :, None, None]
    y = y.reshape(g.y_shape)
    return y if b is None else y + b.astype(np.float64)[None, :, None, None]


def input_grad(
    gy: npt.NDArray[Any],
    W: npt.NDArray[Any],
    input_size: tuple[int, int],
    *,
    stride: IntPair = 1,
    pad: Pad = 0,
    dilate: IntPair = 1,
) -> Array:
    """As :func:`depthwise.ops.input_grad`, in float64."""
    _check(gy=gy, W=W)
    g = geometry((gy.shape[0], W.shape[1], *input_size), W.shape, stride, pad, dilate)
    W = W.astype(np.float64)
    gx = np.zeros(g.x_shape)
    gy5 = gy.astype(np.float64).reshape(g.batch, g.channels, g.multiplier, g.h.out, g.w.out)
    for p, q, outputs, inputs in _meetings(g):
        gx[inputs] += np.einsum("ncmij,mc->ncij", gy5[outputs], W[:, :, p, q])
    return gx


def weight_grad(
    x: npt.NDArray[Any],
    gy: npt.NDArray[Any],
    kernel_size: tuple[int, int],
    *,
    stride: IntPair = 1,
    pad: Pad = 0,
    dilate: IntPair = 1,
) -> Array:
    """As :func:`depthwise.ops.weight_grad`, in float64."""
    _check(x=x, gy=gy)
    multiplier = gy.shape[1] // max(x.shape[1], 1)
    g = geometry(x.shape, (multiplier, x.shape[1], *kernel_size), stride, pad, dilate)
    x = x.astype(np.float64)
    gy5 = gy.astype(np.float64).reshape(g.batch, g.channels, g.multiplier, g.h.out, g.w.out)
    gW = np.zeros(g.W_shape)
    for p, q, outputs, inputs in _meetings(g):
        gW[:, :, p, q] = np.einsum("ncij,ncmij->mc", x[inputs], gy5[outputs])
    return gW


def bias_grad(gy: npt.NDArray[Any]) -> Array:
    """As :func:`depthwise.ops.bias_grad`, in float64."""
    _check(gy=gy)
    total: Array = gy.astype(np.float64).sum(axis=(0, 2, 3))
    return total
