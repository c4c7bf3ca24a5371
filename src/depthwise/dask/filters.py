"""The filters of :mod:`depthwise.filters` for Dask's arrays, whose arguments they have checked."""

from __future__ import annotations

from math import prod
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from ..filters.bands import MODES, rounded
from ..filters.filtering import Filtering
from .passes import bordered

AnyArray = npt.NDArray[Any]


def bank(image: da.Array, it: Filtering, W: AnyArray, around: tuple[int, ...], method: str) -> da.Array:
    """The result of filters (m, c or 1, kernel ...)."""
    each = np.ascontiguousarray(np.broadcast_to(W, (W.shape[0], it.channels, *it.kernel)))
    y = _pass(_planes(image, it), it, each, it.padded.sides, method)
    if it.channel_axis is None:
        return _rounded(y.reshape(*it.lead, *around, *it.size), it)
    return _rounded(_with_channels(y, it), it)


def lines(image: da.Array, it: Filtering, lines: list[AnyArray]) -> da.Array:
    """The result of a line of taps along each axis."""
    x = _planes(image, it)
    for axis, line in enumerate(lines):
        if len(line) > 1:
            shape = [len(line) if i == axis else 1 for i in range(len(lines))]
            W = np.broadcast_to(line.astype(it.dtype).reshape(1, 1, *shape), (1, it.channels, *shape))
            sides = [side if i == axis else (0, 0) for i, side in enumerate(it.padded.sides)]
            x = _pass(x, it, np.ascontiguousarray(W), sides, "direct")
    return _rounded(x.reshape(*it.lead, *it.size) if it.channel_axis is None else _with_channels(x, it), it)


def _planes(image: da.Array, it: Filtering) -> da.Array:
    """(n, c, size ...) in the sums' type."""
    x = image[..., None] if it.channel_axis is None else da.moveaxis(image, it.channel_axis, -1)
    x = x.reshape(prod(it.lead), *it.size, it.channels)
    planes: da.Array = da.moveaxis(x, -1, 1).astype(it.dtype)
    return planes


def _pass(x: da.Array, it: Filtering, W: AnyArray, sides: list[tuple[int, int]], method: str) -> da.Array:
    mode, cval = it.padded.border
    filled = cval if MODES[mode] == "constant" else 0
    channels_last = it.channel_axis in (-1, len(it.lead) + len(it.size))
    return bordered(x, W, None, 1, tuple(sides), MODES[mode], 1, None, method, filled, channels_last)


def _with_channels(y: da.Array, it: Filtering) -> da.Array:
    y = da.moveaxis(y, 1, -1)
    image: da.Array = da.moveaxis(y.reshape(*it.lead, *it.size, y.shape[-1]), -1, it.channel_axis)
    return image


def _rounded(y: da.Array, it: Filtering) -> da.Array:
    if y.dtype == it.result_dtype:
        return y
    round_block: Any = _round_block
    image: da.Array = y.map_blocks(round_block, it.result_dtype, dtype=it.result_dtype)
    return image


def _round_block(values: AnyArray, dtype: Any) -> AnyArray:
    out = np.empty(values.shape, dtype)
    rounded(values.copy(), out)
    return out
