"""
A filter bank and the axes of W
===============================

A depthwise convolution gives each channel filters of its own, as many as the channel multiplier says. Here they are
eight oriented waves for each of a photograph's three colours, and the 24 results are drawn where they stand in ``y``.
"""

# %%
# ``x`` is (images, channels, height, width), ``W`` (multiplier, channels, height, width).

import matplotlib.pyplot as plt
import numpy as np

from depthwise import filters, ops
from depthwise.demo import photograph

image = photograph()[60:360, 100:400]
x = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
waves = filters.gabor_bank(0.12, orientations=8, truncate=2)[::2]  # every other one is a sine
W = np.repeat(waves[:, None], 3, axis=1)
y = ops.forward(x, W, pad=W.shape[-1] // 2, pad_mode="reflect")
print("x", x.shape, "W", W.shape, "y", y.shape)

# %%
# Channel ``c * multiplier + m`` of ``y`` is channel c of ``x`` under filter (m, c): seen so, ``y`` is a table with a
# row for each channel and a column for each filter.

multiplier = len(waves)
table = y.reshape(3, multiplier, *y.shape[2:])
for c, m in (0, 3), (2, 7):
    alone = ops.forward(x[:, c : c + 1], W[m : m + 1, c : c + 1], pad=W.shape[-1] // 2, pad_mode="reflect")
    assert np.abs(alone[0, 0] - y[0, c * multiplier + m]).max() < 1e-5
    assert np.shares_memory(table[c, m], y[0, c * multiplier + m])

# %%
# Rows: the channels red, green and blue of ``x``. Columns: the filters ``W[m, c]``, in red where a tap is negative and
# in blue where it is positive, as are the responses below them.

fig, axes = plt.subplots(4, 9, figsize=(11, 5.4), layout="constrained")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_axis_off()
axes[0, 0].text(1, 0.6, "W[m, c] →", ha="right")
axes[0, 0].text(0.5, 0.1, "x[0, c] ↓", ha="center")
strongest = np.quantile(np.abs(y), 0.995)
for c, cmap in enumerate(("Reds_r", "Greens_r", "Blues_r")):
    axes[c + 1, 0].imshow(x[0, c], cmap=cmap)
    axes[c + 1, 0].set_ylabel(f"c = {c}")
    for m in range(multiplier):
        axes[c + 1, m + 1].imshow(table[c, m], cmap="RdBu", vmin=-strongest, vmax=strongest)
        axes[c + 1, m + 1].set_xlabel(f"y[0, {c * multiplier + m}]")
limit = np.abs(waves).max()
for m, wave in enumerate(waves):
    axes[0, m + 1].imshow(wave, cmap="RdBu", vmin=-limit, vmax=limit)
    axes[0, m + 1].set_title(f"m = {m}")
plt.show()
