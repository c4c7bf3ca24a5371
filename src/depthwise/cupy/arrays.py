"""CuPy's arrays: which they are, how the engine is told of one, and how new ones lie."""

from __future__ import annotations

import sys
from typing import Any

from .. import _core
from ..arrays import dtype_code
from ..gpu import Place


def is_cupy(a: object) -> bool:
    """Whether this is an array of CuPy, which who has one has imported."""
    kind = getattr(sys.modules.get("cupy"), "ndarray", None)
    return kind is not None and isinstance(a, kind)


def check_cupy(first: Any, /, **others: Any) -> None:
    """TypeError unless all are CuPy's arrays of a dtype that the engine has, ValueError unless all are on one GPU."""
    for name, a in others.items():
        if a is None:
            continue
        if not is_cupy(a):
            msg = f"{name} must be a CuPy array, as the other is, got {type(a).__name__}: cupy.asarray copies it"
            raise TypeError(msg)
        dtype_code(name, a.dtype)
        if a.device.id != first.device.id:
            msg = f"{name} is on GPU {a.device.id}, the other array on GPU {first.device.id}: copy one of them"
            raise ValueError(msg)


def place(a: Any) -> Place:
    """Where an array is, for the engine."""
    return a.data.ptr, tuple(s // a.itemsize for s in a.strides), dtype_code("an array", a.dtype)


def empty_like(a: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A new array with this shape and dtype, whose channels are closest in memory where those of `a` are."""
    import cupy

    with a.device:
        if not _core.channels_last([s // a.itemsize for s in a.strides], list(a.shape)):
            return cupy.empty(shape, dtype)
        return cupy.moveaxis(cupy.empty((shape[0], *shape[2:], shape[1]), dtype), -1, 1)
