"""Arrays in, arrays out: the dtype rule, allocation in x's layout, and the call into the engine."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from . import _core
from .geometry import Geometry, IntPair, Pad, geometry, pair
from .runtime import active_target, get_num_threads

__all__ = ["bias_grad", "forward", "input_grad", "weight_grad"]

AnyArray = npt.NDArray[Any]

# New arrays of this size start where vectors do: NumPy's start 16 bytes behind, and each store then meets two lines of
# the cache (AVX-512, EPYC of the fourth generation: 512x14x14 with 3x3 channels last 68 us, and 58).
_ALIGNED_BYTES = 1 << 15

FORWARD, INPUT_GRAD, WEIGHT_GRAD = range(3)  # as enum Pass in the engine
_FLOAT16, _BFLOAT16, _FLOAT32, _FLOAT64 = range(4)  # as enum DType in the engine
_UINT16 = np.dtype(np.uint16)
_codes: dict[np.dtype[Any], int] = {
    np.dtype(np.float16): _FLOAT16,
    np.dtype(np.float32): _FLOAT32,
    np.dtype(np.float64): _FLOAT64,
}


def _code(name: str, dtype: np.dtype[Any]) -> int:
    """The engine's number for a dtype; a byte-swapped one counts as its native self."""
    code = _codes.get(dtype)
    if code is None:
        if dtype.name == "bfloat16":
            code = _BFLOAT16
        elif dtype.kind == "f" and dtype.newbyteorder("=") in _codes:
            code = _codes[dtype.newbyteorder("=")]
        else:
            msg = f"{name} must be float16, bfloat16, float32 or float64, got {dtype}"
            raise TypeError(msg)
        _codes[dtype] = code
    return code


def check_array(name: str, a: object) -> None:
    """TypeError unless `a` is a NumPy array that means what its memory holds."""
    if type(a) is np.ndarray:
        return
    if not isinstance(a, np.ndarray):
        msg = f"{name} must be a NumPy array, got {type(a).__name__}"
        raise TypeError(msg)
    if isinstance(a, np.ma.MaskedArray):
        msg = f"{name} is a masked array, whose mask would be ignored: pass its filled(0), or its data for all of it"
        raise TypeError(msg)
    if type(a).__getitem__ is not np.ndarray.__getitem__ and not isinstance(a, np.memmap | np.recarray):
        msg = f"{name} is a {type(a).__name__}, whose elements may mean something else: pass numpy.asarray of it"
        raise TypeError(msg)


def _is_ready(a: AnyArray, code: int) -> bool:
    """Whether the engine can read or write `a` as it lies: native, aligned, its strides whole elements."""
    return _core.fits(_bits(a, code), code)


def _ready(a: AnyArray, code: int) -> AnyArray:
    """`a` as the engine can read it: a copy only where it has to be one."""
    return a if _core.fits(a, code) else a.astype(a.dtype.newbyteorder("="), order="K")


def _channels_last(a: AnyArray) -> bool:
    return not a.flags.c_contiguous and _core.channels_last(a.strides, a.shape)


def _empty(shape: tuple[int, int, int, int], dtype: np.dtype[Any], channels_last: bool) -> AnyArray:
    n, c, h, w = shape
    n_bytes = n * c * h * w * dtype.itemsize
    if channels_last:
        shape = n, h, w, c
    if n_bytes < _ALIGNED_BYTES:
        y: AnyArray = np.empty(shape, dtype)
    else:
        memory = np.empty(n_bytes + 64, np.uint8)
        y = np.ndarray(shape, dtype, memory, _core.misaligned_bytes(memory))
    return y.transpose(0, 3, 1, 2) if channels_last else y


def _check_out(
    out: object,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *inputs: tuple[str, AnyArray | None],
    name: str = "out",
) -> None:
    check_array(name, out)
    assert isinstance(out, np.ndarray)
    if out.dtype != dtype and out.dtype.newbyteorder("=") != dtype.newbyteorder("="):  # in any byte order
        msg = f"{name} must have dtype {dtype}, got {out.dtype}"
        raise TypeError(msg)
    if out.shape != shape:
        msg = f"{name} must have shape {shape}, got {out.shape}"
        raise ValueError(msg)
    if not out.flags.writeable:
        msg = f"{name} is read-only"
        raise ValueError(msg)
    spanned = out.itemsize
    for stride, size in sorted((abs(s), n) for s, n in zip(out.strides, out.shape, strict=True) if n > 1):
        if out.size and stride < spanned:
            msg = f"elements of {name} share memory (strides {out.strides} for shape {out.shape})"
            raise ValueError(msg)
        spanned += stride * (size - 1)
    for other, a in inputs:
        if a is not None and np.may_share_memory(out, a) and _shares_memory(out, a):
            msg = f"{name} overlaps {other}"
            raise ValueError(msg)


def _shares_memory(a: AnyArray, b: AnyArray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
    except (RuntimeError, ValueError):  # too hard to tell (numpy.exceptions.TooHardError, of either base)
        return True


def _run(
    kind: int,
    sizes: _core.Sizes,
    x: AnyArray,
    W: AnyArray,
    b: AnyArray | None,
    y: AnyArray,
    codes: tuple[int, int, int, int],
) -> None:
    """Run the engine; the array that `kind` computes is already one that it can write."""
    x_code, W_code, b_code, y_code = codes
    if _BFLOAT16 in codes:  # a buffer has no name for it
        x, W, y = _bits(x, x_code), _bits(W, W_code), _bits(y, y_code)
        b = None if b is None else _bits(b, b_code)
    target, threads = active_target(), get_num_threads()
    try:
        _core.run(kind, sizes, x, x_code, W, W_code, b, b_code, y, y_code, target, threads)
    except _core.Refused:  # copies of what is read; what is written has to be taken as it is
        if kind != INPUT_GRAD:
            x = _ready(x, x_code)
        if kind != WEIGHT_GRAD:
            W, b = _ready(W, W_code), None if b is None else _ready(b, b_code)
        if kind != FORWARD:
            y = _ready(y, y_code)
        _core.run(kind, sizes, x, x_code, W, W_code, b, b_code, y, y_code, target, threads)


def _bits(a: AnyArray, code: int) -> AnyArray:
    """The bits of bfloat16, in the byte order that it has; anything else as it is."""
    return a.view(_UINT16.newbyteorder(a.dtype.byteorder)) if code == _BFLOAT16 else a


def describe(kind: int, x: Any, W: Any, stride: Any, pad: Any, dilate: Any) -> tuple[Any, int, float, float]:
    """The engine's plan for a problem that is given by arrays or by shapes."""
    a, w = _described("x", x), _described("W", W)
    code, W_code = _code("x", a.dtype), _code("W", w.dtype)
    g = geometry(a.shape, w.shape, stride, pad, dilate)
    x_strides = _strides(a.shape, False) if isinstance(x, tuple) else [s // a.itemsize for s in a.strides]
    y_strides = _strides(g.y_shape, _core.channels_last(x_strides, a.shape))
    target, threads = active_target(), get_num_threads()
    return _core.describe(kind, g.sizes, x_strides, code, W_code, y_strides, code, target, threads)


def _described(name: str, a: Any) -> AnyArray:
    """An array, or a Variable's, or one that has no memory but this shape."""
    if isinstance(a, tuple):
        return np.broadcast_to(np.float32(0), a)
    a = getattr(a, "array", a)
    check_array(name, a)
    return cast("AnyArray", a)


def _strides(shape: tuple[int, ...], channels_last: bool) -> list[int]:
    """Strides, in elements, of a new array in one of the two layouts."""
    _, c, h, w = shape
    return [c * h * w, 1, c * w, c] if channels_last else [c * h * w, h * w, w, 1]


def _writable(out: AnyArray | None, shape: tuple[int, int, int, int], like: AnyArray, code: int) -> AnyArray:
    """`out` where the engine can write it; else a new native array of `like`'s layout."""
    if out is not None and _is_ready(out, code):
        return out
    return _empty(shape, like.dtype.newbyteorder("="), _channels_last(like))


def _finished(result: AnyArray, out: AnyArray | None, dtype: np.dtype[Any]) -> AnyArray:
    if out is None:
        return result if result.dtype == dtype else result.astype(dtype)
    if out is not result:
        out[...] = result
    return out


def forward(
    x: AnyArray,
    W: AnyArray,
    b: AnyArray | None = None,
    *,
    stride: IntPair = 1,
    pad: Pad = 0,
    dilate: IntPair = 1,
    out: AnyArray | None = None,
) -> AnyArray:
    """Depthwise 2-D convolution (cross-correlation) of arrays.

    ``y[n, c * c_M + m, i, j] = b[c * c_M + m] + sum over p, q of
    xpad[n, c, i * sy + p * dy, j * sx + q * dx] * W[m, c, p, q]``

    Parameters
    ----------
    x : ndarray of shape (n, c_I, h, w)
        float16, bfloat16 (ml_dtypes), float32 or float64. Rows contiguous and channels contiguous (an NHWC array seen
        through ``transpose(0, 3, 1, 2)``) are both read in place; any other strides are read too, through scratch
        memory.
    W : ndarray of shape (c_M, c_I, k_H, k_W)
        Of any of these dtypes.
    b : ndarray of shape (c_I * c_M,), optional
        Of any of these dtypes.
    stride, dilate : int or pair of ints (vertical, horizontal), default 1
    pad : int, pair, pair of pairs, "same" or "valid", default 0
        Zeros around x: (vertical, horizontal), or ((top, bottom), (left, right)). "same" is TensorFlow's: the output
        has ceil(h / sy) rows and ceil(w / sx) columns, and an odd row or column of padding goes to the end.
    out : ndarray of shape (n, c_I * c_M, h_O, w_O), optional
        Receives the result; of x's dtype, of any strides, sharing no memory with the inputs.

    Returns
    -------
    ndarray of shape (n, c_I * c_M, h_O, w_O)
        `out`, or a new array of x's dtype and memory layout. Sums are kept in float32, or in float64 where x or W is
        float64, and rounded once.

    Raises
    ------
    TypeError
        An argument is not an array, or of another dtype; a stride, pad or dilate is not made of ints.
    ValueError
        Shapes do not fit each other, a value is out of range, the output would be empty, or `out` is read-only or
        overlaps an input.

    Notes
    -----
    The GIL is released; the threads of :func:`depthwise.get_num_threads` share the work; the result has the same bits
    for any number of them. Method: direct summation on register tiles (docs/design.md). Operation: L. Sifre,
    Rigid-motion scattering for image classification, PhD thesis, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import ops
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> ops.forward(x, np.ones((1, 1, 2, 2), np.float32))
    array([[[[ 8., 12.],
             [20., 24.]]]], dtype=float32)
    """
    check_array("x", x)
    check_array("W", W)
    x_code, W_code, b_code = _code("x", x.dtype), _code("W", W.dtype), 0
    g = geometry(x.shape, W.shape, stride, pad, dilate)
    if b is not None:
        check_array("b", b)
        b_code = _code("b", b.dtype)
        if b.shape != g.y_shape[1:2]:
            msg = f"b must have shape ({g.y_shape[1]},) (x {x.shape}, W {W.shape}), got {b.shape}"
            raise ValueError(msg)
    if out is not None:
        _check_out(out, g.y_shape, x.dtype, ("x", x), ("W", W), ("b", b))
    y = _writable(out, g.y_shape, x, x_code)
    _run(FORWARD, g.sizes, x, W, b, y, (x_code, W_code, b_code, x_code))
    return _finished(y, out, x.dtype)


def input_grad(
    gy: AnyArray,
    W: AnyArray,
    input_size: tuple[int, int],
    *,
    stride: IntPair = 1,
    pad: Pad = 0,
    dilate: IntPair = 1,
    out: AnyArray | None = None,
) -> AnyArray:
    """Gradient of :func:`forward` for x.

    ``gx[n, c, r, s]`` is the sum of ``gy[n, c * c_M + m, i, j] * W[m, c, p, q]`` over every (m, i, j, p, q) in which
    output (i, j) reads pixel (r, s) through tap (p, q). Pixels that no window covers get 0.

    Parameters
    ----------
    gy : ndarray of shape (n, c_I * c_M, h_O, w_O)
        float16, bfloat16, float32 or float64, read in place in either layout.
    W : ndarray of shape (c_M, c_I, k_H, k_W)
        Of any of these dtypes.
    input_size : pair of ints
        (h, w) of x, which the output size does not determine.
    stride, pad, dilate
        As given to :func:`forward`.
    out : ndarray of shape (n, c_I, h, w), optional
        Receives the result; of gy's dtype, of any strides, sharing no memory with the inputs.

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
    check_array("gy", gy)
    check_array("W", W)
    gy_code, W_code = _code("gy", gy.dtype), _code("W", W.dtype)
    g = gradient_geometry(gy.shape, W.shape, input_size, stride, pad, dilate)
    if out is not None:
        _check_out(out, g.x_shape, gy.dtype, ("gy", gy), ("W", W))
    gx = _writable(out, g.x_shape, gy, gy_code)
    _run(INPUT_GRAD, g.sizes, gx, W, None, gy, (gy_code, W_code, 0, gy_code))
    return _finished(gx, out, gy.dtype)


def gradient_geometry(
    gy_shape: tuple[int, ...], W_shape: tuple[int, ...], input_size: Any, stride: Any, pad: Any, dilate: Any
) -> Geometry:
    """The forward pass's geometry, from what the input gradient is given."""
    if len(W_shape) != 4 or len(gy_shape) != 4:
        name, shape = ("W", W_shape) if len(W_shape) != 4 else ("gy", gy_shape)
        msg = f"{name} must have 4 axes, got {len(shape)}: shape {shape}"
        raise ValueError(msg)
    size = pair("input_size", input_size, 0)
    g = geometry((gy_shape[0], W_shape[1], *size), W_shape, stride, pad, dilate)
    if gy_shape != g.y_shape:
        msg = f"gy must have shape {g.y_shape} (input size {size}, W {W_shape}), got {gy_shape}"
        raise ValueError(msg)
    return g


def weight_grad(
    x: AnyArray,
    gy: AnyArray,
    kernel_size: tuple[int, int],
    *,
    stride: IntPair = 1,
    pad: Pad = 0,
    dilate: IntPair = 1,
    out: AnyArray | None = None,
    bias_out: AnyArray | None = None,
) -> AnyArray:
    """Gradient of :func:`forward` for W, and in the same pass for b.

    ``gW[m, c, p, q] = sum over n, i, j of
    gy[n, c * c_M + m, i, j] * xpad[n, c, i * sy + p * dy, j * sx + q * dx]``

    Parameters
    ----------
    x : ndarray of shape (n, c_I, h, w)
        float16, bfloat16, float32 or float64, read in place in either layout.
    gy : ndarray of shape (n, c_I * c_M, h_O, w_O)
        Of any of these dtypes, read in place where its layout is x's.
    kernel_size : pair of ints
        (k_H, k_W), which the output size does not determine.
    stride, pad, dilate
        As given to :func:`forward`.
    out : ndarray of shape (c_M, c_I, k_H, k_W), optional
        Receives the result; of x's dtype or any other of these, of any strides, sharing no memory with the inputs.
    bias_out : ndarray of shape (c_I * c_M,), optional
        Receives what :func:`bias_grad` of gy gives, which is summed here while gy is in the cache; of any of these
        dtypes, sharing no memory with the inputs or `out`.

    Returns
    -------
    ndarray of shape (c_M, c_I, k_H, k_W)
        `out`, or a new array of x's dtype. Sums are kept in float32 for at most 512 products a lane, in float64
        beyond, or in float64 throughout where x or gy is float64, and rounded once.

    Raises
    ------
    TypeError, ValueError
        As :func:`forward`; also where gy's shape is not that of the forward pass.

    Notes
    -----
    Threads and GIL as :func:`forward`. The order of summation is a function of the shapes alone, so the result has the
    same bits for any number of threads.

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
    x_code, gy_code = _code("x", x.dtype), _code("gy", gy.dtype)
    if x.ndim != 4 or gy.ndim != 4:
        name, a = ("x", x) if x.ndim != 4 else ("gy", gy)
        msg = f"{name} must have 4 axes, got {a.ndim}: shape {a.shape}"
        raise ValueError(msg)
    channels, outputs = x.shape[1], gy.shape[1]
    if outputs % channels if channels else outputs:
        msg = f"gy has {outputs} channels, which is no multiple of x's {channels} (x {x.shape}, gy {gy.shape})"
        raise ValueError(msg)
    kernel = pair("kernel_size", kernel_size, 0)
    if channels:
        multiplier = outputs // channels
    else:  # no channels tell the multiplier: any fits, `out`'s among them
        multiplier = out.shape[0] if isinstance(out, np.ndarray) and out.ndim == 4 else 0
    g = geometry(x.shape, (multiplier, channels, *kernel), stride, pad, dilate)
    if gy.shape != g.y_shape:
        msg = f"gy must have shape {g.y_shape} (x {x.shape}, kernel size {kernel}), got {gy.shape}"
        raise ValueError(msg)
    dtype = x.dtype
    if out is not None:
        check_array("out", out)
        _code("out", out.dtype)
        dtype = out.dtype
        _check_out(out, g.W_shape, dtype, ("x", x), ("gy", gy))
    gW_code = _code("out", dtype)
    gW = out if out is not None and _is_ready(out, gW_code) else np.empty(g.W_shape, dtype.newbyteorder("="))
    gb, gb_code = None, 0
    if bias_out is not None:
        gb, gb_code = _bias_to_write(bias_out, outputs, x.dtype, ("x", x), ("gy", gy), ("out", out), name="bias_out")
    _run(WEIGHT_GRAD, g.sizes, x, gW, gb, gy, (x_code, gW_code, gb_code, gy_code))
    if gb is not None:
        _finished(gb, bias_out, gb.dtype)
    return _finished(gW, out, dtype)


def bias_grad(gy: AnyArray, *, out: AnyArray | None = None) -> AnyArray:
    """Gradient of :func:`forward` for b: the sum of gy over images, rows and columns.

    Parameters
    ----------
    gy : ndarray of shape (n, c_I * c_M, h_O, w_O)
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
    code = _code("gy", gy.dtype)
    if gy.ndim != 4:
        msg = f"gy must have 4 axes (n, c_I * c_M, h_O, w_O), got {gy.ndim}: shape {gy.shape}"
        raise ValueError(msg)
    n, c, h, w = gy.shape
    gb, gb_code = _bias_to_write(out, c, gy.dtype, ("gy", gy))
    # The weight gradient of a kernel without taps, which has a bias all the same.
    sizes = _core.Sizes(n, c, 1, [h, 0, 1, 0, 1, h], [w, 0, 1, 0, 1, w])
    _run(WEIGHT_GRAD, sizes, gy, np.empty((1, c, 0, 0), np.float32), gb, gy, (code, _FLOAT32, gb_code, code))
    return _finished(gb, out, gy.dtype if out is None else out.dtype)


def _bias_to_write(
    out: AnyArray | None, channels: int, dtype: np.dtype[Any], *inputs: tuple[str, AnyArray | None], name: str = "out"
) -> tuple[AnyArray, int]:
    """`out` where the engine can write it, else a new array of its dtype, or of this one; and the dtype's code."""
    if out is not None:
        check_array(name, out)
        _code(name, out.dtype)
        dtype = out.dtype
        _check_out(out, (channels,), dtype, *inputs, name=name)
    code = _code(name, dtype)
    gb = out if out is not None and _is_ready(out, code) else np.empty(channels, dtype.newbyteorder("="))
    return gb, code
