"""One minute: this machine's limits, measured, and the three passes on a dozen real layers against them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core, disturbance, ops, picture, progress, reference, roofline
from .enums import PASSES
from .geometry import output_size
from .plan import explain
from .runtime import active_target, get_num_threads


class Layer(NamedTuple):
    """A depthwise layer: name, batch, channels, height, width, kernel, stride; padding is half the kernel."""

    name: str
    batch: int
    channels: int
    size: int
    kernel: int
    stride: int


LAYERS = [
    Layer("MobileNetV1 conv 2", 1, 32, 112, 3, 1),
    Layer("MobileNetV1 conv 6", 1, 128, 56, 3, 1),
    Layer("MobileNetV1 conv 8", 1, 128, 56, 3, 2),
    Layer("MobileNetV1 conv 14", 1, 512, 14, 3, 1),
    Layer("MobileNetV1 conv 26", 1, 1024, 7, 3, 1),
    Layer("MobileNetV3 block 4", 1, 72, 56, 5, 2),
    Layer("EfficientNet-B0 block 5", 1, 240, 28, 5, 1),
    Layer("EfficientNet-B0 block 13", 1, 1152, 7, 5, 1),
    Layer("ConvNeXt-T stage 1", 1, 96, 56, 7, 1),
    Layer("ConvNeXt-T stage 3", 1, 384, 14, 7, 1),
    Layer("RepLKNet stage 1", 1, 128, 56, 31, 1),
    Layer("MobileNetV1 conv 6, batch 16", 16, 128, 56, 3, 1),
]


class Figure(NamedTuple):
    """What a call took, the median of its rounds by the least of them, and the least time that it needs here."""

    seconds: float
    spread: float
    limit: float

    @property
    def share(self) -> float:
        """Of what this machine can do."""
        return self.limit / self.seconds

    @property
    def is_doubtful(self) -> bool:
        """Whether it is to be marked."""
        return disturbance.is_doubtful(self.spread, self.share)


def seconds(call: Callable[[], object], rounds: int = 7, least: float = 0.01) -> list[float]:
    """The time of one call in each round, which are long enough to be timed."""
    call()
    start = time.perf_counter()
    call()
    repeats = max(1, int(least / max(time.perf_counter() - start, 1e-7)))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        times.append((time.perf_counter() - start) / repeats)
    return times


def arrays(layer: Layer, channels_last: bool) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Random x, W and gy."""
    rng = np.random.default_rng(0)

    def image(shape: tuple[int, ...]) -> npt.NDArray[Any]:
        a = rng.standard_normal(shape, np.float32)
        return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if channels_last else a

    n, c, k = layer.batch, layer.channels, layer.kernel
    out = output_size(layer.size, k, layer.stride, k // 2)
    W = rng.standard_normal((1, c, k, k), np.float32)
    return image((n, c, layer.size, layer.size)), W, image((n, c, *out))


def call_of(kind: str, layer: Layer, channels_last: bool) -> Callable[[], npt.NDArray[Any]]:
    """The call to be timed, after its answer has been checked."""
    x, W, gy = arrays(layer, channels_last)
    steps: dict[str, Any] = {"stride": layer.stride, "pad": layer.kernel // 2}
    size, kernel = (layer.size, layer.size), (layer.kernel, layer.kernel)
    calls: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "forward": (ops.forward, (x, W)),
        "input_grad": (ops.input_grad, (gy, W, size)),
        "weight_grad": (ops.weight_grad, (x, gy, kernel)),
    }
    f, args = calls[kind]
    small = [a[:1, :4] if i < 2 and a.shape[0] == layer.batch else a[:, :4] for i, a in enumerate(args[:2])]
    expected = getattr(reference, kind)(*small, *args[2:], **steps)
    error = np.abs(f(*small, *args[2:], **steps) - expected).max() / np.abs(expected).max()
    if not error < 1e-5:
        msg = f"{kind} of {layer.name} is wrong by {error:.1e}"
        raise RuntimeError(msg)
    return lambda: f(*args, **steps)


def measure(kind: str, layer: Layer, channels_last: bool) -> Figure:
    """One pass of a layer."""
    times = seconds(call_of(kind, layer, channels_last))
    x, W, _ = arrays(layer, channels_last)
    plan = explain(x, W, stride=layer.stride, pad=layer.kernel // 2, kind=kind, measure=True)
    middle = statistics.median(times)
    return Figure(middle, middle / min(times), plan["limit"])


def line(name: str, figures: dict[str, Figure]) -> str:
    """A row of the table."""
    cells = (f"{f.seconds * 1e6:9.1f} {f.share:4.0%}{'?' if f.is_doubtful else ' '}" for f in figures.values())
    return f"  {name:28s}{''.join(cells)}".rstrip()


def run(output: str) -> None:
    """Measure, print, draw, and say whether that can be believed."""
    target, n_threads = active_target(), get_num_threads()
    load = disturbance.load()
    probes = [disturbance.probe(target, n_threads)]
    rate = roofline.multiply_add_rate(target, False, n_threads)
    print(f"target {_core.targets()[target][0]}, {n_threads} threads, float32")
    print(f"multiply-adds: {rate / 1e9:.0f} GFLOP/s")
    for mib in (1, 8, 64):
        print(f"copies of {mib:2d} MiB: {roofline.copy_rate(mib << 20, n_threads) / 1e9:.0f} GB/s read and written")
    print("\nmicroseconds, and the share of the limit, which is the longer of two times:")
    print("the FLOP's at that rate, and the bytes' at that of copying so many")
    print(f"{'':30s}" + "".join(f"{kind:>14s} " for kind in PASSES).rstrip())
    shown: dict[str, dict[str, dict[str, float]]] = {}
    figures: list[Figure] = []
    with progress.shown(2 * len(LAYERS)) as begin:
        for memory, channels_last in (("planar", False), ("channels last", True)):
            print(memory)
            rows = shown[memory] = {}
            for layer in LAYERS:
                begin(f"{layer.name}, {memory}")
                row = {kind: measure(kind, layer, channels_last) for kind in PASSES}
                print(line(layer.name, row), flush=True)
                figures += row.values()
                rows[layer.name] = {kind.replace("_", " "): f.share for kind, f in row.items()}
                probes.append(disturbance.probe(target, n_threads))
            means = (math.exp(statistics.fmean(map(math.log, shares))) for shares in columns(rows))
            print(f"  {'geometric mean':28s}" + "".join(f"{mean:14.0%} " for mean in means).rstrip())
    print()
    if any(f.is_doubtful for f in figures):
        print("?: rounds differ by more than a quarter, or it is more than the limit")
    reasons = disturbance.doubts(probes, [(f.spread, f.share) for f in figures])
    title = f"Share of this machine's limit, {_core.targets()[target][0]}, {n_threads} threads, float32"
    if reasons:
        title += "\nThe machine was too busy: these figures cannot be believed"
    print(picture.write(output, title, shown, "share of the limit", line=1))
    if reasons:
        print(f"These figures cannot be believed: {'; '.join(reasons)} ({load} before).")


def columns(rows: dict[str, dict[str, float]]) -> Iterator[tuple[float, ...]]:
    """The figures of all rows, a pass at a time."""
    return zip(*(row.values() for row in rows.values()), strict=True)
