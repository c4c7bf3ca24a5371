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

image = photograph()[:400, :340]
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
# In colour no edge is weaker than in the mean. The difference is drawn four times as dark: it is largest along
# the golden cord, beside which the flag is not much darker but of another colour.

assert (steepest >= of_the_mean - 1e-5).all()
pictures = {
    "edges of the mean": of_the_mean,
    "edges of the colours": steepest,
    "the difference, times 4": 4 * (steepest - of_the_mean),
}
fig, axes = plt.subplots(1, 4, figsize=(11, 3.6), layout="constrained")
axes[0].imshow(image)
axes[0].set_title("photograph")
for ax, (title, picture) in zip(axes[1:], pictures.items(), strict=True):
    ax.imshow(picture, cmap="gray_r", vmin=0, vmax=np.quantile(steepest, 0.99))
    ax.set_title(title)
for ax in axes:
    ax.set_axis_off()
plt.show()
