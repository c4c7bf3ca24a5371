"""Real depthwise layers (layers.json, each with its source), and what computing one takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from depthwise.geometry import geometry

PASSES = ("forward", "input_grad", "weight_grad")
DECODE = "decode"  # a step of depthwise.torch.causal_conv1d_update
LAYOUTS = ("planar", "channels_last")


class Layer(NamedTuple):
    """The fields of layers.json: N images, C channels, M filters a channel, and of one to three axes the rest."""

    name: str
    source: str
    N: int
    C: int
    M: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilate: tuple[int, ...]
    outs: tuple[int, ...]
    passes: tuple[str, ...]

    @property
    def steps(self) -> dict[str, Any]:
        """Options of depthwise.ops."""
        return {"stride": self.stride, "pad": self.pads, "dilate": self.dilate}

    @property
    def is_symmetric(self) -> bool:
        return all(before == after for before, after in self.pads)

    def shape(self, channels: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return self.N, channels, *sizes

    def bytes(self, dtype: str) -> int:
        """Of x and y, each once."""
        elements = np.prod(self.shape(self.C, self.size)) + np.prod(self.shape(self.C * self.M, self.outs))
        return int(elements) * np.dtype(dtype).itemsize

    def arrays(self, layout: str, dtype: str) -> dict[str, Any]:
        """Random x, W, b and gy; W as the seed has it, (M, C, kernel...)."""
        rng = np.random.default_rng(5)

        def image(shape: tuple[int, ...]) -> Any:
            a = rng.standard_normal(shape, np.float32).astype(dtype)
            return a if layout == "planar" else channels_first(np.ascontiguousarray(channels_last(a)))

        W, b = rng.standard_normal((self.M, self.C, *self.kernel)), rng.standard_normal(self.M * self.C)
        x, gy = image(self.shape(self.C, self.size)), image(self.shape(self.C * self.M, self.outs))
        made = {"x": x, "W": W.astype(dtype), "b": b.astype(dtype), "gy": gy}
        if DECODE in self.passes:
            made["state"] = rng.standard_normal(self.shape(self.C, self.kernel), np.float32).astype(dtype)
        return made


def channels_last(a: Any) -> Any:
    return a.transpose(0, *range(2, a.ndim), 1)


def channels_first(a: Any) -> Any:
    return a.transpose(0, a.ndim - 1, *range(1, a.ndim - 1))


def _layer(fields: dict[str, Any]) -> Layer:
    size, kernel, stride, dilate = (tuple(fields[k]) for k in ("size", "kernel", "stride", "dilate"))
    g = geometry((1, 1, *size), (1, 1, *kernel), stride, fields["pad"], dilate)
    pads, outs = tuple(a.pad for a in g.axes), tuple(a.out for a in g.axes)
    named = {k: fields[k] for k in ("name", "source", "N", "C", "M")}
    passes = tuple(fields.get("passes", PASSES))
    return Layer(**named, size=size, kernel=kernel, stride=stride, pads=pads, dilate=dilate, outs=outs, passes=passes)


def load() -> list[Layer]:
    return [_layer(fields) for fields in json.loads(Path(__file__).with_name("layers.json").read_text())]
