"""A block in regions: windows of most of its outputs meet one chunk alone, which then is read as it lies."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod
from typing import NamedTuple

from .cuts import Cut


class Span(NamedTuple):
    """Outputs of a cut, the elements that their windows meet among those that it takes, and zeros beside these."""

    outs: slice
    taken: slice
    pad: tuple[int, int]

    @property
    def size(self) -> int:
        """How many outputs there are."""
        return int(self.outs.stop - self.outs.start)


Region = tuple[Span, ...]


class Thirds(NamedTuple):
    """The outputs inside the longest part, those before and behind them, and all."""

    inside: Span
    before: Span
    behind: Span
    whole: Span


def regions(cuts: tuple[Cut, ...], stride: tuple[int, ...], reach: tuple[int, ...], zeros: bool = True) -> list[Region]:
    """All outputs: those inside the longest parts, and slabs around them; or one region, where few are inside.

    Zeros beside the first and the last element may be inside, too: the engine adds them.
    """
    axes = [_thirds(*facts, zeros) for facts in zip(cuts, stride, reach, strict=True)]
    insides, wholes = [each.inside for each in axes], [each.whole for each in axes]
    if 2 * prod(inside.size for inside in insides) < prod(whole.size for whole in wholes):
        return [tuple(wholes)]
    found = [tuple(insides)]
    for axis, each in enumerate(axes):
        beside = [span for span in (each.before, each.behind) if span.size]
        found += [(*insides[:axis], span, *wholes[axis + 1 :]) for span in beside]
    return found


def _thirds(cut: Cut, stride: int, reach: int, zeros: bool) -> Thirds:
    count = (cut.size + sum(cut.pad) - reach) // stride + 1
    start, stop = _longest(cut)
    is_first, is_last = zeros and not start, zeros and stop == cut.size
    first = 0 if is_first else min(-(-(start + cut.pad[0]) // stride), count)
    last = count if is_last else max(first, (stop + cut.pad[0] - reach) // stride + 1)
    return Thirds(
        *(_span(cut, stride, reach, *each) for each in ((first, last), (0, first), (last, count), (0, count)))
    )


def _longest(cut: Cut) -> tuple[int, int]:
    """From where to where, in what is taken, the longest piece of a part stands as it is."""
    found = [(0, 0)]
    for at, taken in zip(accumulate(map(len, cut.taken), initial=0), cut.taken, strict=False):
        for begin, end in pairwise(cut.starts) if taken.step == 1 else ():
            low, high = max(taken.start, begin), min(taken.stop, end)
            found.append((at + low - taken.start, at + high - taken.start))
    return max(found, key=lambda bounds: bounds[1] - bounds[0])


def _span(cut: Cut, stride: int, reach: int, first: int, last: int) -> Span:
    begin, end = first * stride - cut.pad[0], (last - 1) * stride - cut.pad[0] + reach
    start, stop = (min(max(place, 0), cut.size) for place in (begin, end))
    before = max(min(end, 0) - begin, 0)
    return Span(slice(first, last), slice(start, stop), (before, end - begin - (stop - start) - before))
