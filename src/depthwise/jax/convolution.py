"""Depthwise convolution of JAX's arrays: arguments in, checked, and handed to the primitives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ..arguments import Ints, Pad, spatial_axes
from ..enums import DTYPES, activation_code, method_code
from ..geometry import axes, check_padding
from . import primitives
from .steps import LAYOUTS, Steps

_DTYPES = tuple(map(jnp.dtype, DTYPES))
_ARRAYS = jax.Array | np.ndarray
_stock = lax.conv_general_dilated  # kept, so that ours may be put in its place: docs/keras.md


def conv(
    x: Array,
    W: Array,
    b: Array | None = None,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    dilate: Ints = 1,
    layout: str | None = None,
    activation: str | None = None,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Array:
    """Depthwise convolution (cross-correlation) of one to three spatial axes, a JAX primitive.

    ``y[n, c * c_M + m, i, j] = act(b[c * c_M + m] + sum over p, q of
    xpad[n, c, i * sy + p * dy, j * sx + q * dx] * W[m, c, p, q])``

    Parameters
    ----------
    x : Array of shape (n, c_I, l), (n, c_I, h, w) or (n, c_I, d, h, w), or with c_I last
        float16, bfloat16, float32 or float64.
    W : Array of shape (c_M, c_I, k), (c_M, c_I, k_H, k_W) or (c_M, c_I, k_D, k_H, k_W)
        Of any of these dtypes, in either layout; c_M is the channel multiplier.
    b : Array of shape (c_I * c_M,), optional
        Of any of these dtypes.
    stride, dilate : int or a sequence of one for each spatial axis, default 1
    pad : int, a sequence of ints or (before, after) pairs, "same", "valid" or "causal", default 0
        Zeros around x, as many on both sides, or by side. "same" is XLA's; "causal", of one dimension, pads before.
    layout : {"NCW", "NWC", "NCHW", "NHWC", "NCDHW", "NDHWC"}, optional
        Of x and y; channels first where it is not given.
    activation : {"silu", "swish", "relu", "relu6", "hardswish", "gelu", "gelu_tanh"}, optional
        Applied to the sums before they are rounded, in the same pass. "swish" is another name of "silu"; "gelu" is the
        exact one, with the error function.
    method : {"direct", "fft", "auto"}, default "direct"
        How a CPU forms the sums, those of the gradients too: see :func:`depthwise.ops.forward`.
    pad_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}, default "constant"
        What the padding holds, as :func:`numpy.pad` names it.

    Returns
    -------
    Array of shape (n, c_I * c_M, out ...), or with the channels last
        Of x's dtype. On a CPU sums are kept in float32, or in float64 where x or W is float64, and rounded once.

    Raises
    ------
    TypeError
        An argument is not an array, or of another dtype; a stride, pad or dilate is not made of ints; an activation is
        no name.
    ValueError
        Shapes do not fit each other, a value is out of range or unknown, or the output would be empty.

    Notes
    -----
    Bilinear in x and W: ``jit``, ``grad``, ``jvp``, ``vjp``, ``linearize``, ``vmap``, ``scan``, ``checkpoint`` and
    ``export`` take it in any order. An activation's derivative is that of JAX's own function (``jax.nn``), at what is
    convolved once more for it. Arrays sharded along batch or channels stay so. CPUs run this package's engine on XLA's
    own threads, with the same bits for any number of them; other platforms run
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

    A causal one over time, with an activation:

    >>> x, W = jnp.ones((1, 6, 2)), jnp.ones((1, 2, 4))
    >>> conv(x, W, pad="causal", layout="NWC", activation="relu")[0, :, 0]
    Array([1., 2., 3., 4., 4., 4.], dtype=float32)
    """
    for name, a in (("x", x), ("W", W), ("b", b)):
        if not isinstance(a, _ARRAYS) and not (name == "b" and a is None):
            msg = f"{name} must be an array, got {type(a).__name__}"
            raise TypeError(msg)
        if a is not None and a.dtype not in _DTYPES:
            msg = f"{name} must be float16, bfloat16, float32 or float64, got {a.dtype}"
            raise TypeError(msg)
    layout = _layout(layout, x, W)
    shape = tuple(x.shape[layout.index(axis)] for axis in "NC" + layout.strip("NC"))
    try:
        steps = _steps(shape, W.shape, stride, pad, dilate, layout, pad_mode)
    except ValueError as e:
        raise ValueError(str(e).replace(str(shape), str(x.shape))) from None  # as the caller has it
    outs = shape[1] * W.shape[0]
    if b is not None and b.shape != (outs,):
        msg = f"b must have shape ({outs},) (x {x.shape}, W {W.shape}), got {b.shape}"
        raise ValueError(msg)
    method_code(method)  # or an error
    steps = steps._replace(method=method)
    arrays = (jnp.asarray(a) for a in (x, W, b) if a is not None)  # float64 of NumPy's is float32 without x64
    return primitives.conv(*arrays, steps=steps, activation=activation_code(activation))


def _layout(layout: Any, x: Any, W: Any) -> str:
    """The layout given, or channels first; one that x can have."""
    if layout is not None and layout not in LAYOUTS:
        msg = f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}"
        raise ValueError(msg)
    count = spatial_axes(None if layout is None else len(layout) - 2, W=W.shape, x=x.shape)
    return layout or f"NC{'DHW'[3 - count :]}"


def _steps(
    x_shape: Sequence[Any],
    W_shape: Sequence[Any],
    stride: Any,
    pad: Any,
    dilate: Any,
    layout: str,
    pad_mode: str = "constant",
) -> Steps:
    """The steps of x (n, c_I, spatial ...) and W, checked; sizes of x may be symbols of an export."""
    if not all(isinstance(s, int) for s in W_shape):
        msg = f"the sizes of W must be ints, got {W_shape}"
        raise ValueError(msg)
    each = axes(tuple(x_shape), tuple(W_shape), stride, pad, dilate)
    check_padding(tuple(x_shape), each, pad_mode)
    steps = Steps(tuple(a.stride for a in each), tuple(a.pad for a in each), tuple(a.dilate for a in each), layout)
    return steps._replace(pad_mode=pad_mode)


def depthwise_convolution(
    spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any, method: str, pad_mode: str
) -> Array:
    """:func:`depthwise.depthwise_convolution_2d` and its like where x is a JAX array."""
    for name, a in (("W", W), ("b", b)):
        if not isinstance(a, jax.Array) and not (name == "b" and a is None):
            msg = f"{name} must be a JAX array, as x is, got {type(a).__name__}"
            raise TypeError(msg)
    if b is not None and b.dtype != x.dtype:
        msg = f"b must have x's dtype {x.dtype}, got {b.dtype}"
        raise TypeError(msg)
    spatial_axes(spatial, W=W.shape, x=x.shape)
    return conv(x, W, b, stride=stride, pad=pad, dilate=dilate, method=method, pad_mode=pad_mode)


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
        As :func:`jax.lax.conv_general_dilated` takes them. Depthwise is what has one to three spatial axes,
        ``feature_group_count`` above 1 and equal to lhs's features, one dtype of float16, bfloat16, float32 and
        float64, and neither ``lhs_dilation`` nor ``batch_group_count``. Everything else goes to JAX's own function, so
        that this one can stand in its place. All ``dimension_numbers`` are taken; where lhs or the output has the batch
        elsewhere than first, or the channels neither second nor last, it is transposed.

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
    if batch_group_count == 1 and out_sharding is None:
        ours = _depthwise(
            lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
            preferred_element_type,
        )  # fmt: skip
    if ours is not None:
        x, W, steps, out_axes = ours
        return primitives.conv(x, W, steps=steps).transpose(out_axes)
    return _stock(
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
    lhs: Any,
    rhs: Any,
    strides: Any,
    padding: Any,
    lhs_dilation: Any,
    dilation: Any,
    dimension_numbers: Any,
    groups: int,
    dtype: Any,
) -> tuple[Array, Array, Steps, list[int]] | None:
    """x, W, the steps and y's axes in the order of the output, of a convolution that is depthwise; else None."""
    if not (isinstance(lhs, _ARRAYS) and isinstance(rhs, _ARRAYS) and 3 <= lhs.ndim == rhs.ndim <= 5):
        return None
    ones = (1,) * (lhs.ndim - 2)
    if lhs_dilation is not None and tuple(lhs_dilation) != ones:
        return None
    try:
        own, kernel_dtype = jax.typeof(lhs).dtype, jax.typeof(rhs).dtype  # NumPy's float64 is float32 without x64
    except (TypeError, ValueError):  # arrays of NumPy's that JAX does not take
        return None
    if own != kernel_dtype or own not in _DTYPES or (dtype is not None and jnp.dtype(dtype) != own):
        return None
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    batch, channels, *size = (lhs.shape[i] for i in numbers.lhs_spec)
    outs, inputs, *kernel = (rhs.shape[i] for i in numbers.rhs_spec)
    if groups in (0, 1):  # JAX's error, and one channel: a dense convolution, which XLA does by a matrix product
        return None
    if groups != channels or inputs != 1 or outs % groups or not all(isinstance(s, int) and s for s in rhs.shape):
        return None
    try:
        dilations = ones if dilation is None else tuple(dilation)
        if isinstance(padding, str):
            reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
            padding = lax.padtype_to_pads(size, reach, strides, padding)
        pads = tuple((low, high) for low, high in padding)
        W_shape = outs // channels, channels, *kernel
        steps = _steps((batch, channels, *size), W_shape, tuple(strides), pads, dilations, "NC" + "DHW"[5 - lhs.ndim :])
    except (TypeError, ValueError):  # JAX's function takes more, or has its own words for what is wrong
        return None
    return _in_our_order(lhs, rhs, numbers, steps)


def _in_our_order(lhs: Any, rhs: Any, numbers: Any, steps: Steps) -> tuple[Array, Array, Steps, list[int]]:
    """What :func:`_depthwise` gives, from steps in the order of the spatial axes' names.

    Here they have the order that they have in lhs, so that images need not be transposed for their names' sake.
    """
    channels_last = numbers.lhs_spec[1] == lhs.ndim - 1
    order = np.argsort(numbers.lhs_spec[2:])

    def ordered(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[i] for i in order)

    def image_axes(spec: Sequence[int]) -> tuple[int, ...]:
        n, c, *spatial = spec
        return (n, *ordered(spatial), c) if channels_last else (n, c, *ordered(spatial))

    layout = f"N{steps.spatial}C" if channels_last else steps.layout
    steps = Steps(ordered(steps.stride), ordered(steps.pad), ordered(steps.dilate), layout)
    x, W = (jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in (lhs, rhs))
    x = x.transpose(image_axes(numbers.lhs_spec))
    W = W.transpose(*numbers.rhs_spec[:2], *ordered(numbers.rhs_spec[2:]))
    channels = x.shape[steps.channel_axis]
    W = W.reshape(channels, W.shape[0] // channels, *W.shape[2:]).swapaxes(0, 1)
    return x, W, steps, np.argsort(image_axes(numbers.out_spec)).tolist()
