"""What a block's windows meet: pieces of neighbouring chunks, each at its place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise, product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import check_array, empty_image, native
from .cuts import Cut, Part

AnyArray = npt.NDArray[Any]


class Source(NamedTuple):
    """An array of which blocks take parts, and which chunks of images and channels a block takes them of."""

    name: str
    dtype: Any
    chunk: tuple[int, int]
    sizes: tuple[int, int]  # of such a chunk


class Edges:
    """A task: parts of a chunk for its neighbours, which do not keep the rest of it alive."""

    __slots__ = "_source", "_whole", "wanted"

    def __init__(self, source: Source, whole: tuple[Part, ...]) -> None:
        self._source, self._whole = source, whole
        self.wanted: dict[tuple[Part, ...], None] = {}  # in the order in which the graph's builder has asked for them

    def __call__(self, chunk: Any) -> dict[tuple[Part, ...], AnyArray]:
        """Each of the parts."""
        a = checked(chunk, self._source, self._whole)
        places = {parts: tuple(slice(p.start, p.stop) for p in parts) for parts in self.wanted}
        return {parts: a[(slice(None), slice(None), *place)].copy() for parts, place in places.items()}


class Pieces:
    """What tasks gave for each part of some cuts."""

    def __init__(self, parts: list[Any], source: Source, cuts: tuple[Cut, ...]) -> None:
        """An error where a part, of which the last axis' come fastest, is not as its array says."""
        self._source, self._cuts = source, cuts
        self._pieces: dict[tuple[Part, ...], AnyArray] = {}
        for given, place in zip(parts, product(*(cut.parts for cut in cuts)), strict=True):
            part = given[place] if isinstance(given, dict) else given
            self._pieces[place] = checked(part, source, place)

    def joined(self, channels_last: bool = False, taken: Sequence[slice] | None = None) -> AnyArray:
        """All that the cuts take, or this of it: dense, or a view of a piece that is."""
        wanted = taken or [slice(0, cut.size) for cut in self._cuts]
        axes = [_copies(cut, each.start, each.stop) for cut, each in zip(self._cuts, wanted, strict=True)]
        copies = [tuple(zip(*each, strict=True)) for each in product(*axes)]
        if len(copies) == 1:
            _, place, of = copies[0]
            if _is_dense(self._pieces[place], channels_last) and all(each.step == 1 for each in of):
                return self._pieces[place][(..., *of)]
        sizes = *self._source.sizes, *(each.stop - each.start for each in wanted)
        whole = empty_image(sizes, native(self._source.dtype), channels_last)
        for to, place, of in copies:
            whole[(..., *to)] = self._pieces[place][(..., *of)]
        return whole


def _copies(cut: Cut, start: int, stop: int) -> list[tuple[slice, Part, slice]]:
    """What makes [start, stop) of all that a cut takes: where, of which part, and what of it."""
    found = []
    for at, taken in zip(accumulate(map(len, cut.taken), initial=0), cut.taken, strict=False):
        numbers = taken[max(start - at, 0) : max(stop - at, 0)]
        if not numbers:
            continue
        for part, (begin, end) in zip(cut.parts, pairwise(cut.starts), strict=True):
            low, high = max(min(numbers[0], numbers[-1]), begin), min(max(numbers[0], numbers[-1]) + 1, end)
            if low < high:
                both = range(low, high)[:: taken.step]
                to = max(at - start, 0) + numbers.index(both[0])
                last = both[-1] - begin + taken.step
                of = slice(both[0] - begin, None if last < 0 else last, taken.step)
                found.append((slice(to, to + len(both)), part, of))
    return found


def dense(a: AnyArray, channels_last: bool) -> AnyArray:
    """The array with its rows, or its channels, closest in memory: bits of sums hang on that."""
    if channels_last:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
    return np.ascontiguousarray(a)


def _is_dense(a: AnyArray, channels_last: bool) -> bool:
    return bool((np.moveaxis(a, 1, -1) if channels_last else a).flags.c_contiguous)


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
