"""Images band by band: what a band's windows meet is brought into the sums' type and padded while it is in a cache.

So integer pixels, borders and interleaved channels cost a copy in the cache and no pass over memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..mirror import mirrored

AnyArray = npt.NDArray[Any]

# Of a band, padding included: a part of a last-level cache, and so much that a call's own time does not count.
_BAND_BYTES = 1 << 20

# numpy.pad's names of SciPy's modes.
MODES = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "mirror": "reflect",
    "nearest": "edge",
    "wrap": "wrap",
    "grid-wrap": "wrap",
    "constant": "constant",
    "grid-constant": "constant",
}


class Border(NamedTuple):
    """What lies beside an image: SciPy's mode, and the value of "constant"."""

    mode: str
    cval: float

    def places(self, size: int, before: int, after: int) -> AnyArray | None:
        """The elements of an axis that stand at places [-before, size + after); None where those outside are `cval`."""
        mode = MODES[self.mode]
        return None if mode == "constant" else mirrored(np.arange(-before, size + after), size, mode)


class Padded:
    """Planes (n, size ..., c), and how far their filters' windows reach beside them along each spatial axis."""

    def __init__(self, planes: AnyArray, sides: list[tuple[int, int]], border: Border, dtype: Any) -> None:
        self.planes, self.sides, self.border = planes, sides, border
        self.dtype = np.dtype(dtype)
        self.size = planes.shape[1:-1]
        self._places = [border.places(s, *side) for s, side in zip(self.size, sides, strict=True)]

    def is_readable(self) -> bool:
        """Whether the engine reads the planes themselves, and knows what is beside them."""
        known = MODES[self.border.mode] != "constant" or self.border.cval == 0
        return known and self.planes.dtype == self.dtype and 0 not in self.planes.shape

    def row_bytes(self) -> int:
        """Of a row of a padded plane: of what has one place along the first spatial axis."""
        around = zip(self.size[1:], self.sides[1:], strict=True)
        pixels = prod(s + sum(side) for s, side in around) * self.planes.shape[-1]
        each: int = self.dtype.itemsize
        return int(pixels) * each

    def bands(self, least_rows: int, whole: bool = False) -> Iterator[tuple[slice, slice]]:
        """Planes and rows of outputs whose padded copies take about so many bytes, or whole planes one by one."""
        halo = sum(self.sides[0])
        rows = self.size[0] if whole else max(least_rows, _BAND_BYTES // self.row_bytes() - halo)
        plane_bytes = self.row_bytes() * (self.size[0] + halo)
        together = 1 if whole or rows < self.size[0] else max(1, _BAND_BYTES // plane_bytes)
        for n in range(0, self.planes.shape[0], together):
            for row in range(0, self.size[0], rows):
                yield slice(n, n + together), slice(row, min(row + rows, self.size[0]))

    def copy(self, planes: slice, rows: slice, planar: bool = False) -> AnyArray:
        """What the windows of these outputs meet, (n, places ..., c), in the sums' type; or (n, c, places ...)."""
        source = self.planes[planes]
        before, after = self.sides[0]
        shape = [rows.stop - rows.start + before + after]
        shape += [s + sum(side) for s, side in zip(self.size[1:], self.sides[1:], strict=True)]
        if planar:
            memory = np.empty((source.shape[0], source.shape[-1], *shape), self.dtype)
            out = np.moveaxis(memory, 1, -1)
        else:
            memory = out = np.empty((source.shape[0], *shape, source.shape[-1]), self.dtype)
        middle: Any = tuple(slice(b, b + s) for s, (b, _) in zip(self.size[1:], self.sides[1:], strict=True))
        self._copy_rows(source, out[(slice(None), slice(None), *middle)], rows.start - before, rows.stop + after)
        for axis in range(1, len(self.size)):
            self._copy_beside(out, axis)
        return memory

    def _copy_beside(self, out: AnyArray, axis: int) -> None:
        """What lies beside the image along a spatial axis, from what lies inside."""
        size, (before, _), places = self.size[axis], self.sides[axis], self._places[axis]
        along: Any = np.moveaxis(out, axis + 1, 0)
        for beside in (slice(0, before), slice(before + size, along.shape[0])):
            if beside.stop > beside.start:
                along[beside] = self.border.cval if places is None else along[before + places[beside]]

    def _copy_rows(self, source: AnyArray, out: AnyArray, begin: int, end: int) -> None:
        """Places [begin, end) of the first spatial axis."""
        size, before = self.size[0], self.sides[0][0]
        first, last = min(max(begin, 0), size), max(min(end, size), 0)
        last = max(first, last)
        inside = slice(first - begin, last - begin)
        np.copyto(out[:, inside], source[:, first:last], casting="unsafe")
        places = self._places[0]
        for outside in (slice(0, inside.start), slice(inside.stop, end - begin)):
            if outside.stop > outside.start:
                if places is None:
                    out[:, outside] = self.border.cval
                else:
                    at = places[begin + before + outside.start : begin + before + outside.stop]
                    np.copyto(out[:, outside], source[:, at], casting="unsafe")


def rounded(values: AnyArray, out: AnyArray) -> None:
    """Out = values, rounded and kept in the range of out's dtype; values that are no numbers become 0 in integers."""
    if out.dtype.kind in "iu":
        limits = np.iinfo(out.dtype)
        np.rint(values, out=values)
        np.clip(values, limits.min, limits.max, out=values)
        if np.isnan(values.sum()):
            np.nan_to_num(values, copy=False)
    np.copyto(out, values, casting="unsafe")
