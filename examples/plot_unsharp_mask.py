"""
Gaussian blur, unsharp masking, and what lies beside the image
==============================================================

An unsharp mask adds to a photograph what a blur has taken from it. Close to the border the blur meets pixels that do
not exist, and ``mode=`` says what stands for them: the names and the results are those of ``scipy.ndimage``.
"""

# %%
# The pixels are bytes, (height, width, channels), and so is the result: rounded, and kept between 0 and 255.

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from depthwise import filters
from depthwise.demo import photograph

image = np.rint(255 * photograph()[:400, 80:430]).astype(np.uint8)
blurred = filters.gaussian(image, 3, channel_axis=-1)
sharpened = np.clip(image + 0.8 * (image - blurred), 0, 255).astype(np.uint8)

fig, axes = plt.subplots(1, 3, figsize=(10, 4.3), layout="constrained")
for ax, (title, picture) in zip(
    axes, {"photograph": image, "blurred, sigma 3": blurred / 255, "unsharp mask": sharpened}.items(), strict=True
):
    ax.imshow(picture)
    ax.set_title(title)
    ax.set_axis_off()
plt.show()

# %%
# The upper left corner of a blur of 12 pixels, with each border. What differs lies within the filter's reach: zeros
# darken, "wrap" brings in the image's other end, and the three others are close to each other.

modes = ["constant", "wrap", "nearest", "mirror", "reflect"]
corners = {mode: filters.gaussian(image, 12, mode=mode, channel_axis=-1) for mode in modes}
fig, axes = plt.subplots(2, 5, figsize=(10, 4.3), layout="constrained")
for (above, below), (mode, result) in zip(axes.T, corners.items(), strict=True):
    above.imshow(result[:160, :160] / 255)
    above.set_title(f'mode="{mode}"')
    difference = (result - corners["reflect"]).mean(-1)[:160, :160]
    shown = below.imshow(difference, cmap="RdBu", vmin=-60, vmax=60)
    for ax in above, below:
        ax.set(xticks=[], yticks=[])
axes[1, 0].set_ylabel('less "reflect"')
fig.colorbar(shown, ax=axes[1], shrink=0.9, label="grey levels")
plt.show()

# %%
# SciPy's results, by its own function, for each of the borders.

for mode, result in corners.items():
    expected = ndimage.gaussian_filter(image.astype(np.float32), (12, 12, 0), mode=mode)
    assert np.abs(result - expected).max() < 1e-2, mode
