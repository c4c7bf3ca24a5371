"""NumPy arrays: what the callers' have to be, what the engine takes as it lies, and how new ones lie."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from .enums import DTYPES

AnyArray = npt.NDArray[Any]

# New arrays of this size lie in the engine's blocks (csrc/blocks.hpp), whose pages may have been touched before, and
# which start where vectors do. NumPy's start 16 bytes behind, and each store then meets two lines of the cache
# (AVX-512, EPYC of the fourth generation: 512x14x14 with 3x3 channels last 68 us, and 58).
_BLOCK_BYTES = 1 << 15

BFLOAT16 = DTYPES["bfloat16"]
_UINT16 = np.dtype(np.uint16)
_codes: dict[np.dtype[Any], int] = {}


def dtype_code(name: str, dtype: np.dtype[Any]) -> int:
    """The engine's number for the dtype of an argument of this name; byte-swapped ones count as their native selves."""
    code = _codes.get(dtype)
    if code is None:
        if dtype.name not in DTYPES:
            msg = f"{name} must be float16, bfloat16, float32 or float64, got {dtype}"
            raise TypeError(msg)
        code = _codes[dtype] = DTYPES[dtype.name]
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


def check_out(
    out: object,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *inputs: tuple[str, AnyArray | None],
    name: str = "out",
) -> None:
    """TypeError or ValueError unless `out` can be given a result of this shape and dtype, computed from the inputs."""
    check_array(name, out)
    assert isinstance(out, np.ndarray)
    if out.dtype != dtype and native(out.dtype) != native(dtype):
        msg = f"{name} must have dtype {dtype}, got {out.dtype}"
        raise TypeError(msg)
    if out.shape != shape:
        msg = f"{name} must have shape {shape}, got {out.shape}"
        raise ValueError(msg)
    if not out.flags.writeable:
        msg = f"{name} is read-only"
        raise ValueError(msg)
    if not out.flags.c_contiguous and _overlaps_itself(out):
        msg = f"elements of {name} share memory (strides {out.strides} for shape {out.shape})"
        raise ValueError(msg)
    for other, a in inputs:
        if a is not None and np.may_share_memory(out, a) and _shares_memory(out, a):
            msg = f"{name} overlaps {other}"
            raise ValueError(msg)


def _overlaps_itself(a: AnyArray) -> bool:
    spanned = a.itemsize
    for stride, size in sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if a.size and stride < spanned:
            return True
        spanned += stride * (size - 1)
    return False


def _shares_memory(a: AnyArray, b: AnyArray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
    except (RuntimeError, ValueError):  # too hard to tell (numpy.exceptions.TooHardError, of either base)
        return True


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The same dtype in this machine's byte order."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def bits(a: AnyArray, code: int) -> AnyArray:
    """The bits of bfloat16, which a buffer has no name for, in the byte order that it has; anything else as it is."""
    return a.view(_UINT16.newbyteorder(a.dtype.byteorder)) if code == BFLOAT16 else a


def fits(a: AnyArray, code: int) -> bool:
    """Whether the engine can read or write `a` as it lies: native, aligned, its strides whole elements."""
    return _core.fits(bits(a, code), code)


def fitting(a: AnyArray, code: int) -> AnyArray:
    """`a`, its bits if it is bfloat16, as the engine can read it: a copy only where it has to be one."""
    return a if _core.fits(a, code) else _converted(a, native(a.dtype))


def is_channels_last(a: AnyArray) -> bool:
    """Whether the channels of `a` (n, c, ...) are its closest elements, as they are then to be in what is computed."""
    return not a.flags.c_contiguous and _core.channels_last(a.strides, a.shape)


def new_strides(shape: tuple[int, ...], channels_last: bool) -> list[int]:
    """Strides, in elements, of a new array in one of the two layouts."""
    n, c, *size = shape
    order = [n, *size, c] if channels_last else shape
    strides = [prod(order[i + 1 :]) for i in range(len(order))]
    return [strides[0], strides[-1], *strides[1:-1]] if channels_last else strides


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
    """A new array in C order, which holds anything."""
    n_bytes = prod(shape) * dtype.itemsize
    if n_bytes < _BLOCK_BYTES:
        return np.empty(shape, dtype)
    try:
        return np.ndarray(shape, dtype, _core.Block(n_bytes))  # type: ignore[arg-type]  # NumPy names few buffers
    except MemoryError:
        return np.empty(shape, dtype)  # its error says more


def empty_like(a: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """A new array of this dtype with the shape of `a` and its order of axes in memory."""
    if a.flags.c_contiguous:
        return empty(a.shape, dtype)
    order = sorted(range(a.ndim), key=lambda axis: -abs(a.strides[axis]))
    y = empty(tuple(a.shape[axis] for axis in order), dtype)
    return y.transpose(sorted(range(a.ndim), key=order.__getitem__))


def _converted(a: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    y = empty_like(a, dtype)
    y[...] = a
    return y


def image_to_write(
    out: AnyArray | None, shape: tuple[int, ...], like: AnyArray, code: int, dtype: np.dtype[Any] | None = None
) -> AnyArray:
    """`out` where the engine can write it, else a new native array of this dtype, or `like`'s, and `like`'s layout."""
    if out is not None and fits(out, code):
        return out
    return empty_image(shape, native(dtype or like.dtype), is_channels_last(like))


def empty_image(shape: tuple[int, ...], dtype: np.dtype[Any], channels_last: bool) -> AnyArray:
    """A new array (n, c, size ...) with its channels, or its rows, closest in memory."""
    if not channels_last:
        return empty(shape, dtype)
    n, c, *size = shape
    return empty((n, *size, c), dtype).transpose(0, -1, *range(1, len(shape) - 1))


def written(result: AnyArray, out: AnyArray | None, dtype: np.dtype[Any]) -> AnyArray:
    """What the caller gets of a result: `out`, or an array of this dtype and its byte order."""
    if out is None:
        return result if result.dtype == dtype else _converted(result, dtype)
    if out is not result:
        out[...] = result
    return out
