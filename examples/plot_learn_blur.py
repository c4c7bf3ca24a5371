"""
Learning a filter by gradient descent
=====================================

A blur is known by its results alone: pairs of images, sharp and blurred. Plain gradient descent on one depthwise layer
finds its taps. No other library is needed: the layer and its gradients work on NumPy's arrays.
"""

# %%
# Each of three channels has another blur, 5 x 5 taps whose sum is 1: a binomial one, a line, and a box.

import matplotlib.pyplot as plt
import numpy as np

import depthwise
import depthwise.functions as F  # noqa: N812
import depthwise.links as L  # noqa: N812

binomial = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])
blur = np.stack([binomial, np.eye(5), np.pad(np.ones((3, 3)), 1)]).astype(np.float32)[None]
blur /= blur.sum((2, 3), keepdims=True)

# %%
# ``W`` has the shape (multiplier, channels, height, width), as the blur has. It begins with random taps.

np.random.seed(0)
layer = L.DepthwiseConvolution2D(3, 1, 5, pad=2, nobias=True)
begin = layer.W.array.copy()

# %%
# A step: new random images, their blur, the mean square of the layer's error, and its gradient for ``W``.

rng = np.random.default_rng(0)
losses, errors = [], []
for _ in range(120):
    sharp = rng.normal(size=(4, 3, 32, 32)).astype(np.float32)
    with depthwise.no_backprop_mode():
        blurred = F.depthwise_convolution_2d(sharp, blur, pad=2)
    error = layer(sharp) - blurred.array
    loss = F.mean(error * error)
    layer.cleargrads()
    loss.backward()
    layer.W.array -= 0.5 * layer.W.grad
    losses.append(loss.item())
    errors.append(float(np.abs(layer.W.array - blur).max()))
print(f"largest error of a tap: {errors[0]:.2f} after the first step, {errors[-1]:.0e} after the last")
assert errors[-1] < 1e-3

# %%
# The taps before and after, and the way there.

fig = plt.figure(figsize=(10, 4.6), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=[1.15, 1])
limit = np.abs(begin).max()
for row, (title, W) in enumerate({"random": begin, "learned": layer.W.array, "the blur": blur}.items()):
    for channel in range(3):
        ax = left.add_subplot(3, 3, 3 * row + channel + 1)
        ax.imshow(W[0, channel], cmap="RdBu", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        if row == 0:
            ax.set_title(f"channel {channel}")
        if channel == 0:
            ax.set_ylabel(title)
ax = right.subplots()
ax.semilogy(losses, label="mean square of the error")
ax.semilogy(errors, label="largest error of a tap")
ax.set_xlabel("step")
ax.legend()
ax.grid(alpha=0.3)
plt.show()
