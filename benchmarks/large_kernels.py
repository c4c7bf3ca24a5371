"""Times Fourier transforms beside direct sums, what "auto" chooses, and filters of its own for each image.

    python benchmarks/large_kernels.py kept
    python benchmarks/large_kernels.py auto [--problems 200] [--seed 2]
    python benchmarks/large_kernels.py images

`kept`: direct, by transforms, and these with prepared weights. `auto`: problems drawn by chance, and those in which its
choice takes more than 1.1 times the better. `images`: beside PyTorch's grouped convolution, most of whose time is the
first touch of its result's pages, unless MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ are 1000000000. Float32, one
thread, medians of interleaved calls in milliseconds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

import depthwise
import pictures
from depthwise import ops, progress


def medians(calls: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or time.perf_counter() < end:
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            times[i].append(time.perf_counter() - start)
    return [statistics.median(t) * 1e3 for t in times]


def drawn(rng: np.random.Generator, *shape: int, last: bool = False) -> Any:
    a = rng.standard_normal(shape, np.float32)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if last else a


def calls_of(x: Any, W: Any, gy: Any) -> list[Callable[[], object]]:
    """Forward directly, by transforms and with prepared weights; the weight gradient directly and by transforms."""
    prepared, kernel, pad = ops.prepare(W), W.shape[2:], W.shape[2] // 2
    return [
        lambda: ops.forward(x, W, pad=pad, out=gy),
        lambda: ops.forward(x, W, pad=pad, out=gy, method="fft"),
        lambda: ops.forward(x, prepared, pad=pad, out=gy, method="fft"),
        lambda: ops.weight_grad(x, gy, kernel, pad=pad),
        lambda: ops.weight_grad(x, gy, kernel, pad=pad, method="fft"),
    ]


def kept(asked: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    sizes = (1, 128, 56, 31), (8, 128, 56, 31), (1, 32, 112, 31), (1, 128, 56, 13), (1, 128, 28, 29)
    layers = list(product(sizes, (False, True)))
    forward, gradient = {}, {}
    with progress.shown(len(layers)) as begin:
        for (n, c, size, k), last in layers:
            name = f"{n}x{c}x{size}x{size} {k}x{k} {'channels last' if last else 'planar'}"
            begin(name)
            x, gy = (drawn(rng, n, c, size, size, last=last) for _ in range(2))
            direct, fft, ready, weights, weights_fft = medians(calls_of(x, drawn(rng, 1, c, k, k), gy), 2)
            forward[name] = {"direct": direct, "transforms": fft, "prepared": ready}
            gradient[name] = {"direct": weights, "transforms": weights_fft}
            print(
                f"{name:36s} forward {direct:6.2f}, "
                f"transforms {fft:5.2f} ({direct / fft:.1f}), prepared {ready:5.2f} ({direct / ready:.1f}); weight "
                f"gradient {weights:6.2f}, transforms {weights_fft:5.2f} ({weights / weights_fft:.1f})",
                flush=True,
            )
    panels = {"forward": forward, "weight gradient": gradient}
    pictures.write(asked.picture, "Direct sums and Fourier transforms", panels, "milliseconds", logarithmic=True)


def call_by(method: str, kind: str, x: Any, W: Any, gy: Any) -> Callable[[], object]:
    pad = W.shape[2] // 2
    if kind == "forward":
        return lambda: ops.forward(x, W, pad=pad, method=method, out=gy)
    if kind == "input_grad":
        return lambda: ops.input_grad(gy, W, x.shape[2:], pad=pad, method=method, out=x)
    return lambda: ops.weight_grad(x, gy, W.shape[2:], pad=pad, method=method)


def auto(asked: argparse.Namespace) -> None:
    chance, rng = random.Random(asked.seed), np.random.default_rng(asked.seed)
    worse = []
    with progress.shown(asked.problems) as begin:
        for _ in range(asked.problems):
            while True:
                n, k = chance.choice((1, 1, 8)), chance.randrange(5, 52, 2)
                size, c = int(7 * (512 / 7) ** chance.random()), int(3 * (512 / 3) ** chance.random())
                if n * c * size**2 < 4e6 and n * c * size**2 * k**2 < 4e9 and k <= 2 * size + 1:
                    break
            last = chance.choice((False, True))
            kind = chance.choice(("forward", "forward", "input_grad", "weight_grad"))
            name = f"{kind} {n}x{c}x{size}x{size} {k}x{k} {'channels last' if last else 'planar'}"
            begin(name)
            x, gy = (drawn(rng, n, c, size, size, last=last) for _ in range(2))
            W = drawn(rng, 1, c, k, k)
            direct, fft = medians([call_by(method, kind, x, W, gy) for method in ("direct", "fft")], 0.1)
            plan = depthwise.explain(x, W, pad=k // 2, kind=kind, method="auto")
            chosen = fft if plan["candidate"] == "Fourier transforms" else direct
            if chosen > 1.1 * min(direct, fft):
                worse.append(chosen / min(direct, fft))
                print(f"{name}: direct {direct:.3f}, transforms {fft:.3f}", flush=True)
    print(f"{len(worse)} of {asked.problems} take more than 1.1 times the better, worst {max(worse, default=1):.2f}")


def images(asked: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    n, c, size, k = 8, 64, 56, 3
    x, gy, W = torch.randn(n, c, size, size), torch.randn(n, c, size, size), torch.randn(n, c, 1, k, k)
    x_, gy_, W_ = x.numpy(), gy.numpy(), np.ascontiguousarray(W.numpy().swapaxes(1, 2))
    folded = x.reshape(1, n * c, size, size), gy.reshape(1, n * c, size, size), W.reshape(n * c, 1, k, k)

    def theirs(wanted: list[bool]) -> Any:
        steps = None, [1, 1], [1, 1], [1, 1], False, [0, 0], n * c
        return torch.ops.aten.convolution_backward(folded[1], folded[0], folded[2], *steps, wanted)

    with torch.no_grad():
        times = medians(
            [
                lambda: ops.forward(x_, W_, pad=1),
                lambda: torch.nn.functional.conv2d(folded[0], folded[2], padding=1, groups=n * c),
                lambda: ops.input_grad(gy_, W_, (size, size), pad=1),
                lambda: theirs([True, False, False]),
                lambda: ops.weight_grad(x_, gy_, (k, k), pad=1, per_sample=True),
                lambda: theirs([False, True, False]),
            ],
            3,
        )
    names, what = ("forward", "input gradient", "weight gradient"), f"{n}x{c}x{size}x{size} {k}x{k}"
    rows = {}
    for name, ours, stock in zip(names, times[::2], times[1::2], strict=True):
        print(f"{what} {name}: {ours:.2f}, PyTorch {stock:.2f} ({stock / ours:.1f})")
        rows[name] = {"ours": ours, "PyTorch": stock}
    pictures.write(asked.picture, "Filters of its own for each image", {what: rows}, "milliseconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kept", "auto", "images"])
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2)
    pictures.add_option(parser, "large_kernels")
    asked = parser.parse_args()
    depthwise.set_num_threads(1)
    {"kept": kept, "auto": auto, "images": images}[asked.what](asked)


if __name__ == "__main__":
    main()
