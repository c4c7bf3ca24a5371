"""
Dilation: wavelets with holes
=============================

The à trous transform splits an image into scales with one small filter, whose taps lie farther and farther apart: 1,
2, 4, ... pixels. Each level is what two blurs differ by. Since all levels keep the image's size, they add up to it
again, and noise can be taken from each by a threshold.
"""

# %%
# A photograph with noise, and the filter of a cubic spline. ``dilate=`` spreads its taps; the padding grows with it.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from depthwise import ops
from depthwise.demo import photograph

LEVELS, NOISE = 4, 0.1
clean = photograph()[20:380, 110:410].mean(-1)
noisy = clean + np.random.default_rng(0).normal(0, NOISE, clean.shape).astype(np.float32)
spline = (np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256).astype(np.float32)[None, None]


def transform(image):
    """The differences between blurs, finest first, and the last blur."""
    blurs = [image[None, None]]
    for level in range(LEVELS):
        apart = 2**level
        blurs.append(ops.forward(blurs[-1], spline, dilate=apart, pad=2 * apart, pad_mode="reflect"))
    return [a[0, 0] - b[0, 0] for a, b in pairwise(blurs)], blurs[-1][0, 0]


details, rest = transform(noisy)
assert np.abs(sum(details) + rest - noisy).max() < 1e-6

# %%
# How much noise a level has follows from noise alone. What is below three times that is set to zero, and what is above
# stays as it is.

in_noise = [level.std() for level in transform(np.random.default_rng(1).normal(0, NOISE, clean.shape))[0]]
kept = [np.where(np.abs(d) > 3 * s, d, 0) for d, s in zip(details, in_noise, strict=True)]
denoised = sum(kept) + rest


def psnr(image):
    """How close an image is to the clean one, in decibels."""
    return -10 * np.log10(((image - clean) ** 2).mean())


print(f"{psnr(noisy):.1f} dB before, {psnr(denoised):.1f} dB after")
assert psnr(denoised) > psnr(noisy) + 4

# %%
# The levels as they are, and what is kept of them. Most of the noise is in the finest.

fig, axes = plt.subplots(2, LEVELS + 2, figsize=(11, 5.05), layout="constrained")
for ax in axes.flat:
    ax.set_axis_off()
for row, (title, image, levels) in enumerate((("noisy", noisy, details), ("denoised", denoised, kept))):
    axes[row, 0].imshow(image, cmap="gray", vmin=0, vmax=1)
    axes[row, 0].set_title(f"{title}, {psnr(image):.1f} dB")
    for i, level in enumerate(levels):
        axes[row, i + 1].imshow(level, cmap="gray", vmin=-0.15, vmax=0.15)
        axes[row, i + 1].set_title(f"dilate = {2**i}" if row == 0 else "what is kept", fontsize=11)
axes[0, -1].imshow(rest, cmap="gray", vmin=0, vmax=1)
axes[0, -1].set_title("the last blur")
axes[1, -1].imshow(clean, cmap="gray", vmin=0, vmax=1)
axes[1, -1].set_title("without noise")
plt.show()
