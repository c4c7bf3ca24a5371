"""Real depthwise layers (layers.json, each with its source), and what computing one takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from depthwise import output_size

PASSES = ("forward", "input_grad", "weight_grad")
LAYOUTS = ("planar", "channels_last")


class Layer(NamedTuple):
    """The fields of layers.json: N images, C channels, M filters a channel, sizes, Kernel, Stride, Pad and Dilation."""

    name: str
    source: str
    N: int
    C: int
    M: int
    H: int
    W: int
    KH: int
    KW: int
    SH: int
    SW: int
    PH: int
    PW: int
    DH: int
    DW: int

    @property
    def outs(self) -> tuple[int, int]:
        return output_size((self.H, self.W), (self.KH, self.KW), **self.steps)

    @property
    def steps(self) -> dict[str, Any]:
        """Options of depthwise.ops."""
        return {"stride": (self.SH, self.SW), "pad": (self.PH, self.PW), "dilate": (self.DH, self.DW)}

    def bytes(self, dtype: str) -> int:
        """Of x and y, each once."""
        outs = self.outs
        return self.N * self.C * (self.H * self.W + self.M * outs[0] * outs[1]) * np.dtype(dtype).itemsize

    def arrays(self, layout: str, dtype: str) -> dict[str, Any]:
        """Random x, W, b and gy; W as the seed has it, (M, C, KH, KW)."""
        rng = np.random.default_rng(5)

        def image(*shape: int) -> Any:
            a = rng.standard_normal(shape, np.float32).astype(dtype)
            return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if layout != "planar" else a

        W, b = rng.standard_normal((self.M, self.C, self.KH, self.KW)), rng.standard_normal(self.M * self.C)
        gy = image(self.N, self.C * self.M, *self.outs)
        return {"x": image(self.N, self.C, self.H, self.W), "W": W.astype(dtype), "b": b.astype(dtype), "gy": gy}


def load() -> list[Layer]:
    path = Path(__file__).with_name("layers.json")
    return [Layer(**fields) for fields in json.loads(path.read_text())]
