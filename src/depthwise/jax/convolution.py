"""Depthwise convolution of JAX's arrays: arguments in, checked, and handed to the primitives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ..arguments import Ints, Pad, spatial_axes
from ..enums import DTYPES
from ..geometry import axes
from . import primitives
from .steps import Steps

_DTYPES = tuple(map(jnp.dtype, DTYPES))
_ARRAYS = jax.Array | np.ndarray
_KERNEL_AXES = (0, 1, 2, 3), (3, 2, 0, 1)  # of OIHW and HWIO, in the order OIHW


def conv(
    x: Array,
    W: Array,
    b: Array | None = None,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    dilate: Ints = 1,
    layout: str = "NCHW",
) -> Array:
    """Depthwise 2-D convolution (cross-correlation), a JAX primitive.

    ``y[n, c * c_M + m, i, j] = b[c * c_M + m] + sum over p, q of
    xpad[n, c, i * sy + p * dy, j * sx + q * dx] * W[m, c, p, q]``

    Parameters
    ----------
    x : Array of shape (n, c_I, h, w), or (n, h, w, c_I) with layout="NHWC"
        float16, bfloat16, float32 or float64.
    W : Array of shape (c_M, c_I, k_H, k_W)
        Of any of these dtypes, in either layout; c_M is the channel multiplier.
    b : Array of shape (c_I * c_M,), optional
        Of any of these dtypes.
    stride, dilate : int or pair of ints (vertical, horizontal), default 1
    pad : int, pair, pair of pairs, "same" or "valid", default 0
        Zeros around x: (vertical, horizontal) or ((top, bottom), (left, right)). "same" is XLA's.
    layout : {"NCHW", "NHWC"}
        Of x and y.

    Returns
    -------
    Array of shape (n, c_I * c_M, h_O, w_O), or (n, h_O, w_O, c_I * c_M)
        Of x's dtype. On a CPU sums are kept in float32, or in float64 where x or W is float64, and rounded once.

    Raises
    ------
    TypeError
        An argument is not an array, or of another dtype; a stride, pad or dilate is not made of ints.
    ValueError
        Shapes do not fit each other, a value is out of range, or the output would be empty.

    Notes
    -----
    Bilinear in x and W: ``jit``, ``grad``, ``jvp``, ``vjp``, ``linearize``, ``vmap``, ``scan``, ``checkpoint`` and
    ``export`` take it in any order. Arrays sharded along batch or channels stay so. CPUs run this package's engine on
    XLA's own threads, with the same bits for any number of them; other platforms run
    :func:`jax.lax.conv_general_dilated`. Source: L. Sifre, Rigid-motion scattering for image classification, PhD
    thesis, 2014.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from depthwise.jax import conv
    >>> x, W = jnp.ones((1, 2, 4, 4)), jnp.ones((1, 2, 3, 3))
    >>> conv(x, W, pad=1).shape
    (1, 2, 4, 4)
    >>> jax.grad(lambda W: conv(x, W).sum())(W)[0, 0, 0]
    Array([4., 4., 4.], dtype=float32)
    """
    if layout not in ("NCHW", "NHWC"):
        msg = f'layout must be "NCHW" or "NHWC", got {layout!r}'
        raise ValueError(msg)
    for name, a in (("x", x), ("W", W), ("b", b)):
        if not isinstance(a, _ARRAYS) and not (name == "b" and a is None):
            msg = f"{name} must be an array, got {type(a).__name__}"
            raise TypeError(msg)
        if a is not None and a.dtype not in _DTYPES:
            msg = f"{name} must be float16, bfloat16, float32 or float64, got {a.dtype}"
            raise TypeError(msg)
    shape = x.shape if layout == "NCHW" or x.ndim != 4 else tuple(x.shape[i] for i in (0, 3, 1, 2))
    try:
        steps = _steps(shape, W.shape, stride, pad, dilate, layout)
    except ValueError as e:
        raise ValueError(str(e).replace(str(tuple(shape)), str(x.shape))) from None  # as the caller has it
    outs = shape[1] * W.shape[0]
    if b is not None and b.shape != (outs,):
        msg = f"b must have shape ({outs},) (x {x.shape}, W {W.shape}), got {b.shape}"
        raise ValueError(msg)
    arrays = (jnp.asarray(a) for a in (x, W, b) if a is not None)  # float64 of NumPy's is float32 without x64
    return primitives.conv(*arrays, steps=steps)


def _steps(x_shape: Sequence[Any], W_shape: Sequence[Any], stride: Any, pad: Any, dilate: Any, layout: str) -> Steps:
    """The steps of x (n, c_I, h, w) and W, checked; sizes of x may be symbols of an export."""
    if not all(isinstance(s, int) for s in W_shape):
        msg = f"the sizes of W must be ints, got {W_shape}"
        raise ValueError(msg)
    h, w = axes(tuple(x_shape), tuple(W_shape), stride, pad, dilate)
    return Steps((h.stride, w.stride), (h.pad, w.pad), (h.dilate, w.dilate), layout)


def depthwise_convolution(spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any) -> Array:
    """:func:`depthwise.depthwise_convolution_2d` and its like where x is a JAX array."""
    for name, a in (("W", W), ("b", b)):
        if not isinstance(a, jax.Array) and not (name == "b" and a is None):
            msg = f"{name} must be a JAX array, as x is, got {type(a).__name__}"
            raise TypeError(msg)
    if b is not None and b.dtype != x.dtype:
        msg = f"b must have x's dtype {x.dtype}, got {b.dtype}"
        raise TypeError(msg)
    spatial_axes(spatial, W=W.shape, x=x.shape)
    return conv(x, W, b, stride=stride, pad=pad, dilate=dilate)


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Array:
    """:func:`jax.lax.conv_general_dilated`, faster where it is depthwise.

    Parameters
    ----------
    lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, \
batch_group_count, precision, preferred_element_type, out_sharding
        As :func:`jax.lax.conv_general_dilated` takes them. Depthwise is what has two spatial axes,
        ``feature_group_count`` above 1 and equal to lhs's features, lhs and output both NCHW or both NHWC, rhs OIHW or
        HWIO, one dtype of float16, bfloat16, float32 and float64, and neither ``lhs_dilation`` nor
        ``batch_group_count``. Everything else goes to JAX's own function, so that this one can stand in its place.

    Returns
    -------
    Array
        As :func:`jax.lax.conv_general_dilated`. Whatever `precision` says, depthwise sums are kept in float32 or better
        on a CPU.

    Raises
    ------
    TypeError, ValueError
        JAX's own.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from depthwise.jax import conv_general_dilated
    >>> x, kernel = jnp.ones((1, 8, 8, 16)), jnp.ones((3, 3, 1, 16))
    >>> conv_general_dilated(
    ...     x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=16
    ... ).shape
    (1, 4, 4, 16)

    A layer of Flax with it:

    >>> from flax import nnx
    >>> layer = nnx.Conv(
    ...     16, 16, (3, 3), feature_group_count=16, conv_general_dilated=conv_general_dilated, rngs=nnx.Rngs(0)
    ... )
    """
    ours = None
    if batch_group_count == 1 and out_sharding is None and (lhs_dilation is None or tuple(lhs_dilation) == (1, 1)):
        ours = _depthwise(
            lhs, rhs, window_strides, padding, rhs_dilation, dimension_numbers, feature_group_count,
            preferred_element_type,
        )  # fmt: skip
    if ours is not None:
        x, W, steps = ours
        return primitives.conv(x, W, steps=steps)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count,
        batch_group_count,
        precision,
        preferred_element_type,
        out_sharding,
    )


def _depthwise(
    lhs: Any, rhs: Any, strides: Any, padding: Any, dilation: Any, dimension_numbers: Any, groups: int, dtype: Any
) -> tuple[Array, Array, Steps] | None:
    """x, W and the steps of a convolution that is depthwise, else None."""
    if not (isinstance(lhs, _ARRAYS) and isinstance(rhs, _ARRAYS) and lhs.ndim == rhs.ndim == 4):
        return None
    try:
        own, kernel_dtype = jax.typeof(lhs).dtype, jax.typeof(rhs).dtype  # NumPy's float64 is float32 without x64
    except (TypeError, ValueError):  # arrays of NumPy's that JAX does not take
        return None
    if own != kernel_dtype or own not in _DTYPES or (dtype is not None and jnp.dtype(dtype) != own):
        return None
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    layout = {(0, 1, 2, 3): "NCHW", (0, 3, 1, 2): "NHWC"}.get(tuple(numbers.lhs_spec))
    if layout is None or numbers.out_spec != numbers.lhs_spec or tuple(numbers.rhs_spec) not in _KERNEL_AXES:
        return None
    batch, channels, *size = (lhs.shape[i] for i in numbers.lhs_spec)
    outs, ones, *kernel = (rhs.shape[i] for i in numbers.rhs_spec)
    if groups == 1:  # one channel: a dense convolution, which XLA does by a matrix product
        return None
    if groups != channels or ones != 1 or outs % groups or not all(isinstance(s, int) and s for s in rhs.shape):
        return None
    try:
        dilations = (1, 1) if dilation is None else tuple(dilation)
        if isinstance(padding, str):
            reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
            padding = lax.padtype_to_pads(size, reach, strides, padding)
        pads = tuple((low, high) for low, high in padding)
        W_shape = outs // channels, channels, *kernel
        steps = _steps((batch, channels, *size), W_shape, tuple(strides), pads, dilations, layout)
    except (TypeError, ValueError):  # JAX's function takes more, or has its own words for what is wrong
        return None
    x, W = (jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in (lhs, rhs))
    W = W.transpose(numbers.rhs_spec).reshape(channels, outs // channels, *kernel).transpose(1, 0, 2, 3)
    return x, W, steps
