"""Axes that count images, which a pass takes as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import dask.array as da


def by_chunks(x: da.Array, axes: Sequence[int], apply: Callable[[da.Array], da.Array]) -> da.Array:
    """`apply` of x, which makes one of these axes; chunk by chunk of all but the first, that none is rechunked for it.

    What `apply` gives has these axes in the same places.
    """
    axis = next((axis for axis in axes[1:] if x.numblocks[axis] > 1), None)
    if axis is None:
        return apply(x)
    bounds = pairwise(accumulate(x.chunks[axis], initial=0))
    before = (slice(None),) * axis
    parts = [by_chunks(x[(*before, slice(start, stop))], axes, apply) for start, stop in bounds]
    whole: da.Array = da.concatenate(parts, axis)
    return whole
