"""Dask's arrays beside one call on the whole, and beside what users of Dask write today.

    pip install '.[dask,scan]' scipy dask-image
    python benchmarks/dask_arrays.py [overhead] [threads] [peers] [--scan PATH [--kernel K]]

Medians of interleaved runs.

overhead: 8 channels of 8192 x 8192 pixels with 7x7 in chunks of several sizes, on two workers, beside one call with
two threads into an array that is there. Chunks are in memory, and blocks of the result are let go as soon as they are
there, by Dask's scheduler or by a store: new memory's pages would take longer than the sums. Beside them a copy of each
chunk.
threads: 8 channels of 4096 x 8192 in one to eight chunks on two workers, each with one thread of the engine and two.
peers: one channel of 4096 x 4096 in chunks of 1024 on one worker, with 9x9, 31x31 and a Gaussian: dask_image.ndfilters
and map_overlap of scipy.ndimage.
With --scan, a zarr array that examples/filter_a_scan.py has made: 9x9 (--kernel) of all of it, from zarr to zarr beside
it, by these once each on one worker, and a copy. The disk has to have room for it again.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.callbacks import Callback

import depthwise
import depthwise.dask
import pictures
from depthwise import filters, ops, progress


def medians(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of each call, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


SHOWN: dict[str, dict[str, dict[str, float]]] = {}


def show(title: str, seconds: dict[str, float], first: str) -> None:
    print(title)
    for name, s in seconds.items():
        print(f"  {name:32} {s:8.3f} s  {s / seconds[first]:6.2f}", flush=True)
    SHOWN[title] = {name: {"seconds": s} for name, s in seconds.items()}


def let_go(lazy: Any) -> Callable[[], Any]:
    """Computes the array, each block of which is gone when the scheduler has it."""

    def drop(key: Any, value: Any, dsk: Any, state: Any, worker: Any) -> None:
        if key[0] == lazy.name:
            state["cache"][key] = None

    def call() -> None:
        with Callback(posttask=drop):
            lazy.persist()

    return call


class Nowhere:
    """What a store writes to that writes nothing."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.float32)

    def __setitem__(self, place: Any, block: Any) -> None:
        pass


def into(lazy: Any, out: Any) -> Callable[[], Any]:
    return lambda: lazy.store(out, lock=False)


def overhead(rounds: int) -> None:
    rng = np.random.default_rng(0)
    x, W = rng.random((1, 8, 8192, 8192), np.float32), rng.random((1, 8, 7, 7), np.float32)
    out = np.empty_like(x)
    depthwise.set_num_threads(2)
    with dask.config.set(scheduler="threads", num_workers=2):
        for chunk in (1, 8, 1024, 1024), (1, 1, 1024, 1024), (1, 1, 2048, 2048), (1, 1, 512, 512):
            lazy = da.from_array(x, chunks=chunk, name=f"x{chunk}").map_blocks(np.copy, dtype="f4").persist()
            y = depthwise.dask.forward(lazy, W, pad=3)
            calls = {
                "one call": lambda: ops.forward(x, W, pad=3, out=out),
                "depthwise.dask.forward": let_go(y),
                "depthwise.dask.forward, stored": into(y, Nowhere(y.shape)),
                "map_blocks of a copy": let_go(lazy.map_blocks(np.copy, dtype="f4")),
            }
            show(f"8 x 8192 x 8192, 7x7, chunks {chunk}, two workers", medians(calls, rounds), "one call")
            del lazy, y, calls


def threads(rounds: int) -> None:
    rng = np.random.default_rng(0)
    x, W = rng.random((1, 8, 4096, 8192), np.float32), rng.random((1, 8, 7, 7), np.float32)
    y = np.empty_like(x)

    def with_threads(lazy: Any, count: int) -> Callable[[], Any]:
        def call() -> None:
            with dask.config.set({"depthwise.threads": count}):
                lazy.store(y, lock=False)

        return call

    calls = {}
    for chunks in 1, 2, 3, 4, 8:
        lazy = da.from_array(x, chunks=(1, 8, -(-4096 // chunks), 8192), name=f"x{chunks}")
        for count in 1, 2:
            calls[f"{chunks} chunks, threads of each: {count}"] = with_threads(
                depthwise.dask.forward(lazy, W, pad=3), count
            )
    with dask.config.set(scheduler="threads", num_workers=2):
        show("8 x 4096 x 8192, 7x7, two workers", medians(calls, rounds), "8 chunks, threads of each: 1")


def peers(rounds: int) -> None:
    import scipy.ndimage as ndi
    from dask_image import ndfilters

    rng = np.random.default_rng(0)
    image = rng.random((4096, 4096), np.float32)
    lazy = da.from_array(image, chunks=1024)
    y = np.empty_like(image)
    with dask.config.set(scheduler="threads", num_workers=1):
        for side in 9, 31:
            W = rng.random((side, side), np.float32)
            depth = side // 2
            ours = filters.convolve(lazy, W)
            theirs = {
                "dask_image.ndfilters.convolve": ndfilters.convolve(lazy, W),
                "map_overlap of scipy.ndimage": lazy.map_overlap(
                    lambda a, W=W: ndi.convolve(a, W), depth=depth, boundary="reflect", dtype=np.float32
                ),
            }
            for name, other in theirs.items():
                part = slice(0, 128), slice(0, 128)
                np.testing.assert_allclose(other[part].compute(), ours[part].compute(), rtol=1e-4, err_msg=name)
            calls = {"filters.convolve": into(ours, y)} | {name: into(other, y) for name, other in theirs.items()}
            show(
                f"4096 x 4096, {side}x{side}, one worker",
                medians(calls, rounds if side < 20 else 1),
                "filters.convolve",
            )
        theirs = {
            "dask_image gaussian_filter": ndfilters.gaussian_filter(lazy, 5),
            "map_overlap of scipy.ndimage": lazy.map_overlap(
                lambda a: ndi.gaussian_filter(a, 5), depth=20, boundary="reflect", dtype=np.float32
            ),
        }
        calls = {"filters.gaussian": into(filters.gaussian(lazy, 5), y)}
        calls |= {name: into(other, y) for name, other in theirs.items()}
        show("4096 x 4096, Gaussian of sigma 5, one worker", medians(calls, rounds), "filters.gaussian")


def scan(path: Path, kernel: int) -> None:
    import scipy.ndimage as ndi
    import zarr
    from dask_image import ndfilters

    lazy = da.from_zarr(str(path))
    W = np.random.default_rng(0).random((kernel, kernel), np.float32)
    depth = {2: kernel // 2, 3: kernel // 2}
    results = {
        "filters.convolve": filters.convolve(lazy, W, channel_axis=1),
        "dask_image.ndfilters.convolve": ndfilters.convolve(lazy, W[None, None]),
        "map_overlap of scipy.ndimage": lazy.map_overlap(
            lambda a: ndi.convolve(a, W[None, None]), depth=depth, boundary="reflect", dtype=np.float32
        ),
        "a copy": lazy,
    }
    part = (0, 0, slice(0, 128), slice(0, 128))
    expected = results["filters.convolve"][part].compute()
    seconds = {}
    result = path.with_name(path.name + ".filtered")
    with dask.config.set(scheduler="threads", num_workers=1):
        for name, y in results.items():
            if y is not lazy:
                np.testing.assert_allclose(y[part].compute(), expected, rtol=1e-4, err_msg=name)
            chunks = tuple(sizes[0] for sizes in lazy.chunks)
            store = zarr.create_array(str(result), shape=y.shape, chunks=chunks, dtype=y.dtype, compressors=None)
            start = time.perf_counter()
            y.store(store, lock=False)
            seconds[name] = time.perf_counter() - start
            shutil.rmtree(result)
            print(f"  {name}: {seconds[name]:.0f} s", flush=True)
    title = f"{'x'.join(map(str, lazy.shape[1:]))}, {kernel}x{kernel}, zarr to zarr, one worker"
    show(title, seconds, "filters.convolve")


PARTS = {"overhead": overhead, "threads": threads, "peers": peers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scan", type=Path, help="a zarr array that fits no memory: filter this one alone")
    parser.add_argument("--kernel", type=int, default=9, help="of --scan, pixels along each side; odd")
    pictures.add_option(parser, "dask_arrays")
    args = parser.parse_args()
    parts = args.parts or PARTS
    if args.scan:
        scan(args.scan, args.kernel)
        parts = []
    with progress.shown(len(parts)) as begin:
        for part in parts:
            begin(part)
            PARTS[part](args.rounds)
    pictures.write(args.picture, "Dask's arrays", SHOWN, "seconds")


if __name__ == "__main__":
    main()
