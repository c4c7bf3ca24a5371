"""
Training on digits, stock PyTorch and accelerated
=================================================

Trains a small MobileNet on scikit-learn's digits twice from the same weights::

    pip install '.[torch]' scikit-learn && python examples/train_digits.py

Prints the loss and the time of a step of both, interleaved, and how often each reads a new digit right. The arithmetic
is float64, in which another order of summation does not send the training down another path.
"""

import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.datasets import load_digits
from torch import Tensor, nn

import depthwise.torch


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Inverted residual without the residual: widen, depthwise, narrow."""
    wide = 6 * inputs
    return nn.Sequential(
        nn.Conv2d(inputs, wide, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU6(),
        nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU6(),
        nn.Conv2d(wide, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )


def network() -> nn.Sequential:
    stem = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
    blocks = block(16, 24, 2), block(24, 32, 2), block(32, 48, 1)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))


def trainer(model: nn.Module) -> Callable[[Tensor, Tensor], float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def step(x: Tensor, labels: Tensor) -> float:
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        return (model(x).argmax(1) == labels).double().mean().item()


def main(steps: int = 120, batch: int = 32) -> float:
    torch.manual_seed(0)
    digits = load_digits()
    images, labels = torch.tensor(digits.images)[:, None] / 16, torch.tensor(digits.target)
    images = F.interpolate(images, scale_factor=4, mode="bilinear")  # 32 by 32 pixels
    order = torch.randperm(len(images))
    images, labels = images[order], labels[order]

    stock = network().double()
    ours = copy.deepcopy(stock)
    print("accelerated layers:", ", ".join(depthwise.torch.accelerate(ours).changed))
    trainers, times, apart = [trainer(stock), trainer(ours)], [], 0.0
    for i in range(steps):
        at = i * batch % 1280
        losses, marks = [], [time.perf_counter()]
        for step in trainers:
            losses.append(step(images[at : at + batch], labels[at : at + batch]))
            marks.append(time.perf_counter())
        times.append((1e3 * (marks[1] - marks[0]), 1e3 * (marks[2] - marks[1])))
        apart = max(apart, abs(losses[0] - losses[1]) / losses[0])
        if i % 10 == 9:
            print(f"step {i + 1:3d}  loss {losses[0]:.6f} stock, {losses[1]:.6f} accelerated")
    slow, fast = (statistics.median(t) for t in zip(*times, strict=True))
    print(f"a step takes {slow:.1f} ms stock, {fast:.1f} ms accelerated; losses are at most {apart:.0e} apart")
    for name, model in ("stock", stock), ("accelerated", ours):
        print(f"{name} reads {accuracy(model, images[1280:], labels[1280:]):.1%} of new digits right")
    return apart


if __name__ == "__main__":
    assert main() < 1e-6
