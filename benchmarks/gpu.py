"""The layers of layers.json on a GPU: forward pass and both gradients, beside PyTorch's in both memory formats.

`python benchmarks/gpu.py --output gpu.json` needs PyTorch with CUDA. Times are medians of CUDA events around one call
each, all ways in turn, after the second-level cache was overwritten. The limit is the time of a copy of as many bytes
as the arrays have, or of as many multiply-adds, whichever is longer; the rate of a copy is measured.

`--keep CAPABILITY` compiles all kernels instead, on as many processes as there are cores, which needs NVRTC and no GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from depthwise import _core, gpu
from depthwise.enums import DTYPES, FORWARD, INPUT_GRAD, WEIGHT_GRAD
from depthwise.geometry import Geometry, geometry

PASSES = {"forward": FORWARD, "input_grad": INPUT_GRAD, "weight_grad": WEIGHT_GRAD}
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
PROCESSORS = 132  # of an H100 or H200


def layers(path: Path) -> list[dict[str, Any]]:
    """Each layer of two axes once, whatever models share it."""
    seen, kept = set(), []
    for layer in json.loads(path.read_text()):
        key = str([layer[k] for k in ("C", "M", "size", "kernel", "stride", "pad", "dilate")])
        if key not in seen and len(layer["size"]) == 2:
            seen.add(key)
            kept.append(layer)
    return kept


def geometry_of(layer: dict[str, Any], batch: int) -> Geometry:
    x = batch, layer["C"], *layer["size"]
    W = layer["M"], layer["C"], *layer["kernel"]
    return geometry(x, W, *(tuple(layer[step]) for step in ("stride", "pad", "dilate")))


def _strides(shape: tuple[int, ...], layout: str) -> list[int]:
    n, c, h, w = shape
    return [c * h * w, h * w, w, 1] if layout == "planar" else [c * h * w, 1, w * c, c]


def kernels(layer: dict[str, Any], batch: int, layout: str, dtype: str) -> set[tuple[str, str]]:
    """(source, options) of all that the passes of a layer need."""
    g, code = geometry_of(layer, batch), DTYPES[dtype]
    x, y = ((0, _strides(shape, layout), code) for shape in (g.x_shape, g.y_shape))
    row = math.prod(g.W_shape[2:])
    W = 0, [row, g.multiplier * row, g.W_shape[3], 1], code
    found = set()
    for kind in PASSES.values():
        _, steps = _core.gpu_steps(kind, g.sizes, x, W, gpu.NOTHING, y, 0, PROCESSORS, 0)
        found |= {(source, options) for source, _, options, *_ in steps}
    return found


def _keep(kernel: tuple[str, str, int]) -> None:
    _core.gpu_look_for_nvrtc(gpu.nvrtc_paths(10**6))
    _core.gpu_keep(*kernel)


def keep(problems: list[tuple[Any, ...]], architecture: int) -> None:
    every = sorted(set().union(*(kernels(*p) for p in problems)))
    print(f"{len(every)} kernels into {_core.gpu_cache_folder()}", file=sys.stderr)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_keep, [(*kernel, architecture) for kernel in every], chunksize=4))


def measure(problems: list[tuple[Any, ...]], rounds: int) -> dict[str, Any]:
    import torch
    from torch.nn import grad as torch_grad
    from torch.nn import functional as F  # noqa: N812

    import depthwise.torch  # noqa: F401 - registers the operators

    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda")
    ours = torch.ops.depthwise
    spoiler = torch.empty(1 << 29, dtype=torch.uint8, device=device)

    def medians(ways: dict[str, Any]) -> dict[str, float]:
        for way in ways.values():
            way()
            way()
        times: dict[str, list[float]] = {name: [] for name in ways}
        events = []
        for _ in range(rounds):
            for name, way in ways.items():
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                spoiler.zero_()
                begin.record()
                way()
                end.record()
                events.append((name, begin, end))
        torch.cuda.synchronize()
        for name, begin, end in events:
            times[name].append(begin.elapsed_time(end) / 1e3)
        return {name: statistics.median(t) for name, t in times.items()}

    source, target = (torch.empty(1 << 28, dtype=torch.float32, device=device) for _ in range(2))
    copied = 2 * source.nbytes / medians({"copy": lambda: target.copy_(source)})["copy"]
    del source, target
    properties = torch.cuda.get_device_properties(device)
    clock = getattr(properties, "clock_rate", 1_980_000) * 1e3
    multiply_adds = properties.multi_processor_count * 128 * clock
    rows = []
    for i, (layer, batch, layout, dtype) in enumerate(problems):
        g = geometry_of(layer, batch)
        kind = getattr(torch, dtype)
        formats = {"planar": torch.contiguous_format, "channels_last": torch.channels_last}
        x, gy = (torch.randn(s, device=device, dtype=torch.float32).to(kind) for s in (g.x_shape, g.y_shape))
        weight = torch.randn((g.y_shape[1], 1, *g.W_shape[2:]), device=device).to(kind)
        each = {name: (x.contiguous(memory_format=f), gy.contiguous(memory_format=f)) for name, f in formats.items()}
        stride, pad, dilate = (tuple(layer[step]) for step in ("stride", "pad", "dilate"))
        steps = stride, [p for p in pad for _ in range(2)], dilate, "direct", "constant"
        a, b = each[layout]
        last = layout == "channels_last"
        groups = layer["C"]

        def theirs(which: str, name: str) -> Any:
            u, v = each[name]
            if which == "forward":
                return lambda: F.conv2d(u, weight, None, stride, pad, dilate, groups)
            mask = [which == "input_grad", which == "weight_grad", False]
            more = None, stride, pad, dilate, False, (0, 0), groups, mask
            return lambda: torch.ops.aten.convolution_backward(v, u, weight, *more)

        calls = {
            "forward": lambda: ours.conv(a, weight, None, *steps),
            "input_grad": lambda: ours.conv_input_grad(b, weight, list(g.x_shape), last, kind, *steps),
            "weight_grad": lambda: ours.conv_weight_grad(a, b, list(g.W_shape[2:]), kind, *steps),
        }
        for which, call in calls.items():
            got = call().double()
            want = {
                "forward": lambda: F.conv2d(x.double(), weight.double(), None, stride, pad, dilate, groups),
                "input_grad": lambda: torch_grad.conv2d_input(
                    x.shape, weight.double(), gy.double(), stride, pad, dilate, groups
                ),
                "weight_grad": lambda: torch_grad.conv2d_weight(
                    x.double(), weight.shape, gy.double(), stride, pad, dilate, groups
                ),
            }[which]() if x.numel() < 3e6 else got  # in float64 the larger ones take longer than all the rest
            error = float((got - want).norm() / want.norm())
            del got, want
            ways = {"ours": call, **{f"PyTorch {name}": theirs(which, name) for name in formats}}
            seconds = medians(ways)
            size = BYTES[dtype]
            products = math.prod(g.y_shape) * math.prod(layer["kernel"])
            limit = max((x.numel() + gy.numel()) * size / copied, products / multiply_adds)
            rows.append(
                {
                    "layer": layer["name"], "batch": batch, "layout": layout, "dtype": dtype, "pass": which,
                    "kernel": layer["kernel"], "stride": layer["stride"], "limit": limit, "seconds": seconds,
                    "error": error,
                }
            )
        if sys.stderr.isatty() or i % 20 == 0:
            print(f"{i + 1} of {len(problems)}: {layer['name']}", file=sys.stderr)
    return {
        "gpu": properties.name, "copy": copied, "multiply_adds": multiply_adds, "torch": torch.__version__,
        "nvrtc": _core.gpu_nvrtc_version(), "rows": rows,
    }


def mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def report(results: dict[str, Any]) -> str:
    """Shares of the limit and the better of PyTorch's formats over ours, by pass, dtype, memory and kernel."""
    lines = [
        f"{results['gpu']}: a copy moves {results['copy'] / 1e12:.2f} TB/s; PyTorch {results['torch']}, NVRTC "
        f"{results['nvrtc'] / 1000:.1f}.",
        "",
        "| pass | dtype | memory | batch | taps | layers | share of the limit, mean | best of PyTorch / ours, mean | worst |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for row in results["rows"]:
        taps = "3, 5, 7" if row["kernel"] in ([3, 3], [5, 5], [7, 7]) else "others"
        groups.setdefault((row["pass"], row["dtype"], row["layout"], row["batch"], taps), []).append(row)
    for key, rows in groups.items():
        shares = [r["limit"] / r["seconds"]["ours"] for r in rows]
        ratios = [
            (min(t for n, t in r["seconds"].items() if n != "ours") / r["seconds"]["ours"], r["layer"]) for r in rows
        ]
        worst = min(ratios)
        lines.append(
            f"| {' | '.join(map(str, key))} | {len(rows)} | {mean(shares):.2f} | {mean([q for q, _ in ratios]):.2f} | "
            f"{worst[0]:.2f} ({worst[1]}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=Path, default=Path(__file__).parent / "layers.json")
    parser.add_argument("--every", type=int, default=1, help="take one layer of so many")
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--layouts", nargs="+", default=["planar", "channels_last"])
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--keep", type=int, metavar="CAPABILITY", help="such as 90: compile all kernels, measure none")
    args = parser.parse_args()
    problems = [
        (layer, batch, layout, dtype)
        for dtype in args.dtypes
        for batch in args.batch
        for layout in args.layouts
        for layer in layers(args.layers)[:: args.every]
    ]
    if args.keep:
        return keep(problems, args.keep)
    results = measure(problems, args.rounds)
    if args.output:
        args.output.write_text(json.dumps(results))
    print(report(results))
    print("largest error:", max((r["error"], r["layer"], r["pass"], r["dtype"]) for r in results["rows"]))
    return None


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
