"""The picture: a photograph through a bank of oriented band-pass filters, by channel multiplier."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib import cbook, colors
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from PIL import Image

import depthwise

from . import filters, progress, roofline
from .runtime import active_target

ORIENTATIONS, SIZE = 8, 31

Image32 = npt.NDArray[np.float32]


def bank() -> Image32:
    """Morlet wavelets as in Sifre's thesis: W of shape (2 * orientations, 1, SIZE, SIZE), real parts first."""
    r = np.arange(SIZE) - SIZE // 2
    y, x = np.meshgrid(r, r, indexing="ij")
    waves = []
    for k in range(ORIENTATIONS):
        a = np.pi * k / ORIENTATIONS
        along, across = x * np.cos(a) + y * np.sin(a), -x * np.sin(a) + y * np.cos(a)
        envelope = np.exp(-(along**2 + (across * 0.5) ** 2) / (2 * 4.0**2))
        wave = np.exp(1j * 3 * np.pi / 4 / 2.5 * along) * envelope
        wave -= envelope * wave.sum() / envelope.sum()  # no response to a flat surface
        waves.append(wave / np.abs(wave).sum())
    bank = np.array(waves)
    return np.concatenate([bank.real, bank.imag])[:, None].astype(np.float32)


def photograph() -> Image32:
    """Grace Hopper by James S. Davis, 1984 (public domain), which ships with Matplotlib; RGB in [0, 1]."""
    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.float32) / np.float32(255)


def run(output: str) -> None:
    """Filter the photograph, print how fast that went, and write the picture."""
    with progress.shown(3) as begin:
        begin("filtering the photograph")
        rgb = photograph()
        planes, W = np.ascontiguousarray(rgb.transpose(2, 0, 1)), np.repeat(bank(), 3, axis=1)
        y = filters.correlate(planes, W, mode="mirror", channel_axis=0)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            filters.correlate(planes, W, mode="mirror", channel_axis=0, out=y)
            seconds.append(time.perf_counter() - start)
        begin("measuring this machine")
        plan = depthwise.explain(planes[None].shape, W.shape, pad=SIZE // 2, pad_mode="reflect")
        least = plan["flop"] / roofline.multiply_add_rate(active_target(), False, plan["threads"])
        begin("drawing")
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        draw(rgb, W, y[None]).savefig(output, dpi=110, facecolor="#101014")
    print(f"image {planes.shape} * W {W.shape} -> y {y.shape}, float32, {plan['target']}, {plan['threads']} threads")
    print(
        f"{min(seconds) * 1e3:.1f} ms; the {plan['flop'] / 1e9:.1f} GFLOP of direct sums take this machine at least "
        f"{least * 1e3:.1f} ms"
    )
    print(f"picture: {output}")


def draw(rgb: Image32, W: Image32, y: Image32) -> Figure:
    """The photograph, and beside it its edges in the colour of their direction; below, filters and responses."""
    _, _, h, w = y.shape
    parts = y.reshape(3, 2, ORIENTATIONS, h, w)
    strength = np.hypot(parts[:, 0], parts[:, 1]).max(axis=0)  # the modulus: largest over the colours
    angles = 2 * np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS
    direction = np.tensordot(np.exp(1j * angles), strength, 1)
    total = strength.sum(axis=0)
    hue = np.angle(direction) / (2 * np.pi) % 1
    clarity = np.abs(direction) / (total + 1e-6)
    brightness = np.clip(total / np.quantile(total, 0.985), 0, 1) ** 0.6
    edges = colors.hsv_to_rgb(np.stack([hue, np.clip(1.6 * clarity, 0, 1), brightness], axis=-1))

    matplotlib.rcParams["font.size"] = 9
    fig = Figure(figsize=(12, 9.6))
    grid = GridSpec(3, ORIENTATIONS, fig, height_ratios=[6, 0.8, 1.45], hspace=0.04, wspace=0.03)
    grid.update(left=0.02, right=0.98, top=0.94, bottom=0.015)

    def show(cell: Any, image: npt.NDArray[Any], **options: Any) -> None:
        axes = fig.add_subplot(cell)
        axes.imshow(image, **options)
        axes.set_axis_off()

    show(grid[0, : ORIENTATIONS // 2], rgb)
    show(grid[0, ORIENTATIONS // 2 :], edges)
    for k in range(ORIENTATIONS):
        tint = colors.hsv_to_rgb((k / ORIENTATIONS, 0.75, 1.0))
        show(grid[1, k], W[k, 0], cmap="gray")
        response = np.clip(strength[k] / np.quantile(strength, 0.99), 0, 1) ** 0.7
        show(grid[2, k], response[..., None] * tint)
    fig.suptitle(
        f"depthwise_convolution_2d: 3 channels x {2 * ORIENTATIONS} oriented {SIZE}x{SIZE} filters", color="#e8e8ee"
    )
    return fig
