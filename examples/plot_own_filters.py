"""
Filters of its own for each image
=================================

With an axis more, ``W`` has filters for every image of a batch. So the tiles of one photograph, taken as a batch, can
each have a blur of their own, as where a camera turns during the exposure: still in the centre, and a wider arc the
farther from it.
"""

# %%
# Tiles of 48 x 48 pixels, with the pixels around them that their windows meet.

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from depthwise import ops
from depthwise.demo import photograph

TILE, REACH = 48, 12
K = 2 * REACH + 1
image = photograph()[:576, :480]
rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
padded = np.pad(image.transpose(2, 0, 1), ((0, 0), (REACH, REACH), (REACH, REACH)), mode="reflect")
windows = sliding_window_view(padded, (TILE + 2 * REACH,) * 2, axis=(1, 2))[:, ::TILE, ::TILE]
x = np.ascontiguousarray(np.moveaxis(windows, 0, 2)).reshape(rows * columns, 3, *windows.shape[-2:])

# %%
# A tile's blur is a line along the circle around the photograph's centre, as long as the turn is there. Points of the
# line are shared among the four taps next to them.

TURN = 0.09  # radians
kernels = np.zeros((rows, columns, K, K), np.float32)
for i, j in np.ndindex(rows, columns):
    dy, dx = (i + 0.5) * TILE - image.shape[0] / 2, (j + 0.5) * TILE - image.shape[1] / 2
    s = np.linspace(-TURN / 2, TURN / 2, 101)
    y, x_ = REACH + dx * s, REACH - dy * s
    for oy, ox in (0, 0), (0, 1), (1, 0), (1, 1):
        share = np.abs(1 - oy - y % 1) * np.abs(1 - ox - x_ % 1)
        np.add.at(kernels[i, j], (np.floor(y).astype(int) + oy, np.floor(x_).astype(int) + ox), share)
kernels /= kernels.sum((2, 3), keepdims=True)

# %%
# ``W`` is (images, multiplier, channels, height, width): all three colours of a tile share its blur.

W = np.broadcast_to(kernels.reshape(-1, 1, 1, K, K), (rows * columns, 1, 3, K, K))
y = ops.forward(x, W)
print("x", x.shape, "W", W.shape, "y", y.shape)
for n in 0, 47:
    assert np.abs(y[n] - ops.forward(x[n : n + 1], W[n])[0]).max() < 1e-6
turned = y.reshape(rows, columns, 3, TILE, TILE).transpose(0, 3, 1, 4, 2).reshape(image.shape)

# %%
# The filters are drawn where their tiles are.

fig, axes = plt.subplots(1, 3, figsize=(10, 4.35), layout="constrained")
drawn = kernels / kernels.max((2, 3), keepdims=True)
drawn = np.pad(drawn, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=0.3)
mosaic = drawn.transpose(0, 2, 1, 3).reshape(rows * (K + 1), columns * (K + 1))
axes[0].imshow(image)
axes[1].imshow(mosaic, cmap="gray_r", vmin=0, vmax=1)
axes[2].imshow(np.clip(turned, 0, 1))
for ax, title in zip(
    axes, ("photograph", f"{rows * columns} filters of {K} x {K}", "turned by five degrees"), strict=True
):
    ax.set_title(title)
    ax.set_axis_off()
plt.show()
