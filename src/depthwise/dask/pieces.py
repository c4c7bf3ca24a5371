"""What a block's windows meet: pieces of neighbouring chunks, each at its place."""

from __future__ import annotations

from itertools import accumulate, pairwise, product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import check_array, empty_image, native
from .cuts import Cut, Part

AnyArray = npt.NDArray[Any]
Bounds = tuple[tuple[int, int], ...]


class Source(NamedTuple):
    """An array of which blocks take parts, and which chunks of images and channels a block takes them of."""

    name: str
    dtype: Any
    chunk: tuple[int, int]
    sizes: tuple[int, int]  # of such a chunk


class Edges:
    """A task: parts of a chunk for its neighbours, which do not keep the rest of it alive."""

    def __init__(self, source: Source, whole: tuple[Part, ...]) -> None:
        self._source, self._whole = source, whole
        self.wanted: dict[Bounds, None] = {}  # in the order in which the graph's builder has asked for them

    def __call__(self, chunk: Any) -> dict[Bounds, AnyArray]:
        """The parts by their bounds."""
        a = checked(chunk, self._source, self._whole)
        return {b: a[(slice(None), slice(None), *(slice(*at) for at in b))].copy() for b in self.wanted}


def joined(parts: list[Any], source: Source, cuts: tuple[Cut, ...], channels_last: bool = False) -> AnyArray:
    """All that the cuts take of a source, dense, from what tasks gave for each part, the last axis fastest.

    An error where a part is not as its array says.
    """
    starts = [[0, *accumulate(p.stop - p.start for p in cut.parts)] for cut in cuts]
    places = product(*(zip(cut.parts, pairwise(s), strict=True) for cut, s in zip(cuts, starts, strict=True)))
    pieces: list[tuple[tuple[slice, ...], AnyArray]] = []
    for given, place in zip(parts, places, strict=True):
        found = tuple(part for part, _ in place)
        part = given[tuple((p.start, p.stop) for p in found)] if isinstance(given, dict) else given
        pieces.append((tuple(slice(*bounds) for _, bounds in place), checked(part, source, found)))
    if len(pieces) == 1:
        whole = pieces[0][1]
    else:
        whole = empty_image((*source.sizes, *(s[-1] for s in starts)), native(source.dtype), channels_last)
        for at, piece in pieces:
            whole[(slice(None), slice(None), *at)] = piece
    for axis, cut in enumerate(cuts, 2):
        if cut.taken is not None:
            whole = np.take(whole, cut.taken, axis)
    return dense(whole, channels_last)


def dense(a: AnyArray, channels_last: bool) -> AnyArray:
    """The array with its rows, or its channels, closest in memory: bits of sums hang on that."""
    if channels_last:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
    return np.ascontiguousarray(a)


def checked(a: Any, source: Source, parts: tuple[Part, ...]) -> AnyArray:
    """What a task upstream has given for a chunk or some of it, which may be other than the array says."""
    shape = (*source.sizes, *(p.stop - p.start for p in parts))
    if isinstance(a, np.ndarray):
        check_array(source.name, a)
    if isinstance(a, np.ndarray) and a.dtype == source.dtype and a.shape == shape:
        return a
    chunk = (*source.chunk, *(p.chunk for p in parts))
    got = f"{a.shape} of {a.dtype}" if isinstance(a, np.ndarray) else f"a {type(a).__name__}"
    msg = f"what was taken of chunk {chunk} of {source.name} is {got}, not {shape} of {source.dtype}"
    raise (ValueError if isinstance(a, np.ndarray) and a.dtype == source.dtype else TypeError)(msg)
