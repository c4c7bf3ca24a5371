"""The filters of :mod:`depthwise.filters` over named dimensions."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import xarray as xr

from .. import filters
from ..filters.functions import filters_for
from .convolution import Dims, check_new, names
from .coordinates import at_places


def correlate(
    image: xr.DataArray, weights: Any, *, dim: Dims, channel_dim: Hashable | None = None, **options: Any
) -> xr.DataArray:
    """:func:`depthwise.filters.correlate` over named dimensions of a DataArray.

    Parameters
    ----------
    image : DataArray
        Of NumPy's or Dask's arrays, with dimensions in any order. Those that are named neither by `dim` nor by
        `channel_dim` count images.
    weights : array_like, or dask Array where the image holds one
        With an axis for each name of `dim`, in their order. With an axis before, a bank of filters, or, with a
        `channel_dim`, a filter for each channel; with two a bank of these.
    dim : name, or sequence of one to three names
        The spatial dimensions.
    channel_dim : name, optional
        The dimension of channels.
    **options
        mode, cval, origin, method and dtype, as :func:`depthwise.filters.correlate` takes them.

    Returns
    -------
    DataArray
        Of the image's name, attributes, coordinates and order of dimensions; lazy where it holds a Dask array. A bank
        makes a dimension "filter" before those of `dim`; with a `channel_dim` it makes more channels, as
        :func:`depthwise.filters.correlate` orders them, each with the coordinates of its own.

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise.filters.correlate`; also where a dimension is none of the image's, or named twice.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from depthwise.xarray import correlate
    >>> film = xr.DataArray(np.eye(3, dtype="uint8")[..., None], dims=("y", "x", "time"))
    >>> correlate(film, np.ones((1, 3)), dim=("y", "x"), mode="constant").squeeze("time").values
    array([[1., 1., 0.],
           [1., 1., 1.],
           [0., 1., 1.]], dtype=float32)
    """
    return _correlated(filters.correlate, image, weights, dim, channel_dim, options)


def convolve(
    image: xr.DataArray, weights: Any, *, dim: Dims, channel_dim: Hashable | None = None, **options: Any
) -> xr.DataArray:
    """:func:`depthwise.filters.convolve` over named dimensions of a DataArray.

    Parameters
    ----------
    image, weights, dim, channel_dim, **options
        As :func:`correlate` takes them.

    Returns
    -------
    DataArray
        As :func:`correlate`.

    Raises
    ------
    TypeError, ValueError
        As :func:`correlate`.

    Examples
    --------
    >>> import xarray as xr
    >>> from depthwise.xarray import convolve
    >>> line = xr.DataArray([0.0, 0, 1, 0, 0], {"t": range(5)})
    >>> convolve(line, [1, 2, 3], dim="t", mode="constant").values
    array([0., 1., 2., 3., 0.])
    """
    return _correlated(filters.convolve, image, weights, dim, channel_dim, options)


def gaussian(
    image: xr.DataArray, sigma: Any, *, dim: Dims, channel_dim: Hashable | None = None, **options: Any
) -> xr.DataArray:
    """:func:`depthwise.filters.gaussian` over named dimensions of a DataArray.

    Parameters
    ----------
    image, dim, channel_dim
        As :func:`correlate` takes them.
    sigma : float or sequence of floats
        Standard deviation in elements, of all dimensions of `dim` or of each.
    **options
        mode, cval, truncate and dtype, as :func:`depthwise.filters.gaussian` takes them.

    Returns
    -------
    DataArray
        As :func:`correlate`.

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise.filters.gaussian`; also where a dimension is none of the image's, or named twice.

    Examples
    --------
    >>> import xarray as xr
    >>> from depthwise.xarray import gaussian
    >>> gaussian(xr.DataArray([0.0, 0, 1, 0, 0], {"t": range(5)}), 0.5, dim="t").values.round(3)
    array([0.   , 0.106, 0.787, 0.106, 0.   ])
    """
    dims = names(image, dim, channel_dim)
    sigmas = np.broadcast_to(sigma, len(dims)).tolist() if np.ndim(sigma) == 0 else sigma
    if len(sigmas) != len(dims):
        msg = f"sigma must be a number, or one for each of dim {dims}, got {sigma!r}"
        raise ValueError(msg)
    return _filtered(filters.gaussian, image, sigmas, dims, channel_dim, options)


def _correlated(
    function: Callable[..., Any],
    image: Any,
    weights: Any,
    dim: Dims,
    channel_dim: Hashable | None,
    options: dict[str, Any],
) -> xr.DataArray:
    dims = names(image, dim, channel_dim)
    weights = filters_for(image.data, weights)
    around = weights.ndim - len(dims)
    if not 0 <= around <= (1 if channel_dim is None else 2):
        msg = f"weights {weights.shape} do not fit dim {dims} and channel_dim {channel_dim!r}"
        raise ValueError(msg)
    if around == 0:
        return _filtered(function, image, weights, dims, channel_dim if len(dims) == 2 else None, options)
    if channel_dim is None:  # one by one: a bank's axis would be a volume's where there are several images
        check_new(image, "filter")
        each = [_filtered(function, image, filter_, dims, None, options) for filter_ in weights]
        bank: xr.DataArray = xr.concat(each, "filter")
        return bank.transpose(*[d for d in image.dims if d not in dims], "filter", *dims)
    if len(dims) != 2:
        msg = f"channels have filters of their own along two dimensions, not along {dims}: see convolution"
        raise ValueError(msg)
    return _filtered(function, image, weights, dims, channel_dim, options)


def _filtered(
    function: Callable[..., Any],
    image: xr.DataArray,
    weights: Any,
    dims: tuple[Hashable, ...],
    channel_dim: Hashable | None,
    options: dict[str, Any],
) -> xr.DataArray:
    order = [d for d in image.dims if d not in dims and d != channel_dim]
    channel_axis, images = None, len(order)
    order += dims
    if channel_dim is not None:  # behind the others where it is so in memory
        order.insert(len(order) if image.dims[-1] == channel_dim else images, channel_dim)
        channel_axis = order.index(channel_dim)
    moved = image.transpose(*order)
    data = function(moved.data, weights, channel_axis=channel_axis, **options)
    places = {}
    if channel_axis is not None:
        c = moved.shape[channel_axis]
        places = {channel_dim: np.repeat(np.arange(c), data.shape[channel_axis] // max(c, 1))}
    coords = at_places(moved, places).coords
    return xr.DataArray(data, coords, order, attrs=image.attrs).rename(image.name).transpose(*image.dims)
