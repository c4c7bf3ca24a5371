"""Times depthwise layers of real networks beside other libraries, in one process, and checks each answer first.

    pip install '.[benchmark]' && python benchmarks/run.py [--dimensions 1 3] [--dtype float32 bfloat16]

writes a table (.md), a picture (.png: each layer's share of the limit) and all figures (.json) to benchmarks/results.
The limit of a layer is the longer of its FLOP, taps in the padding not counted, at the measured multiply-add rate, and
its bytes at the measured copy rate for so many. Rounds are interleaved: each times every library once; the figures are
medians. Outputs are allocated by each call.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", nargs="+", type=int, default=[1, 2, 3], help="layers of so many spatial axes")
    parser.add_argument("--passes", nargs="+", default=["forward", "input_grad", "weight_grad", "decode"])
    parser.add_argument("--layouts", nargs="+", default=["planar", "channels_last"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", nargs="+", default=["float32"])
    parser.add_argument("--targets", nargs="+", help="of depthwise.targets(); default: the best")
    peers = ["torch", "onnxruntime", "openvino", "tflite", "jax", "chainer"]
    parser.add_argument("--peers", nargs="*", default=peers, help="those of %(default)s that are installed")
    parser.add_argument("--through", default="numpy", choices=["numpy", "jax"], help="how ours is called")
    parser.add_argument("--method", default="direct", choices=["direct", "fft", "auto"], help="of ours, through NumPy")
    parser.add_argument("--match", default="", help="layers whose names hold this regular expression")
    parser.add_argument("--random", type=int, metavar="N", help="so many layers drawn by chance, not those of networks")
    parser.add_argument("--seed", type=int, default=0, help="of --random: other layers")
    parser.add_argument("--max-mb", type=float, default=120, help="leave out layers with larger arrays")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slot", type=float, default=0.005, help="least seconds of a round")
    parser.add_argument("--cpu-time", action="store_true", help="for one thread on a machine with other work")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results") / "layers")
    return parser.parse_args()


def machine(threads: int, target: str) -> dict[str, Any]:
    import depthwise
    from depthwise import roofline
    from depthwise.info import cpu_name
    from depthwise.runtime import active_target

    libraries = ["numpy", "torch", "onnxruntime", "openvino", "tensorflow-cpu", "jax", "chainer"]
    versions = {"depthwise": depthwise.__version__}
    for name in libraries:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    with depthwise.use_target(target):
        multiply_adds = roofline.multiply_add_rate(active_target(), False, threads)
    return {
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "threads": threads,
        "target": target,
        "versions": versions,
        "multiply_adds": multiply_adds,
    }


def measure(
    calls: dict[str, Any], enters: dict[str, Any], rounds: int, slot: float, clock: Callable[[], float]
) -> dict[str, float]:
    repeats, turns = {}, {}
    for name, call in calls.items():
        enters[name]()
        call()
        start = clock()
        call()
        first = max(clock() - start, 1e-7)
        repeats[name] = max(1, int(slot / first))
        turns[name] = min(rounds, max(1, int(1 / first)))  # of what is slow a second says enough
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds):
        for name in (n for n in calls if i < turns[n]):
            enters[name]()
            time.sleep(0.03)  # threads of the library before stop spinning
            calls[name]()
            start = clock()
            for _ in range(repeats[name]):
                calls[name]()
            times[name].append((clock() - start) / repeats[name])
    return {name: statistics.median(t) for name, t in times.items()}


def check(layer: Any, kind: str, arrays: dict[str, Any], calls: dict[str, Any], enters: dict[str, Any]) -> None:
    """Ours against the reference on a few channels, the others against ours."""
    import numpy as np

    import decoding
    import layers
    from depthwise import reference
    from providers import as_ours

    bound = {"float16": 3e-3, "bfloat16": 3e-2, "float32": 3e-5, "float64": 1e-12}[arrays["x"].dtype.name]
    few, outs = min(layer.C, 2), min(layer.C, 2) * layer.M
    x, W, b, gy = arrays["x"][:, :few], arrays["W"][:, :few], arrays["b"][:outs], arrays["gy"][:, :outs]
    calls_each = 2 if kind == layers.DECODE else 1  # the second step shows the first one's state
    expected = {
        "forward": lambda: reference.forward(x, W, b, **layer.steps),
        "input_grad": lambda: reference.input_grad(gy, W, layer.size, **layer.steps),
        "weight_grad": lambda: reference.weight_grad(x, gy, layer.kernel, **layer.steps),
        layers.DECODE: lambda: decoding.expected(arrays, few, calls_each),
    }[kind]()

    def apart(a: Any, b: Any) -> float:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.linalg.norm(a - b) / np.linalg.norm(b))

    first = None
    for name, call in calls.items():
        enters[name]()
        result = np.concatenate([as_ours(layer, kind, call()) for _ in range(calls_each)], -1)
        if first is None:
            first = result
            error = apart(result[:, : expected.shape[1]], expected)
        else:
            error = apart(result, first)
        if not error < bound:
            msg = f"{name} is wrong by {error:.1e} in {kind} of {layer.name}"
            raise RuntimeError(msg)


def main() -> None:
    args = options()
    for variable in ("OMP_NUM_THREADS", "DEPTHWISE_NUM_THREADS"):
        os.environ[variable] = str(args.threads)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # those of the reference's products would spin beside what is timed
    if "jax" in [args.through, *args.peers]:
        os.environ["JAX_ENABLE_X64"] = str(int("float64" in args.dtype))
        if args.threads == 1:
            os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import decoding
    import depthwise
    import layers
    import providers
    import report
    from depthwise import progress

    if "bfloat16" in args.dtype:
        import ml_dtypes  # noqa: F401 - makes the name known to NumPy
    found = providers.available(args.targets or depthwise.targets()[:1], args.peers, args.through, args.method)
    if "torch" in [p.name for p in found]:
        import torch

        torch.set_num_threads(args.threads)
        torch.set_grad_enabled(False)
    all_layers = layers.load() if args.random is None else layers.drawn(args.random, args.seed)
    chosen = [v for v in all_layers if re.search(args.match, v.name) and len(v.size) in args.dimensions]
    results: dict[str, Any] = {
        "machine": machine(args.threads, args.targets[0] if args.targets else depthwise.targets()[0]),
        "rows": [],
    }
    enters = {p.name: p.enter for p in found}
    clock = time.process_time if args.cpu_time else time.perf_counter
    jobs = [
        (layer, kind, dtype, layout)
        for kind in args.passes
        for dtype in args.dtype
        for layout in args.layouts
        for layer in chosen
        if kind in layer.passes and layer.bytes(dtype) <= args.max_mb * 1e6
        if kind != layers.DECODE or (layout == args.layouts[0] and args.through == "numpy")
    ]
    if not jobs:
        msg = "no layer is left to be measured: see --match, --max-mb, --dimensions and --passes"
        raise SystemExit(msg)
    with progress.shown(len(jobs)) as begin:
        for layer, kind, dtype, layout in jobs:
            begin(f"{kind} {dtype} {layout} {layer.name}")
            arrays = layer.arrays(layout, dtype)
            calls = {p.name: p.prepare(layer, kind, layout, arrays) for p in found}
            calls = {name: call for name, call in calls.items() if call}
            check(layer, kind, arrays, calls, enters)
            found[0].enter()
            row = {"axes": len(layer.size), "pass": kind, "dtype": dtype, "layout": layout, "layer": layer.name}
            if kind == layers.DECODE:
                row |= decoding.limit(arrays)
            else:
                plan = depthwise.explain(arrays["x"], arrays["W"], kind=kind, measure=True, **layer.steps)
                row |= {"flop": plan["flop"], "limit": plan["limit"], "bound": plan["bound by"]}
            row["seconds"] = measure(calls, enters, args.rounds, args.slot, clock)
            results["rows"].append(row)
            del arrays, calls
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.with_suffix(".json").write_text(json.dumps(results, indent=1))
    report.write(results, args.output)


if __name__ == "__main__":
    main()
