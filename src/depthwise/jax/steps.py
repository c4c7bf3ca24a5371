"""The parameters that all primitives share, and the shapes that follow from them; sizes may be an export's symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..geometry import output_length
from .internals import max_dim

LAYOUTS = "NCW", "NWC", "NCHW", "NHWC", "NCDHW", "NDHWC"


class Steps(NamedTuple):
    """How the window moves, an item for each spatial axis, where the channels are, and how sums are formed."""

    stride: tuple[int, ...]
    pad: tuple[tuple[int, int], ...]
    dilate: tuple[int, ...]
    layout: str  # one of LAYOUTS
    method: str = "direct"
    pad_mode: str = "constant"  # what the padding holds

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in x and y."""
        return self.layout.index("C")

    @property
    def spatial(self) -> str:
        """The layout's letters of the spatial axes."""
        return self.layout.strip("NC")

    def sizes(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """(n, c, spatial ...) of a shape in this layout."""
        return tuple(shape[self.layout.index(axis)] for axis in "NC" + self.spatial)

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
        """Shape of an x of this spatial size from those of y and W."""
        return self._in_layout(y[0], W[1], size)

    def W_shape(self, x: Sequence[Any], kernel: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of a W of this (c_M, kernel ...) from that of x; without channels y's does not tell c_M."""
        return kernel[0], x[self.channel_axis], *kernel[1:]
