"""Filters of its own for each image of a batch: W (n, c_M, c_I, k_H, k_W).

To the engine the images are channels of a single one, where memory allows that without a copy; else they are taken one
by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import passes
from .arrays import check_out, dtype_code, image_to_write, written
from .geometry import Geometry, geometry

AnyArray = npt.NDArray[Any]


def is_per_sample(images: AnyArray, W: AnyArray) -> bool:
    """Whether W has an axis of images before those that the filters of `images` have."""
    return W.ndim == images.ndim + 1


def refuse_part(like: Any) -> None:
    """ValueError where filters of each image meet what speaks of one filter for all."""
    if like is not None:
        msg = "like is not for filters of each image"
        raise ValueError(msg)


def image_shape(name: str, images: Any, W: Any) -> tuple[int, ...]:
    """Shape of the W of one image; a ValueError where W is of another number of images."""
    if W.shape[0] != images.shape[0]:
        msg = (
            f"W {W.shape} has an axis more than {name} {images.shape}, so filters for each image, "
            f"but for {W.shape[0]} images and not {images.shape[0]}"
        )
        raise ValueError(msg)
    return tuple(W.shape[1:])


def forward(
    g: Geometry, x: AnyArray, W: AnyArray, b: AnyArray | None, out: AnyArray | None, activation: int
) -> AnyArray:
    """The output, where `g` is of all images with the W of one."""
    if b is not None:
        passes.check_bias(g, x, W, b)
    if out is not None:
        check_out(out, g.y_shape, x.dtype, ("x", x), ("W", W), ("b", b))
    y = image_to_write(out, g.y_shape, x, dtype_code("x", x.dtype))
    if _folds(x) and _folds(y):
        biases = None if b is None else np.tile(b, g.batch)
        passes.forward(_folded_geometry(g), _fold(x), _fold_weights(W), biases, _fold(y), activation=activation)
    else:
        one = _of_batch(g, 1)
        for i in range(g.batch):
            passes.forward(one, x[i : i + 1], W[i], b, y[i : i + 1], activation=activation)
    return written(y, out, x.dtype)


def input_grad(g: Geometry, gy: AnyArray, W: AnyArray, out: AnyArray | None) -> AnyArray:
    """The gradient for x."""
    passes.check_gy(g, gy, f"input size {g.x_shape[2:]}, W {W.shape}")
    if out is not None:
        check_out(out, g.x_shape, gy.dtype, ("gy", gy), ("W", W))
    gx = image_to_write(out, g.x_shape, gy, dtype_code("gy", gy.dtype))
    if _folds(gy) and _folds(gx):
        passes.input_grad(_folded_geometry(g), _fold(gy), _fold_weights(W), _fold(gx))
    else:
        one = _of_batch(g, 1)
        for i in range(g.batch):
            passes.input_grad(one, gy[i : i + 1], W[i], gx[i : i + 1])
    return written(gx, out, gy.dtype)


def weight_grad(g: Geometry, x: AnyArray, gy: AnyArray, out: AnyArray | None, bias_out: AnyArray | None) -> AnyArray:
    """The gradient for W, of each image alone."""
    passes.check_gy(g, gy, f"x {x.shape}, kernel size {g.W_shape[2:]}")
    shape = g.batch, *g.W_shape
    if out is not None:
        check_out(out, shape, out.dtype, ("x", x), ("gy", gy))
    gW = np.empty(shape, x.dtype if out is None else out.dtype)
    if _folds(x) and _folds(gy):
        m, c, *kernel = g.W_shape
        folded = np.empty((m, g.batch * c, *kernel), gW.dtype)
        passes.weight_grad(_folded_geometry(g), _fold(x), _fold(gy), folded)
        gW[...] = np.moveaxis(folded.reshape(m, g.batch, c, *kernel), 1, 0)
    else:
        one = _of_batch(g, 1)
        for i in range(g.batch):
            passes.weight_grad(one, x[i : i + 1], gy[i : i + 1], gW[i])
    if bias_out is not None:
        passes.bias_grad(gy, bias_out)
    return written(gW, out, gW.dtype)


def _geometry(g: Geometry, batch: int, channels: int) -> Geometry:
    axes = g.axes
    return geometry(
        (batch, channels, *(a.size for a in axes)),
        (g.multiplier, channels, *(a.kernel for a in axes)),
        tuple(a.stride for a in axes),
        tuple(a.pad for a in axes),
        tuple(a.dilate for a in axes),
        method=g.method,
        pad_mode=g.pad_mode,
    )


def _of_batch(g: Geometry, batch: int) -> Geometry:
    return _geometry(g, batch, g.channels)


def _folded_geometry(g: Geometry) -> Geometry:
    return _geometry(g, 1, g.batch * g.channels)


def _folds(a: AnyArray) -> bool:
    """Whether the channels of all images lie evenly, one behind another."""
    return a.shape[0] == 1 or (a.size > 0 and a.strides[0] == a.shape[1] * a.strides[1])


def _fold(a: AnyArray) -> AnyArray:
    return a.reshape(1, a.shape[0] * a.shape[1], *a.shape[2:])


def _fold_weights(W: AnyArray) -> AnyArray:
    n, m, c, *kernel = W.shape
    return np.moveaxis(W, 0, 1).reshape(m, n * c, *kernel)
