"""Measures every number of csrc/plan/numbers.hpp on this machine and prints those that it would set otherwise.

    python benchmarks/tune.py [--match REGEX] [--target NAME] [--rounds N]

Each number is set to a few values around its own, and the layers on both sides of what it decides are run with each,
interleaved. A value is better where these layers take 3% less time in the mean (geometric) and none takes 5% more.
Change a `fixed` number only for a reason: bits of results hang on it, on every machine.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

import depthwise
import pictures
from depthwise import _core, ops, progress


class Layer(NamedTuple):
    """Sizes of x (batch, channels, height, width) and of a layer over it."""

    shape: tuple[int, int, int, int]
    kernel: int | tuple[int, int] = 3
    kind: str = "forward"
    last: bool = False  # channels last in memory
    dtype: str = "f4"
    stride: int = 1
    threads: int = 1
    crossed: bool = False  # x lies as gy does not
    method: str = "direct"

    def __str__(self) -> str:
        kernel = self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)
        memory = "channels last" if self.last else "planar"
        sizes = "x".join(map(str, self.shape))
        return f"{self.kind} {sizes} {kernel[0]}x{kernel[1]} stride {self.stride} {memory} {np.dtype(self.dtype)}"


@cache
def call_of(layer: Layer) -> Callable[[], object]:
    """The layer as a call without arguments."""
    rng = np.random.default_rng(0)

    def new(n: int, c: int, h: int, w: int, last: bool = layer.last) -> Any:
        if last:
            return rng.standard_normal((n, h, w, c)).astype(layer.dtype).transpose(0, 3, 1, 2)
        return rng.standard_normal((n, c, h, w)).astype(layer.dtype)

    kernel = layer.kernel if isinstance(layer.kernel, tuple) else (layer.kernel, layer.kernel)
    steps: dict[str, Any] = {"stride": layer.stride, "pad": (kernel[0] // 2, kernel[1] // 2)}
    steps["method"] = layer.method
    x = new(*layer.shape, last=layer.last != layer.crossed)
    W = rng.standard_normal((1, layer.shape[1], *kernel)).astype(layer.dtype)
    y = ops.forward(x, W, **steps)
    if layer.kind == "forward":
        return lambda: ops.forward(x, W, out=y, **steps)
    gy = new(*y.shape)
    if layer.kind == "input_grad":
        return lambda: ops.input_grad(gy, W, layer.shape[2:], out=x, **steps)
    return lambda: ops.weight_grad(x, gy, kernel, out=W, **steps)


def planar(*shape: int, **more: Any) -> Layer:
    return Layer(shape, **more)  # type: ignore[arg-type]


def last(*shape: int, **more: Any) -> Layer:
    return Layer(shape, last=True, **more)  # type: ignore[arg-type]


def every(kinds: tuple[str, ...], *layers: Layer) -> list[Layer]:
    return [layer._replace(kind=kind) for layer in layers for kind in kinds]


BOTH, GRADIENT = ("forward", "input_grad"), ("weight_grad",)
TRANSPOSED = every(BOTH, planar(1, 512, 14, 14), planar(1, 384, 14, 14, kernel=7), planar(1, 960, 7, 7, kernel=5)) + [
    planar(1, 1024, 7, 7, kernel=13)
]
ROWS = every(BOTH, planar(8, 64, 1, 1000, kernel=(1, 31)), planar(8, 64, 1, 100, kernel=(1, 9)))
ONE_LINE = (
    planar(1, 8192, 1, 8, kernel=(1, 4)),
    planar(1, 2048, 1, 128, kernel=(1, 4)),
    planar(1, 512, 1, 1000, kernel=(1, 4)),
    planar(1, 2048, 1, 16, kernel=(1, 31)),
    planar(1, 512, 1, 128, kernel=(1, 31)),
    planar(1, 2, 1, 108, kernel=(1, 9)),
)
LINES, LINE_GRADIENTS = every(BOTH, *ONE_LINE), every(GRADIENT, *ONE_LINE)
STRIDED_LINES = every(
    (*BOTH, *GRADIENT),
    planar(1, 1024, 1, 909, kernel=(1, 3), stride=2),
    planar(16, 32, 1, 1782, kernel=(1, 3), stride=3),
    planar(1, 144, 1, 15, kernel=(1, 3), stride=2),
)
LONG_LINES = every((*BOTH, *GRADIENT), planar(1, 64, 1, 16000, kernel=(1, 31)), planar(1, 64, 1, 16000, kernel=(1, 4)))
PIXEL_LINES = every((*BOTH, *GRADIENT), last(1, 1024, 1, 500, kernel=(1, 31)), last(1, 1024, 1, 1000, kernel=(1, 9)))
PAIRS = [planar(1, 96, 134, 134, kernel=9, stride=2), planar(2, 192, 102, 102, kernel=7, stride=2)]
APART = every(
    ("forward",),
    planar(1, 64, 56, 56, stride=3),
    planar(1, 3, 224, 224, kernel=7, stride=4),
    planar(1, 8, 112, 112, stride=3),
    planar(1, 6, 112, 112, stride=8),
)
ENDS = every(
    GRADIENT,
    planar(1, 512, 14, 14),
    planar(1, 256, 28, 28),
    planar(1, 128, 56, 56),
    planar(1, 1024, 7, 7),
    planar(1, 960, 7, 7, kernel=5),
    planar(1, 768, 7, 7, kernel=7),
    planar(1, 90, 14, 14, kernel=9),
    planar(1, 1024, 7, 7, kernel=13),
    planar(1, 64, 112, 112, stride=2),
    planar(1, 48, 56, 56, kernel=7, stride=2),
)
CROWDED = every(
    BOTH,
    last(1, 1024, 7, 7, kernel=13),
    last(1, 512, 14, 14, kernel=9),
    last(1, 384, 14, 14, kernel=7),
    last(1, 480, 14, 14, kernel=13),
)
CROWDED_ROWS = [planar(1, 2, 128, w, kernel=k) for w in (512, 1008, 1024, 2048) for k in ((1, 3), 3, 5, 7, (31, 1))]
CROWDED_PIXELS = every(
    BOTH,
    *(last(1, c, s, s, kernel=k) for c, s in ((512, 14), (512, 28), (512, 56), (256, 28), (1024, 7)) for k in (3, 7)),
)
PACKED = every(
    ("forward", "weight_grad"),
    planar(1, 16, 400, 400, dtype="f2"),
    planar(1, 64, 112, 112, stride=3),
    planar(1, 8, 300, 300, kernel=9, dtype="f2"),
)
CONVERTED = every(
    ("forward", "weight_grad"),
    planar(1, 1024, 7, 7, dtype="f2"),
    planar(1, 256, 28, 28, dtype="f2"),
    planar(1, 16, 180, 180, dtype="f2"),
    planar(1, 16, 300, 300, dtype="f2"),
    last(1, 64, 112, 112, dtype="f2"),
)
WIDE = every(("forward", "weight_grad"), planar(1, 8, 64, 4000), planar(1, 64, 8, 1500, kernel=5)) + [
    planar(1, 1, 1000, 6000, kernel=7),
    planar(1, 1, 1000, 6000, kernel=(31, 1)),
]
CUT = every(BOTH, planar(1, 64, 128, 256, stride=3, kernel=9), planar(1, 1024, 14, 14, kernel=13)) + every(
    GRADIENT, planar(1, 88, 128, 256, stride=2, kernel=5), planar(1, 512, 28, 28)
)
SUMS = every(
    GRADIENT,
    planar(1, 128, 56, 56),
    planar(16, 8, 56, 56),
    last(1, 128, 56, 56),
    last(1, 512, 14, 14, kernel=5),
    last(8, 1024, 7, 7),
)
BANDS = every(
    GRADIENT,
    last(4, 240, 28, 28, kernel=5),
    last(2, 96, 56, 56, kernel=7),
    last(1, 32, 257, 257),
    last(1, 128, 56, 56),
    last(1, 88, 128, 256),
    last(4, 128, 56, 56),
)
TILES = every(
    BOTH,
    last(1, 64, 56, 56),
    last(1, 240, 28, 28, kernel=5),
    last(1, 512, 14, 14),
    last(1, 256, 28, 28),
    last(1, 96, 56, 56, kernel=7),
    last(8, 240, 28, 28, kernel=5),
    last(8, 96, 56, 56, kernel=7),
    last(1, 256, 28, 28, stride=2),
)
STREAMED = every(
    BOTH,
    planar(1, 88, 128, 256),
    planar(1, 512, 56, 56),
    planar(2, 512, 56, 56),
    last(1, 88, 128, 256),
    last(1, 512, 56, 56),
    last(8, 96, 56, 56, kernel=7),
    last(1, 96, 202, 201, kernel=(9, 1)),
    last(16, 32, 112, 112),
)
PLANES = [planar(1, 32, 56, 56), planar(1, 64, 56, 56), planar(1, 32, 112, 112), planar(1, 256, 56, 56)]
FETCHED = every(
    BOTH,
    last(1, 128, 56, 56),
    last(1, 256, 56, 56),
    last(1, 512, 56, 56),
    last(1, 88, 128, 256),
    *PLANES,
    planar(16, 32, 112, 112),
)
STAGED = every(
    BOTH,
    planar(16, 512, 28, 28),
    planar(64, 512, 14, 14),
    planar(8, 256, 56, 56),
    last(8, 512, 40, 40),
    last(4, 1024, 40, 40),
    last(2, 2048, 40, 40),
)
FOURIER = [
    planar(1, c, size, size, kernel=k, method=method)
    for c, size, k in ((64, 56, 31), (64, 28, 13), (256, 14, 15), (3, 512, 31), (64, 56, 9))
    for method in ("auto", "fft")
]
SMALL = [planar(1, c, 14, 14, threads=2, kernel=k) for c, k in ((32, 3), (64, 3), (128, 3), (64, 5), (256, 3))]

HALVES = (0.25, 0.5, 2, 4)
DECIDES: dict[str, tuple[tuple[float, ...], list[Layer]]] = {
    "transposing_cost": (HALVES, TRANSPOSED),
    "transposing_products_cost": (HALVES, every(GRADIENT, *TRANSPOSED)),
    "plane_cost": (HALVES, every(BOTH, planar(4, 512, 4, 4), planar(1, 1024, 5, 5), planar(4, 1024, 7, 7))),
    "listed_line_cost": ((0.5, 0.7, 1.5), LINES),
    "widest_shared_line": (HALVES, LINES),
    "uncached_bytes": ((0.1, 10), [planar(8, 384, 14, 14, kernel=7), planar(32, 384, 14, 14, kernel=7)]),
    "gathering_cost": ((0.1, 0.7), every(BOTH, last(1, 4, 64, 64), last(1, 6, 64, 64), last(1, 8, 64, 64))),
    "scattering_cost": (HALVES, [planar(8, 64, 28, 28, kind="input_grad", crossed=True)]),
    "written_apart_cost": (HALVES, [planar(1, 192, 56, 56, kind="input_grad", stride=s) for s in (3, 4)]),
    "pairs_cost": ((0.8, 1.3), every(BOTH, *PAIRS)),
    "interleaved_cost": ((0.7, 1.4), every(BOTH, *PAIRS)),
    "pixel_line_cost": ((0.7, 2), PIXEL_LINES),
    "apart_cost": (HALVES, APART),
    "apart_row_cost": (HALVES, APART),
    "chains_cost": ((0.4, 0.7, 1.5), ROWS),
    "stack_cost": ((0.6, 1.5), LINES),
    "row_cost": (HALVES, LINES),
    "line_cost": (HALVES, LINES),
    "lone_cost": (HALVES, LINE_GRADIENTS),
    "transposed_sums_cost": ((0.7, 1.5), LINE_GRADIENTS),
    "transposed_row_cost": (HALVES, LINE_GRADIENTS),
    "first_row_cost": (HALVES, LINES),
    "first_pixel_cost": (HALVES, LINES),
    "few_taps_cost": (HALVES, LINES),
    "many_taps_cost": (HALVES, LINES),
    "ends_cost": (HALVES, LINE_GRADIENTS),
    "apart_line_cost": (HALVES, STRIDED_LINES),
    "apart_vector_cost": (HALVES, STRIDED_LINES),
    "scattered_cost": (HALVES, STRIDED_LINES),
    "widest_stride": ((0.25, 2), STRIDED_LINES),
    "line_strip": (HALVES, LONG_LINES),
    "least_line_group": (HALVES, PIXEL_LINES),
    "staged_line_group": (HALVES, PIXEL_LINES),
    "staged_lines": (HALVES, PIXEL_LINES),
    "idle_cost": (HALVES, ENDS),
    "strided_cost": ((0.1, 4), ENDS),
    "transposed_cost": ((0.5, 0.75, 1.5, 2), ENDS),
    "crowding_taps": ((0.1, 0.7, 2, 100), CROWDED),
    "most_crowding": (HALVES, CROWDED_PIXELS),
    "least_paired_bytes": (HALVES, CROWDED_PIXELS),
    "converted_group": (HALVES, CROWDED_PIXELS),
    "least_taken_down": (HALVES, [*CROWDED_PIXELS, last(1, 512, 14, 14, kernel=27)]),
    "ways": (HALVES, CROWDED),
    "way_bytes": ((0.5, 2), CROWDED),
    "crowding_chunk": ((0.34, 2), CROWDED_ROWS),
    "crowding_rows": (HALVES, every(BOTH, *CROWDED_ROWS)),
    "crowding_products": (HALVES, every(GRADIENT, *CROWDED_ROWS)),
    "staged_taps": (HALVES, CROWDED_ROWS),
    "packed_bytes": (HALVES, PACKED),
    "converted_bytes": (HALVES, CONVERTED),
    "most_converted_bytes": (HALVES, CONVERTED),
    "direct_strip": ((0.25, 0.5, 2), WIDE),
    "shared_rows_bytes": (HALVES, WIDE),
    "staged_strip": (HALVES, PACKED),
    "least_band": (HALVES, CUT),
    "least_strip": (HALVES, CUT),
    "wide_strip": (HALVES, CUT),
    "gradient_band": (HALVES, SUMS),
    "radix_2_cost": (HALVES, FOURIER),
    "radix_3_cost": (HALVES, FOURIER),
    "radix_4_cost": (HALVES, FOURIER),
    "radix_5_cost": (HALVES, FOURIER),
    "plane_row_cost": (HALVES, FOURIER),
    "first_transform_cost": (HALVES, FOURIER),
    "gradient_units": (HALVES, SUMS),
    "gradient_pixels": (HALVES, SUMS),
    "sums_bytes": (HALVES, SUMS),
    "gradient_columns": (HALVES, BANDS),
    "fewest_gradient_columns": (HALVES, BANDS),
    "tile_share": (HALVES, TILES),
    "sliced_share": (HALVES, TILES),
    "many_taps": ((0.3, 3), TILES),
    "few_places": ((0.25, 4), TILES),
    "band_rows": (HALVES, [*TILES, *every(BOTH, last(1, 32, 112, 112))]),
    "packed_share": (HALVES, TRANSPOSED),
    "streamed_share": ((0.3, 0.6, 1.6, 3), STREAMED),
    "window_share": (HALVES, STREAMED),
    "fetched_share": ((0.5, 2, 5, 20), [*FETCHED, *every(GRADIENT, *PLANES)]),
    "fetched_planes_share": (
        (0.1, 0.5, 2, 10),
        every(BOTH, planar(16, 128, 14, 14), planar(16, 384, 14, 14, kernel=7)),
    ),
    "fetched_band_share": (HALVES, every(BOTH, last(8, 384, 14, 14, kernel=7), last(2, 192, 28, 28, kernel=7))),
    "widest_fetched_bytes": (HALVES, [*WIDE, *every(GRADIENT, *PLANES)]),
    "least_staged_bytes": ((0.1, 0.5, 2, 10), STAGED),
    "widest_staged_bytes": ((0.1, 0.5, 2, 10), STAGED),
    "serial_flop": ((0.1, 0.3, 3, 10), SMALL),
}
NOT_MEASURED = {
    "packing_cost": "no choice hangs on it alone: what is packed is so for every kind of lanes",
    "widest_window": "a promise: what is copied of a row stays within the scratch memory",
    "widest_staged_lines": "a promise: what is copied of pixels stays within the scratch memory",
    "most_spectral_bytes": "a promise: no more scratch memory than 8 MiB a thread for Fourier transforms",
    "most_packed_bytes": "a promise: no more scratch memory than 1 MiB a thread",
    "most_scratch_bytes": "a promise: no more scratch memory than 1 MiB a thread",
}


def seconds(layer: Layer, name: str, values: list[float], rounds: int) -> list[float]:
    """Least seconds of a call with each value: of this thread's own time, where no other thread helps."""
    call = call_of(layer)
    clock = time.thread_time if layer.threads == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in values]
    with depthwise.threads(layer.threads):
        call()
        start = clock()
        call()
        calls = max(1, int(0.002 / max(1e-7, clock() - start)))
        for round_ in range(rounds):
            order = range(len(values)) if round_ % 2 else reversed(range(len(values)))
            for i in order:
                _core.set_number(name, values[i])
                call()
                start = clock()
                for _ in range(calls):
                    call()
                times[i].append((clock() - start) / calls)
    return [min(t) for t in times]


def mean_ratio(table: dict[Layer, list[float]], i: int) -> float:
    """Of the times with value i to those with value 0."""
    return statistics.geometric_mean(times[i] / times[0] for times in table.values())


def better(table: dict[Layer, list[float]], i: int) -> float | None:
    """Mean ratio of the times with value i to those with value 0; None where it is no gain, or some layer's loss."""
    mean = mean_ratio(table, i)
    return mean if mean < 0.97 and max(times[i] / times[0] for times in table.values()) < 1.05 else None


def tune(name: str, fixed: bool, value: float, rounds: int) -> tuple[str | None, dict[str, float]]:
    """What this machine would set the number to, and the figures; None where its value is as good.

    With it the mean ratio of the time for each factor that was tried.
    """
    factors, layers = DECIDES[name]
    values = [value, *(value * factor for factor in factors)]

    def measure(values: list[float], rounds: int) -> dict[Layer, list[float]]:
        try:
            return {layer: seconds(layer, name, values, rounds) for layer in layers}
        finally:
            _core.set_number(name, value)

    table = measure(values, rounds)
    ratios = {f"times {factor:g}": mean_ratio(table, i) for i, factor in enumerate(factors, 1)}
    means = {i: mean for i in range(1, len(values)) if (mean := better(table, i)) is not None}
    if not means:
        return None, ratios
    # What was found is measured once more, alone: other processes disturb.
    best = values[min(means, key=lambda i: means[i])]
    table = measure([value, best], 3 * rounds)
    mean = better(table, 1)
    if mean is None:
        return None, ratios
    kind = "fixed" if fixed else "machine"
    lines = [f"{name} ({kind}): {value:g}, here rather {best:g}: {(1 - mean) * 100:.0f}% less time in the mean"]
    lines += [f"    {layer}: {t[0] * 1e6:.0f} us, {t[1] * 1e6:.0f}" for layer, t in table.items()]
    return "\n".join(lines), ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="numbers whose names hold this regular expression")
    parser.add_argument("--target", default=depthwise.targets()[0], help="of depthwise.targets(); default: the best")
    parser.add_argument("--rounds", type=int, default=7)
    pictures.add_option(parser, "tune")
    args = parser.parse_args()
    depthwise.use_target(args.target)
    numbers = _core.numbers()
    unknown = {name for name, _, _ in numbers} ^ {*DECIDES, *NOT_MEASURED}
    if unknown:
        raise SystemExit(f"numbers that are not both here and in the engine: {', '.join(sorted(unknown))}")
    sizes = ", ".join(f"{size >> 10} KiB" for size in _core.caches())
    print(f"target {args.target}, caches of {sizes}, {args.rounds} rounds", flush=True)
    chosen = [number for number in numbers if re.search(args.match, number[0])]
    panel: dict[str, dict[str, float]] = {}
    with progress.shown(len(chosen)) as begin:
        for name, fixed, value in chosen:
            begin(name)
            if name in NOT_MEASURED:
                print(f"{name}: not measured ({NOT_MEASURED[name]})", flush=True)
                continue
            start = time.perf_counter()
            found, panel[name] = tune(name, fixed, value, args.rounds)
            print(found or f"{name}: {value:g} is as good as any", f"[{time.perf_counter() - start:.0f} s]", flush=True)
            call_of.cache_clear()
    scale = "time with another value / with this one, mean of its layers"
    pictures.write(args.picture, f"What the plan goes by, {args.target}", {"Numbers": panel}, scale, line=1)


if __name__ == "__main__":
    main()
