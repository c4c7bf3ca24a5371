"""Depthwise convolution over named dimensions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import prod
from typing import Any

import numpy as np
import xarray as xr

from .. import dispatch, ops
from ..arguments import WORDS, Ints, Pad
from ..geometry import Axis, geometry
from ..passes import check_bias_dtype
from .coordinates import at_places

Dims = Hashable | Sequence[Hashable]


def convolution(
    x: xr.DataArray,
    W: Any,
    b: Any = None,
    *,
    dim: Dims,
    channel_dim: Hashable | None = None,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    activation: str | None = None,
    method: str = "direct",
) -> xr.DataArray:
    """:func:`depthwise.ops.forward` over named dimensions of a DataArray.

    Parameters
    ----------
    x : DataArray
        Of NumPy's or Dask's arrays, with dimensions in any order. Those that are named neither by `dim` nor by
        `channel_dim` count images.
    W : ndarray, DataArray, or dask Array where x has one, of shape (c_M, c_I, k_H, k_W)
        Or of one or three spatial axes. c_I is 1 without a `channel_dim`. A DataArray counts by position.
    b : ndarray, DataArray, or dask Array where x has one, of shape (c_I * c_M,), optional
    dim : name, or sequence of one to three names
        The spatial dimensions, in the order of W's axes.
    channel_dim : name, optional
        The dimension of channels. Without it a multiplier of more than one makes a dimension "channel" before those of
        `dim`.
    stride, pad, pad_mode, dilate, activation, method
        As :func:`depthwise.ops.forward` takes them.

    Returns
    -------
    DataArray
        Of x's name, attributes, dtype and order of dimensions; lazy where x holds a Dask array. Coordinates are those
        at the centre of an output's window: between two elements, and beside the first and the last, numbers and times
        go on in a line, and others are left out. Channel ``c * c_M + m`` has the coordinates of channel c.

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise.ops.forward`; also where a dimension is none of x's, or named twice.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from depthwise.xarray import convolution
    >>> x = xr.DataArray(np.ones((4, 6), "float32"), {"lat": [0, 1, 2, 3], "lon": range(0, 60, 10)}, name="t")
    >>> y = convolution(x, np.full((1, 1, 2, 3), 1 / 6, "float32"), dim=("lat", "lon"), stride=(1, 2))
    >>> y.sizes["lat"], y.lon.values.tolist(), y.lat.values.tolist()
    (3, [10, 30], [0.5, 1.5, 2.5])
    """
    dims = names(x, dim, channel_dim)
    W, b = (getattr(a, "data", a) if isinstance(a, xr.DataArray) else a for a in (W, b))
    if np.ndim(W) != len(dims) + 2:
        msg = f"W must have {len(dims) + 2} axes, {WORDS[len(dims)].shapes['W']}, for dim {dims}, got {np.shape(W)}"
        raise ValueError(msg)
    images = [d for d in x.dims if d not in (*dims, channel_dim)]
    channels = [] if channel_dim is None else [channel_dim]
    makes_channels = not channels and np.shape(W)[0] != 1
    if makes_channels:
        check_new(x, "channel")
    moved = x.transpose(*images, *channels, *dims)
    size = moved.shape[len(moved.shape) - len(dims) :]
    x_shape = prod(moved.shape[: len(images)]), moved.sizes[channel_dim] if channels else 1, *size
    steps: dict[str, Any] = {"stride": stride, "pad": pad, "pad_mode": pad_mode, "dilate": dilate}
    forward: Any = ops.forward
    if lazy := dispatch.folder_of(moved.data) == "dask":
        from ..dask import forward

    def of_images(data: Any) -> Any:
        lead = data.shape[: len(images)]
        y = forward(data.reshape(prod(lead), *x_shape[1:]), W, b, activation=activation, method=method, **steps)
        return y.reshape(*lead, *y.shape[1 if channels or makes_channels else 2 :])

    if lazy:
        from ..dask.images import by_chunks

        y = by_chunks(moved.data, range(len(images)), of_images)
    else:
        y = of_images(moved.data)
    axes = geometry(x_shape, W.shape, stride, pad, dilate).axes
    places: dict[Any, Any] = {name: centres(a) for name, a in zip(dims, axes, strict=True)}
    if channels:
        places[channel_dim] = np.repeat(np.arange(x_shape[1]), W.shape[0])
    if makes_channels:
        channels = ["channel"]
    # Where there is no name xarray would take Dask's.
    named = xr.DataArray(y, at_places(moved, places).coords, (*images, *channels, *dims), attrs=x.attrs).rename(x.name)
    return named.transpose(*x.dims) if set(named.dims) == set(x.dims) else named


def names(x: Any, dim: Dims, channel_dim: Hashable | None) -> tuple[Hashable, ...]:
    """The spatial dimensions; an error unless x has them, and that of the channels, each once."""
    if not isinstance(x, xr.DataArray):
        msg = f"x must be a DataArray, got {type(x).__name__}"
        raise TypeError(msg)
    dims = (dim,) if isinstance(dim, str) or not isinstance(dim, Sequence) else tuple(dim)
    if not 1 <= len(dims) <= len(WORDS):
        msg = f"dim must name one to three dimensions, got {dim!r}"
        raise ValueError(msg)
    asked = [*dims, *([] if channel_dim is None else [channel_dim])]
    for name in asked:
        if name not in x.dims:
            msg = f"{name!r} is none of the dimensions {x.dims}"
            raise ValueError(msg)
    if len(set(asked)) < len(asked):
        msg = f"a dimension is named twice: dim {dim!r}, channel_dim {channel_dim!r}"
        raise ValueError(msg)
    return dims


def check_new(x: xr.DataArray, name: str) -> None:
    """ValueError where x has this dimension, or a coordinate of this name, already."""
    if name in x.dims or name in x.coords:
        msg = f"x has {name!r} already, which is to name the results of several filters: rename it"
        raise ValueError(msg)


def centres(a: Axis) -> Any:
    """The places of x, counted from 0, under the centres of an axis' windows."""
    return np.arange(a.out) * a.stride - a.pad[0] + a.dilate * (a.kernel - 1) / 2


def depthwise_convolution(
    spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any, method: str, pad_mode: str
) -> xr.DataArray:
    """:func:`depthwise.depthwise_convolution_2d` and its like where x is a DataArray (n, c_I, h, w)."""
    if x.ndim != spatial + 2:
        msg = f"x must have {spatial + 2} axes, {WORDS[spatial].shapes['x']}, got {x.dims} {x.shape}"
        raise ValueError(msg)
    check_bias_dtype(x, b)
    _, channel_dim, *dims = x.dims
    steps: dict[str, Any] = {"stride": stride, "pad": pad, "dilate": dilate, "method": method, "pad_mode": pad_mode}
    return convolution(x, W, b, dim=dims, channel_dim=channel_dim, **steps)
