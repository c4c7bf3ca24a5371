"""The convolution module of a Conformer on a CPU, stock and accelerated.

    pip install '.[torch]' && python examples/conformer_block.py

Speech recognisers (Conformer, Parakeet, Wav2Vec2-BERT, ...) have it in every layer: a gated pointwise convolution, a
depthwise one over 31 frames, a normalisation, silu, and a pointwise one (Gulati et al., 2020). Ten seconds of speech
are 500 frames. Prints the time of both, interleaved, and how far apart the results are.
"""

import argparse
import copy
import statistics
import time

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import depthwise.torch


class ConformerConvolution(nn.Module):
    """x of shape (batch, frames, channels); the depthwise convolution sees it through a transpose, without a copy."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.gated = nn.Linear(channels, 2 * channels)
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.depthwise_norm = nn.BatchNorm1d(channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.glu(self.gated(self.norm(x)))
        y = F.silu(self.depthwise_norm(self.depthwise(y.transpose(1, 2)))).transpose(1, 2)
        return x + self.out(y)


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--kernel", type=int, default=31)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    torch.manual_seed(0)
    stock = ConformerConvolution(args.channels, args.kernel).eval()
    ours = copy.deepcopy(stock)
    print("accelerated layers:", ", ".join(depthwise.torch.accelerate(ours).changed))
    x = torch.randn(1, args.frames, args.channels)
    times = []
    with torch.inference_mode():
        apart = (stock(x) - ours(x)).abs().max().item()
        for i in range(args.rounds):
            marks = [time.perf_counter()]
            for model in (stock, ours):
                model(x)
                marks.append(time.perf_counter())
            times.append((1e3 * (marks[1] - marks[0]), 1e3 * (marks[2] - marks[1])))
            if i % 5 == 4:
                print(f"round {i + 1:2d}: {times[-1][0]:.2f} ms stock, {times[-1][1]:.2f} ms accelerated", flush=True)
    slow, fast = (statistics.median(t) for t in zip(*times, strict=True))
    print(f"medians: {slow:.2f} and {fast:.2f} ms, {slow / fast:.1f} times; results are at most {apart:.0e} apart")
    return apart


if __name__ == "__main__":
    assert main() < 1e-4
