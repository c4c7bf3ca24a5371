"""The scattering transform of a photograph, two layers deep: moduli of wavelet responses, again and again.

    pip install '.[demo]' && python examples/scattering.py [--output scattering.png]

A layer is a depthwise convolution with wavelets of several scales and directions, and the modulus of each response; the
second layer filters what the first has made, at coarser scales. Averages of both say what textures a place has,
whatever moves a little. L. Sifre, Rigid-motion scattering for image classification, PhD thesis, 2014: where depthwise
convolution comes from.
"""

import argparse
import time

import numpy as np
import numpy.typing as npt

from depthwise import filters

try:
    from matplotlib import colors
    from matplotlib.figure import Figure

    from depthwise.demo import photograph
except ImportError as e:
    raise SystemExit(f"this example draws a picture ({e}): pip install '.[demo]'") from e

Array = npt.NDArray[np.float32]
FREQUENCIES, DIRECTIONS = (0.35, 0.175, 0.0875), 8


def moduli(planes: Array, frequency: float) -> Array:
    """Of planes (n, h, w) the moduli (n, directions, h, w) at one scale."""
    bank = filters.gabor_bank(frequency, DIRECTIONS)
    n, h, w = planes.shape
    responses = np.stack([filters.correlate(plane, bank, mode="mirror") for plane in planes])
    real, imaginary = np.moveaxis(responses.reshape(n, DIRECTIONS, 2, h, w), 2, 0)
    return np.hypot(real, imaginary)


def averages(planes: Array) -> Array:
    return filters.gaussian(planes, (8, 8), mode="mirror")


def coloured(strength: Array) -> Array:
    """Directions (directions, h, w) as hues."""
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    sums, direction = strength.sum(0), np.tensordot(np.exp(1j * angles), strength, 1)
    hue = np.angle(direction) / (2 * np.pi) % 1
    clarity = np.clip(1.8 * np.abs(direction) / (sums + 1e-6), 0, 1)
    brightness = np.clip(sums / np.quantile(sums, 0.98), 0, 1) ** 0.7
    return colors.hsv_to_rgb(np.stack([hue, clarity, brightness], -1))


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="scattering.png")
    args = parser.parse_args()
    rgb = photograph()
    gray = rgb.mean(-1)
    start = time.perf_counter()
    first = {f: moduli(gray[None], f)[0] for f in FREQUENCIES}
    second = {}
    for i, f in enumerate(FREQUENCIES):
        for g in FREQUENCIES[i + 1 :]:
            second[f, g] = moduli(first[f], g)
    features = [averages(planes) for planes in first.values()]
    features += [averages(planes.reshape(-1, *gray.shape)) for planes in second.values()]
    count = sum(len(f) for f in features)
    print(f"{gray.shape}, {count} features a pixel, two layers: {time.perf_counter() - start:.2f} s")

    fig = Figure(figsize=(14, 8.4), facecolor="#101014")
    pictures = [("photograph", rgb)]
    pictures += [(f"first layer, {f} cycles a pixel", coloured(planes)) for f, planes in first.items()]
    pictures += [("averages of the first", np.clip(6 * np.stack([f.sum(0) for f in features[:3]], -1), 0, 1))]
    pictures += [(f"second layer, {f} then {g}", coloured(planes.sum(0))) for (f, g), planes in second.items()]
    for i, (title, image) in enumerate(pictures):
        axes = fig.add_subplot(2, 4, i + 1)
        axes.imshow(image)
        axes.set_title(title, color="#e8e8ee", fontsize=10)
        axes.set_axis_off()
    fig.subplots_adjust(left=0.005, right=0.995, top=0.96, bottom=0.005, wspace=0.02, hspace=0.08)
    fig.savefig(args.output, dpi=100)
    print(f"picture: {args.output}")
    # A transform that does not amplify: all averages together have no more energy than the image.
    return float(sum((f.astype(float) ** 2).sum() for f in features) / (gray.astype(float) ** 2).sum())


if __name__ == "__main__":
    assert main() < 1
