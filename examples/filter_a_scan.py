"""
A scan that fits no memory
==========================

Filters a scan from zarr to zarr, chunk by chunk, on threads or on a cluster of processes::

    pip install '.[demo,dask,scan]' && python examples/filter_a_scan.py [--size 8192 8192] [--cluster]

The scan is made first, unless it is there: channels of cells on a slide, float32, in chunks. Each chunk of the result
needs its own pixels and those within a filter's reach, no more. What is being written has a name of its own until all
of it is there, so that nothing half-written is taken for a result.
"""

import argparse
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    import dask
    import dask.array as da
    import zarr
    from dask.diagnostics.progress import ProgressBar
    from matplotlib.figure import Figure

    import depthwise.dask
except ImportError as e:
    raise SystemExit(f"this example needs more ({e}): pip install '.[demo,dask,scan]'") from e

Array = npt.NDArray[np.float32]


def cells(block_info: Any) -> Array:
    """A chunk of the scan: bright cells on a dark slide, and the noise of a camera."""
    info = block_info[None]
    (_, channels, *size), place = info["chunk-shape"], info["chunk-location"]
    rng = np.random.default_rng(place)
    image = rng.random((channels, *size), np.float32)
    image *= 0.1
    y, x = (rng.integers(0, s, s * size[0] // 2000 + 1) for s in size)
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            if dy * dy + dx * dx <= 10:
                image[:, np.clip(y[: x.size] + dy, 0, size[0] - 1), np.clip(x[: y.size] + dx, 0, size[1] - 1)] += 0.5
    return image[None]


def blob(side: int) -> Array:
    """What finds cells: a Gaussian less a wider one."""
    at = np.arange(side) - side // 2
    r = np.add.outer(at**2, at**2)

    def normal(sigma: float) -> Any:
        w = np.exp(-r / (2 * sigma**2))
        return w / w.sum()

    return (normal(side / 9) - normal(side / 5)).astype(np.float32)


def write(lazy: Any, path: Path, compress: bool, client: Any) -> float:
    """Computes an array into a zarr store, and gives the seconds that it took."""
    unfinished = path.with_name(path.name + ".unfinished")
    for earlier in unfinished, path:
        shutil.rmtree(earlier, ignore_errors=True)
    chunks = tuple(c[0] for c in lazy.chunks)
    store = zarr.create_array(
        str(unfinished), shape=lazy.shape, chunks=chunks, dtype=lazy.dtype, compressors="auto" if compress else None
    )
    start = time.perf_counter()
    writing = lazy.store(store, lock=False, compute=False)
    if client is None:
        with ProgressBar():
            writing.compute()
    else:
        from distributed import progress

        done = client.compute(writing)
        progress(done)
        done.result()
    seconds = time.perf_counter() - start
    unfinished.rename(path)
    return seconds


def read(path: Path) -> Any:
    """A zarr store as a lazy array, which says which chunk cannot be read."""
    store = zarr.open_array(str(path), mode="r")

    def chunk(block_info: Any) -> Any:
        info = block_info[None]
        try:
            return store[tuple(slice(*at) for at in info["array-location"])]
        except Exception as e:
            msg = f"chunk {info['chunk-location']} of {path.name} cannot be read: {e}"
            raise OSError(msg) from e

    chunks = da.core.normalize_chunks(store.chunks, store.shape)
    name = f"scan-{dask.base.tokenize(str(path), store.attrs.asdict(), path.stat().st_mtime_ns)}"
    return da.map_blocks(chunk, chunks=chunks, dtype=store.dtype, meta=np.empty((0,) * 4, store.dtype), name=name)


def picture(scan: Any, found: Any, output: str) -> None:
    """A detail of the scan's middle, before and after."""
    middle = [slice(s // 2 - 128, s // 2 + 128) for s in scan.shape[2:]]
    fig = Figure(figsize=(10, 5.2), facecolor="#101014")
    for i, (title, array) in enumerate((("the scan", scan), ("filtered", found))):
        axes = fig.add_subplot(1, 2, i + 1)
        axes.imshow(np.asarray(array[(0, 0, *middle)]), cmap="magma")
        axes.set_title(title, color="#e8e8ee")
        axes.set_axis_off()
    fig.tight_layout()
    fig.savefig(output, dpi=110)
    print(f"a detail is in {output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(8192, 8192), help="pixels")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=1024, help="pixels along each side")
    parser.add_argument("--kernel", type=int, default=9, help="pixels along each side")
    parser.add_argument("--method", default="auto", choices=("auto", "direct", "fft"))
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--no-compression", action="store_true")
    parser.add_argument("--cluster", action="store_true", help="processes (dask.distributed) instead of threads")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="auto", help="of each worker of the cluster, as in 1.5GB")
    parser.add_argument("--output", default="filter_a_scan.png")
    args = parser.parse_args()
    shape = (1, args.channels, *args.size)
    source = args.folder / f"scan-{'x'.join(map(str, shape[1:]))}-{args.chunk}.zarr"
    result = args.folder / f"{source.stem}-filtered-{args.kernel}-{args.method}.zarr"
    W = np.broadcast_to(blob(args.kernel), (1, args.channels, args.kernel, args.kernel)).copy()

    client: Any = None
    if args.cluster:
        from distributed import Client, LocalCluster

        cluster = LocalCluster(n_workers=args.workers, threads_per_worker=1, memory_limit=args.memory)
        client = Client(cluster)
        print(f"watch it at {cluster.dashboard_link}")
    else:
        dask.config.set(scheduler="threads", num_workers=args.workers)
    with client or nullcontext():
        chunks = tuple(min(args.chunk, s) for s in args.size)
        if not source.exists():
            print(f"making {source.name}, {4 * np.prod(shape) / 1e9:.1f} GB")
            lazy = da.map_blocks(
                cells,
                chunks=da.core.normalize_chunks((1, 1, *chunks), shape),
                dtype="f4",
                meta=np.empty((0,) * 4, "f4"),
                name=f"cells-{dask.base.tokenize(shape, chunks)}",
            )
            print(f"made in {write(lazy, source, not args.no_compression, client):.1f} s")
        scan = read(source)
        found = depthwise.dask.forward(scan, W, pad="same", pad_mode="symmetric", method=args.method)
        seconds = write(found, result, not args.no_compression, client)
    rate = found.size / seconds / 1e6
    print(f"{W.shape[2:]} filters: {seconds:.1f} s, {rate:.0f} million pixels a second, from {source} to {result}")
    picture(zarr.open_array(str(source), mode="r"), zarr.open_array(str(result), mode="r"), args.output)


if __name__ == "__main__":
    main()
