"""A photograph out of focus: a disc of 45 pixels, in light and not in pixel values, with three kinds of border.

    pip install '.[demo]' && python examples/bokeh.py [--output bokeh.png]

A lens spreads every point over a disc. Pixels hold about the square root of light, so highlights become discs only
where light is summed. With zeros beside the image the edges darken; mirrored, they do not.
"""

import argparse
import time

import numpy as np
import numpy.typing as npt

from depthwise import filters

try:
    from matplotlib.figure import Figure

    from depthwise.demo import photograph
except ImportError as e:
    raise SystemExit(f"this example draws a picture ({e}): pip install '.[demo]'") from e

Array = npt.NDArray[np.float32]
RADIUS = 22


def disc() -> Array:
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    inside = np.clip(RADIUS + 0.5 - np.hypot(y, x), 0, 1)
    return (inside / inside.sum()).astype(np.float32)


def lights(image: Array) -> Array:
    """Light of a photograph, and of some lamps a hundred times as bright."""
    light = image**2.2
    rng = np.random.default_rng(4)
    h, w, _ = light.shape
    for y, x in zip(rng.integers(0, h, 60), rng.integers(0, w, 60), strict=True):
        light[y, x] += 100 * rng.dirichlet([4, 3, 2])
    return light


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="bokeh.png")
    args = parser.parse_args()
    light = lights(photograph())
    pictures = {"in focus": light}
    for title, mode in ("zeros beside it", "constant"), ("mirrored", "mirror"), ("over and over", "wrap"):
        start = time.perf_counter()
        pictures[title] = filters.correlate(light, disc(), mode=mode, channel_axis=-1)
        took = 1e3 * (time.perf_counter() - start)
        print(f"{light.shape} with {disc().shape}, {title}: {took:.1f} ms")
    fig = Figure(figsize=(14, 4.7), facecolor="#101014")
    for i, (title, image) in enumerate(pictures.items()):
        axes = fig.add_subplot(1, 4, i + 1)
        axes.imshow(np.clip(image, 0, 1) ** (1 / 2.2))
        axes.set_title(title, color="#e8e8ee")
        axes.set_axis_off()
    fig.subplots_adjust(left=0.005, right=0.995, top=0.93, bottom=0.005, wspace=0.02)
    fig.savefig(args.output, dpi=100)
    print(f"picture: {args.output}")
    # A blur keeps the light of an image that is mirrored or goes on and on, and loses some beside zeros.
    return float(pictures["over and over"].sum(dtype=float) / light.sum(dtype=float))


if __name__ == "__main__":
    assert abs(main() - 1) < 1e-3
