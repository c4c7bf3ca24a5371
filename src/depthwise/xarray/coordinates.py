"""Where outputs stand: the coordinates of a DataArray at other places of its dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr


def at_places(x: xr.DataArray, places: Mapping[Any, Any]) -> xr.Dataset:
    """X's coordinates at these places of some dimensions, counted from 0 along each.

    Between two elements and beside the first and the last, coordinates that are numbers or times go on in a line;
    others are left out, as those of a dimension of one element are.
    """
    coords = x.coords.to_dataset()
    for dim, where in places.items():
        at = np.asarray(where)
        whole = np.rint(at).astype(int)
        if np.array_equal(whole, at) and (not at.size or (whole.min() >= 0 and whole.max() < x.sizes[dim])):
            coords = coords.isel({dim: whole}, missing_dims="ignore")
            continue
        moved = {name: _between(c, dim, at) for name, c in coords.coords.items() if dim in c.dims}
        coords = coords.drop_vars(list(moved)).assign_coords({n: c for n, c in moved.items() if c is not None})
    return coords


def _between(coord: xr.DataArray, dim: Any, at: Any) -> xr.Variable | None:
    if coord.dtype.kind not in "iufmM" or coord.sizes[dim] < 2 or _is_of_levels(coord):
        return None
    values = coord.variable.to_base_variable()
    if coord.dtype.kind in "iu":
        values = values.astype(float)
    elif coord.dtype.kind in "mM":  # half a second is nothing where seconds are counted
        values = values.astype(f"{coord.dtype.kind}8[ns]")
    first = np.clip(np.floor(at).astype(int), 0, coord.sizes[dim] - 2)
    low, high = values.isel({dim: first}), values.isel({dim: first + 1})
    moved: xr.Variable = low + (high - low) * xr.Variable(dim, at - first)
    return moved.transpose(*values.dims)


def _is_of_levels(coord: xr.DataArray) -> bool:
    """Whether it is an index of several levels, or one of these, whose neighbours are no line."""
    return any(getattr(index, "nlevels", 1) > 1 for index in coord.indexes.values())
