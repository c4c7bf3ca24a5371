"""Times images whose rows are a power of two long beside images whose rows are 16 columns shorter.

    python benchmarks/crowding.py [--widths 512 2048] [--kernels 3x3 31x1] [--dtypes float32] [--layouts planar]

Nanoseconds for each output of both, and their ratio: one where no row pushes another out of a cache. One thread, its
own time, the least of interleaved calls with `out=`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import ml_dtypes  # noqa: F401  NumPy knows bfloat16 by its name then
import numpy as np

import depthwise
import pictures
from depthwise import ops, progress


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", nargs="+", type=int, default=[256, 512, 1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--kernels", nargs="+", default=["3x3", "7x7", "11x11", "31x1", "31x31"])
    parser.add_argument("--layouts", nargs="+", default=["planar", "channels_last"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64", "bfloat16", "float16"])
    parser.add_argument("--passes", nargs="+", default=["forward", "input_grad", "weight_grad"])
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--elements", type=int, default=1 << 20, help="of an image, about")
    parser.add_argument("--seconds", type=float, default=0.1, help="for each pair")
    pictures.add_option(parser, "crowding")
    return parser.parse_args()


def image(channels: int, height: int, width: int, layout: str, dtype: str) -> Any:
    if layout == "planar":
        return np.ones((1, channels, height, width), dtype)
    return np.ones((1, height, width, channels), dtype).transpose(0, 3, 1, 2)


def call(kind: str, x: Any, W: Any, gy: Any, steps: dict[str, Any]) -> Callable[[], Any]:
    if kind == "forward":
        return lambda: ops.forward(x, W, out=gy, **steps)
    if kind == "input_grad":
        return lambda: ops.input_grad(gy, W, x.shape[2:], out=x, **steps)
    return lambda: ops.weight_grad(x, gy, W.shape[2:], out=W, **steps)


def nanoseconds(calls: list[Callable[[], Any]], outputs: list[int], seconds: float) -> list[float]:
    for each in calls:
        each()
    times: list[list[float]] = [[] for _ in calls]
    end = time.thread_time() + seconds
    while len(times[0]) < 3 or time.thread_time() < end:
        for i, each in enumerate(calls):
            start = time.thread_time()
            each()
            times[i].append(time.thread_time() - start)
    return [min(t) / n * 1e9 for t, n in zip(times, outputs, strict=True)]


def pair(layout: str, dtype: str, kernel: tuple[int, ...], kind: str, width: int, asked: argparse.Namespace) -> Any:
    """Nanoseconds an output of rows so long, and of rows 16 columns shorter."""
    channels = 2 if layout == "planar" else 8
    height = max(48, asked.elements // (width * channels))
    steps = {"stride": asked.stride, "pad": tuple(k // 2 for k in kernel)}
    calls, outputs = [], []
    for columns in (width, width - 16):
        out = depthwise.output_size((height, columns), kernel, **steps)
        x, gy = (image(channels, h, w, layout, dtype) for h, w in ((height, columns), out))
        calls.append(call(kind, x, np.ones((1, channels, *kernel), dtype), gy, steps))
        outputs.append(gy.size)
    return nanoseconds(calls, outputs, asked.seconds)


def main() -> None:
    asked = options()
    depthwise.set_num_threads(1)
    rows = list(product(asked.layouts, asked.dtypes, asked.kernels, asked.passes))
    panels: dict[str, dict[str, dict[str, float]]] = {}
    with progress.shown(len(rows)) as begin:
        for layout, dtype, kernel, kind in rows:
            begin(f"{layout} {dtype} {kernel} {kind}")
            sizes = tuple(map(int, kernel.split("x")))
            found = {width: pair(layout, dtype, sizes, kind, width, asked) for width in asked.widths}
            row = (f"{power:6.2f} /{other:6.2f} = {power / other:4.2f}" for power, other in found.values())
            print(f"{layout:13} {dtype:8} {kernel:5} {kind:11}", "  ".join(row), flush=True)
            ratios = {f"{width} columns": power / other for width, (power, other) in found.items()}
            panels.setdefault(f"{layout} {dtype}", {})[f"{kernel} {kind}"] = ratios
    title = "Rows a power of two long, and 16 columns shorter"
    pictures.write(asked.picture, title, panels, "ratio of the times of an output", logarithmic=True, line=1)


if __name__ == "__main__":
    main()
