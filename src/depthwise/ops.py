"""Arrays in, arrays out: the passes, their arguments checked and handed on."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from . import passes, samples
from .arguments import Ints, Pad, spatial_axes
from .arrays import check_array, empty_image
from .enums import activation_code
from .geometry import Whole, geometry, input_grad_geometry, weight_grad_geometry
from .prepared import PreparedWeight
from .separable import Factors, filters_shape

__all__ = [
    "activation_grad",
    "bias_grad",
    "forward",
    "forward_separable",
    "input_grad",
    "input_grad_separable",
    "prepare",
    "weight_grad",
    "weight_grads_separable",
]

AnyArray = npt.NDArray[Any]


def forward(
    x: AnyArray,
    W: AnyArray | PreparedWeight,
    b: AnyArray | None = None,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    activation: str | None = None,
    method: str = "direct",
    like: Whole | None = None,
    out: AnyArray | None = None,
) -> AnyArray:
    """Depthwise convolution (cross-correlation) of arrays with one, two or three spatial axes.

    ``y[n, c * c_M + m, i, j] = b[c * c_M + m] + sum over p, q of
    xpad[n, c, i * sy + p * dy, j * sx + q * dx] * W[m, c, p, q]``

    Parameters
    ----------
    x : ndarray of shape (n, c_I, h, w), or (n, c_I, l), or (n, c_I, d, h, w)
        float16, bfloat16 (ml_dtypes), float32 or float64. Rows contiguous and channels contiguous (an NHWC array seen
        through ``transpose(0, 3, 1, 2)``) are both read in place; any other strides are read too, through scratch
        memory.
    W : ndarray of shape (c_M, c_I, k_H, k_W), or (c_M, c_I, k), or (c_M, c_I, k_D, k_H, k_W)
        Of any of these dtypes; or what :func:`prepare` makes of it. With an axis more, (n, c_M, c_I, k_H, k_W), each
        image has filters of its own (dynamic convolution, a blur that is not known).
    b : ndarray of shape (c_I * c_M,), optional
        Of any of these dtypes.
    stride, dilate : int or sequence of an int for each spatial axis, default 1
        (vertical, horizontal), or (length,), or (depth, height, width).
    pad : int, sequence of ints, sequence of pairs, "same", "valid" or "causal", default 0
        Zeros around x: (vertical, horizontal), or ((top, bottom), (left, right)). "same" is TensorFlow's: the output
        has ceil(h / sy) rows and ceil(w / sx) columns, and an odd row or column of padding goes to the end. "causal",
        in one dimension, puts all, ``dilate * (k - 1)``, before x.
    pad_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}, default "constant"
        What the padding holds, as :func:`numpy.pad` names it: zeros; x mirrored at its border elements, or behind them;
        the border elements; x over and over. Padding may be larger than x. SciPy's names are "constant", "mirror",
        "reflect", "nearest" and "wrap", PyTorch's "zeros", "reflect", none, "replicate" and "circular".
    activation : {None, "silu", "swish", "relu", "relu6", "hardswish", "gelu", "gelu_tanh"}, optional
        Applied to each sum before it is rounded. "swish" is silu, "gelu" the exact form and "gelu_tanh" the one with a
        hyperbolic tangent.
    method : {"direct", "fft", "auto"}, default "direct"
        How sums are formed: product by product; as products of spectra, by Fourier transforms, which take less for
        large kernels (from about 13 taps a side on); or by whichever is estimated to take less, as
        :func:`depthwise.explain` shows. The error of transforms is relative to the largest values of a tile of up to
        256 x 256 pixels, that of direct sums to those of a window. Planes that hold a NaN or an infinity, or whose sums
        overflow, are done directly by any method, and so is what no tiles fit, as gradients of very large strides.
        There are no transforms of volumes.
    like : Whole, optional
        What x is a part of: :class:`depthwise.Whole` (shape, pad, channels_last). Direct sums are then formed in
        the order in which those of the whole would be, and have their bits, where the part, too, is dense in that
        layout: so that blocks computed apart, each with a `pad` by side, make what one call would. `stride` and
        `dilate` are the whole's, and the whole's `pad_mode` is "constant". Last bits may differ of input gradients in
        channels-last memory with a multiplier and some channels alone.
    out : ndarray of shape (n, c_I * c_M, h_O, w_O), optional
        Receives the result; of x's dtype, of any strides, sharing no memory with the inputs.

    Returns
    -------
    ndarray of shape (n, c_I * c_M, h_O, w_O), or as many axes as x
        `out`, or a new array of x's dtype and memory layout. Sums are kept in float32, or in float64 where x or W is
        float64, and rounded once.

    Raises
    ------
    TypeError
        An argument is not an array, or of another dtype; a stride, pad or dilate is not made of ints.
    ValueError
        Shapes do not fit each other, a value is out of range, the output would be empty, `out` is read-only or overlaps
        an input, the method is "fft" and there are three spatial axes or a kernel spans more than 256 pixels, or an
        axis without elements is to be padded by a `pad_mode` other than "constant".

    Notes
    -----
    The GIL is released; the threads of :func:`depthwise.get_num_threads` share the work; the result has the same bits
    for any number of them. Method: direct summation on register tiles, or transforms by Stockham's algorithm on tiles
    that overlap (docs/design.md). Operation: L. Sifre, Rigid-motion scattering for image classification, PhD thesis,
    2014.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> ops.forward(x, np.ones((1, 1, 2, 2), np.float32))
    array([[[[ 8., 12.],
             [20., 24.]]]], dtype=float32)
    >>> ops.forward(x[0], np.ones((1, 3, 2), np.float32), pad="causal")
    array([[[ 0.,  1.,  3.],
            [ 3.,  7.,  9.],
            [ 6., 13., 15.]]], dtype=float32)
    """
    kept = None
    if isinstance(W, PreparedWeight):
        kept, W = W._kept, W.array
    check_array("x", x)
    check_array("W", W)
    if b is not None:
        check_array("b", b)
    if samples.is_per_sample(x, W):
        samples.refuse_part(like)
        g = geometry(x.shape, samples.image_shape("x", x, W), stride, pad, dilate, method=method, pad_mode=pad_mode)
        return samples.forward(g, x, W, b, out, activation_code(activation))
    g = geometry(x.shape, W.shape, stride, pad, dilate, method=method, pad_mode=pad_mode, like=like)
    return passes.forward(g, x, W, b, out, activation=activation_code(activation), kept=kept)


def prepare(W: AnyArray) -> PreparedWeight:
    """W for many calls of :func:`forward`: the spectra of its filters are kept from the first call on.

    Transforms of one image then take up to a fifth less, and "auto" knows that. What is kept hangs on the size of x,
    the steps and the type of the sums; that of the last four is, up to 64 MiB. Direct sums gain nothing, nor do filters
    of each image.

    Parameters
    ----------
    W : ndarray of shape (c_M, c_I, k_H, k_W), or of one or three spatial axes
        float16, bfloat16, float32 or float64. It is copied.

    Returns
    -------
    PreparedWeight
        Safe to use from several threads. With "direct" and "fft" results have the same bits as with W itself.

    Raises
    ------
    TypeError
        W is not an array.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> x, W = np.ones((1, 8, 56, 56), np.float32), np.ones((1, 8, 31, 31), np.float32)
    >>> prepared = ops.prepare(W)
    >>> y = ops.forward(x, prepared, pad=15, method="auto")
    >>> np.allclose(y, ops.forward(x, W, pad=15))
    True
    """
    check_array("W", W)
    return PreparedWeight(W)


def input_grad(
    gy: AnyArray,
    W: AnyArray | PreparedWeight,
    input_size: Ints,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    method: str = "direct",
    like: Whole | None = None,
    out: AnyArray | None = None,
) -> AnyArray:
    """Gradient of :func:`forward` for x.

    ``gx[n, c, r, s]`` is the sum of ``gy[n, c * c_M + m, i, j] * W[m, c, p, q]`` over every (m, i, j, p, q) in which
    output (i, j) reads pixel (r, s) through tap (p, q). Pixels that no window covers get 0.

    Parameters
    ----------
    gy : ndarray of shape (n, c_I * c_M, h_O, w_O), or of one or three spatial axes
        float16, bfloat16, float32 or float64, read in place in either layout.
    W : ndarray of shape (c_M, c_I, k_H, k_W), with as many
        Of any of these dtypes; or (n, c_M, c_I, k_H, k_W), as :func:`forward` takes it.
    input_size : int or sequence of ints
        (h, w) of x, or (l,) or (d, h, w), which the output size does not determine.
    stride, pad, pad_mode, dilate, method
        As given to :func:`forward`.
    like : Whole, optional
        What x is a part of, as :func:`forward` takes it.
    out : ndarray of shape (n, c_I, h, w), optional
        Receives the result; of gy's dtype, or of that of the sums, so that the gradients of parts can be added up
        before they are rounded; of any strides, sharing no memory with the inputs.

    Returns
    -------
    ndarray of shape (n, c_I, h, w)
        `out`, or a new array of gy's dtype and memory layout. Sums are kept in float32, or in float64 where gy or W is
        float64, and rounded once.

    Raises
    ------
    TypeError, ValueError
        As :func:`forward`; also where gy's shape is not that of the forward pass.

    Notes
    -----
    Threads, GIL and determinism as :func:`forward`, whose kernels it shares.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> gy = np.ones((1, 1, 2, 2), np.float32)
    >>> ops.input_grad(gy, np.ones((1, 1, 2, 2), np.float32), (5, 3), stride=(2, 1))
    array([[[[1., 2., 1.],
             [1., 2., 1.],
             [1., 2., 1.],
             [1., 2., 1.],
             [0., 0., 0.]]]], dtype=float32)
    """
    if isinstance(W, PreparedWeight):
        W = W.array
    check_array("gy", gy)
    check_array("W", W)
    if samples.is_per_sample(gy, W):
        samples.refuse_part(like)
        W_shape = samples.image_shape("gy", gy, W)
        g = input_grad_geometry(gy.shape, W_shape, input_size, stride, pad, dilate, method, pad_mode)
        return samples.input_grad(g, gy, W, out)
    g = input_grad_geometry(gy.shape, W.shape, input_size, stride, pad, dilate, method, pad_mode, like)
    if like is not None and out is None:  # a single pixel does not tell how its whole lies
        out = empty_image(g.x_shape, gy.dtype, like.channels_last)
    return passes.input_grad(g, gy, W, out)


def weight_grad(
    x: AnyArray,
    gy: AnyArray,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    method: str = "direct",
    per_sample: bool = False,
    out: AnyArray | None = None,
    bias_out: AnyArray | None = None,
) -> AnyArray:
    """Gradient of :func:`forward` for W, and in the same pass for b.

    ``gW[m, c, p, q] = sum over n, i, j of
    gy[n, c * c_M + m, i, j] * xpad[n, c, i * sy + p * dy, j * sx + q * dx]``

    Parameters
    ----------
    x : ndarray of shape (n, c_I, h, w), or of one or three spatial axes
        float16, bfloat16, float32 or float64, read in place in either layout.
    gy : ndarray of shape (n, c_I * c_M, h_O, w_O)
        Of any of these dtypes, read in place where its layout is x's.
    kernel_size : int or sequence of ints
        (k_H, k_W), or (k,) or (k_D, k_H, k_W), which the output size does not determine.
    stride, pad, pad_mode, dilate, method
        As given to :func:`forward`.
    per_sample : bool, default False
        Whether each image had filters of its own, and has a gradient of its own.
    out : ndarray of shape (c_M, c_I, k_H, k_W), or (n, c_M, c_I, k_H, k_W) per sample, optional
        Receives the result; of x's dtype or any other of these, of any strides, sharing no memory with the inputs.
    bias_out : ndarray of shape (c_I * c_M,), optional
        Receives what :func:`bias_grad` of gy gives, which is summed here while gy is in the cache; of any of these
        dtypes, sharing no memory with the inputs or `out`.

    Returns
    -------
    ndarray of shape (c_M, c_I, k_H, k_W), or (n, c_M, c_I, k_H, k_W) per sample
        `out`, or a new array of x's dtype. Sums are kept in float32 for at most 512 products a lane, in float64
        beyond, or in float64 throughout where x or gy is float64, and rounded once.

    Raises
    ------
    TypeError, ValueError
        As :func:`forward`; also where gy's shape is not that of the forward pass.

    Notes
    -----
    Threads and GIL as :func:`forward`. The order of summation is a function of the shapes and the target alone, so the
    result has the same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> ops.weight_grad(x, np.ones((1, 1, 2, 2), np.float32), (2, 2))
    array([[[[ 8., 12.],
             [20., 24.]]]], dtype=float32)
    """
    check_array("x", x)
    check_array("gy", gy)
    if out is not None:
        check_array("out", out)
    multiplier = out.shape[per_sample] if out is not None and out.ndim > per_sample else 0
    g = weight_grad_geometry(x.shape, gy.shape, kernel_size, stride, pad, dilate, multiplier, method, pad_mode)
    compute = samples.weight_grad if per_sample else passes.weight_grad
    return compute(g, x, gy, out, bias_out)


def bias_grad(gy: AnyArray, *, out: AnyArray | None = None) -> AnyArray:
    """Gradient of :func:`forward` for b: the sum of gy over all axes but the channels.

    Parameters
    ----------
    gy : ndarray of shape (n, c_I * c_M, h_O, w_O), or of one or three spatial axes
        float16, bfloat16, float32 or float64, read in place in either layout.
    out : ndarray of shape (c_I * c_M,), optional
        Receives the result; of gy's dtype or any other of these, sharing no memory with it.

    Returns
    -------
    ndarray of shape (c_I * c_M,)
        `out`, or a new array of gy's dtype; summed as :func:`weight_grad` sums.

    Raises
    ------
    TypeError, ValueError
        As :func:`forward`.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> ops.bias_grad(np.ones((2, 3, 4, 5), np.float32))
    array([40., 40., 40.], dtype=float32)
    """
    check_array("gy", gy)
    spatial_axes(gy=gy.shape)
    return passes.bias_grad(gy, out)


def activation_grad(gy: AnyArray, z: AnyArray, activation: str | None, *, out: AnyArray | None = None) -> AnyArray:
    """Gradient of an activation: gy times its derivative at z, element by element.

    With ``z = ops.forward(x, W, b)`` the gradients of ``y = ops.forward(x, W, b, activation=a)`` are those of z for
    ``gz = ops.activation_grad(gy, z, a)``.

    Parameters
    ----------
    gy : ndarray
        float16, bfloat16, float32 or float64, of any strides.
    z : ndarray of gy's shape
        What the activation was applied to; of any of these dtypes.
    activation : {None, "silu", "swish", "relu", "relu6", "hardswish", "gelu", "gelu_tanh"}
        As given to :func:`forward`. At their corners relu and relu6 have the derivative 0, and hardswish that of its
        ends.
    out : ndarray of gy's shape, optional
        Receives the result; of gy's dtype, of any strides, sharing no memory with the inputs.

    Returns
    -------
    ndarray of gy's shape
        `out`, or a new array of gy's dtype and memory layout, rounded once from float32, or from float64 where gy or z
        is float64.

    Raises
    ------
    TypeError, ValueError
        As :func:`forward`; also where the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> ops.activation_grad(np.ones(3, np.float32), np.array([-1, 2, 9], np.float32), "relu6")
    array([0., 1., 0.], dtype=float32)
    """
    check_array("gy", gy)
    check_array("z", z)
    return passes.activation_grad(activation_code(activation), gy, z, out)


def forward_separable(
    x: AnyArray,
    columns: AnyArray,
    rows: AnyArray,
    b: AnyArray | None = None,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    out: AnyArray | None = None,
) -> AnyArray:
    """:func:`forward` with filters that are columns times rows: ``W[m, c] = columns[m, c, :, None] * rows[m, c]``.

    A filter takes k_H + k_W products of each output in place of k_H * k_W. Whether filters factor is the caller's to
    know.

    Parameters
    ----------
    x : ndarray of shape (n, c_I, h, w)
        As :func:`forward` takes it.
    columns, rows : ndarray of shape (c_M, c_I, k_H) and (c_M, c_I, k_W)
        float16, bfloat16, float32 or float64.
    b, stride, pad, pad_mode, dilate, out
        As :func:`forward` takes them.

    Returns
    -------
    ndarray of shape (n, c_I * c_M, h_O, w_O)
        `out`, or a new array of x's dtype and memory layout. What lies between the two passes is float32, or float64
        where an argument is, and is made a part at a time, which stays in a cache.

    Raises
    ------
    TypeError, ValueError
        As :func:`forward`; also where columns and rows do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> line = np.ones((1, 1, 2), np.float32)
    >>> ops.forward_separable(x, line, line)
    array([[[[ 8., 12.],
             [20., 24.]]]], dtype=float32)
    """
    for name, a in (("x", x), ("columns", columns), ("rows", rows), ("b", b)):
        if a is not None or name != "b":
            check_array(name, a)
    g = geometry(x.shape, filters_shape(columns, rows), stride, pad, dilate, 2, pad_mode=pad_mode)
    return Factors(g, columns, rows, x, *(() if b is None else (b,))).forward(x, b, out)


def input_grad_separable(
    gy: AnyArray,
    columns: AnyArray,
    rows: AnyArray,
    input_size: Ints,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    out: AnyArray | None = None,
) -> AnyArray:
    """Gradient of :func:`forward_separable` for x.

    Parameters
    ----------
    gy : ndarray of shape (n, c_I * c_M, h_O, w_O)
    columns, rows, stride, pad, pad_mode, dilate
        As given to :func:`forward_separable`.
    input_size, out
        As :func:`input_grad` takes them.

    Returns
    -------
    ndarray of shape (n, c_I, h, w)
        `out`, or a new array of gy's dtype and memory layout.

    Raises
    ------
    TypeError, ValueError
        As :func:`input_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> line = np.ones((1, 1, 2), np.float32)
    >>> ops.input_grad_separable(np.ones((1, 1, 1, 2), np.float32), line, line, (2, 3))
    array([[[[1., 2., 1.],
             [1., 2., 1.]]]], dtype=float32)
    """
    for name, a in (("gy", gy), ("columns", columns), ("rows", rows)):
        check_array(name, a)
    spatial_axes(2, gy=gy.shape)
    W_shape = filters_shape(columns, rows)
    g = input_grad_geometry(gy.shape, W_shape, input_size, stride, pad, dilate, "direct", pad_mode)
    return Factors(g, columns, rows, gy).input_grad(gy, out)


def weight_grads_separable(
    x: AnyArray,
    gy: AnyArray,
    columns: AnyArray,
    rows: AnyArray,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
) -> tuple[AnyArray, AnyArray]:
    """Gradients of :func:`forward_separable` for columns and rows.

    Parameters
    ----------
    x : ndarray of shape (n, c_I, h, w)
    gy : ndarray of shape (n, c_I * c_M, h_O, w_O)
    columns, rows, stride, pad, pad_mode, dilate
        As given to :func:`forward_separable`.

    Returns
    -------
    tuple of ndarray of shapes (c_M, c_I, k_H) and (c_M, c_I, k_W)
        Of x's dtype. What lies between the passes is made twice, whole.

    Raises
    ------
    TypeError, ValueError
        As :func:`weight_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> x, line = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3), np.ones((1, 1, 2), np.float32)
    >>> ops.weight_grads_separable(x, np.ones((1, 1, 2, 2), np.float32), line, line)
    (array([[[20., 44.]]], dtype=float32), array([[[28., 36.]]], dtype=float32))
    """
    for name, a in (("x", x), ("gy", gy), ("columns", columns), ("rows", rows)):
        check_array(name, a)
    g = geometry(x.shape, filters_shape(columns, rows), stride, pad, dilate, 2, pad_mode=pad_mode)
    return Factors(g, columns, rows, x, gy).weight_grads(x, gy)
