"""
Strides: a pyramid without aliasing
===================================

To halve an image is to keep every other pixel. What is finer than the new pixels then comes back as patterns that were
never there, unless a filter takes it out first. With ``stride=2`` the filter computes the pixels that are kept and no
others.
"""

# %%
# A zone plate shows it best: rings whose waves are shorter the farther they are from the centre, down to two pixels,
# on gray.

import matplotlib.pyplot as plt
import numpy as np

from depthwise import ops

SIZE = 256
r = np.hypot(*np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j])
plate = np.where(r < 1, 0.5 + 0.5 * np.cos(np.pi * SIZE / 4 * r**2), 0.5).astype(np.float32)

# %%
# A Gaussian that fits a step of two. Its columns and rows factor, and :func:`depthwise.ops.forward_separable` makes use
# of it.

places = np.arange(-5, 6)
taps = np.exp(-(places**2) / (2 * 1.3**2)).astype(np.float32)
line = (taps / taps.sum())[None, None]
steps = {"stride": 2, "pad": 5, "pad_mode": "symmetric"}
naive, filtered = [plate], [plate[None, None]]
for _ in range(2):
    naive.append(naive[-1][::2, ::2])
    filtered.append(ops.forward_separable(filtered[-1], line, line, **steps))

# %%
# The strided result is every other pixel of the one with a step of one.

whole = ops.forward_separable(filtered[0], line, line, pad=5, pad_mode="symmetric")
assert np.abs(whole[..., ::2, ::2] - filtered[1]).max() < 1e-6

# %%
# In the upper row new rings have appeared, which is called aliasing. In the lower one the fine
# rings have become gray, as they do for an eye at a distance.

fig, axes = plt.subplots(2, 3, figsize=(9, 6.2), layout="constrained")
for row, (title, levels) in enumerate(
    {
        "every other pixel": naive,
        "filtered with a stride": [level.reshape(level.shape[-2:]) for level in filtered],
    }.items()
):
    for ax, level in zip(axes[row], levels, strict=True):
        ax.imshow(level, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        if row == 0:
            ax.set_title(f"{level.shape[0]} x {level.shape[1]} pixels")
    axes[row, 0].set_ylabel(title)
plt.show()

# %%
# Rings too fine for the smallest image should have become gray in it.

fine = (r[::4, ::4] > 0.5) & (r[::4, ::4] < 0.9)
print(f"contrast of the fine rings: {naive[2][fine].std():.2f} naive, {filtered[2][0, 0][fine].std():.2f} filtered")
assert filtered[2][0, 0][fine].std() < 0.1 * naive[2][fine].std()
