"""
Deblurring by gradient descent
==============================

A photograph was blurred by a moving hand. The path of the hand is known, the sharp image is not. It is the image whose
blur is closest to the photograph, and gradient descent through the filter finds it.
"""

# %%
# The path of the hand during the exposure is the filter, ``W``. What the camera gives is its blur and some noise.

import matplotlib.pyplot as plt
import numpy as np

import depthwise
import depthwise.functions as F  # noqa: N812
from depthwise import ops
from depthwise.demo import photograph

SIZE = 25
border = {"pad": SIZE // 2, "pad_mode": "reflect"}

t = np.linspace(0, 1, 400)
y, x = 9 * np.sin(2.1 * t + 0.3) * np.cos(3 * t), 10 * t - 5 + 3 * np.cos(6 * t)
path = np.zeros((SIZE, SIZE), np.float32)
np.add.at(path, (np.rint(y - y.mean()).astype(int) + SIZE // 2, np.rint(x - x.mean()).astype(int) + SIZE // 2), 1)
path /= path.sum()
W = np.broadcast_to(path, (1, 3, SIZE, SIZE))

sharp = np.ascontiguousarray(photograph().transpose(2, 0, 1)[None])
noise = np.random.default_rng(0).normal(0, 0.003, sharp.shape).astype(np.float32)
blurred = ops.forward(sharp, W, **border) + noise

# %%
# The gradient of half the square of ``A x - y``, where A is the blur, is ``A' (A x - y)``: what
# :func:`depthwise.ops.input_grad` computes, the border included. The same comes from backpropagation through a graph.

error = ops.forward(blurred, W, **border) - blurred
gradient = ops.input_grad(error, W, sharp.shape[2:], **border)
guess = depthwise.Variable(blurred)
difference = F.depthwise_convolution_2d(guess, W, **border) - blurred
(F.sum(difference * difference) / 2).backward()
assert np.allclose(guess.grad, gradient, atol=1e-5)

# %%
# A little of the image's own roughness is added to what is made small, since noise would grow without bound. Each step
# goes on where the last two pointed (Nesterov).

rough = np.broadcast_to(np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32), (1, 3, 3, 3))
x = before = blurred
psnr = []
for step in range(40):
    psnr.append(float(-10 * np.log10(((x - sharp) ** 2).mean())))
    ahead = x + np.float32(step / (step + 3)) * (x - before)
    error = ops.forward(ahead, W, **border) - blurred
    gradient = ops.input_grad(error, W, ahead.shape[2:], **border)
    gradient += 2e-4 * ops.forward(ahead, rough, pad=1, pad_mode="edge")
    before, x = x, np.clip(ahead - gradient, 0, 1)
print(f"from {psnr[0]:.1f} dB to {psnr[-1]:.1f} dB")
assert psnr[-1] > psnr[0] + 3

# %%
# The head in detail, and how close the image comes to the sharp one with each step. In the end the noise is fitted,
# too, and some steps fewer would have been better.

fig, axes = plt.subplots(1, 4, figsize=(11, 3.8), layout="constrained", width_ratios=[1, 1, 1, 1.05])
for ax, (title, image) in zip(axes, {"blurred": blurred, "found": x, "sharp": sharp}.items(), strict=False):
    ax.imshow(np.clip(image[0, :, 20:380, 110:410].transpose(1, 2, 0), 0, 1))
    ax.set_title(title)
    ax.set_axis_off()
corner = axes[0].inset_axes((0.02, 0.02, 0.25, 0.25))
corner.imshow(path, cmap="gray")
corner.set(xticks=[], yticks=[])
axes[3].plot(psnr)
axes[3].set(xlabel="step", ylabel="PSNR, dB", title="beside the sharp image", box_aspect=1)
axes[3].grid(alpha=0.3)
plt.show()
