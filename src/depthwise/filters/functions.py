"""The filters: arguments in, checked, and handed on."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import dispatch
from ..arrays import check_array
from ..enums import method_code
from .filtering import Filtering, check_lazy, shape_of
from .kernels import gaussian_weights

__all__ = ["convolve", "correlate", "gaussian"]

AnyArray = npt.NDArray[Any]

_NO_OUT = "out is for NumPy arrays: what a Dask array gives is computed later"


def correlate(
    image: AnyArray,
    weights: npt.ArrayLike,
    *,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    channel_axis: int | None = None,
    method: str = "auto",
    dtype: Any = None,
    out: AnyArray | None = None,
) -> AnyArray:
    """Correlation of images with a filter, as ``scipy.ndimage.correlate``, and with banks of filters.

    Parameters
    ----------
    image : ndarray or dask Array of shape (h, w), (h, w, c) with ``channel_axis=-1``, or any of these with axes before
        uint8, int8, uint16, int16, float16, bfloat16, float32 or float64. Axes before those of an image count images,
        as in (n, h, w, c), or planes. As many spatial axes as weights: lines (l,) and volumes (d, h, w), too.
    weights : array_like, or dask Array where the image is one
        Without channels as many axes as are filtered, one to three: of an image (k_H, k_W). An axis before, where the
        image has none to spare, makes a bank (m, k_H, k_W). With channels (k_H, k_W) is for all of them, (c, k_H, k_W)
        has one for each, and (m, c, k_H, k_W) is a bank of these; (k,) filters lines.
    mode : {"reflect", "mirror", "nearest", "wrap", "constant"}, default "reflect"
        What lies beside an image, by SciPy's names (numpy.pad's are "symmetric", "reflect", "edge", "wrap" and
        "constant"): mirrored behind the border; at the border's elements; the border's elements; over and over; `cval`.
        SciPy's "grid-mirror", "grid-wrap" and "grid-constant" are others for the first, fourth and fifth.
    cval : float, default 0.0
        Beside the image, where mode is "constant".
    origin : int or sequence of one for each spatial axis, default 0
        Where a filter's centre is from its middle element, ``k // 2``.
    channel_axis : int, optional
        Of the image; without it all axes are spatial, or count images.
    method : {"auto", "direct", "fft"}, default "auto"
        As :func:`depthwise.ops.forward` takes it. The error of "fft", which "auto" takes for large filters, is relative
        to the largest values nearby, within 256 pixels. There are no transforms of volumes.
    dtype : dtype, optional
        Of the result: by default float32, or float64 for a float64 image. Integers are rounded to the nearest, ties to
        even, and kept within their range.
    out : ndarray, optional
        Receives the result; its dtype counts as `dtype`. It shares no memory with the image.

    Returns
    -------
    ndarray, or dask Array, of the image's shape
        Of a bank without channels there is an axis of m before the spatial ones, with channels there are c * m of
        them: filter i of channel j is channel ``j * m + i``. Sums are kept in float32, or in float64 where image or
        result are float64, and rounded once.

    Raises
    ------
    TypeError
        A dtype is none of these, a mode no name, cval no number or an origin no int.
    ValueError
        Shapes do not fit each other, a value is unknown or out of range, or `out` overlaps the image.

    Notes
    -----
    Pixels are converted and padded band by band as they are read. Threads: :func:`depthwise.set_num_threads`.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise.filters import correlate
    >>> image = np.array([[0, 0, 9], [0, 0, 9]], np.uint8)
    >>> correlate(image, [[1, 0, -1]], mode="nearest")
    array([[ 0., -9., -9.],
           [ 0., -9., -9.]], dtype=float32)
    """
    return _correlate(image, filters_for(image, weights), mode, cval, origin, channel_axis, method, dtype, out)


def convolve(
    image: AnyArray,
    weights: npt.ArrayLike,
    *,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
    channel_axis: int | None = None,
    method: str = "auto",
    dtype: Any = None,
    out: AnyArray | None = None,
) -> AnyArray:
    """Convolution of images with a filter, as ``scipy.ndimage.convolve``: :func:`correlate` with the filter turned.

    Parameters
    ----------
    image, weights, mode, cval, origin, channel_axis, method, dtype, out
        As :func:`correlate` takes them.

    Returns
    -------
    ndarray of the image's shape
        As :func:`correlate`.

    Raises
    ------
    TypeError, ValueError
        As :func:`correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise.filters import convolve
    >>> convolve(np.array([0, 0, 1, 0, 0], np.float32), [1, 2, 3], mode="constant")
    array([0., 1., 2., 3., 0.], dtype=float32)
    """
    weights = filters_for(image, weights)
    spatial = _spatial_axes(image, weights, channel_axis)
    kernel = weights.shape[weights.ndim - spatial :]
    origins = _origins(origin, kernel)
    turned = np.flip(weights, tuple(range(weights.ndim - spatial, weights.ndim)))
    # An even filter has its middle element behind its middle.
    origins = [-o - (1 - k % 2) for o, k in zip(origins, kernel, strict=True)]
    return _correlate(image, turned, mode, cval, origins, channel_axis, method, dtype, out)


def gaussian(
    image: AnyArray,
    sigma: float | Sequence[float],
    *,
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    channel_axis: int | None = None,
    dtype: Any = None,
    out: AnyArray | None = None,
) -> AnyArray:
    """Gaussian blur of images, as ``scipy.ndimage.gaussian_filter``, by a line of taps along each axis.

    Parameters
    ----------
    image : ndarray or dask Array of shape (h, w), or (h, w, c) with ``channel_axis=-1``
        As :func:`correlate` takes it. A sequence as `sigma` says how many of the last axes are blurred; one number is
        for all axes but the channels, of which there are one to three.
    sigma : float or sequence of floats
        Standard deviation in pixels, of all axes or of each; 0 leaves an axis as it is.
    mode, cval, channel_axis, dtype, out
        As :func:`correlate` takes them.
    truncate : float, default 4.0
        Where the filter ends, in standard deviations.

    Returns
    -------
    ndarray of the image's shape
        Of `dtype`, which is that of :func:`correlate` by default.

    Raises
    ------
    TypeError, ValueError
        As :func:`correlate`; also where a sigma is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise.filters import gaussian
    >>> spot = np.zeros((1, 5), np.float32)
    >>> spot[0, 2] = 1
    >>> gaussian(spot, (0, 0.5)).round(3)
    array([[0.   , 0.106, 0.787, 0.106, 0.   ]], dtype=float32)
    """
    lazy = _check_image(image)
    if lazy and out is not None:
        raise TypeError(_NO_OUT)
    channels = channel_axis is not None
    sigmas = list(np.atleast_1d(np.asarray(sigma, float)))
    if np.ndim(sigma) == 0:
        sigmas *= image.ndim - channels
    for value in sigmas:
        if not 0 <= value < np.inf:
            msg = f"sigma must be finite and not negative, got {sigma!r}"
            raise ValueError(msg)
    if not 0 < truncate < np.inf:
        msg = f"truncate must be positive, got {truncate!r}"
        raise ValueError(msg)
    if not 1 <= len(sigmas) <= min(3, image.ndim - channels):
        msg = f"one to three axes are blurred, no more than the image has: {image.shape}, sigma {sigma!r}"
        raise ValueError(msg)
    lines = [gaussian_weights(s, truncate) if s else np.ones(1) for s in sigmas]
    origin = [0] * len(lines)
    dtype = dtype if out is None else out.dtype
    facts = [len(line) for line in lines], origin, mode, cval, channel_axis, dtype
    it = Filtering(shape_of(image) if lazy else image, *facts)
    if lazy and image.size:
        from ..dask import filters as lazily

        return lazily.lines(image, facts, lines)  # type: ignore[arg-type,return-value]
    result = it.result((), out)
    it.lines(lines, result)
    return _as_image(it.returned(result, out), image)


def filters_for(image: Any, weights: Any) -> AnyArray:
    """Weights as an array: a Dask array for an image that is one, too, and so computed when the result is.

    An error where a Dask array's sizes are unknown, or an array's elements mean something else.
    """
    if all(dispatch.folder_of(a) == "dask" for a in (image, weights)):
        check_lazy("weights", weights)
        lazy: AnyArray = weights
        return lazy
    if isinstance(weights, np.ndarray):
        check_array("weights", weights)
    return np.asarray(weights)


def _check_image(image: Any) -> bool:
    """Whether the image is a Dask array; a TypeError unless it is, or a NumPy array."""
    kind = dispatch.folder_of(image)
    if kind == "xarray":
        msg = "image is a DataArray: depthwise.xarray has the filters for these, by the names of dimensions"
        raise TypeError(msg)
    if kind != "dask":
        check_array("image", image)
    return kind == "dask"


def _as_image(result: AnyArray, image: Any) -> AnyArray:
    """The result for an image of NumPy's, or for one of Dask's that has no elements, which Dask could not reshape."""
    if not _check_image(image):
        return result
    import dask.array as da

    lazy: AnyArray = da.from_array(result)  # type: ignore[no-untyped-call]
    return lazy


def _spatial_axes(image: Any, weights: AnyArray, channel_axis: int | None) -> int:
    """How many of the image's axes are filtered."""
    _check_image(image)
    if not image.ndim:
        msg = "image must have an axis at least"
        raise ValueError(msg)
    if weights.ndim < 1:
        msg = "weights must have an axis at least"
        raise ValueError(msg)
    if 0 in weights.shape or not (weights.dtype.kind in "biuf" or weights.dtype.name == "bfloat16"):
        msg = f"weights {weights.shape} of {weights.dtype} are no filter"
        raise ValueError(msg)
    spatial: int = min(weights.ndim, 2) if channel_axis is not None else min(weights.ndim, image.ndim, 3)
    return spatial


def _origins(origin: Any, kernel: tuple[int, ...]) -> list[int]:
    try:
        origins = [index(o) for o in (origin if np.ndim(origin) else [origin] * len(kernel))]
    except TypeError:
        msg = f"origin must be an int or a sequence of ints, got {origin!r}"
        raise TypeError(msg) from None
    if len(origins) != len(kernel) or any(not 0 <= k // 2 + o < k for k, o in zip(kernel, origins, strict=False)):
        msg = f"origin {origin!r} is outside a filter of {kernel}"
        raise ValueError(msg)
    return origins


def _correlate(
    image: AnyArray,
    weights: AnyArray,
    mode: str,
    cval: float,
    origin: int | Sequence[int],
    channel_axis: int | None,
    method: str,
    dtype: Any,
    out: AnyArray | None,
) -> AnyArray:
    spatial = _spatial_axes(image, weights, channel_axis)
    method_code(method)  # or an error
    around, kernel = weights.shape[: weights.ndim - spatial], weights.shape[weights.ndim - spatial :]
    if len(around) > (1 if channel_axis is None else 2):
        msg = f"weights {weights.shape} have too many axes for a bank of filters of {spatial}"
        raise ValueError(msg)
    lazy = _check_image(image)
    if lazy and out is not None:
        raise TypeError(_NO_OUT)
    dtype = dtype if out is None else out.dtype
    facts = kernel, _origins(origin, kernel), mode, cval, channel_axis, dtype
    it = Filtering(shape_of(image) if lazy else image, *facts)
    if channel_axis is None:
        bank = weights.reshape(-1, 1, *kernel)
    else:
        c = it.channels
        if around and around[-1] != c:
            msg = f"weights {weights.shape} have filters of {around[-1]} channels, the image has {c}: {image.shape}"
            raise ValueError(msg)
        bank = weights.reshape(*(around if len(around) == 2 else (1, *(around or (1,)))), *kernel)
    bank = bank.astype(it.dtype)
    if lazy and image.size:
        from ..dask import filters as lazily

        return lazily.bank(image, facts, bank, around, method)  # type: ignore[arg-type,return-value]
    result = it.result(around, out) if channel_axis is None else it.result((bank.shape[0],), out, of_channels=True)
    it.bank(bank, method, result)
    return _as_image(it.returned(result, out), image)
