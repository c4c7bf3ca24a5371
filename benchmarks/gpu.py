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
import re
import statistics
import struct
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

import pictures
from depthwise import _core, gpu, progress
from depthwise.enums import DTYPES, FORWARD, INPUT_GRAD, WEIGHT_GRAD
from depthwise.geometry import Geometry, geometry
from depthwise.info import cuda_version

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
    _, c, h, w = shape
    return [c * h * w, h * w, w, 1] if layout == "planar" else [c * h * w, 1, w * c, c]


def _kernel(layer: dict[str, Any], batch: int, layout: str, dtype: str, kind: int) -> tuple[str, str]:
    """(source, options) of what a pass of a layer needs."""
    g, code = geometry_of(layer, batch), DTYPES[dtype]
    x, y = ((0, _strides(shape, layout), code) for shape in (g.x_shape, g.y_shape))
    row = math.prod(g.W_shape[2:])
    W = 0, [row, g.multiplier * row, g.W_shape[3], 1], code
    _, steps = _core.gpu_steps(kind, g.sizes, x, W, gpu.NOTHING, y, 0, PROCESSORS, 0)
    return steps[0][0], steps[0][2]


def _keep(kernel: tuple[str, str, int]) -> None:
    gpu.find_nvrtc()
    _core.gpu_keep(*kernel)


def keep(problems: list[tuple[Any, ...]], architecture: int) -> None:
    every = sorted({_kernel(*p, kind) for p in problems for kind in PASSES.values()})
    print(f"{len(every)} kernels into {_core.gpu_cache_folder()}", file=sys.stderr)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(_keep, (*kernel, architecture)) for kernel in every]
        with progress.shown(len(jobs)) as begin:
            for job in as_completed(jobs):
                job.result()
                begin("compiled")


def table(architecture: int) -> None:
    """Registers, spilled bytes and instructions an output of the kernels of 3, 5 and 7 taps a side, as Markdown."""
    gpu.find_nvrtc()
    seconds: list[float] = []
    print("| pass | dtype | memory | taps | tile | registers | spilled bytes | instructions | for each output |")
    print("|---|---|---|---|---|---|---|---|---|")
    for which in PASSES:
        for dtype in ("float32", "bfloat16"):
            for layout in ("planar", "channels_last"):
                for k in (3, 5, 7):
                    layer = {"C": 64, "M": 1, "size": [56, 56], "kernel": [k, k], "stride": [1, 1], "dilate": [1, 1]}
                    layer["pad"] = [k // 2, k // 2]
                    source, options = _kernel(layer, 32, layout, dtype, PASSES[which])
                    began = time.perf_counter()
                    code, log = _core.gpu_compile(source, options, architecture)
                    seconds.append(time.perf_counter() - began)
                    said = dict(re.findall(r"-DDW_(\w+)=(\w+)", options))
                    of_kernel = log.split("Compiling entry function")[-1]
                    if which == "weight_grad":
                        of_kernel = next(t for t in log.split("Compiling entry function") if "'weight_grad'" in t)
                    registers = re.findall(r"Used (\d+) registers", of_kernel)[0]
                    spilled = re.findall(r"(\d+) bytes spill stores", of_kernel)[0]
                    name = "weight_grad" if which == "weight_grad" else "correlate"
                    count = instructions(code, name)
                    outputs = int(said["ROWS"]) * int(said["COLS"]) * (1 + int(said["PAIR"]))
                    row = which, dtype, layout, f"{k}x{k}", f"{said['ROWS']}x{said['COLS']}"
                    print("| " + " | ".join([*row, registers, spilled, str(count), f"{count / outputs:.0f}"]) + " |")
    print(f"each compiled in {min(seconds):.1f} to {max(seconds):.1f} s", file=sys.stderr)


def calls() -> None:
    """Microseconds that a call takes on the host: the best of five means of 2,000, for 32 channels of 16 x 16."""
    import torch
    from torch.nn import functional as F  # noqa: N812 - PyTorch's own abbreviation

    import depthwise.torch
    from depthwise.torch import operators

    x, w = torch.randn(1, 32, 16, 16, device="cuda"), torch.randn(32, 1, 3, 3, device="cuda")
    y, gy = torch.empty_like(x), torch.randn_like(x)
    g = operators.sizes(tuple(x.shape), 32, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    places = operators._place(x), (w.data_ptr(), (9, 9, 3, 1), DTYPES["float32"]), gpu.NOTHING, operators._place(y)
    stream = torch.cuda.current_stream().cuda_stream
    steps = [1, 1], [1] * 4, [1, 1], "direct", "constant"
    ops = torch.ops.depthwise
    ways = {
        "a launch": lambda: gpu.run(FORWARD, g.sizes, *places, 0, 0, stream, lambda size: 0),
        "the operator": lambda: ops.conv(x, w, None, *steps),
        "the gradient's operator": lambda: ops.conv_weight_grad(x, gy, [3, 3], torch.float32, *steps),
        "depthwise.torch.conv2d": lambda: depthwise.torch.conv2d(x, w, padding=1),
        "PyTorch's conv2d": lambda: F.conv2d(x, w, padding=1, groups=32),
    }
    for name, way in ways.items():
        best = math.inf
        for _ in range(6):  # the first compiles
            began = time.perf_counter()
            for _ in range(2000):
                way()
            best = min(best, (time.perf_counter() - began) / 2000)
            torch.cuda.synchronize()
        print(f"{name}: {best * 1e6:.1f} us")


def instructions(code: bytes, entry: str) -> int:
    """Of a kernel in an ELF file of machine code, at 16 bytes each; loops count once."""
    at, size, count, names = (*struct.unpack_from("<Q", code, 40), *struct.unpack_from("<HHH", code, 58))
    sections = [struct.unpack_from("<IIQQQQ", code, at + i * size) for i in range(count)]
    strings = sections[names][4]
    for name, _, _, _, _, length in sections:
        start = strings + name
        if code[start : code.index(b"\0", start)] == f".text.{entry}".encode():
            return int(length) // 16
    raise ValueError(entry)


def _times(ways: dict[str, Any], rounds: int, spoiler: Any) -> dict[str, float]:
    """Medians of seconds, all ways in turn, each after the second-level cache was overwritten."""
    import torch

    for way in ways.values():
        way()
        way()
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
    return {
        name: statistics.median(begin.elapsed_time(end) / 1e3 for n, begin, end in events if n == name) for name in ways
    }


def _copy_rate(rounds: int, spoiler: Any) -> float:
    """Bytes read and written a second."""
    import torch

    arrays = [torch.empty(1 << 28, dtype=torch.float32, device="cuda") for _ in range(2)]
    seconds = _times({"copy": lambda: arrays[0].copy_(arrays[1])}, rounds, spoiler)["copy"]
    return 2 * arrays[0].nbytes / seconds


def _ways(layer: dict[str, Any], g: Geometry, layout: str, dtype: str) -> dict[str, dict[str, Any]]:
    """For each pass: ours, PyTorch's in both memory formats, and the reference in float64."""
    import torch
    from torch.nn import functional as F  # noqa: N812 - PyTorch's own abbreviation

    import depthwise.torch  # noqa: F401 - registers the operators

    ours, kind = torch.ops.depthwise, getattr(torch, dtype)
    formats = {"planar": torch.contiguous_format, "channels_last": torch.channels_last}
    x, gy = (torch.randn(s, device="cuda").to(kind) for s in (g.x_shape, g.y_shape))
    weight = torch.randn((g.y_shape[1], 1, *g.W_shape[2:]), device="cuda").to(kind)
    stride, pad, dilate = (tuple(layer[step]) for step in ("stride", "pad", "dilate"))
    steps = stride, [p for p in pad for _ in range(2)], dilate, "direct", "constant"
    groups, last = layer["C"], layout == "channels_last"

    def theirs(which: str, x: Any, gy: Any, weight: Any) -> Any:
        if which == "forward":
            return lambda: F.conv2d(x, weight, None, stride, pad, dilate, groups)
        mask = [which == "input_grad", which == "weight_grad", False]
        more = None, stride, pad, dilate, False, (0, 0), groups, mask
        return lambda: torch.ops.aten.convolution_backward(gy, x, weight, *more)[not mask[0]]

    laid = {name: [a.contiguous(memory_format=f) for a in (x, gy)] for name, f in formats.items()}
    a, b = laid[layout]
    calls = {
        "forward": lambda: ours.conv(a, weight, None, *steps),
        "input_grad": lambda: ours.conv_input_grad(b, weight, list(g.x_shape), last, kind, *steps),
        "weight_grad": lambda: ours.conv_weight_grad(a, b, list(g.W_shape[2:]), kind, *steps),
    }
    return {
        which: {
            "ours": call,
            **{f"PyTorch {name}": theirs(which, *arrays, weight) for name, arrays in laid.items()},
            "reference": theirs(which, x.double(), gy.double(), weight.double()) if x.numel() < 3e6 else None,
        }
        for which, call in calls.items()
    }


def measure(problems: list[tuple[Any, ...]], rounds: int, output: Path | None) -> dict[str, Any]:
    import torch

    torch.backends.cudnn.benchmark = True
    spoiler = torch.empty(1 << 29, dtype=torch.uint8, device="cuda")
    properties = torch.cuda.get_device_properties("cuda")
    rows: list[dict[str, Any]] = []
    results = {
        "gpu": properties.name,
        "copy": _copy_rate(rounds, spoiler),
        "multiply_adds": properties.multi_processor_count * 128 * getattr(properties, "clock_rate", 1_980_000) * 1e3,
        "torch": torch.__version__,
        "nvrtc": _core.gpu_nvrtc_version(),
        "rows": rows,
    }
    with progress.shown(len(problems)) as begin:
        for layer, batch, layout, dtype in problems:
            begin(f"{layer['name']}, batch of {batch}, {layout}, {dtype}")
            g = geometry_of(layer, batch)
            elements = math.prod(g.x_shape) + math.prod(g.y_shape)
            products = math.prod(g.y_shape) * math.prod(layer["kernel"])
            limit = max(elements * BYTES[dtype] / results["copy"], products / results["multiply_adds"])
            for which, ways in _ways(layer, g, layout, dtype).items():
                reference, error = ways.pop("reference"), 0.0
                if reference:  # in float64 the larger ones take longer than all the rest
                    want = reference()
                    error = float((ways["ours"]().double() - want).norm() / want.norm())
                rows.append(
                    {
                        "layer": layer["name"],
                        "batch": batch,
                        "layout": layout,
                        "dtype": dtype,
                        "pass": which,
                        "kernel": layer["kernel"],
                        "stride": layer["stride"],
                        "limit": limit,
                        "seconds": _times(ways, rounds, spoiler),
                        "error": error,
                    }
                )
            if output:  # what is measured so far
                output.write_text(json.dumps(results))
    return results


def mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def groups(results: dict[str, Any]) -> dict[tuple[Any, ...], list[Any]]:
    """Rows by pass, dtype, memory, batch and taps."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for row in results["rows"]:
        taps = "3, 5, 7" if row["kernel"] in ([3, 3], [5, 5], [7, 7]) else "others"
        found.setdefault((row["pass"], row["dtype"], row["layout"], row["batch"], taps), []).append(row)
    return found


def show(results: dict[str, Any], path: Path) -> None:
    """The report, and its means as a picture."""
    print(report(results))
    panels: dict[str, dict[str, dict[str, float]]] = {}
    for (which, dtype, layout, batch, taps), rows in groups(results).items():
        panel = panels.setdefault(f"{dtype}, {layout}, batch of {batch}", {})
        panel[f"{which}, {taps} taps"] = {
            name: mean([r["limit"] / r["seconds"][name] for r in rows]) for name in rows[0]["seconds"]
        }
    pictures.write(path, results["gpu"], panels, "share of the limit, mean of the layers", line=1)


def report(results: dict[str, Any]) -> str:
    """Shares of the limit and the better of PyTorch's formats over ours, by pass, dtype, memory and kernel."""
    lines = [
        f"{results['gpu']}: a copy moves {results['copy'] / 1e12:.2f} TB/s; PyTorch {results['torch']}, NVRTC "
        f"{cuda_version(results['nvrtc'])}.",
        "",
        "| pass | dtype | memory | batch | taps | layers | share of the limit, mean | of layers of 40 us and more | "
        "best of PyTorch / ours, mean | worst | slower than the best by more than 5% |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, rows in groups(results).items():
        shares = [r["limit"] / r["seconds"]["ours"] for r in rows]
        ratios = [
            (min(t for n, t in r["seconds"].items() if n != "ours") / r["seconds"]["ours"], r["layer"]) for r in rows
        ]
        worst = min(ratios)
        large = [r["limit"] / r["seconds"]["ours"] for r in rows if r["limit"] >= 40e-6]
        lines.append(
            f"| {' | '.join(map(str, key))} | {len(rows)} | {mean(shares):.2f} | {mean(large):.2f} ({len(large)}) | "
            f"{mean([q for q, _ in ratios]):.2f} | {worst[0]:.2f} ({worst[1]}) | {sum(q < 0.95 for q, _ in ratios)} |"
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
    parser.add_argument("--report", type=Path, help="the summary of a file that --output has written")
    pictures.add_option(parser, "gpu")
    parser.add_argument("--calls", action="store_true", help="what a call takes on the host")
    parser.add_argument("--table", type=int, metavar="CAPABILITY", help="such as 90: what the compiler says of kernels")
    parser.add_argument("--keep", type=int, metavar="CAPABILITY", help="such as 90: compile all kernels, measure none")
    args = parser.parse_args()
    problems = [
        (layer, batch, layout, dtype)
        for dtype in args.dtypes
        for batch in args.batch
        for layout in args.layouts
        for layer in layers(args.layers)[:: args.every]
    ]
    if args.report:
        return show(json.loads(args.report.read_text()), args.picture)
    if args.calls:
        return calls()
    if args.table:
        return table(args.table)
    if args.keep:
        return keep(problems, args.keep)
    results = measure(problems, args.rounds, args.output)
    show(results, args.picture)
    print("largest error:", max((r["error"], r["layer"], r["pass"], r["dtype"]) for r in results["rows"]))
    return None


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
