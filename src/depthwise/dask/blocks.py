"""What a worker does for one block: NumPy arrays in, one out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import dask
import numpy as np
import numpy.typing as npt

from .. import ops
from ..runtime import threads
from .cuts import Cut, Part

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


class Source(NamedTuple):
    """An array of which blocks take parts, and which chunks of images and channels a block takes them of."""

    name: str
    dtype: Any
    chunk: tuple[int, int]
    sizes: tuple[int, int]  # of such a chunk


def joined(parts: Any, source: Source, cuts: tuple[Cut, ...]) -> AnyArray:
    """The array that nested lists of its parts make, one level for each axis; an error where a part is not as said."""

    def along(parts: Any, found: tuple[Part, ...]) -> AnyArray:
        if len(found) == len(cuts):
            return checked(parts, source, found)
        here = cuts[len(found)].parts
        each = [along(p, (*found, part)) for p, part in zip(parts, here, strict=True)]
        return each[0] if len(each) == 1 else np.concatenate(each, 2 + len(found))

    return along(parts, ())


def checked(a: Any, source: Source, parts: tuple[Part, ...]) -> AnyArray:
    """What a task upstream has given for a chunk or some of it, which may be other than the array says."""
    shape = (*source.sizes, *(p.stop - p.start for p in parts))
    if isinstance(a, np.ndarray) and a.dtype == source.dtype and a.shape == shape:
        return a
    chunk = (*source.chunk, *(p.chunk for p in parts))
    got = f"{a.shape} of {a.dtype}" if isinstance(a, np.ndarray) else f"a {type(a).__name__}"
    msg = f"what was taken of chunk {chunk} of {source.name} is {got}, not {shape} of {source.dtype}"
    raise (ValueError if isinstance(a, np.ndarray) and a.dtype == source.dtype else TypeError)(msg)


def image(parts: Any, source: Source, cuts: tuple[Cut, ...]) -> AnyArray:
    """What a block's windows meet, but for zeros beside the array."""
    x = joined(parts, source, cuts)
    for axis, cut in enumerate(cuts, 2):
        if cut.taken is not None:
            x = np.take(x, cut.taken, axis)
    return x


def dense(a: AnyArray, channels_last: bool) -> AnyArray:
    """The array with its rows, or its channels, closest in memory: bits of sums hang on that."""
    if channels_last:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
    return np.ascontiguousarray(a)


@_in_few_threads
def forward(
    parts: Any,
    source: Source,
    cuts: tuple[Cut, ...],
    W: AnyArray,
    b: AnyArray | None,
    steps: dict[str, Any],
    cval: float,
) -> AnyArray:
    """One block of the output."""
    x, pad = image(parts, source, cuts), [cut.pad for cut in cuts]
    if cval:
        x = np.pad(x, [(0, 0), (0, 0), *pad], constant_values=cval)
        pad = [(0, 0)] * len(cuts)
    return ops.forward(dense(x, steps["like"].channels_last), W, b, pad=pad, **steps)


@_in_few_threads
def weight_grad(
    parts: Any,
    source: Source,
    cuts: tuple[Cut, ...],
    gy: AnyArray,
    gy_source: Source,
    gy_parts: tuple[Part, ...],
    kernel: tuple[int, ...],
    steps: dict[str, Any],
) -> AnyArray:
    """One block's part of the gradient for W, in float64."""
    x, gy = image(parts, source, cuts), checked(gy, gy_source, gy_parts)
    m = gy.shape[1] // x.shape[1] if x.shape[1] else 0
    out = np.empty((m, x.shape[1], *kernel))
    return ops.weight_grad(x, gy, kernel, pad=[cut.pad for cut in cuts], out=out, **steps)


@_in_few_threads
def bias_grad(gy: AnyArray, source: Source, parts: tuple[Part, ...]) -> AnyArray:
    """One block's part of the gradient for b, in float64."""
    gy = checked(gy, source, parts)
    return ops.bias_grad(gy, out=np.empty(gy.shape[1]))


def total(parts: list[AnyArray], dtype: Any = None) -> AnyArray:
    """The sum of some parts in their order, rounded where a dtype is asked for."""
    sums = parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])
    return sums if dtype is None else sums.astype(dtype)


@_in_few_threads
def input_grad(
    runs: list[tuple[Any, tuple[Cut, ...], tuple[Any, ...], tuple[int, ...]]],
    source: Source,
    shape: tuple[int, ...],
    W: AnyArray,
    steps: dict[str, Any],
) -> AnyArray:
    """One block of the gradient for x: of each run of places what the outputs that meet them add, where it belongs."""

    def of_run(parts: Any, cuts: tuple[Cut, ...], size: tuple[int, ...], gy_dtype: Any) -> AnyArray:
        gy = joined(parts, source, cuts).astype(gy_dtype, copy=False)
        return ops.input_grad(np.ascontiguousarray(gy), W, size, pad=[cut.pad for cut in cuts], **steps)

    if len(runs) == 1 and runs[0][3] == shape[2:]:
        parts, cuts, _, size = runs[0]
        return of_run(parts, cuts, size, source.dtype)
    sums = np.zeros(shape, np.promote_types(np.result_type(source.dtype, W.dtype), np.float32))
    for parts, cuts, target, size in runs:
        sums[(slice(None), slice(None), *target)] += of_run(parts, cuts, size, sums.dtype)
    return sums.astype(source.dtype)
