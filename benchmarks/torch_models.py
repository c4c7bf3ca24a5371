"""Networks of the transformers package, stock PyTorch against accelerated, interleaved in one process.

    python benchmarks/torch_models.py [--threads 2] [--dtype float32] [--match mobilenet] [--infer] [--compile]

Weights and 224 x 224 images are random. Each round times one step of each; the figures are medians and their ratio.
Before it times, it trains both for ten steps and compares their losses; the last column is the same comparison of stock
PyTorch with itself on one thread fewer or more, where sums are rounded in another order: how far such a path wanders.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    EfficientNetConfig,
    EfficientNetForImageClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
)

import pictures
from depthwise import progress
from depthwise.torch import accelerate

MODELS = {  # name: (network, batch of a training step)
    "MobileNetV2": (lambda: MobileNetV2ForImageClassification(MobileNetV2Config(num_labels=1000)), 16),
    "EfficientNet-B0": (
        lambda: EfficientNetForImageClassification(
            EfficientNetConfig(
                num_labels=1000, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, image_size=224
            )
        ),
        8,
    ),
    "ConvNeXt-T": (lambda: ConvNextForImageClassification(ConvNextConfig(num_labels=1000)), 8),
}


def training_step(model: nn.Module, x: Tensor, labels: Tensor) -> Callable[[], float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = model(x, labels=labels).loss
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def inference(model: nn.Module, x: Tensor) -> Callable[[], None]:
    model.eval()

    def step() -> None:
        with torch.inference_mode():
            model(x)

    return step


def interleaved(stock: Callable[[], object], ours: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Medians in seconds, and the median of the ratios of neighbours."""
    times: list[tuple[float, float]] = []
    stock()
    ours()
    for _ in range(rounds):
        marks = [time.perf_counter()]
        for step in (stock, ours):
            step()
            marks.append(time.perf_counter())
        times.append((marks[1] - marks[0], marks[2] - marks[1]))
    ratio = statistics.median(a / b for a, b in times)
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times), ratio


def ten_losses(step: Callable[[], float]) -> list[float]:
    torch.manual_seed(1)  # the same dropout
    return [step() for _ in range(10)]


def apart_by(a: list[float], b: list[float]) -> str:
    return f"{max(abs(i - j) / abs(i) for i, j in zip(a, b, strict=True)):.1e}"


def compare(
    name: str, batch: int, layout: str, dtype: torch.dtype, infer: bool, compiled: bool, rounds: int
) -> list[str]:
    torch.manual_seed(0)
    stock = MODELS[name][0]().to(dtype)
    if layout == "nhwc":
        stock = stock.to(memory_format=torch.channels_last)
    ours = copy.deepcopy(stock)
    accelerate(ours)
    if compiled:
        stock.compile()
        ours.compile()
    x = torch.randn(batch, 3, 224, 224, dtype=dtype)
    if layout == "nhwc":
        x = x.to(memory_format=torch.channels_last)
    if infer:
        steps = inference(stock, x), inference(ours, x)
        apart = []
    else:
        labels = torch.randint(0, 1000, (batch,))
        steps = training_step(stock, x, labels), training_step(ours, x, labels)
        other = copy.deepcopy(stock)
        losses = [ten_losses(step) for step in steps]
        threads = torch.get_num_threads()
        torch.set_num_threads(threads - 1 or 2)
        losses.append(ten_losses(training_step(other, x, labels)))
        torch.set_num_threads(threads)
        apart = [apart_by(losses[0][:1], losses[1][:1]), apart_by(*losses[:2]), apart_by(losses[0], losses[2])]
    a, b, ratio = interleaved(*steps, rounds)
    return [name, str(batch), layout, f"{a * 1e3:.1f}", f"{b * 1e3:.1f}", f"{ratio:.2f}", *apart]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--match", default="")
    parser.add_argument("--layout", choices=["nchw", "nhwc"])
    parser.add_argument("--infer", action="store_true")
    parser.add_argument("--compile", action="store_true", help="both by torch.compile")
    parser.add_argument("--rounds", type=int, default=7)
    pictures.add_option(parser, "torch_models")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    columns = ["network", "batch", "memory", "stock ms", "accelerated ms", "stock / accelerated"]
    if not args.infer:
        columns += ["losses apart: first step", "in ten", "stock and itself"]
    title = f"{'inference' if args.infer else 'training step'}, {args.dtype}, {args.threads} threads"
    table = Table(*columns, title=title)
    jobs = [
        (name, batch, layout)
        for name, (_, batch_to_train) in MODELS.items()
        if args.match.lower() in name.lower()
        for batch in ((1, 8) if args.infer else (batch_to_train,))
        for layout in ([args.layout] if args.layout else ["nchw", "nhwc"])
    ]
    console = Console(width=120)
    panels: dict[str, dict[str, dict[str, float]]] = {}
    with progress.shown(len(jobs)) as begin:
        for name, batch, layout in jobs:
            begin(f"{name}, batch of {batch}, {layout}")
            row = compare(name, batch, layout, getattr(torch, args.dtype), args.infer, args.compile, args.rounds)
            table.add_row(*row)
            times = {"stock": float(row[3]), "accelerated": float(row[4])}
            panels.setdefault(layout, {})[f"{name}, batch of {batch}"] = times
    console.print(table)
    pictures.write(args.picture, title, panels, "milliseconds", logarithmic=True)


if __name__ == "__main__":
    main()
