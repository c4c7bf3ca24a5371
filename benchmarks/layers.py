"""Depthwise layers, real ones (layers.json, each with its source) or drawn by chance, and what computing one takes."""

from __future__ import annotations

import json
import math
import random
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


# What networks and filters use, more often where it is more common: (choices, weights).
DRAWN_AXES = (1, 2, 3), (2, 7, 1)
DRAWN_CHANNELS = (1, 2, 3, 4, 8, 16, 24, 32, 48, 64, 96, 128, 144, 192, 240, 256, 384, 512, 768, 960, 1024, 1536)
DRAWN_BATCH = (1, 2, 4, 8, 16, 32), (12, 2, 2, 2, 2, 1)
DRAWN_MULTIPLIER = (1, 2, 3, 4, 8), (34, 2, 1, 1, 1)
DRAWN_STRIDE = (1, 2, 3, 4), (26, 11, 1, 1)
DRAWN_DILATE = (1, 2, 3, 4, 12), (44, 3, 1, 1, 1)
DRAWN_KERNEL = {
    1: ((2, 3, 4, 5, 7, 9, 15, 31, 65, 128), (1, 4, 8, 3, 3, 2, 2, 3, 1, 1)),
    2: ((2, 3, 4, 5, 6, 7, 9, 11, 13, 15, 21, 31), (1, 22, 1, 9, 1, 8, 2, 2, 1, 1, 1, 2)),
    3: ((2, 3, 5, 7), (1, 8, 2, 1)),
}
DRAWN_FLAT = 0.12  # kernels of one row or one column, of images and volumes
DRAWN_PADDING = ("same", "none", "causal"), (8, 1, 1)  # causal: sequences'
DRAWN_BYTES, DRAWN_PRODUCTS = 24e6, 4e8  # of x and y in float32, and multiply-adds, at most
DRAWN_SOURCE = "drawn by layers.drawn"


def _drawn(rng: random.Random, number: int) -> dict[str, Any]:
    def one(choices: tuple[Any, ...], weights: tuple[int, ...] | None = None) -> Any:
        return rng.choices(choices, weights)[0]

    def some_size(least: int, most: int) -> int:
        even = one((7, 8, 14, 16, 28, 32, 56, 64, 112, 128, 224, 256, 512))
        size = even if rng.random() < 0.6 else round(least * (most / least) ** rng.random())
        return int(min(max(size, least), most))

    axes = one(*DRAWN_AXES)
    kernel = [one(*DRAWN_KERNEL[axes])] * axes
    if axes > 1 and rng.random() < DRAWN_FLAT:
        kernel = [1] * axes
        kernel[rng.randrange(axes)] = one(*DRAWN_KERNEL[1])
    stride, dilate = one(*DRAWN_STRIDE), one(*DRAWN_DILATE)
    if axes == 1:
        size = [round(4 * 4000 ** rng.random())]
    elif rng.random() < 0.75:
        size = [some_size(1, 512 if axes == 2 else 64)] * axes
    else:
        size = [some_size(1, 512 if axes == 2 else 64) for _ in range(axes)]
    windows = [(k - 1) * dilate for k in kernel]  # less one, as sizes that they must be below
    padding = one(*DRAWN_PADDING)
    if padding == "none" and all(w < s for w, s in zip(windows, size, strict=True)):
        pad = [[0, 0]] * axes
    elif padding == "causal" and axes == 1:
        pad = [[w, 0] for w in windows]
    else:
        padding, pad = "same", [[w // 2, w // 2] for w in windows]
    fields = {"N": one(*DRAWN_BATCH), "C": one(DRAWN_CHANNELS), "M": one(*DRAWN_MULTIPLIER)}

    def times(values: list[int]) -> str:
        return "x".join(map(str, values))

    name = f"{number}: {fields['N']}x{fields['C']}x{times(size)}, {times(kernel)}"
    named = {"multiplier": fields["M"], "stride": stride, "dilate": dilate}
    name += "".join(f", {word} {value}" for word, value in named.items() if value > 1)
    name += {"same": "", "none": ", unpadded", "causal": ", causal"}[padding]
    steps = {"stride": [stride] * axes, "pad": pad, "dilate": [dilate] * axes}
    return {"name": name, "source": DRAWN_SOURCE, **fields, "size": size, "kernel": kernel, **steps}


def drawn(count: int, seed: int) -> list[Layer]:
    """Plausible layers, the same ones for the same seed: the first of more are those of fewer."""
    rng = random.Random(seed)
    found: list[Layer] = []
    while len(found) < count:
        fields = _drawn(rng, len(found))
        axes = zip(fields["size"], fields["kernel"], fields["dilate"], fields["pad"], strict=True)
        if any(not (k - 1) * dilate < size + sum(pad) <= 4 * size for size, k, dilate, pad in axes):
            continue  # no output, or more padding than a network has
        layer = _layer(fields)
        products = layer.N * layer.C * layer.M * math.prod(layer.outs) * math.prod(layer.kernel)
        if layer.bytes("float32") <= DRAWN_BYTES and products <= DRAWN_PRODUCTS:
            found.append(layer)
    return found


def load() -> list[Layer]:
    return [_layer(fields) for fields in json.loads(Path(__file__).with_name("layers.json").read_text())]
