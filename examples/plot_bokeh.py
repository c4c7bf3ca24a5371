"""
A photograph out of focus
=========================

A lens out of focus spreads every point over a disc. Pixels hold about the square root of light, so highlights become
discs only where light is what is summed. With zeros beside the image its edges darken; mirrored, they do not.
"""

# %%
# The photograph as light, and sixty lamps four hundred times as bright as white.

import time

import matplotlib.pyplot as plt
import numpy as np

from depthwise import filters
from depthwise.demo import photograph

GAMMA, RADIUS = 2.2, 22

light = photograph() ** GAMMA
rng = np.random.default_rng(4)
h, w, _ = light.shape
for y, x in zip(rng.integers(0, h, 60), rng.integers(0, w, 60), strict=True):
    light[y, x] += 400 * rng.dirichlet([4, 3, 2])

# %%
# The disc has 45 x 45 taps. Its edge is soft, so that it is round.

y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
disc = np.clip(RADIUS + 0.5 - np.hypot(y, x), 0, 1).astype(np.float32)
disc /= disc.sum()

# %%
# One filter for all three channels, with three kinds of border. So large a filter is done by Fourier transforms, which
# ``method="auto"``, the default of :func:`depthwise.filters.correlate`, finds out by itself.

pictures = {"in focus": light}
for title, mode in ("zeros beside it", "constant"), ("mirrored", "mirror"), ("over and over", "wrap"):
    start = time.perf_counter()
    pictures[title] = filters.correlate(light, disc, mode=mode, channel_axis=-1)
    print(f"{title}: {1e3 * (time.perf_counter() - start):.1f} ms")

fig, axes = plt.subplots(1, 4, figsize=(10, 3.25), layout="constrained")
for ax, (title, image) in zip(axes, pictures.items(), strict=True):
    ax.imshow(np.clip(image, 0, 1) ** (1 / GAMMA))
    ax.set_title(title)
    ax.set_axis_off()
plt.show()

# %%
# A blur keeps the light of an image that goes on and on, and beside zeros it loses what falls over the edge.

kept = {title: float(image.sum(dtype=float) / light.sum(dtype=float)) for title, image in pictures.items()}
print({title: round(share, 3) for title, share in kept.items()})
assert abs(kept["over and over"] - 1) < 1e-3
assert kept["zeros beside it"] < 0.99
