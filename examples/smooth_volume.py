"""A noisy volume, smoothed by Gaussians of three widths in one call of depthwise_convolution_3d.

    pip install '.[demo]' && python examples/smooth_volume.py

The volume is a phantom as those that test tomographs: ellipsoids in each other, and noise. Its one channel has three
filters, so the call makes a small scale space. Gaussians factor, so three calls with a line of taps each must give the
same; the picture shows the middle slices.
"""

import argparse
import time

import numpy as np
import numpy.typing as npt

import depthwise.functions as F  # noqa: N812

try:
    from matplotlib.figure import Figure
except ImportError as e:
    raise SystemExit(f"this example draws a picture ({e}): pip install '.[demo]'") from e

Array = npt.NDArray[np.float32]
SIGMAS = 0.8, 1.6, 2.4
RADIUS = 7
# centre and half axes (depth, height, width) in a cube from -1 to 1, and what is added inside
ELLIPSOIDS = [
    ((0, 0, 0), (0.85, 0.9, 0.7), 1.0),
    ((0, -0.02, 0), (0.8, 0.84, 0.64), -0.7),
    ((0, 0.05, 0.24), (0.35, 0.32, 0.13), -0.25),
    ((0, 0.05, -0.24), (0.4, 0.42, 0.16), -0.25),
    ((0.1, 0.4, 0), (0.25, 0.2, 0.22), 0.3),
    ((0, -0.55, 0), (0.08, 0.06, 0.06), 0.4),
    ((0, -0.55, 0.2), (0.06, 0.04, 0.04), 0.4),
    ((0, -0.55, -0.2), (0.05, 0.05, 0.04), 0.4),
]


def phantom(size: int) -> Array:
    line = np.linspace(-1, 1, size, dtype=np.float32)
    place = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    volume = np.zeros((size, size, size), np.float32)
    for centre, axes, value in ELLIPSOIDS:
        volume[(((place - np.float32(centre)) / np.float32(axes)) ** 2).sum(-1) < 1] += value
    return volume


def gaussian(sigma: float) -> Array:
    r = np.arange(-RADIUS, RADIUS + 1)
    line = np.exp(-(r**2) / (2 * sigma**2))
    return (line / line.sum()).astype(np.float32)


def smooth(x: Array) -> Array:
    """All widths at once: x (1, 1, d, h, w), y (1, 3, d, h, w)."""
    lines = [gaussian(sigma) for sigma in SIGMAS]
    W = np.stack([a[:, None, None] * a[:, None] * a for a in lines])[:, None]  # (3 filters, 1 channel, 15, 15, 15)
    return F.depthwise_convolution_3d(x, W, pad=RADIUS).array


def smooth_by_lines(x: Array) -> Array:
    """The same, axis by axis."""
    W = np.stack([gaussian(sigma) for sigma in SIGMAS])
    y = F.depthwise_convolution_3d(x, W[:, None, :, None, None], pad=(RADIUS, 0, 0))
    y = F.depthwise_convolution_3d(y, W[None, :, None, :, None], pad=(0, RADIUS, 0))
    return F.depthwise_convolution_3d(y, W[None, :, None, None, :], pad=(0, 0, RADIUS)).array


def draw(noisy: Array, scales: Array) -> Figure:
    fig = Figure(figsize=(12, 9.4), facecolor="#101014")
    columns = [("noisy", noisy), *((f"sigma {s} voxels", v) for s, v in zip(SIGMAS, scales, strict=True))]
    middle = noisy.shape[0] // 2
    for j, (title, volume) in enumerate(columns):
        for i, slice_ in enumerate((volume[middle], volume[:, middle], volume[:, :, middle])):
            axes = fig.add_subplot(3, 4, 4 * i + j + 1)
            axes.imshow(slice_, cmap="gray", vmin=-0.1, vmax=1.1)
            axes.set_axis_off()
            if i == 0:
                axes.set_title(title, color="#e8e8ee")
    fig.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.01, hspace=0.03, wspace=0.03)
    return fig


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--output", default="smooth-volume.png")
    args = parser.parse_args()
    clean = phantom(args.size)
    noisy = clean + np.random.default_rng(0).normal(0, 0.25, clean.shape).astype(np.float32)
    x = noisy[None, None]
    results = []
    for name, f in ("one call, 15 x 15 x 15 taps", smooth), ("three calls, 15 taps each", smooth_by_lines):
        f(x)
        start = time.perf_counter()
        results.append(f(x))
        print(f"{name}, {len(SIGMAS)} filters, {args.size}^3 voxels: {1e3 * (time.perf_counter() - start):.1f} ms")
    apart = float(np.abs(results[0] - results[1]).max())
    print(f"at most {apart:.0e} apart; noise of the whole {noisy.std():.2f} -> {results[0][0, -1].std():.2f}")
    draw(noisy, results[0][0]).savefig(args.output, dpi=100)
    print(f"picture: {args.output}")
    return apart


if __name__ == "__main__":
    assert main() < 1e-5
