"""Axes that count images, which a pass takes as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import dask.array as da


def by_chunks(x: da.Array, axes: Sequence[int], apply: Callable[[da.Array], da.Array]) -> da.Array:
    """`apply` of x, which makes these axes one and back; of parts of x where Dask would have to rechunk it for that.

    What `apply` gives has these axes in the same places.
    """
    if any(0 in x.chunks[axis] for axis in axes):  # Dask cannot reshape these
        x = x.rechunk({axis: tuple(c for c in x.chunks[axis] if c) or (0,) for axis in axes})
    axis = next((axis for i, axis in enumerate(axes) if x.numblocks[axis] > 1 and _lie_apart(x, axes[:i])), None)
    if axis is None:
        return apply(x)
    bounds = pairwise(accumulate(x.chunks[axis], initial=0))
    before = (slice(None),) * axis
    parts = [by_chunks(x[(*before, slice(*at))], axes, apply) for at in bounds]
    whole: da.Array = da.concatenate(parts, axis)
    return whole


def _lie_apart(x: da.Array, axes: Sequence[int]) -> bool:
    """Whether chunks hold several places of one of these axes, between which those of a later axis lie."""
    return any(max(x.chunks[axis]) > 1 for axis in axes)
