"""
Smoothing a volume
==================

A noisy volume, smoothed by Gaussians of three widths in one call of ``depthwise_convolution_3d``. Its one channel has
three filters, so the call makes a small scale space. Gaussians factor, so three calls with a line of taps each give the
same, and take less.
"""

# %%
# The volume is a phantom as those that test tomographs: ellipsoids in each other, and noise. Each has a centre and half
# axes (depth, height, width) in a cube from -1 to 1, and a value that is added inside.

import time

import matplotlib.pyplot as plt
import numpy as np

import depthwise.functions as F  # noqa: N812

SIZE, RADIUS, SIGMAS = 96, 7, (0.8, 1.6, 2.4)
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

line = np.linspace(-1, 1, SIZE, dtype=np.float32)
place = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
clean = np.zeros((SIZE, SIZE, SIZE), np.float32)
for centre, axes, value in ELLIPSOIDS:
    clean[(((place - np.float32(centre)) / np.float32(axes)) ** 2).sum(-1) < 1] += value
noisy = clean + np.random.default_rng(0).normal(0, 0.25, clean.shape).astype(np.float32)
x = noisy[None, None]

# %%
# All widths at once: x is (1, 1, d, h, w), W (3 filters, 1 channel, 15, 15, 15) and y (1, 3, d, h, w).

r = np.arange(-RADIUS, RADIUS + 1)
taps = np.stack([np.exp(-(r**2) / (2 * sigma**2)) for sigma in SIGMAS]).astype(np.float32)
taps /= taps.sum(1, keepdims=True)
W = np.stack([a[:, None, None] * a[:, None] * a for a in taps])[:, None]
start = time.perf_counter()
at_once = F.depthwise_convolution_3d(x, W, pad=RADIUS).array
print(f"one call, 15 x 15 x 15 taps: {1e3 * (time.perf_counter() - start):.0f} ms")

# %%
# The same, axis by axis. The first call makes three channels of the one; in the others each has a filter of its own.

start = time.perf_counter()
y = F.depthwise_convolution_3d(x, taps[:, None, :, None, None], pad=(RADIUS, 0, 0))
y = F.depthwise_convolution_3d(y, taps[None, :, None, :, None], pad=(0, RADIUS, 0))
by_lines = F.depthwise_convolution_3d(y, taps[None, :, None, None, :], pad=(0, 0, RADIUS)).array
print(f"three calls, 15 taps each: {1e3 * (time.perf_counter() - start):.0f} ms")
assert np.abs(at_once - by_lines).max() < 1e-5

# %%
# The middle slice along each axis. Wider filters leave less noise, and fewer details.

columns = {"noisy": noisy, **{f"sigma {s} voxels": v for s, v in zip(SIGMAS, at_once[0], strict=True)}}
fig, rows = plt.subplots(3, 4, figsize=(9, 7.1), layout="constrained")
for column, (title, volume) in enumerate(columns.items()):
    middle = SIZE // 2
    for row, plane in enumerate((volume[middle], volume[:, middle], volume[:, :, middle])):
        rows[row, column].imshow(plane, cmap="gray", vmin=-0.1, vmax=1.1)
        rows[row, column].set(xticks=[], yticks=[])
    rows[0, column].set_title(title)
for row, axis in enumerate(("depth", "height", "width")):
    rows[row, 0].set_ylabel(f"middle of the {axis}")
plt.show()
