"""
A PyTorch network, stock and accelerated
========================================

A small network as MobileNetV2 is trained for some steps twice, from the same weights: as it is, and after
``depthwise.torch.accelerate``. The losses are the same, and the steps take another time. Needs PyTorch:
``pip install '.[torch]'``.
"""

# %%
# The task needs no download: which of three kinds of stripes an image has, under noise. The arithmetic is float64, in
# which another order of summation does not send the training down another path.

import copy
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import depthwise.torch

torch.manual_seed(0)
angles = torch.tensor([0.0, 1.05, 2.1])
y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
labels = torch.randint(0, 3, (16 * 18,))
waves = torch.cos(angles[labels])[:, None, None] * x + torch.sin(angles[labels])[:, None, None] * y
images = (torch.sin(0.9 * waves + 6.3 * torch.rand(len(labels), 1, 1)) + torch.randn(waves.shape)).double()[:, None]

# %%
# Inverted residuals without the residual: widen, depthwise, narrow.


def block(inputs, outputs, stride):
    """One of the network's blocks."""
    wide = 6 * inputs
    layers = [nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
    layers += [nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
    return nn.Sequential(*layers, nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3))
stock = nn.Sequential(stem, block(8, 12, 2), block(12, 16, 2), block(16, 24, 1), head).double()
ours = copy.deepcopy(stock)
print(depthwise.torch.accelerate(ours))

# %%
# A step of each in turn. Parameters and optimizers know nothing of the change.

models = {"stock": stock, "accelerated": ours}
optimizers = {name: torch.optim.SGD(model.parameters(), 0.05, momentum=0.9) for name, model in models.items()}
losses, times = {name: [] for name in models}, {name: [] for name in models}
for i in range(36):
    at = slice(i * 16 % len(labels), i * 16 % len(labels) + 16)
    for name, model in models.items():
        start = time.perf_counter()
        loss = F.cross_entropy(model(images[at]), labels[at])
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()
        times[name].append(1e3 * (time.perf_counter() - start))
        losses[name].append(loss.item())
apart = max(abs(a - b) / a for a, b in zip(*losses.values(), strict=True))
print(f"losses are at most {apart:.0e} of each other apart")
assert apart < 1e-6

# %%
# Curves over each other, and medians of the times. These are this machine's, and vary.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=[1.6, 1])
for (name, each), look in zip(losses.items(), ({"linewidth": 5, "alpha": 0.4}, {"linewidth": 1.2}), strict=True):
    left.plot(each, label=name, **look)
left.set(xlabel="step", ylabel="loss", title="the same training")
left.legend()
medians = {name: sorted(each)[len(each) // 2] for name, each in times.items()}
bars = right.bar(medians.keys(), medians.values(), color=["C0", "C1"], width=0.6)
right.bar_label(bars, fmt="%.1f ms")
right.set(ylabel="ms a step", title="medians")
right.margins(y=0.12)
plt.show()
