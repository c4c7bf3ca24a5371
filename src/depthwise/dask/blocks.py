"""What a worker does for one block: NumPy arrays in, one out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import dask
import numpy as np
import numpy.typing as npt

from .. import ops
from ..runtime import threads
from .cuts import Cut

AnyArray = npt.NDArray[Any]


def _in_few_threads(compute: Callable[..., AnyArray]) -> Callable[..., AnyArray]:
    """The same with one thread of the engine, or as many as Dask's configuration says: tasks run beside one another."""

    @wraps(compute)
    def block(*args: Any) -> AnyArray:
        with threads(int(dask.config.get("depthwise.threads", 1))):
            return compute(*args)

    return block


def part(chunk: AnyArray, slices: tuple[slice, ...]) -> AnyArray:
    """A part of a chunk, which does not keep the rest of it alive."""
    cut = chunk[slices]
    return chunk if cut.shape == chunk.shape else cut.copy()


def joined(parts: Any, axis: int, last: int) -> AnyArray:
    """The array that nested lists of its parts make, one level for each axis from this one to the last."""
    if axis > last:
        return parts  # type: ignore[no-any-return]
    each = [joined(p, axis + 1, last) for p in parts]
    return each[0] if len(each) == 1 else np.concatenate(each, axis)


def image(parts: Any, cuts: tuple[Cut, ...]) -> AnyArray:
    """What a block's windows meet, but for zeros beside the array."""
    x = joined(parts, 2, 1 + len(cuts))
    for axis, cut in enumerate(cuts, 2):
        if cut.taken is not None:
            x = np.take(x, cut.taken, axis)
    return x


@_in_few_threads
def forward(parts: Any, cuts: tuple[Cut, ...], W: AnyArray, b: AnyArray | None, steps: dict[str, Any]) -> AnyArray:
    """One block of the output."""
    x, pad = image(parts, cuts), [cut.pad for cut in cuts]
    steps = steps.copy()
    if cval := steps.pop("cval", 0):
        x = np.pad(x, [(0, 0), (0, 0), *pad], constant_values=cval)
        pad = [(0, 0)] * len(cuts)
    return ops.forward(x, W, b, pad=pad, **steps)


@_in_few_threads
def weight_grad(
    parts: Any, cuts: tuple[Cut, ...], gy: AnyArray, kernel: tuple[int, ...], steps: dict[str, Any]
) -> AnyArray:
    """One block's part of the gradient for W, in float64."""
    x = image(parts, cuts)
    m = gy.shape[1] // x.shape[1] if x.shape[1] else 0
    out = np.empty((m, x.shape[1], *kernel))
    return ops.weight_grad(x, gy, kernel, pad=[cut.pad for cut in cuts], out=out, **steps)


@_in_few_threads
def bias_grad(gy: AnyArray) -> AnyArray:
    """One block's part of the gradient for b, in float64."""
    return ops.bias_grad(gy, out=np.empty(gy.shape[1]))


def total(parts: list[AnyArray], dtype: Any = None) -> AnyArray:
    """The sum of some parts in their order, rounded where a dtype is asked for."""
    sums = parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])
    return sums if dtype is None else sums.astype(dtype)


@_in_few_threads
def input_grad(
    runs: list[tuple[Any, tuple[Cut, ...], tuple[Any, ...], tuple[int, ...]]],
    shape: tuple[int, ...],
    dtype: Any,
    W: AnyArray,
    steps: dict[str, Any],
) -> AnyArray:
    """One block of the gradient for x: of each run of places what the outputs that meet them add, where it belongs."""
    sums = np.zeros(shape, dtype)
    for parts, cuts, target, size in runs:
        gy = joined(parts, 2, 1 + len(cuts))
        sums[(slice(None), slice(None), *target)] += ops.input_grad(gy, W, size, pad=[c.pad for c in cuts], **steps)
    return sums
