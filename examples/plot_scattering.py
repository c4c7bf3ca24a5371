"""
A scattering transform
======================

A layer of it is a depthwise convolution with wavelets of several scales and directions, and the modulus of each
response. The second layer filters what the first has made, at coarser scales. Averages of both say what textures a
place has, whatever moves a little. L. Sifre, Rigid-motion scattering for image classification, PhD thesis, 2014: where
depthwise convolution comes from.
"""

# %%
# :func:`depthwise.filters.gabor_bank` gives a cosine and a sine for each direction. Without channels, a bank of them
# makes an axis before those of the image.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors

from depthwise import filters
from depthwise.demo import photograph

FREQUENCIES, DIRECTIONS = (0.35, 0.175, 0.0875), 6


def moduli(planes, frequency):
    """Of planes (n, h, w) the moduli (n, directions, h, w) at one scale."""
    bank = filters.gabor_bank(frequency, DIRECTIONS)
    n, h, w = planes.shape
    responses = np.stack([filters.correlate(plane, bank, mode="mirror") for plane in planes])
    real, imaginary = np.moveaxis(responses.reshape(n, DIRECTIONS, 2, h, w), 2, 0)
    return np.hypot(real, imaginary)


# %%
# Three scales make the first layer. In the second each is filtered at the scales that are coarser.

rgb = photograph()[:400, 60:440]
gray = rgb.mean(-1)
first = {f: moduli(gray[None], f)[0] for f in FREQUENCIES}
second = {(f, g): moduli(first[f], g) for i, f in enumerate(FREQUENCIES) for g in FREQUENCIES[i + 1 :]}

# %%
# The features are averages over some pixels. The transform does not amplify: all of them together have no more energy
# than the image.

features = [filters.gaussian(planes, (8, 8), mode="mirror") for planes in first.values()]
features += [filters.gaussian(planes.reshape(-1, *gray.shape), (8, 8), mode="mirror") for planes in second.values()]
energy = sum((f.astype(float) ** 2).sum() for f in features) / (gray.astype(float) ** 2).sum()
print(f"{sum(map(len, features))} features a pixel, {energy:.4f} of the image's energy")
assert energy < 1


# %%
# Directions are drawn as hues; where all are alike there is no colour.


def coloured(strength):
    """A picture of moduli (directions, h, w)."""
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    sums, direction = strength.sum(0), np.tensordot(np.exp(1j * angles), strength, 1)
    hue = np.angle(direction) / (2 * np.pi) % 1
    clarity = np.clip(1.8 * np.abs(direction) / (sums + 1e-6), 0, 1)
    brightness = np.clip(sums / np.quantile(sums, 0.98), 0, 1) ** 0.7
    return colors.hsv_to_rgb(np.stack([hue, clarity, brightness], -1))


pictures = {"photograph": rgb}
pictures |= {f"first layer: {f} cycles a pixel": coloured(planes) for f, planes in first.items()}
pictures["averages of the first as RGB"] = np.clip(6 * np.stack([f.sum(0) for f in features[:3]], -1), 0, 1)
pictures |= {f"second layer: {f} then {g}": coloured(planes.sum(0)) for (f, g), planes in second.items()}
fig, axes = plt.subplots(2, 4, figsize=(10, 5.9), layout="constrained")
for ax, (title, image) in zip(axes.flat, pictures.items(), strict=False):
    ax.imshow(image)
    ax.set_title(title, fontsize=9.5)
    ax.set_axis_off()
plt.show()
