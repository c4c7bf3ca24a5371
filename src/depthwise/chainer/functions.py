"""The functions that a Chainer user knows: signature, docstring, one delegation."""

from __future__ import annotations

from typing import Any, overload

import numpy.typing as npt

from .. import dispatch
from ..arguments import Ints, Pad
from . import arithmetic, padding
from .variable import Variable, as_variable

__all__ = [
    "broadcast_to",
    "depthwise_convolution_1d",
    "depthwise_convolution_2d",
    "depthwise_convolution_3d",
    "mean",
    "pad",
    "relu",
    "reshape",
    "sum",
    "transpose",
]

AnyArray = npt.NDArray[Any]


@overload
def depthwise_convolution_1d(
    x: Variable | AnyArray,
    W: Variable | AnyArray,
    b: Variable | AnyArray | None = None,
    stride: Ints = 1,
    pad: Pad = 0,
    *,
    dilate: Ints = 1,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Variable: ...
@overload
def depthwise_convolution_1d(
    x: Any,
    W: Any,
    b: Any = None,
    stride: Ints = 1,
    pad: Pad = 0,
    *,
    dilate: Ints = 1,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Any: ...
def depthwise_convolution_1d(
    x: Any,
    W: Any,
    b: Any = None,
    stride: Ints = 1,
    pad: Pad = 0,
    *,
    dilate: Ints = 1,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Any:
    """One-dimensional depthwise convolution: :func:`depthwise_convolution_2d` of sequences.

    Each channel of x is correlated with filters of its own; nothing is added up over channels.
    ``y[n, c * c_M + m, i] = b[c * c_M + m] + sum over p of xpad[n, c, i * stride + p * dilate] * W[m, c, p]``

    Parameters
    ----------
    x : Variable or ndarray of shape (n, c_I, l)
        float16, bfloat16 (ml_dtypes), float32 or float64. Planar and channels-last memory, (n, l, c_I) seen through
        ``transpose(0, 2, 1)``, are both read in place, and so is any other.
    W : Variable or ndarray of shape (c_M, c_I, k)
        Of any of these dtypes; c_M is the channel multiplier.
    b : Variable or ndarray of shape (c_I * c_M,), optional
        Of x's dtype.
    stride, dilate : int or tuple of one int, default 1
        Steps of the window, and distance between taps.
    pad : int, ((before, after),), "same", "valid" or "causal", default 0
        Zeros beside x. "same" is TensorFlow's. "causal" puts all, ``dilate * (k - 1)``, before x: with stride 1 an
        output has x's length and hangs on nothing later than itself.
    method : {"direct", "fft", "auto"}, default "direct"
        How sums are formed, those of the gradients too: see :func:`depthwise.ops.forward`.
    pad_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}, default "constant"
        What the padding holds, as :func:`numpy.pad` names it.

    Returns
    -------
    Variable of shape (n, c_I * c_M, l_O)
        Of x's dtype and memory layout; :func:`depthwise.output_size` gives l_O. Sums are kept in float32, or in
        float64 where x or W is float64, and rounded once. Differentiable to any order.

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise_convolution_2d`.

    See Also
    --------
    depthwise.ops.forward : the same on arrays, without a graph, with ``out=``.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> x = np.arange(6, dtype=np.float32).reshape(1, 1, 6)
    >>> F.depthwise_convolution_1d(x, np.ones((1, 1, 3), np.float32), pad="causal").array
    array([[[ 0.,  1.,  3.,  6.,  9., 12.]]], dtype=float32)
    """
    return dispatch.convolution(1, x, W, b, stride, pad, dilate, method, pad_mode)


@overload
def depthwise_convolution_2d(
    x: Variable | AnyArray,
    W: Variable | AnyArray,
    b: Variable | AnyArray | None = None,
    stride: Ints = 1,
    pad: Pad = 0,
    *,
    dilate: Ints = 1,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Variable: ...
@overload
def depthwise_convolution_2d(
    x: Any,
    W: Any,
    b: Any = None,
    stride: Ints = 1,
    pad: Pad = 0,
    *,
    dilate: Ints = 1,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Any: ...
def depthwise_convolution_2d(
    x: Any,
    W: Any,
    b: Any = None,
    stride: Ints = 1,
    pad: Pad = 0,
    *,
    dilate: Ints = 1,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Any:
    """Two-dimensional depthwise convolution: ``chainer.functions.depthwise_convolution_2d``.

    Each channel of x is correlated with filters of its own; nothing is added up over channels.
    ``y[n, c * c_M + m, i, j] = b[c * c_M + m] + sum over p, q of
    xpad[n, c, i * sy + p * dy, j * sx + q * dx] * W[m, c, p, q]``

    Parameters
    ----------
    x : Variable or ndarray of shape (n, c_I, h, w)
        float16, bfloat16 (ml_dtypes), float32 or float64. Planar (NCHW) and channels-last memory are both read in
        place, and so is any other.
    W : Variable or ndarray of shape (c_M, c_I, k_H, k_W)
        Of any of these dtypes; c_M is the channel multiplier. With an axis more, (n, c_M, c_I, k_H, k_W), each image
        has filters of its own.
    b : Variable or ndarray of shape (c_I * c_M,), optional
        Of x's dtype.
    stride : int or pair of ints, default 1
        (vertical, horizontal).
    pad : int, pair, pair of pairs, "same" or "valid", default 0
        Zeros around x: (vertical, horizontal) or ((top, bottom), (left, right)). "same" is TensorFlow's.
    dilate : int or pair of ints, default 1
        Distance between taps.
    method : {"direct", "fft", "auto"}, default "direct"
        How sums are formed, those of the gradients too: see :func:`depthwise.ops.forward`.
    pad_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}, default "constant"
        What the padding holds, as :func:`numpy.pad` names it.

    Returns
    -------
    Variable of shape (n, c_I * c_M, h_O, w_O)
        Of x's dtype and memory layout; :func:`depthwise.output_size` gives h_O and w_O. Sums are kept in float32, or
        in float64 where x or W is float64, and rounded once. Differentiable to any order.

    Raises
    ------
    TypeError
        An argument is neither a Variable nor an array, has another dtype, or is not made of ints.
    ValueError
        Shapes do not fit each other, a value is out of range, or the output would be empty.

    See Also
    --------
    depthwise.ops.forward : the same on arrays, without a graph, with ``out=``.

    Notes
    -----
    x and W are kept for backward by reference: change them in place and the gradients change. Threads share the work,
    see :func:`depthwise.set_num_threads`; results have the same bits for any number of them. Source: L. Sifre,
    Rigid-motion scattering for image classification, PhD thesis, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> x = np.random.uniform(0, 1, (2, 3, 4, 7))
    >>> W = np.random.uniform(0, 1, (2, 3, 3, 3))
    >>> b = np.random.uniform(0, 1, (6,))
    >>> y = F.depthwise_convolution_2d(x, W, b)
    >>> y.shape
    (2, 6, 2, 5)
    """
    return dispatch.convolution(2, x, W, b, stride, pad, dilate, method, pad_mode)


@overload
def depthwise_convolution_3d(
    x: Variable | AnyArray,
    W: Variable | AnyArray,
    b: Variable | AnyArray | None = None,
    stride: Ints = 1,
    pad: Pad = 0,
    *,
    dilate: Ints = 1,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Variable: ...
@overload
def depthwise_convolution_3d(
    x: Any,
    W: Any,
    b: Any = None,
    stride: Ints = 1,
    pad: Pad = 0,
    *,
    dilate: Ints = 1,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Any: ...
def depthwise_convolution_3d(
    x: Any,
    W: Any,
    b: Any = None,
    stride: Ints = 1,
    pad: Pad = 0,
    *,
    dilate: Ints = 1,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Any:
    """Three-dimensional depthwise convolution: :func:`depthwise_convolution_2d` of volumes or films.

    Each channel of x is correlated with filters of its own; nothing is added up over channels.
    ``y[n, c * c_M + m, h, i, j] = b[c * c_M + m] + sum over o, p, q of
    xpad[n, c, h * sz + o * dz, i * sy + p * dy, j * sx + q * dx] * W[m, c, o, p, q]``

    Parameters
    ----------
    x : Variable or ndarray of shape (n, c_I, d, h, w)
        float16, bfloat16 (ml_dtypes), float32 or float64. Planar and channels-last memory, (n, d, h, w, c_I) seen
        through ``transpose(0, 4, 1, 2, 3)``, are both read in place, and so is any other.
    W : Variable or ndarray of shape (c_M, c_I, k_D, k_H, k_W)
        Of any of these dtypes; c_M is the channel multiplier.
    b : Variable or ndarray of shape (c_I * c_M,), optional
        Of x's dtype.
    stride, dilate : int or three ints (depth, height, width), default 1
        Steps of the window, and distance between taps.
    pad : int, three ints, three pairs, "same" or "valid", default 0
        Zeros around x: (depth, height, width) or ((front, back), (top, bottom), (left, right)). "same" is TensorFlow's.
    method : {"direct", "fft", "auto"}, default "direct"
        How sums are formed, those of the gradients too: see :func:`depthwise.ops.forward`.
    pad_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}, default "constant"
        What the padding holds, as :func:`numpy.pad` names it.

    Returns
    -------
    Variable of shape (n, c_I * c_M, d_O, h_O, w_O)
        Of x's dtype and memory layout; :func:`depthwise.output_size` gives d_O, h_O and w_O. Sums are kept in float32,
        or in float64 where x or W is float64, and rounded once. Differentiable to any order.

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise_convolution_2d`.

    See Also
    --------
    depthwise.ops.forward : the same on arrays, without a graph, with ``out=``.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> x = np.ones((1, 2, 4, 5, 6), np.float32)
    >>> F.depthwise_convolution_3d(x, np.ones((1, 2, 3, 3, 3), np.float32), pad=(0, 1, 1)).shape
    (1, 2, 2, 5, 6)
    """
    return dispatch.convolution(3, x, W, b, stride, pad, dilate, method, pad_mode)


def sum(x: Variable | AnyArray, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Variable:
    """Sum of the elements over `axis`, or over all axes.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> F.sum(np.ones((2, 3)), axis=1).array
    array([3., 3.])
    """
    v = as_variable(x)
    return arithmetic.Sum(arithmetic.axes_of(v, axis), keepdims)(v)


def mean(x: Variable | AnyArray, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Variable:
    """Mean of the elements over `axis`, or over all axes.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> F.mean(np.arange(4.0)).item()
    1.5
    """
    return as_variable(x).mean(axis, keepdims)


def reshape(x: Variable | AnyArray, shape: tuple[int, ...]) -> Variable:
    """The same elements in another shape; one size may be -1.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> F.reshape(np.arange(6.0), (2, -1)).shape
    (2, 3)
    """
    return as_variable(x).reshape(shape)


def transpose(x: Variable | AnyArray, axes: tuple[int, ...] | None = None) -> Variable:
    """The axes in another order, reversed where none is given.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> F.transpose(np.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return as_variable(x).transpose(axes)


def broadcast_to(x: Variable | AnyArray, shape: tuple[int, ...]) -> Variable:
    """`x` repeated to a shape, by NumPy's rules.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> F.broadcast_to(np.arange(3.0), (2, 3)).array
    array([[0., 1., 2.],
           [0., 1., 2.]])
    """
    return arithmetic.BroadcastTo(shape)(as_variable(x))


def relu(x: Variable | AnyArray) -> Variable:
    """The larger of each element and 0.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> F.relu(np.array([-1.0, 2.0])).array
    array([0., 2.])
    """
    return arithmetic.ReLU()(as_variable(x))


def pad(x: Variable | AnyArray, pad_width: Any, mode: str, **keywords: Any) -> Variable:
    """`x` with more elements beside it, as :func:`numpy.pad` has it: ``chainer.functions.pad``.

    Parameters
    ----------
    x : Variable or ndarray
    pad_width : int, pair of ints, or a pair for each axis
        Elements before and after.
    mode : "constant", "edge", "reflect", "symmetric" or "wrap"
    **keywords
        ``constant_values`` of the mode "constant".

    Returns
    -------
    Variable
        Differentiable to any order: what stands beside `x` has its part in the gradient of what it repeats.

    Raises
    ------
    TypeError
        `pad_width` is not made of ints.
    ValueError
        Another mode, or widths that are negative or do not fit the axes of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.functions as F
    >>> F.pad(np.array([1.0, 2.0, 3.0]), (1, 2), "reflect").array
    array([2., 1., 2., 3., 2., 1.])
    """
    if mode not in padding.MODES or keywords.get("reflect_type", "even") != "even":
        msg = (
            f"mode must be one of {', '.join(padding.MODES)}, reflect_type even; got {mode!r} {keywords or ''}".rstrip()
        )
        raise ValueError(msg)
    v = as_variable(x)
    return padding.Pad(padding.widths_of(pad_width, v.ndim), mode, **keywords)(v)
