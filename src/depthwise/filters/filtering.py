"""What is asked of an image, and which pass of the engine does it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from ..arrays import check_array, check_out, native
from ..plan import explain
from .bands import MODES, Border, Padded, rounded

AnyArray = npt.NDArray[Any]

PIXELS = "uint8", "int8", "uint16", "int16", "float16", "bfloat16", "float32", "float64"
_FEW_TAPS = 36  # so few are never worth transforms


class Filtering:
    """An image as planes (n, size ..., c), and what is asked of it."""

    def __init__(
        self,
        image: AnyArray,
        kernel: Sequence[int],
        origins: Sequence[int],
        mode: str,
        cval: float,
        channel_axis: int | None,
        dtype: Any,
    ) -> None:
        if image.dtype.name not in PIXELS:
            msg = f"image must be {', '.join(PIXELS[:-1])} or {PIXELS[-1]}, got {image.dtype}"
            raise TypeError(msg)
        if not isinstance(cval, int | float | np.number):
            msg = f"cval must be a number, got {cval!r}"
            raise TypeError(msg)
        if not isinstance(mode, str) or mode not in MODES:
            msg = f"mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}"
            raise (ValueError if isinstance(mode, str) else TypeError)(msg)
        self.image, self.channel_axis = image, channel_axis
        if channel_axis is not None:
            if not -image.ndim <= channel_axis < image.ndim:
                msg = f"channel_axis {channel_axis} is none of the image's: {image.shape}"
                raise ValueError(msg)
            image = np.moveaxis(image, channel_axis, -1)
        else:
            image = image[..., None]
        count = len(kernel)
        if image.ndim < count + 1:
            msg = f"the image {self.image.shape} has fewer than {count} spatial axes"
            raise ValueError(msg)
        self.lead, self.size, self.channels = image.shape[: -count - 1], image.shape[-count - 1 : -1], image.shape[-1]
        if 0 in self.size and MODES[mode] != "constant":
            msg = f'an image without elements, {self.image.shape}, has no border but "constant", got mode {mode!r}'
            raise ValueError(msg)
        wide = np.float64 in (native(self.image.dtype), None if dtype is None else native(np.dtype(dtype)))
        self.dtype = np.dtype(np.float64 if wide else np.float32)
        self.result_dtype = self.dtype if dtype is None else np.dtype(dtype)
        if self.result_dtype.name not in PIXELS:
            msg = f"dtype must be {', '.join(PIXELS[:-1])} or {PIXELS[-1]}, got {self.result_dtype}"
            raise TypeError(msg)
        sides = [(k // 2 + o, k - 1 - k // 2 - o) for k, o in zip(kernel, origins, strict=True)]
        planes = image.reshape(prod(self.lead), *self.size, self.channels)
        self.padded = Padded(planes, sides, Border(mode, float(cval)), self.dtype)
        self.kernel = tuple(kernel)

    def result(self, around: tuple[int, ...], out: AnyArray | None, of_channels: bool = False) -> AnyArray:
        """Memory for (n, m, size ...), or (n, size ..., c * m) where a filter's results are channels."""
        m, n = prod(around), self.padded.planes.shape[0]
        self._around = () if of_channels else around
        shape = (
            (n, *self.size, self.channels * m) if of_channels or self.channel_axis is not None else (n, m, *self.size)
        )
        self._of_channels = of_channels or self.channel_axis is not None
        expected = self._public_shape(shape)
        if out is not None:
            check_out(out, expected, out.dtype, ("image", self.image))
            inner = np.moveaxis(out, self.channel_axis, -1) if self.channel_axis is not None else out
            if inner.flags.c_contiguous:
                return inner.reshape(shape)
        return np.empty(shape, self.result_dtype)

    def _public_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not self._of_channels:
            return (*self.lead, *self._around, *self.size)
        whole = [*self.lead, *self.size]
        assert self.channel_axis is not None
        whole.insert(self.channel_axis % self.image.ndim, shape[-1])
        return tuple(whole)

    def returned(self, result: AnyArray, out: AnyArray | None) -> AnyArray:
        """The result as the caller has asked for it."""
        if self._of_channels:
            assert self.channel_axis is not None
            result = np.moveaxis(result.reshape(*self.lead, *self.size, result.shape[-1]), -1, self.channel_axis)
        else:
            result = result.reshape(*self.lead, *self._around, *self.size)
        if out is None:
            return result
        if not np.may_share_memory(out, result):
            np.copyto(out, result)
        return out

    def bank(self, W: AnyArray, method: str, result: AnyArray) -> None:
        """The result of all filters (m, c or 1, kernel ...)."""
        if 0 in result.shape:
            return
        m, shared = W.shape[0], W.shape[1] == 1
        fft = method == "fft" or (method == "auto" and prod(self.kernel) > _FEW_TAPS and self._prefers_transforms(W))
        if not fft and self.channels == 1 and self.padded.is_readable() and result.dtype == self.dtype:
            x = np.moveaxis(self.padded.planes, -1, 1)
            y = np.moveaxis(result, -1, 1) if self._of_channels else result
            pad_mode = MODES[self.padded.border.mode]
            ops.forward(x, _of_each(W, 1), pad=self.padded.sides, pad_mode=pad_mode, out=y)
            return
        for planes, rows in self.padded.bands(max(16, self.kernel[0]), whole=fft):
            region = (planes, rows) if self._of_channels else (planes, slice(None), rows)
            if fft or not self._of_channels:
                x = self.padded.copy(planes, rows, planar=True)
                if shared:  # each channel is an image
                    x = x.reshape(-1, 1, *x.shape[2:])
                y = ops.forward(x, W, method="fft" if fft else "direct")
                if self._of_channels:
                    y = np.moveaxis(y.reshape(-1, self.channels * m, *y.shape[2:]), 1, -1)
                rounded(y, result[region])
            elif shared and m == 1:
                self._into(result[region], lambda y, at=(planes, rows): self._interleaved(W, at, y))
            else:
                x = np.moveaxis(self.padded.copy(planes, rows), -1, 1)
                each = _of_each(W, self.channels)
                self._into(result[region], lambda y, x=x, W=each: ops.forward(x, W, out=np.moveaxis(y, -1, 1)))

    def _into(self, part: AnyArray, compute: Any) -> None:
        """Has `compute` fill a part of the result, through an array of the sums' type where that is another."""
        if part.dtype == self.dtype and part.flags.c_contiguous:
            compute(part)
            return
        values = np.empty(part.shape, self.dtype)
        compute(values)
        rounded(values, part)

    def _interleaved(self, W: AnyArray, at: tuple[slice, slice], y: AnyArray) -> None:
        """One filter for all channels: along a row of them its taps are so many elements apart."""
        x = self.padded.copy(*at)
        c = self.channels
        ops.forward(_rows(x), W, dilate=(*[1] * (len(self.kernel) - 1), c), out=_rows(y))

    def lines(self, lines: list[AnyArray], result: AnyArray) -> None:
        """The result of a line of taps along each axis, one after another while a band is in a cache."""
        if 0 in result.shape:
            return
        first, *others = self.padded.sides
        along = Padded(self.padded.planes, [first, *[(0, 0)] * len(others)], self.padded.border, self.dtype)
        for planes, rows in along.bands(max(32, 4 * (self.kernel[0] - 1))):
            x = along.copy(planes, rows)
            for axis in reversed(range(len(lines))):
                if self.kernel[axis] > 1:
                    x = self._line(x, lines[axis], axis)
            region = (planes, rows) if self._of_channels else (planes, slice(None), rows)
            part = result[region]
            rounded(x.reshape(part.shape), part)

    def _line(self, x: AnyArray, line: AnyArray, axis: int) -> AnyArray:
        """Planes (n, places ..., c) with a line of taps along an axis, of which the first is padded already."""
        if axis:
            sides = [side if i == axis else (0, 0) for i, side in enumerate(self.padded.sides)]
            x = Padded(x, sides, self.padded.border, self.dtype).copy(slice(None), slice(0, x.shape[1]))
        count, c = len(self.kernel), x.shape[-1]
        W = line.astype(self.dtype).reshape([-1 if i == axis else 1 for i in range(-2, count)])
        size = [s - (len(line) - 1) * (i == axis) for i, s in enumerate(x.shape[1:-1])]
        return ops.forward(_rows(x), W, dilate=(*[1] * (count - 1), c)).reshape(x.shape[0], *size, c)

    def _prefers_transforms(self, W: AnyArray) -> bool:
        """Whether a whole padded plane, or all its channels, take less by transforms."""
        size = [s + sum(side) for s, side in zip(self.size, self.padded.sides, strict=True)]
        channels = 1 if W.shape[1] == 1 else self.channels
        if len(size) > 2 or max(self.kernel) > 256:
            return False
        plan = explain((1, channels, *size), (W.shape[0], channels, *self.kernel), method="auto")
        return "spectral" in str(plan["kernel"])


def check_lazy(name: str, a: Any) -> None:
    """An error unless a Dask array is of NumPy's arrays and its sizes are known."""
    if any(np.isnan(size) for size in a.shape):
        msg = f"the sizes of {name} must be known, got {a.shape}: call its compute_chunk_sizes()"
        raise ValueError(msg)
    check_array(name, a._meta)


def shape_of(image: Any) -> AnyArray:
    """What says of a Dask array all but its values, without memory for them."""
    check_lazy("image", image)
    return np.broadcast_to(np.zeros((), image.dtype), image.shape)


def _rows(a: AnyArray) -> AnyArray:
    """(n, places ..., c) as (n, 1, places ... * c)."""
    return a.reshape(a.shape[0], 1, *a.shape[1:-2], a.shape[-2] * a.shape[-1])


def _of_each(W: AnyArray, channels: int) -> AnyArray:
    """Filters (m, c, kernel ...), the same for every channel where there is but one."""
    return np.broadcast_to(W, (W.shape[0], channels, *W.shape[2:]))
