"""The filters of :mod:`depthwise.filters` for Dask's arrays, whose arguments they have checked."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from ..filters.bands import MODES, rounded
from ..filters.filtering import Filtering, shape_of
from .images import by_chunks
from .passes import bordered

AnyArray = npt.NDArray[Any]


def bank(image: da.Array, facts: tuple[Any, ...], W: Any, around: tuple[int, ...], method: str) -> da.Array:
    """The result of filters (m, c or 1, kernel ...); `facts` are what :class:`Filtering` is told of any image."""

    def filtered(image: da.Array, it: Filtering) -> da.Array:
        each = np.broadcast_to(W, (W.shape[0], it.channels, *it.kernel))
        y = _pass(_planes(image, it), it, each, it.padded.sides, method)
        return y.reshape(*it.lead, *around, *it.size) if it.channel_axis is None else _with_channels(y, it)

    return _by_images(image, facts, filtered)


def lines(image: da.Array, facts: tuple[Any, ...], lines: list[AnyArray]) -> da.Array:
    """The result of a line of taps along each axis."""

    def filtered(image: da.Array, it: Filtering) -> da.Array:
        x = _planes(image, it)
        for axis, line in enumerate(lines):
            if len(line) > 1:
                shape = [len(line) if i == axis else 1 for i in range(len(lines))]
                W = np.broadcast_to(line.astype(it.dtype).reshape(1, 1, *shape), (1, it.channels, *shape))
                sides = [side if i == axis else (0, 0) for i, side in enumerate(it.padded.sides)]
                x = _pass(x, it, W, sides, "direct")
        return x.reshape(*it.lead, *it.size) if it.channel_axis is None else _with_channels(x, it)

    return _by_images(image, facts, filtered)


def _by_images(
    image: da.Array, facts: tuple[Any, ...], filtered: Callable[[da.Array, Filtering], da.Array]
) -> da.Array:
    it = Filtering(shape_of(image), *facts)
    axes = [axis for axis in range(image.ndim) if it.channel_axis is None or axis != it.channel_axis % image.ndim]
    y = by_chunks(image, axes[: len(it.lead)], lambda part: filtered(part, Filtering(shape_of(part), *facts)))
    return _rounded(y, it)


def _planes(image: da.Array, it: Filtering) -> da.Array:
    """(n, c, size ...) in the sums' type."""
    x = image[..., None] if it.channel_axis is None else da.moveaxis(image, it.channel_axis, -1)
    x = x.reshape(prod(it.lead), *it.size, it.channels)
    planes: da.Array = da.moveaxis(x, -1, 1).astype(it.dtype)
    return planes


def _pass(x: da.Array, it: Filtering, W: Any, sides: list[tuple[int, int]], method: str) -> da.Array:
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
