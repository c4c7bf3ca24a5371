"""Dask's arrays where something goes wrong: the result is right, or an error says which chunk and why."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from depthwise import ops

dask = pytest.importorskip("dask", reason="Dask is an extra")
da = pytest.importorskip("dask.array", reason="Dask is an extra")
dd = pytest.importorskip("depthwise.dask", reason="Dask is an extra")

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "filter_a_scan.py"


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed", reason="distributed is an extra")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def slow_chunk(block_info=None):
    """Values that hang on the place alone, after a while."""
    time.sleep(0.05)
    place = block_info[None]["chunk-location"]
    return np.random.default_rng(place).normal(size=block_info[None]["chunk-shape"]).astype("f")


def scan(chunk=slow_chunk, name=None):
    chunks = (1,), (2,), (20, 30, 25), (40, 11, 20)
    return da.map_blocks(chunk, chunks=chunks, dtype="f", meta=np.empty((0,) * 4, "f"), name=name)


def test_a_worker_that_is_killed_costs_nothing_but_time(client):
    W = np.random.default_rng(3).normal(size=(1, 2, 7, 5)).astype("f")
    x = scan()
    y, gW = dd.forward(x, W, pad=(3, 2)), dd.weight_grad(x, x, (7, 5), pad=(3, 2))
    whole = x.compute(scheduler="synchronous")
    alone = gW.compute(scheduler="synchronous")
    workers = client.run(os.getpid)
    assert len(workers) == 2
    results = client.compute([y, gW])
    while not any(info["processing"] for info in map(dict, [{"processing": v} for v in client.processing().values()])):
        time.sleep(0.005)
    time.sleep(0.12)  # some chunks are there
    os.kill(next(iter(workers.values())), signal.SIGKILL)
    y, gW = client.gather(results)
    np.testing.assert_array_equal(y, ops.forward(whole, W, pad=(3, 2)))
    np.testing.assert_array_equal(gW, alone)
    assert set(client.run(os.getpid).values()) != set(workers.values())  # one did die


def test_a_task_on_a_cluster_takes_one_thread_unless_it_is_told_otherwise(client):
    def watch():
        import depthwise
        from depthwise.dask import blocks

        def forward(x, *args, **steps):
            blocks.seen.append(depthwise.get_num_threads())
            return depthwise.ops.forward(x, *args, **steps)

        blocks.seen, blocks.ops = [], type("Ops", (), {"forward": staticmethod(forward)})

    def seen():
        from depthwise.dask import blocks

        counts, blocks.seen = blocks.seen, []
        return counts

    def end():
        from depthwise import ops
        from depthwise.dask import blocks

        blocks.ops = ops

    def threads_taken(size, **configured):
        with dask.config.set(configured):
            y = dd.forward(da.ones((1, 1, size, 90), chunks=30, dtype="f"), np.ones((1, 1, 3, 3), "f"))
        client.compute(y).result()
        return {count for counts in client.run(seen).values() for count in counts}

    client.run(watch)
    try:
        assert threads_taken(90) == {1}
        assert threads_taken(91, depthwise={"threads": 3}) == {3}
        client.run(lambda: dask.config.set({"depthwise.threads": 2}) and None)
        assert threads_taken(92, depthwise={"threads": 3}) == {2}  # a worker's own configuration comes first
    finally:
        client.run(lambda: dask.config.config.pop("depthwise", None))
        client.run(end)


def test_a_chunk_that_cannot_be_read(client):
    def chunk(block_info=None):
        place = block_info[None]["chunk-location"]
        if place == (0, 0, 1, 2):
            msg = f"chunk {place} is broken"
            raise OSError(msg)
        return np.ones(block_info[None]["chunk-shape"], "f")

    y = dd.forward(scan(chunk), np.ones((1, 2, 3, 3), "f"), pad=1)
    for scheduler in "synchronous", "threads", client:
        with pytest.raises(OSError, match=r"chunk \(0, 0, 1, 2\) is broken"):
            y.compute(scheduler=scheduler)
        assert y.blocks[0, 0, 0, 0].compute(scheduler=scheduler).shape == (1, 2, 20, 40)


WRONG = pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda a: a.astype(float), TypeError, r"\(1, 2, 30, 11\) of float64, not \(1, 2, 30, 11\) of float32"),
        (lambda a: a[..., 1:], ValueError, r"\(1, 2, 30, 10\) of float32, not \(1, 2, 30, 11\) of float32"),
        (lambda a: a.tolist(), TypeError, r"a list, not \(1, 2, 30, 11\) of float32"),
        (lambda a: np.pad(a, [(0, 0)] * 3 + [(0, 1)]), ValueError, r"\(1, 2, 30, 12\) of float32, not"),
        (lambda a: None, TypeError, "a NoneType, not"),
    ],
)


def scan_with(wrong):
    def chunk(block_info=None):
        a = np.ones(block_info[None]["chunk-shape"], "f")
        return wrong(a) if block_info[None]["chunk-location"] == (0, 0, 1, 1) else a

    return scan(chunk)


@WRONG
def test_edges_of_a_chunk_that_is_not_what_the_array_says(wrong, error, message):
    """Found by a neighbour, too, which takes no more of it than its windows meet."""
    beside = dd.forward(scan_with(wrong), np.ones((1, 2, 3, 3), "f"), pad=1).blocks[0, 0, 0, 0]
    with pytest.raises(error, match=r"what was taken of chunk \(0, 0, 1, 1\) of x is " + message):
        beside.compute(scheduler="synchronous")


@WRONG
def test_a_chunk_that_is_not_what_the_array_says(wrong, error, message):
    x, W = scan_with(wrong), np.ones((1, 2, 1, 1), "f")
    for name, lazy in {
        "x": dd.forward(x, W),
        "gy": dd.input_grad(x, W, x.shape[2:]),
        "x ": dd.weight_grad(x, da.ones_like(x), 1),
        "gy ": dd.weight_grad(da.ones_like(x), x, 1),
        "gy  ": dd.bias_grad(x),
    }.items():
        where = rf"what was taken of chunk \(0, 0, 1, 1\) of {name.strip()} is "
        with pytest.raises(error, match=where + message):
            lazy.compute(scheduler="synchronous")


def run_example(folder, *args):
    command = [sys.executable, str(EXAMPLE), "--folder", str(folder), "--output", str(folder / "detail.png")]
    return subprocess.run([*command, "--size", "200", "130", "--chunk", "64", *args], capture_output=True, text=True)


@pytest.mark.parametrize("cluster", [[], pytest.param(["--cluster"], marks=pytest.mark.slow)])
def test_the_example_takes_nothing_half_written_for_done(tmp_path, cluster):
    pytest.importorskip("zarr")
    pytest.importorskip("matplotlib")
    run = run_example(tmp_path, "--kernel", "9", *cluster)
    assert run.returncode == 0, run.stderr
    assert ("watch it at http" in run.stdout) == bool(cluster)
    assert (tmp_path / "detail.png").stat().st_size > 10**4
    import zarr

    (source,) = (path for path in tmp_path.glob("scan-*.zarr") if "filtered" not in path.name)
    result = tmp_path / f"{source.stem}-filtered-9-auto.zarr"
    x, y = (zarr.open_array(str(path), mode="r")[:] for path in (source, result))
    assert y.shape == x.shape == (1, 3, 200, 130)
    assert y.any()
    (source / "c" / "0" / "1" / "2" / "0").write_bytes(b"what no decoder takes")
    run = run_example(tmp_path, "--kernel", "9", *cluster)
    assert run.returncode
    assert f"chunk (0, 1, 2, 0) of {source.name} cannot be read" in run.stderr
    assert not result.exists()  # nor is what was filtered before taken for it


def test_a_chunk_that_fits_no_workers_memory():
    """The workers that try it are killed, and the error names the task, in which the chunk is."""
    distributed = pytest.importorskip("distributed", reason="distributed is an extra")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit="400MB", dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        x = da.zeros((1, 1, 12000, 12000), chunks=(1, 1, 6000, 12000), dtype="f4")
        y = dd.forward(x, np.ones((1, 1, 3, 3), "f"), pad=1)
        with pytest.raises(distributed.KilledWorker, match=r"depthwise-forward.*, 0, 0, \d, 0\)"):
            client.compute(y.sum()).result()
