"""Padding as NumPy pads, and its adjoint; the two are each other's derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arithmetic import Gradients
from .graph import Function
from .variable import Variable

AnyArray = npt.NDArray[Any]
Widths = tuple[tuple[int, int], ...]

# In these an element beside x is one of x's, or a constant.
MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def widths_of(pad_width: Any, ndim: int) -> Widths:
    """(before, after) of each axis, from all that :func:`numpy.pad` takes."""
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu":
        msg = f"pad_width must be an int or made of ints, got {pad_width!r}"
        raise TypeError(msg)
    if (widths < 0).any():
        msg = f"pad_width must not be negative, got {pad_width!r}"
        raise ValueError(msg)
    try:
        return tuple((int(before), int(after)) for before, after in np.broadcast_to(widths, (ndim, 2)))
    except ValueError:
        msg = f"pad_width must be an int, a pair, or a pair for each of x's {ndim} axes, got {pad_width!r}"
        raise ValueError(msg) from None


class Pad(Function):
    """x with more elements beside it."""

    def __init__(self, widths: Widths, mode: str, **keywords: Any) -> None:
        self.widths, self.mode, self.keywords = widths, mode, keywords

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        pad: Any = np.pad
        result: AnyArray = pad(arrays[0], self.widths, self.mode, **self.keywords)
        return result

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (Fold(self.widths, self.mode)(gy),)


class Fold(Function):
    """What stands beside an array is added to the elements that Pad takes it from."""

    def __init__(self, widths: Widths, mode: str) -> None:
        self.widths, self.mode = widths, mode

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        g = arrays[0].astype(np.result_type(arrays[0], np.float32))
        for axis, (before, after) in enumerate(self.widths):
            lines = np.moveaxis(g, axis, 0)
            size = len(lines) - before - after
            kept = lines[before : before + size]
            if self.mode != "constant":
                source = np.pad(np.arange(size), (before, after), self.mode)  # type: ignore[call-overload]
                for i in (*range(before), *range(before + size, len(lines))):
                    kept[source[i]] += lines[i]
            g = np.moveaxis(kept, 0, axis)
        return g.astype(arrays[0].dtype)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (Pad(self.widths, self.mode)(gy),)
