"""Filters that are columns times rows: two passes of lines, a part of the image at a time, which stays in a cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, passes
from .arrays import check_out, dtype_code, image_to_write, written
from .geometry import Axis, Geometry, geometry

AnyArray = npt.NDArray[Any]

# Of what lies between the two passes.
_PART_BYTES = 2 << 20


def filters_shape(columns: AnyArray, rows: AnyArray) -> tuple[int, ...]:
    """Shape (c_M, c_I, k_H, k_W) of the filters that (c_M, c_I, k_H) and (c_M, c_I, k_W) are the factors of."""
    if columns.ndim != 3 or rows.ndim != 3 or columns.shape[:2] != rows.shape[:2]:
        msg = (
            f"columns and rows must have shapes (c_M, c_I, k_H) and (c_M, c_I, k_W), got {columns.shape}, {rows.shape}"
        )
        raise ValueError(msg)
    return (*columns.shape, rows.shape[2])


class Factors:
    """The two passes of a convolution with `columns` and `rows`; `g` is the geometry of their product."""

    def __init__(self, g: Geometry, columns: AnyArray, rows: AnyArray, *images: AnyArray) -> None:
        for name, a in ("columns", columns), ("rows", rows):
            dtype_code(name, a.dtype)
        wide = any(a.dtype.itemsize == 8 for a in (columns, rows, *images))
        self.g, self.sums = g, np.dtype(np.float64 if wide else np.float32)
        # Filter m of channel c feeds output channel c * c_M + m.
        self.columns = columns.swapaxes(0, 1).reshape(1, g.y_shape[1], columns.shape[2], 1)
        self.rows = rows[:, :, None]

    def _along_rows(self, batch: int, channels: int, height: int) -> Geometry:
        _, w = self.g.axes
        shape = batch, channels, height, w.size
        kernel = self.g.multiplier, channels, 1, w.kernel
        steps = (1, w.stride), ((0, 0), w.pad), (1, w.dilate)
        return geometry(shape, kernel, *steps, method="direct", pad_mode=self.g.pad_mode)

    def _along_columns(self, batch: int, outs: int, height: int, pad: tuple[int, int]) -> Geometry:
        h, w = self.g.axes
        steps = (h.stride, 1), (pad, (0, 0)), (h.dilate, 1)
        shapes = (batch, outs, height, w.out), (1, outs, h.kernel, 1)
        return geometry(*shapes, *steps, method="direct", pad_mode=self.g.pad_mode)

    def between(self, x: AnyArray) -> AnyArray:
        """What the rows make of x, in the sums' type."""
        x = x.astype(self.sums, copy=False)
        return passes.forward(self._along_rows(x.shape[0], x.shape[1], x.shape[2]), x, self.rows)

    def forward(self, x: AnyArray, b: AnyArray | None, out: AnyArray | None) -> AnyArray:
        """The output."""
        g, m = self.g, self.g.multiplier
        if b is not None:
            passes.check_bias(g, x, self.columns, b)
        if out is not None:
            check_out(out, g.y_shape, x.dtype, ("x", x), ("columns", self.columns), ("rows", self.rows), ("b", b))
        y = image_to_write(out, g.y_shape, x, dtype_code("x", x.dtype))
        last = _core.channels_last([s // x.itemsize for s in x.strides], x.shape)
        for images, channels, outputs in self._parts(last):
            places, pad = _met(g.axes[0], outputs)
            outs = slice(channels.start * m, channels.stop * m)
            part = x[images, channels, places].astype(self.sums, copy=False)
            n, c, height, _ = part.shape
            between = passes.forward(self._along_rows(n, c, height), part, self.rows[:, channels])
            columns = self._along_columns(n, c * m, height, pad)
            bias = None if b is None else b[outs]
            result = y[images, outs, outputs]
            if y.dtype == self.sums:
                passes.forward(columns, between, self.columns[:, outs], bias, result)
            else:
                result[...] = passes.forward(columns, between, self.columns[:, outs], bias)
        return written(y, out, x.dtype)

    def _parts(self, last: bool) -> Iterator[tuple[slice, slice, slice]]:
        """Images, channels and rows of outputs: what lies between their passes takes about so many bytes."""
        h, w = self.g.axes
        row = max(1, self.g.multiplier * w.out * self.sums.itemsize)
        plane = row * h.size
        together = max(1, _PART_BYTES // max(1, plane))  # planes
        channels = min(self.g.channels, together)
        images = max(1, together // max(1, self.g.channels))
        outputs = h.out
        if plane > _PART_BYTES or (last and channels < self.g.channels):
            channels = self.g.channels if last else 1
            outputs = self._least_outputs(max(1, _PART_BYTES // (row * channels)))
        bands = max(1, h.out // outputs)
        for n in range(0, self.g.batch, images):
            for c in range(0, self.g.channels, max(1, channels)):
                for i in range(bands):
                    yield (
                        slice(n, min(n + images, self.g.batch)),
                        slice(c, min(c + channels, self.g.channels)),
                        slice(i * h.out // bands, (i + 1) * h.out // bands),
                    )

    def _least_outputs(self, height: int) -> int:
        """Rows of outputs of a part that meets about so many rows of the image.

        Their windows mostly meet the same, and what lies beside the image comes from inside the part: unless it comes
        from its other end.
        """
        h = self.g.axes[0]
        reach = h.dilate * (h.kernel - 1) + 1
        if self.g.pad_mode == "wrap":
            return h.out
        return max(1, (max(height, 8 * reach) - reach) // h.stride + 1, (2 * max(h.pad) + h.stride) // h.stride + 1)

    def after_columns(self, gy: AnyArray) -> AnyArray:
        """The gradient for what lies between the passes, in the sums' type."""
        h = self.g.axes[0]
        columns = self._along_columns(self.g.batch, self.g.y_shape[1], h.size, h.pad)
        return passes.input_grad(columns, gy.astype(self.sums, copy=False), self.columns)

    def input_grad(self, gy: AnyArray, out: AnyArray | None) -> AnyArray:
        """The gradient for x."""
        g = self.g
        passes.check_gy(g, gy, f"input size {g.x_shape[2:]}, columns and rows {g.W_shape}")
        if out is not None:
            check_out(out, g.x_shape, gy.dtype, ("gy", gy), ("columns", self.columns), ("rows", self.rows))
        gx = image_to_write(out, g.x_shape, gy, dtype_code("gy", gy.dtype))
        rows = self._along_rows(g.batch, g.channels, g.axes[0].size)
        gx[...] = passes.input_grad(rows, self.after_columns(gy), self.rows)
        return written(gx, out, gy.dtype)

    def weight_grads(self, x: AnyArray, gy: AnyArray) -> tuple[AnyArray, AnyArray]:
        """The gradients for columns and rows."""
        g, h = self.g, self.g.axes[0]
        passes.check_gy(g, gy, f"x {x.shape}, columns and rows {g.W_shape}")
        wide = gy.astype(self.sums, copy=False)
        columns = passes.weight_grad(
            self._along_columns(g.batch, g.y_shape[1], h.size, h.pad), self.between(x), wide
        ).reshape(g.channels, g.multiplier, h.kernel)
        rows = passes.weight_grad(
            self._along_rows(g.batch, g.channels, h.size), x.astype(self.sums, copy=False), self.after_columns(gy)
        )
        return columns.swapaxes(0, 1).astype(x.dtype), rows[:, :, 0].astype(x.dtype)


def _met(h: Axis, outputs: slice) -> tuple[slice, tuple[int, int]]:
    """The rows of an image that some outputs' windows meet, and how far these reach beyond them at either end."""
    if outputs == slice(0, h.out):
        return slice(0, h.size), h.pad
    begin = outputs.start * h.stride - h.pad[0]
    end = (outputs.stop - 1) * h.stride - h.pad[0] + h.dilate * (h.kernel - 1) + 1
    inside = slice(min(max(begin, 0), h.size), max(min(end, h.size), 0))
    return inside, (inside.start - begin, end - inside.stop)
