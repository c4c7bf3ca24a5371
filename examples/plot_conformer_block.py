"""
The convolution module of a Conformer
=====================================

Speech recognisers (Conformer, Parakeet, Wav2Vec2-BERT, ...) have it in every layer: a gated pointwise convolution, a
depthwise one over 31 frames, a normalisation, silu, and a pointwise one (Gulati et al., 2020). One call makes its
depthwise layer go to the engine. Needs PyTorch: ``pip install '.[torch]'``.
"""

# %%
# The module, as one writes it. ``x`` has the shape (batch, frames, channels); the depthwise convolution sees it through
# a transpose, without a copy.

import copy
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import depthwise.torch


class ConformerConvolution(nn.Module):
    """Of `channels` channels, over `kernel` frames."""

    def __init__(self, channels=512, kernel=31):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.gated = nn.Linear(channels, 2 * channels)
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.depthwise_norm = nn.BatchNorm1d(channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x):
        """Gate, convolve, and add to x."""
        y = F.glu(self.gated(self.norm(x)))
        y = F.silu(self.depthwise_norm(self.depthwise(y.transpose(1, 2)))).transpose(1, 2)
        return x + self.out(y)


# %%
# :func:`depthwise.torch.accelerate` changes the depthwise layer and says so. Parameters stay where they are.

torch.manual_seed(0)
stock = ConformerConvolution().eval()
ours = copy.deepcopy(stock)
print(depthwise.torch.accelerate(ours))

# %%
# Ten seconds of speech are 500 frames. Both modules in turn, so that both meet the same machine.

x = torch.randn(1, 500, 512)
times = {"stock": [], "accelerated": []}
with torch.inference_mode():
    apart = (stock(x) - ours(x)).abs().max().item()
    for _ in range(15):
        for name, model in ("stock", stock), ("accelerated", ours):
            start = time.perf_counter()
            model(x)
            times[name].append(1e3 * (time.perf_counter() - start))
print(f"results are at most {apart:.0e} apart")
assert apart < 1e-4

# %%
# Each dot is a call, each line the median. How far they are apart hangs on the machine, and on what else it does.

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for row, each in enumerate(times.values()):
    ax.plot(each, [row] * len(each), "o", alpha=0.5, color=f"C{row}")
    ax.plot([sorted(each)[len(each) // 2]] * 2, [row - 0.25, row + 0.25], color=f"C{row}", linewidth=3)
ax.set_yticks(range(len(times)), times)
ax.set(xlabel="ms a call", ylim=(1.6, -0.6), title="Conformer's convolution module, 500 frames, 512 channels")
ax.set_xlim(left=0)
ax.grid(axis="x", alpha=0.3)
plt.show()
