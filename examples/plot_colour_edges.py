"""
Edges of a colour photograph
============================

Sobel's two filters give each channel's slope across and down. Where the colour changes and the brightness does not,
the edge is in the channels and not in their mean: so the channels are filtered one by one, and joined afterwards (Di
Zenzo, 1986).
"""

# %%
# A bank of two filters for every channel of an image (h, w, c) makes c * 2 channels: filter i of channel j is channel
# ``2 * j + i``.

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from depthwise import filters
from depthwise.demo import photograph

image = photograph()
across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8
bank = np.stack([across, across.T])
slopes = filters.correlate(image, np.repeat(bank[:, None], 3, axis=1), channel_axis=-1)
print(image.shape, "->", slopes.shape)
for i, axis in enumerate((1, 0)):
    assert np.abs(slopes[..., 2 + i] - ndimage.sobel(image[..., 1], axis) / 8).max() < 1e-5

# %%
# Three slopes across and three down make a matrix of 2 x 2 at each pixel, the sum of the channels' outer products. Its
# larger eigenvalue is the square of the steepest slope in any direction.

gx, gy = slopes[..., 0::2], slopes[..., 1::2]
a, b, c = (gx * gx).sum(-1), (gx * gy).sum(-1), (gy * gy).sum(-1)
steepest = np.sqrt((a + c) / 2 + np.hypot((a - c) / 2, b))

gray = filters.correlate(image.mean(-1), bank)  # a bank without channels: an axis before the image's
of_the_mean = np.hypot(*gray) * np.sqrt(3)  # so that gray pixels have the same in both

# %%
# In colour no edge is weaker than in the mean, and red beside blue of the same brightness is seen in colour only.

assert (steepest >= of_the_mean - 1e-5).all()
fig, axes = plt.subplots(1, 4, figsize=(13, 4.5), layout="constrained")
limit = np.quantile(steepest, 0.995)
for ax, (title, picture) in zip(
    axes,
    {
        "photograph": image,
        "edges of the mean": of_the_mean,
        "edges of the colours": steepest,
        "in the colours only": steepest - of_the_mean,
    }.items(),
    strict=True,
):
    drawn = ax.imshow(picture, cmap="gray_r", vmin=0, vmax=limit if picture is not steepest - of_the_mean else None)
    ax.set_title(title)
    ax.set_axis_off()
plt.show()
