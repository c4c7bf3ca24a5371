"""Which parts of an axis' chunks a block needs: a block's windows are cut out of the chunks that they meet.

An output belongs to the chunk under its window's centre, so that a stride leaves nothing to trim.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..geometry import Axis
from ..mirror import mirrored


class Part(NamedTuple):
    """Elements [start, stop) of a chunk, or all of them."""

    chunk: int
    start: int
    stop: int
    whole: bool = False


class Cut(NamedTuple):
    """Parts one behind another along an axis, which of their elements are taken in what order, and zeros beside."""

    parts: tuple[Part, ...]
    taken: tuple[range, ...]  # numbers of elements of all parts together, up or down one by one
    pad: tuple[int, int] = (0, 0)

    @property
    def starts(self) -> list[int]:
        """Where each part begins among those before it, and where the last one ends."""
        return [0, *accumulate(p.stop - p.start for p in self.parts)]

    @property
    def size(self) -> int:
        """How many elements are taken."""
        return sum(map(len, self.taken))


def reach(a: Axis) -> int:
    """Places that a window spans."""
    return a.dilate * (a.kernel - 1) + 1


@lru_cache(maxsize=64)
def _ends(chunks: tuple[int, ...]) -> list[int]:
    return list(accumulate(chunks))


@lru_cache(maxsize=64)
def whole_chunks(chunks: tuple[int, ...]) -> list[Part]:
    """Each of an axis' chunks as a part."""
    return [Part(i, 0, size, True) for i, size in enumerate(chunks)]


def parts_of(chunks: tuple[int, ...], begin: int, end: int) -> list[Part]:
    """The parts of an axis' chunks that are elements [begin, end)."""
    ends, parts = _ends(chunks), []
    for i in range(bisect_right(ends, begin), len(chunks)):
        start = ends[i] - chunks[i]
        if start >= end:
            break
        if chunks[i]:
            bounds = max(begin - start, 0), min(end, ends[i]) - start
            parts.append(Part(i, *bounds, bounds == (0, chunks[i])))
    return parts


def cut(chunks: tuple[int, ...], begin: int, end: int, pad_mode: str) -> Cut:
    """What stands at places [begin, end) of an axis, of which some may lie beside it."""
    size = _ends(chunks)[-1]
    if end <= begin:
        return Cut((Part(0, 0, 0),), ())
    if pad_mode == "constant" or (begin >= 0 and end <= size):
        first, last = min(max(begin, 0), size), min(max(end, 0), size)
        if last <= first:  # nothing but zeros
            return Cut((Part(0, 0, 0),), (), (end - begin, 0))
        return Cut(tuple(parts_of(chunks, first, last)), (range(last - first),), (first - begin, end - last))
    places = mirrored(np.arange(begin, end), size, pad_mode)
    met = np.unique(places)
    parts: list[Part] = []
    for run in np.split(met, np.flatnonzero(np.diff(met) > 1) + 1):
        parts += parts_of(chunks, int(run[0]), int(run[-1]) + 1)
    return Cut(tuple(parts), _ranges(np.searchsorted(met, places)))


def _ranges(order: npt.NDArray[np.intp]) -> tuple[range, ...]:
    """The same numbers, those that go up or down one by one together."""
    found = []
    while len(order):
        step = int(order[1] - order[0]) if len(order) > 1 else 1
        size, step = (1, 1) if abs(step) != 1 else (1 + _equal(np.diff(order), step), step)
        found.append(range(int(order[0]), int(order[0]) + size * step, step))
        order = order[size:]
    return tuple(found)


def _equal(values: npt.NDArray[np.intp], value: int) -> int:
    """How many of the first values are this one."""
    others = np.flatnonzero(values != value)
    return int(others[0]) if len(others) else len(values)


def output_chunks(a: Axis, chunks: Sequence[int]) -> tuple[int, ...]:
    """How many outputs belong to each chunk of an axis' input, without chunks that none belongs to."""
    bounds = [0]
    for end in accumulate(chunks[:-1]):
        # The first output whose centre stands at this element or behind it.
        first = -(-(end + a.pad[0] - (reach(a) - 1) // 2) // a.stride)
        bounds.append(min(max(first, bounds[-1]), a.out))
    bounds.append(a.out)
    return _sizes(bounds)


def input_chunks(a: Axis, out_chunks: Sequence[int]) -> tuple[int, ...]:
    """Chunks of an axis' input to which outputs in these chunks belong; the reverse of :func:`output_chunks`."""
    bounds = [0]
    for end in accumulate(out_chunks[:-1]):
        first = end * a.stride - a.pad[0] + (reach(a) - 1) // 2
        bounds.append(min(max(first, bounds[-1]), a.size))
    bounds.append(a.size)
    return _sizes(bounds)


def _sizes(bounds: list[int]) -> tuple[int, ...]:
    """The sizes of what lies between these bounds, but for what is empty beside others."""
    sizes = [int(stop - start) for start, stop in pairwise(bounds)]
    return tuple(size for size in sizes if size) or (0,)


def windows(a: Axis, first: int, last: int) -> tuple[int, int]:
    """The places that the windows of outputs [first, last) cover."""
    return first * a.stride - a.pad[0], (last - 1) * a.stride - a.pad[0] + reach(a)


class Fold(NamedTuple):
    """The places whose gradients a chunk of an axis' input needs: its own, and those beside the input that mirror them.

    What mirrors an element is added to it place by place, so that sums have an order that hangs on no chunk.
    """

    runs: tuple[tuple[slice, Cut], ...]  # of places that are neighbours, and the outputs that meet them
    size: int  # places in all
    own: slice
    added: tuple[tuple[int, int], ...] = ()  # from where, to where


def folds(a: Axis, chunks: Sequence[int], outs: tuple[int, ...], pad_mode: str) -> list[Fold]:
    """What belongs to each chunk of an axis' input."""
    begin, end = windows(a, 0, a.out)
    beside = np.array([], int)
    if pad_mode != "constant":
        beside = np.concatenate([np.arange(begin, 0), np.arange(a.size, end)])
    belong = mirrored(beside, a.size, pad_mode) if len(beside) else beside
    found = []
    for size, stop in zip(chunks, accumulate(chunks), strict=True):
        start = stop - size
        mine = (belong >= start) & (belong < stop)
        theirs, targets = beside[mine], belong[mine] - start
        before = int(np.count_nonzero(theirs < 0))
        each = [(at, at + 1) for at in theirs.tolist()]
        runs, at = [], 0
        for first, last in _joined([*each[:before], (start, stop), *each[before:]]):
            met = _outputs(a, outs, first, last)
            if met is not None:
                runs.append((slice(at, at + last - first), met))
            at += last - first
        added = ((i if i < before else i + size, before + to) for i, to in enumerate(targets.tolist()))
        found.append(Fold(tuple(runs), at, slice(before, before + size), tuple(added)))
    return found


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending spans, of which neighbours are one."""
    found = spans[:1]
    for first, last in spans[1:]:
        if first == found[-1][1]:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return found


def _outputs(a: Axis, outs: tuple[int, ...], first: int, last: int) -> Cut | None:
    """The outputs that meet places [first, last), and the padding of a problem of those alone; None where none does."""
    before = a.pad[0] + first
    begin = max(0, (before - reach(a) + 1) // a.stride)
    end = min(a.out, (last - 1 + a.pad[0]) // a.stride + 1)
    if begin >= end or not a.kernel:
        return None
    pad = before - begin * a.stride
    behind = (end - begin - 1) * a.stride + reach(a) - (last - first) - pad
    return Cut(tuple(parts_of(outs, begin, end)), (range(end - begin),), (pad, max(behind, 0)))
