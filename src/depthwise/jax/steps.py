"""The parameters that all primitives share, and the shapes that follow from them; sizes may be an export's symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..geometry import output_length
from .internals import max_dim


class Steps(NamedTuple):
    """How the window moves, and where the channels are."""

    stride: tuple[int, int]
    pad: tuple[tuple[int, int], tuple[int, int]]
    dilate: tuple[int, int]
    layout: str  # "NCHW" or "NHWC"

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in x and y."""
        return self.layout.index("C")

    def sizes(self, shape: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
        """(n, c, h, w) of a shape in this layout."""
        n, c, h, w = (shape[self.layout.index(axis)] for axis in "NCHW")
        return n, c, h, w

    def _in_layout(self, n: Any, c: Any, size: Sequence[Any]) -> tuple[Any, ...]:
        return (n, c, *size) if self.channel_axis == 1 else (n, *size, c)

    def y_shape(self, x: Sequence[Any], W: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of y from those of x and W; none is below 0, where a symbol is less than the kernel, as lax has it."""
        n, c, *size = self.sizes(x)
        outs = (
            max_dim(output_length(*axis), 0)
            for axis in zip(size, W[2:], self.stride, self.pad, self.dilate, strict=True)
        )
        return self._in_layout(n, c * W[0], tuple(outs))

    def x_shape(self, y: Sequence[Any], W: Sequence[Any], size: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of an x of this (h, w) from those of y and W."""
        return self._in_layout(y[0], W[1], size)

    def W_shape(self, x: Sequence[Any], kernel: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of a W of this (c_M, k_H, k_W) from that of x; without channels y's does not tell c_M."""
        return kernel[0], x[self.channel_axis], *kernel[1:]
