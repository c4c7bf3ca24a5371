"""The definition: float64, one loop over the taps. Slow, short, and the oracle of every test."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .geometry import Geometry, IntPair, Pad, geometry

Array = npt.NDArray[np.float64]


def _padded(x: npt.NDArray[Any], g: Geometry) -> Array:
    return np.pad(x.astype(np.float64), ((0, 0), (0, 0), g.h.pad, g.w.pad))


def _window(g: Geometry, p: int, q: int) -> tuple[slice, ...]:
    """The padded pixels that tap (p, q) meets, one for each output pixel."""
    top, left = p * g.h.dilate, q * g.w.dilate
    rows = slice(top, top + (g.h.out - 1) * g.h.stride + 1, g.h.stride)
    return (slice(None), slice(None), rows, slice(left, left + (g.w.out - 1) * g.w.stride + 1, g.w.stride))


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
    g = geometry(x.shape, W.shape, stride, pad, dilate)
    xp = _padded(x, g)
    y = np.zeros((g.batch, g.channels, g.multiplier, g.h.out, g.w.out))
    for p, q in np.ndindex(g.h.kernel, g.w.kernel):
        y += xp[_window(g, p, q)][:, :, None] * W[:, :, p, q].astype(np.float64).T[None, :, :, None, None]
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
    g = geometry((gy.shape[0], W.shape[1], *input_size), W.shape, stride, pad, dilate)
    gxp = _padded(np.zeros(g.x_shape), g)
    gy5 = gy.astype(np.float64).reshape(g.batch, g.channels, g.multiplier, g.h.out, g.w.out)
    for p, q in np.ndindex(g.h.kernel, g.w.kernel):
        gxp[_window(g, p, q)] += np.einsum("ncmij,mc->ncij", gy5, W[:, :, p, q].astype(np.float64))
    (top, _), (left, _) = g.h.pad, g.w.pad
    return gxp[:, :, top : top + g.h.size, left : left + g.w.size]


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
    multiplier = gy.shape[1] // max(x.shape[1], 1)
    g = geometry(x.shape, (multiplier, x.shape[1], *kernel_size), stride, pad, dilate)
    xp = _padded(x, g)
    gy5 = gy.astype(np.float64).reshape(g.batch, g.channels, g.multiplier, g.h.out, g.w.out)
    gW = np.zeros(g.W_shape)
    for p, q in np.ndindex(g.h.kernel, g.w.kernel):
        gW[:, :, p, q] = np.einsum("ncij,ncmij->mc", xp[_window(g, p, q)], gy5)
    return gW


def bias_grad(gy: npt.NDArray[Any]) -> Array:
    """As :func:`depthwise.ops.bias_grad`, in float64."""
    total: Array = gy.astype(np.float64).sum(axis=(0, 2, 3))
    return total
