"""
A PyTorch network, stock and accelerated
========================================

A small network as MobileNetV3 is trained for some steps twice, from the same weights: as it is, and after
``depthwise.torch.accelerate``. The losses are the same up to rounding, and the steps take another time. Needs PyTorch:
``pip install '.[torch]'``.
"""

# %%
# The task needs no download: which of three kinds of stripes an image has, under noise.

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
labels = torch.randint(0, 3, (16 * 20,))
waves = torch.cos(angles[labels])[:, None, None] * x + torch.sin(angles[labels])[:, None, None] * y
images = (torch.sin(0.9 * waves + 6.3 * torch.rand(len(labels), 1, 1)) + torch.randn(waves.shape))[:, None]

# %%
# Inverted residuals without the residual: widen, depthwise with 5 x 5 taps, narrow.


def block(inputs, outputs, stride):
    """One of the network's blocks."""
    wide = 6 * inputs
    layers = [nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
    layers += [nn.Conv2d(wide, wide, 5, stride, 2, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
    return nn.Sequential(*layers, nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3))
stock = nn.Sequential(stem, block(8, 12, 2), block(12, 16, 2), block(16, 24, 1), head)
ours = copy.deepcopy(stock)
print(depthwise.torch.accelerate(ours))

# %%
# A step of each in turn. Parameters and optimizers know nothing of the change. One thread is steadier than several
# where the machine has other work.

threads = torch.get_num_threads()
torch.set_num_threads(1)
models = {"stock": stock, "accelerated": ours}
optimizers = {name: torch.optim.SGD(model.parameters(), 0.05, momentum=0.9) for name, model in models.items()}
losses, times = {name: [] for name in models}, {name: [] for name in models}
for i in range(20):
    at = slice(16 * i, 16 * i + 16)
    for name, model in models.items():
        start = time.perf_counter()
        loss = F.cross_entropy(model(images[at]), labels[at])
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()
        times[name].append(1e3 * (time.perf_counter() - start))
        losses[name].append(loss.item())
first = [each[0] for each in losses.values()]
torch.set_num_threads(threads)
print(f"the first losses are {abs(first[0] - first[1]) / first[0]:.0e} of themselves apart")
assert abs(first[0] - first[1]) < 1e-5 * first[0]
assert all(sum(each[-5:]) < sum(each[:5]) / 2 for each in losses.values())

# %%
# The sums are rounded in another order, which a training may amplify as it goes on: the first losses are equal in
# nearly all digits, later ones in fewer. The times are medians, are this machine's, and vary.

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
