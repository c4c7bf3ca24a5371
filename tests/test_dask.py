"""Dask's arrays in chunks of any sizes: the results of one call on the whole."""

import gc
import operator
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import depthwise
import depthwise.filters
from depthwise import ops
from depthwise.enums import PAD_MODES
from helpers import integers

dask = pytest.importorskip("dask", reason="Dask is an extra")
da = pytest.importorskip("dask.array", reason="Dask is an extra")
dd = pytest.importorskip("depthwise.dask", reason="Dask is an extra")

blocks = pytest.importorskip("depthwise.dask.blocks", reason="Dask is an extra")
passes = pytest.importorskip("depthwise.dask.passes", reason="Dask is an extra")

slow = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def same(lazy, expected):
    """The array as announced, and its values."""
    assert lazy.shape == expected.shape
    assert lazy.dtype == expected.dtype
    blocks = lazy.to_delayed()
    for place, block in zip(np.ndindex(blocks.shape), dask.compute(*blocks.ravel()), strict=True):
        assert type(block) is np.ndarray
        assert block.dtype == expected.dtype
        assert block.shape == tuple(map(operator.getitem, lazy.chunks, place))
    np.testing.assert_array_equal(lazy.compute(), expected)


def chunked(rng, a):
    """Chunks of any sizes along every axis."""
    chunks = []
    for size in a.shape:
        cuts = np.sort(rng.integers(1, max(size, 2), rng.integers(0, 3)))
        bounds = np.unique([0, *cuts[cuts < size], size])
        chunks.append(tuple(np.diff(bounds).tolist()) or (0,))
    return da.from_array(a, chunks=tuple(chunks))


@slow
@given(
    n=st.integers(1, 3),
    c=st.integers(1, 6),
    m=st.integers(1, 3),
    axes=st.lists(st.tuples(*map(st.integers, (1, 1, 1, 0, 0, 1), (20, 5, 4, 9, 9, 3))), min_size=1, max_size=3),
    mode=st.sampled_from(list(PAD_MODES)),
    dtype=st.sampled_from(["f4", "f8", "f2"]),
    seed=st.integers(0, 10**6),
)
def test_passes(n, c, m, axes, mode, dtype, seed):
    size, kernel, stride, before, behind, dilate = zip(*axes, strict=True)
    steps = {"stride": stride, "pad": tuple(zip(before, behind, strict=True)), "dilate": dilate}
    try:
        out = depthwise.output_size(size, kernel, **steps)
    except ValueError:
        return
    steps["pad_mode"] = mode
    rng = np.random.default_rng(seed)
    x, gy = integers(rng, (n, c, *size), dtype, -1, 2), integers(rng, (n, c * m, *out), dtype, -1, 2)
    W, b = integers(rng, (m, c, *kernel), dtype, -1, 2), integers(rng, c * m, dtype)
    lazy_x, lazy_gy = chunked(rng, x), chunked(rng, gy)
    lazy_W = W if seed % 2 else chunked(rng, W)
    lazy_b = b if seed % 3 else chunked(rng, b)
    same(
        dd.forward(lazy_x, lazy_W, lazy_b, activation="relu", **steps), ops.forward(x, W, b, activation="relu", **steps)
    )
    same(dd.forward(lazy_x, lazy_W, **steps), ops.forward(x, W, **steps))
    same(dd.input_grad(lazy_gy, lazy_W, size, **steps), ops.input_grad(gy, W, size, **steps))
    chunks = lazy_x.chunks[2:]
    lazy_gx = dd.input_grad(lazy_gy, lazy_W, size, chunks=chunks, **steps)
    assert lazy_gx.chunks[2:] == chunks
    same(lazy_gx, ops.input_grad(gy, W, size, **steps))
    same(dd.weight_grad(lazy_x, lazy_gy, kernel, **steps), ops.weight_grad(x, gy, kernel, **steps))
    same(dd.bias_grad(lazy_gy), ops.bias_grad(gy))


@slow
@given(
    n=st.integers(1, 2),
    c=st.integers(1, 40),
    m=st.integers(1, 3),
    axes=st.lists(st.tuples(*map(st.integers, (1, 1, 1, 0, 0, 1), (60, 9, 3, 9, 9, 3))), min_size=1, max_size=3),
    mode=st.sampled_from(list(PAD_MODES)),
    dtype=st.sampled_from(["f4", "f8", "f2"]),
    seed=st.integers(0, 10**6),
)
def test_bits(n, c, m, axes, mode, dtype, seed):
    """Sums of any values: not a bit hangs on how the array is cut into chunks."""
    size, kernel, stride, before, behind, dilate = zip(*axes, strict=True)
    steps = {"stride": stride, "dilate": dilate}
    pad = tuple(zip(before, behind, strict=True))
    try:
        out = depthwise.output_size(size, kernel, pad=pad, **steps)
    except ValueError:
        return
    if n * c * m * np.prod(size) > 10**6:
        return
    rng = np.random.default_rng(seed)
    x, gy = (rng.normal(size=shape).astype(dtype) for shape in ((n, c, *size), (n, c * m, *out)))
    W, b = rng.normal(size=(m, c, *kernel)).astype(dtype), rng.normal(size=c * m).astype(dtype)
    y = dd.forward(chunked(rng, x), W, b, activation="silu", pad=pad, pad_mode=mode, **steps)
    same(y, ops.forward(x, W, b, activation="silu", pad=pad, pad_mode=mode, **steps))
    gx = dd.input_grad(chunked(rng, gy), W, size, pad=pad, pad_mode=mode, **steps)
    same(gx, ops.input_grad(gy, W, size, pad=pad, pad_mode=mode, **steps))


@pytest.mark.parametrize("mode", PAD_MODES)
@pytest.mark.parametrize("stride", [(2, 1, 1), (3, 1, 2)])
def test_bits_where_a_kernel_has_a_depth_alone(mode, stride):
    """Planes of one call are rows; those of its strips beside the image, and of blocks, have gaps."""
    rng = np.random.default_rng(3)
    size, steps = (13, 6, 7), {"stride": stride, "pad": ((2, 3), (1, 0), (2, 1)), "pad_mode": mode}
    x, W = rng.normal(size=(2, 3, *size)), rng.normal(size=(2, 3, 7, 1, 1))
    y = ops.forward(x, W, **steps)
    if mode != "constant":
        padded = np.pad(x, [(0, 0), (0, 0), *steps["pad"]], mode=mode)
        np.testing.assert_array_equal(y, ops.forward(padded, W, stride=stride))
    same(dd.forward(da.from_array(x, chunks=(1, 2, 5, 4, 3)), W, **steps), y)
    gx = dd.input_grad(da.from_array(y, chunks=(2, 2, 3, 2, 3)), W, size, **steps)
    same(gx, ops.input_grad(y, W, size, **steps))


@pytest.mark.parametrize("dtype", ["f4", "f2"])
@pytest.mark.parametrize("mode", PAD_MODES)
def test_bits_of_small_planes_and_of_large(mode, dtype):
    """One call folds small planes as they lie, and adds strips to large ones; corners go through strips."""
    rng = np.random.default_rng(3)
    for size, chunks in ((9, 8), (5, 4)), ((90, 80), (33, 50)), ((7, 20, 30), (4, 9, 13)):
        steps = {"pad": tuple((3, 5) for _ in size), "pad_mode": mode}
        W = rng.normal(size=(1, 2, *(4 for _ in size))).astype(dtype)
        shape = (1, 2, *depthwise.output_size(size, W.shape[2:], pad=steps["pad"]))
        gy = rng.normal(size=shape).astype(dtype)
        lazy = da.from_array(gy, chunks=(1, 1, *chunks))
        same(dd.input_grad(lazy, W, size, chunks=chunks, **steps), ops.input_grad(gy, W, size, **steps))


@pytest.mark.parametrize("chunks", [(2, 2), (4, 3), (1, 5)])
def test_bits_where_a_kernel_is_larger_than_the_array(chunks):
    """Of which one call leaves out taps that a block would have to keep, beginning before its first element."""
    rng = np.random.default_rng(3)
    for (n, c, m), size, kernel, stride, dilate, pad in [
        ((2, 7, 2), (6, 6), (6, 5), (3, 2), (3, 3), ((14, 8), (6, 3))),
        ((2, 19, 3), (7, 6), (3, 4), (2, 3), (2, 3), ((0, 0), (11, 3))),
    ]:
        steps = {"stride": stride, "dilate": dilate, "pad": pad}
        x, W = rng.normal(size=(n, c, *size)).astype("f"), rng.normal(size=(m, c, *kernel)).astype("f")
        y = ops.forward(x, W, **steps)
        same(dd.forward(da.from_array(x, chunks=(1, 5, *chunks)), W, **steps), y)
        gx = dd.input_grad(da.from_array(y, chunks=(1, 5 * m, 1, 2)), W, size, chunks=chunks, **steps)
        same(gx, ops.input_grad(y, W, size, **steps))


def test_nothing_is_computed_before_it_is_asked_for():
    read = []

    def load(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.ones((1, 2, 50, 50), "f")

    x = da.map_blocks(load, chunks=((1,), (2,), (50,) * 4, (50,) * 4), dtype="f", meta=np.empty((0,) * 4, "f"))
    y = dd.forward(x, np.ones((1, 2, 3, 3), "f"), pad=1)
    dd.weight_grad(x, y, (3, 3), pad=1)
    dd.input_grad(y, np.ones((1, 2, 3, 3), "f"), (200, 200), pad=1)
    assert not read
    y.blocks[0, 0, 0, 0].compute()
    assert sorted(read) == [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 0, 1, 1)]


def test_graphs_are_built_without_the_collector(monkeypatch):
    """Which would take half the time; it is as it was afterwards, also after an error."""
    enabled, array = [], passes._array
    monkeypatch.setattr(passes, "_array", lambda *args: (enabled.append(gc.isenabled()), array(*args))[1])
    x, W = da.ones((1, 1, 30, 30), chunks=10, dtype="f"), np.ones((1, 1, 3, 3), "f")
    dd.forward(x, W, pad=1)
    dd.input_grad(x, W, (30, 30), pad=1)
    dd.weight_grad(x, x, (3, 3), pad=1)
    assert enabled == [False] * 3
    assert gc.isenabled()
    with pytest.raises(ValueError, match="pad"):
        dd.forward(x, W, pad=-1)
    assert gc.isenabled()
    gc.disable()
    try:
        dd.forward(x, W, pad=1)
        assert not gc.isenabled()
    finally:
        gc.enable()
    one, other = passes._uncollected(), passes._uncollected()
    for step, collected in (
        (one.__enter__, False),
        (other.__enter__, False),
        (lambda: one.__exit__(None, None, None), False),
        (lambda: other.__exit__(None, None, None), True),
    ):
        step()
        assert gc.isenabled() == collected


def test_equal_calls_have_equal_names():
    x, W = da.ones((1, 2, 40, 40), chunks=13, dtype="f"), np.ones((1, 2, 3, 3), "f")
    assert dd.forward(x, W, pad=1).name == dd.forward(x, W.copy(), pad=((1, 1), (1, 1))).name
    names = {
        dd.forward(x, W, **steps).name for steps in ({}, {"pad": 1}, {"pad": 1, "pad_mode": "wrap"}, {"stride": 2})
    }
    names |= {dd.forward(x, 2 * W).name, dd.forward(2 * x, W).name, dd.forward(x, W, activation="relu").name}
    names |= {dd.forward(x, W, method="fft").name, dd.forward(x, W, np.ones(2, "f")).name}
    assert len(names) == 9


@pytest.mark.parametrize(
    ("size", "chunk", "kernel", "tasks"),
    [((20000, 20000), 500, 7, 10), ((640, 640, 640), 64, 5, 10), ((640,) * 3, 64, 17, 27)],
)
def test_graphs_are_small_and_soon_made(size, chunk, kernel, tasks):
    x = da.ones((1, 1, *size), chunks=(1, 1, *(chunk for _ in size)), dtype="f")
    W = np.ones((1, 1, *(kernel for _ in size)), "f")
    start = time.process_time()
    y = dd.forward(x, W, pad=kernel // 2)
    seconds = time.process_time() - start
    chunks = y.npartitions
    assert chunks == (size[0] // chunk) ** len(size)
    assert seconds < 4 * 0.2e-3 * chunks  # four times what is wanted, for a busy machine
    assert len(y.dask.layers[y.name]) <= tasks * chunks


def test_chunks_smaller_than_what_windows_reach():
    rng = np.random.default_rng(3)
    x, W = integers(rng, (1, 2, 60, 50), "f"), integers(rng, (1, 2, 31, 25), "f", -1, 2)
    lazy = da.from_array(x, chunks=(1, 1, 5, 9))
    for mode in PAD_MODES:
        steps = {"pad": (15, 12), "pad_mode": mode}
        same(dd.forward(lazy, W, **steps), ops.forward(x, W, **steps))


def test_windows_that_reach_far_into_chunks_take_edges_apart():
    """All edges of a chunk together, those on one side of it, or each alone: no block then holds more than a chunk."""
    x = da.ones((1, 1, 160, 160), chunks=(1, 1, 40, 40), dtype="f")
    for kernel, least, most in (3, 1, 2), (9, 2, 5), (31, 5, 9):
        y = dd.forward(x, np.ones((1, 1, kernel, kernel), "f"), pad=kernel // 2)
        assert least * y.npartitions < len(y.dask.layers[y.name]) <= most * y.npartitions
        same(y, ops.forward(x.compute(), np.ones((1, 1, kernel, kernel), "f"), pad=kernel // 2))
    gy, W = da.ones((1, 1, 160, 160), chunks=(1, 1, (20, 120, 20), 40), dtype="f"), np.ones((1, 1, 3, 3), "f")
    for moved in dd.weight_grad(x, gy, 3, pad=1), dd.input_grad(gy, W, (160, 160), pad=1, chunks=x.chunks[2:]):
        # Where blocks do not fit the chunks no task gives all of a chunk.
        edges = {len(key) for layer in moved.dask.layers.values() for key in layer if "edges" in str(key[0])}
        assert edges == {1 + 4 + 2 * 2}
    short = da.ones((1, 1, 161, 165), chunks=(1, 1, 40, 40), dtype="f")  # as the last chunks may be
    y = dd.forward(short, np.ones((1, 1, 3, 3), "f"), pad=1)
    assert len(y.dask.layers[y.name]) <= 2 * y.npartitions


def arrays_in(given):
    """What a task is given, in lists and by the bounds of edges."""
    if isinstance(given, np.ndarray):
        return [given]
    parts = given.values() if isinstance(given, dict) else given if isinstance(given, list | tuple) else ()
    return [a for part in parts for a in arrays_in(part)]


@pytest.mark.parametrize(("axes", "chunk", "kernel"), [(2, 192, 9), (2, 128, 9), (2, 192, 33), (3, 24, 3), (3, 24, 9)])
def test_what_a_block_holds(axes, chunk, kernel, monkeypatch):
    """Its chunk, at most a chunk of edges or what windows meet, and the result with slabs around its inside.

    Where most windows leave a chunk all that they meet is copied, as gradients do. An input gradient has its result
    twice for a moment.
    """
    given, taken = [], []
    call = blocks.Block.__call__

    def measured(self, *args):
        given.append(sum(a.nbytes for a in {id(a): a for a in arrays_in(args)}.values()))
        call(self, *args)  # what is kept for equal calls is there from now on
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        y = call(self, *args)
        taken.append(tracemalloc.get_traced_memory()[1] - before)
        return y

    monkeypatch.setattr(blocks.Block, "__call__", measured)
    size, half = 4 * chunk if axes == 2 else 3 * chunk, kernel // 2
    x = da.ones((1, 2, *axes * [size]), chunks=(1, 2, *axes * [chunk]), dtype="f").map_blocks(np.copy)
    W = np.ones((1, 2, *axes * [kernel]), "f")
    whole, windows = 8 * chunk**axes, 8 * (chunk + 2 * half) ** axes
    slabs = windows - whole if 2 * (chunk - 2 * half) ** axes >= chunk**axes else windows
    slack = 3 * 2**14 + 8 * W.nbytes
    tracemalloc.start()
    try:
        for mode in "constant", "reflect", "wrap":
            for lazy, made in (
                (dd.forward(x, W, pad=half, pad_mode=mode), whole + slabs),
                (dd.input_grad(x, W, axes * [size], pad=half, pad_mode=mode), 2 * windows),
                (dd.weight_grad(x, x, kernel, pad=half, pad_mode=mode), windows),
                (passes.bordered(x, W, None, 1, half, "constant", 1, None, "direct", 1.0), whole + 2 * slabs),
            ):
                given.clear()
                taken.clear()
                lazy.compute()
                extra = 2 * whole if lazy.shape == W.shape else 0  # a weight gradient has gy, too
                assert max(given) <= extra + whole + max(whole, windows - whole) + W.nbytes
                assert max(taken) < made + slack
    finally:
        tracemalloc.stop()


def test_graphs_grow_with_the_number_of_chunks_alone():
    W = np.ones((1, 1, 5), "f")
    for size, chunk in (10**7, 10**6), (80000, 20):
        x = da.ones((1, 1, size), chunks=(1, 1, chunk), dtype="f")
        for build in (
            lambda x=x: dd.forward(x, W, pad=2),
            lambda x=x, size=size: dd.input_grad(x, W, size, pad=2),
            lambda x=x, size=size: dd.input_grad(x, W, size, pad=2, pad_mode="wrap"),
            lambda x=x: dd.weight_grad(x, x, 5, pad=2),
        ):
            start = time.process_time()
            y = build()
            assert time.process_time() - start < 0.05 + 4 * 0.2e-3 * x.npartitions
            assert len(y.dask.layers[y.name]) < 4 * x.npartitions


def test_arrays_of_the_other_byte_order():
    rng = np.random.default_rng(3)
    x, W = integers(rng, (1, 2, 20, 17), ">f4"), integers(rng, (1, 2, 3, 3), ">f4")
    y = dd.forward(chunked(rng, x), W, pad=1)
    assert y.dtype == y.compute().dtype == x.dtype
    twice = ops.forward(ops.forward(x, W, pad=1), W, pad=1)
    np.testing.assert_array_equal(dd.forward(y, W, pad=1).compute(), twice)
    np.testing.assert_array_equal(
        dd.weight_grad(y, y, 3, pad=1).compute(), ops.weight_grad(y.compute(), y.compute(), 3, pad=1)
    )
    gx = dd.input_grad(y, W, (20, 17), pad=1)
    assert gx.dtype == gx.compute().dtype == x.dtype


def test_chunks_and_axes_without_elements():
    x = da.ones((1, 2, 20, 30), chunks=((1,), (1, 0, 1), (20, 0), (10, 20)), dtype="f")
    W = np.ones((2, 2, 3, 3), "f")
    y = dd.forward(x, W)
    same(y, ops.forward(x.compute(), W))
    same(dd.weight_grad(x, y, 3), ops.weight_grad(x.compute(), y.compute(), 3))
    same(dd.input_grad(y, W, (20, 30)), ops.input_grad(y.compute(), W, (20, 30)))
    for n, c, m in (0, 2, 1), (1, 0, 1), (1, 2, 0):
        gy, W = np.ones((n, c * m, 5, 5), "f"), np.ones((m, c, 3, 3), "f")
        same(dd.input_grad(da.from_array(gy), W, (7, 7)), ops.input_grad(gy, W, (7, 7)))
    gy, W = np.ones((1, 2, 8, 5), "f"), np.ones((1, 2, 0, 3), "f")
    same(dd.input_grad(da.from_array(gy), W, (5, 7), pad=(1, 0)), ops.input_grad(gy, W, (5, 7), pad=(1, 0)))


def test_weights_are_those_of_the_call():
    x, W = da.ones((1, 1, 9, 9), chunks=5, dtype="f"), np.ones((1, 1, 3, 3), "f")
    y = dd.forward(x, W, W[0, 0, 0, :1])
    W[:] = 0
    assert (y.compute() == 10).all()


def test_methods():
    rng = np.random.default_rng(3)
    x, W = rng.normal(size=(1, 2, 90, 80)).astype("f"), rng.normal(size=(1, 2, 15, 17)).astype("f")
    for method in "fft", "auto":
        y = dd.forward(chunked(rng, x), W, pad=(7, 8), method=method)
        np.testing.assert_allclose(y.compute(), ops.forward(x, W, pad=(7, 8)), atol=1e-3)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers(scheduler):
    rng = np.random.default_rng(3)
    x, W = rng.normal(size=(2, 3, 90, 80)).astype("f"), rng.normal(size=(1, 3, 5, 5)).astype("f")
    lazy = da.from_array(x, chunks=(1, 2, 30, 30))
    lazy_gW = dd.weight_grad(lazy, lazy, (5, 5), pad=2)
    alone = lazy_gW.compute()
    np.testing.assert_array_equal(lazy_gW.compute(scheduler=scheduler), alone)
    y = dd.forward(lazy, W, pad=2).compute(scheduler=scheduler)
    np.testing.assert_array_equal(y, ops.forward(x, W, pad=2))


@pytest.mark.parametrize("configured", [None, 3])
def test_a_task_takes_one_thread_unless_it_is_told_otherwise(configured, monkeypatch):
    seen = []

    def forward(x, *args, **steps):
        seen.append(depthwise.get_num_threads())
        return ops.forward(x, *args, **steps)

    monkeypatch.setattr(blocks, "ops", type("Ops", (), {"forward": staticmethod(forward)}))
    y = dd.forward(da.ones((1, 1, 9, 9), chunks=5, dtype="f"), np.ones((1, 1, 3, 3), "f"))
    with dask.config.set({} if configured is None else {"depthwise.threads": configured}):
        y.compute()
        assert set(seen) == {configured or 1}
        y = dd.forward(da.ones((1, 1, 8, 9), chunks=5, dtype="f"), np.ones((1, 1, 3, 3), "f"))
    seen.clear()
    y.compute()  # as it was when the graph was built, as on a cluster whose workers have no such configuration
    assert set(seen) == {configured or 1}
    for wrong in 0, 2.5, "many", None, True:
        with (
            dask.config.set({"depthwise.threads": wrong}),
            pytest.raises(ValueError, match=r'"depthwise\.threads" must be an int of at least 1'),
        ):
            dd.bias_grad(y)


def test_refusals():
    x, W = da.ones((1, 2, 8, 8), chunks=4, dtype="f"), np.ones((1, 2, 3, 3), "f")
    with pytest.raises(TypeError, match="x must be a Dask array, got ndarray"):
        dd.forward(np.ones((1, 2, 8, 8), "f"), W)
    with pytest.raises(TypeError, match="W must be a NumPy or a Dask array, got list"):
        dd.forward(x, [1])
    with pytest.raises(TypeError, match="x must be float16, bfloat16, float32 or float64"):
        dd.forward(x.astype("i4"), W)
    with pytest.raises(ValueError, match="W has 2 input channels but x has 1"):
        dd.forward(x[:, :1], W)
    with pytest.raises(ValueError, match=r"b must have shape \(2,\)"):
        dd.forward(x, W, np.ones(3, "f"))
    with pytest.raises(ValueError, match="activation must be"):
        dd.forward(x, W, activation="tanh")
    with pytest.raises(ValueError, match=r"sizes of x must be known.*compute_chunk_sizes"):
        dd.forward(x[:, :, x[0, 0, :, 0] > 0], W)
    with pytest.raises(ValueError, match="gy must have shape"):
        dd.weight_grad(x, x, (3, 3))
    with pytest.raises(ValueError, match="gy must have shape"):
        dd.input_grad(x, W, (8, 8))
    for chunks in ((5, 4), (10,)), ((-5, 15), (10,)), ((10.9,), (10,)):
        with pytest.raises(ValueError, match=r"do not add up|Chunks do not add up|chunks"):
            dd.input_grad(x, W, (10, 10), chunks=chunks)
    assert dd.input_grad(x, W, (10, 10), chunks=(4, 5)).chunks[2:] == ((4, 4, 2), (5, 5))
    with pytest.raises(TypeError, match="b must be a NumPy or a Dask array, got list"):
        dd.forward(x, W, [1.0, 2.0])
    with pytest.raises(TypeError, match="b must be float16, bfloat16, float32 or float64"):
        dd.forward(x, W, np.ones(2, int))
    masked = da.ma.masked_greater(x, 0)
    for call in (
        lambda: dd.forward(masked, W),
        lambda: dd.bias_grad(masked),
        lambda: dd.forward(x, np.ma.array(W)),
        lambda: depthwise.filters.gaussian(masked[0], 1),
    ):
        with pytest.raises(TypeError, match="is a masked array, whose mask would be ignored"):
            call()


def test_functions_take_dasks_arrays():
    rng = np.random.default_rng(3)
    x, W, b = integers(rng, (2, 3, 20, 17), "f"), integers(rng, (2, 3, 3, 5), "f"), integers(rng, 6, "f")
    lazy = da.from_array(x, chunks=(1, 2, 7, 8))
    y = depthwise.depthwise_convolution_2d(lazy, W, b, 2, (1, 2), dilate=2, pad_mode="edge")
    assert isinstance(y, da.Array)
    same(y, ops.forward(x, W, b, stride=2, pad=(1, 2), dilate=2, pad_mode="edge"))
    line = depthwise.depthwise_convolution_1d(lazy[:, :, 0], W[:, :, 0], pad="same", method="auto")
    same(line, ops.forward(x[:, :, 0], W[:, :, 0], pad="same"))
    with pytest.raises(TypeError, match="W must be a NumPy or a Dask array, got list"):
        depthwise.depthwise_convolution_2d(lazy, [1])
    with pytest.raises(TypeError, match="b must have x's dtype float32, got float64"):
        depthwise.depthwise_convolution_2d(lazy, W, b.astype(float))
    with pytest.raises(ValueError, match="W must have 4 axes"):
        depthwise.depthwise_convolution_2d(lazy, W[0])


def test_filters_take_dasks_arrays():
    from depthwise import filters

    rng = np.random.default_rng(3)
    for shape, axis in ((30, 41), None), ((3, 30, 41), None), ((30, 41, 3), -1), ((2, 3, 30, 41), 1):
        image = rng.integers(0, 200, shape).astype("u1")
        lazy = chunked(rng, image)
        for mode in "reflect", "mirror", "nearest", "wrap", "constant":
            call = {"mode": mode, "cval": 7.0, "channel_axis": axis}
            weights = integers(rng, (4, 5), "f")
            same(filters.correlate(lazy, weights, **call), filters.correlate(image, weights, **call))
            same(filters.convolve(lazy, weights, **call), filters.convolve(image, weights, **call))
            rounded = filters.correlate(lazy, weights / 9, dtype="i1", **call)
            same(rounded, filters.correlate(image, weights / 9, dtype="i1", **call))
            blurred = filters.gaussian(lazy, (1.0, 0.6), **call)
            assert blurred.dtype == np.float32
            np.testing.assert_allclose(blurred.compute(), filters.gaussian(image, (1.0, 0.6), **call), atol=1e-3)
    image = rng.normal(size=(20, 30)).astype("f")
    bank = integers(rng, (3, 3, 3), "f")
    np.testing.assert_allclose(
        filters.correlate(chunked(rng, image), bank).compute(), filters.correlate(image, bank), atol=1e-4
    )
    with pytest.raises(TypeError, match="out is for NumPy arrays"):
        filters.correlate(chunked(rng, image), bank, out=np.empty((3, 20, 30), "f"))
    with pytest.raises(TypeError, match="image must be uint8"):
        filters.gaussian(da.ones((4, 4), dtype="i8"), 1)


def test_weights_of_filters_are_computed_when_the_result_is():
    from depthwise import filters

    rng = np.random.default_rng(3)
    computed = []

    def made(a):
        computed.append(a.shape)
        return a

    image = rng.integers(0, 200, (2, 30, 41)).astype("u1")
    for shape, axis in ((4, 5), None), ((3, 4, 5), None), ((2, 4, 5), 0), ((3, 2, 4, 5), 0):
        weights = integers(rng, shape, "f")
        lazy = da.from_array(weights, chunks=2).map_blocks(made, dtype="f", meta=np.empty((0,) * len(shape), "f"))
        for name in "correlate", "convolve":
            computed.clear()
            apply, lead = getattr(filters, name), image[0] if axis is None else image
            y = apply(chunked(rng, lead), lazy, channel_axis=axis)
            assert not computed
            same(y, apply(lead, weights, channel_axis=axis))
    unknown = lazy[da.from_array([True, False, True], chunks=2)]
    with pytest.raises(ValueError, match="the sizes of weights must be known"):
        filters.correlate(da.from_array(image), unknown)
    np.testing.assert_array_equal(filters.correlate(image[0], lazy[0, 0]), filters.correlate(image[0], weights[0, 0]))


def test_filters_of_images_and_chunks_without_elements():
    from depthwise import filters

    image, weights = np.arange(2 * 3 * 8 * 9, dtype="f").reshape(2, 3, 8, 9) % 7, np.ones((3, 3), "f")
    for chunks in ((2,), (0, 3)), ((0, 2), (3,)), ((1, 0, 1), (1, 0, 2)):
        lazy = da.from_array(image, chunks=(*chunks, (4, 4), (0, 9)))
        np.testing.assert_array_equal(filters.correlate(lazy, weights).compute(), filters.correlate(image, weights))
    for shape, axis in ((2, 0, 8, 9), None), ((0, 2, 8, 9), 1), ((2, 3, 0, 9), None):
        lazy, empty = da.zeros(shape, chunks=(1, 1, 4, 4), dtype="f"), np.zeros(shape, "f")
        for call, of in (filters.correlate, weights), (filters.gaussian, (1, 1)):
            same(
                call(lazy, of, mode="constant", channel_axis=axis), call(empty, of, mode="constant", channel_axis=axis)
            )
    x, gy = da.ones((1, 1, 20, 20), chunks=10), da.ones((1, 1, 22, 22), chunks=((1,), (1,), (0, 22), (22, 0)))
    assert dd.weight_grad(x, gy, 1, pad=1, pad_mode="reflect").compute() == 22 * 22


def test_axes_that_count_images_cost_no_graph_for_each_chunk():
    from depthwise import filters

    for chunks in (1, 1, 32, 32), (1, 10, 32, 32):
        y = filters.correlate(da.ones((2, 100, 32, 32), chunks=chunks, dtype="f"), np.ones((3, 3), "f"))
        assert len(y.dask.layers) < 10


def test_filters_rechunk_no_axis_that_counts_images():
    from depthwise import filters

    rng = np.random.default_rng(3)
    image = rng.integers(0, 200, (4, 5, 2, 20, 23)).astype("u1")
    lazy = da.from_array(image, chunks=(2, (1, 3, 1), 1, 11, 9))
    for axis in 0, 1, 2:
        moved, chunks = np.moveaxis(image, 2, axis), da.moveaxis(lazy, 2, axis)
        weights = integers(rng, (3, 5), "f")
        for call, of in (filters.correlate, weights), (filters.gaussian, (0, 0.6)):
            y, expected = call(chunks, of, channel_axis=axis), call(moved, of, channel_axis=axis)
            assert not any("rechunk" in layer for layer in y.dask.layers)
            assert y.chunks == chunks.chunks
            np.testing.assert_allclose(y.compute(), expected, rtol=1e-6)


@slow
@given(
    lead=st.lists(st.integers(1, 3), max_size=2),
    axes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=3),
    channel=st.sampled_from([None, "first", "last"]),
    mode=st.sampled_from(["reflect", "mirror", "nearest", "wrap", "constant"]),
    name=st.sampled_from(["correlate", "convolve"]),
    seed=st.integers(0, 10**6),
)
def test_filters_in_any_chunks(lead, axes, channel, mode, name, seed):
    """Of all axes, or of those that are neither channels nor before these; windows beside their elements, too."""
    from depthwise import filters

    axes = axes if channel is None else axes[:2]
    size, kernel, at = zip(*axes, strict=True)
    origin = [min(a, k - 1) - k // 2 for a, k in zip(at, kernel, strict=True)]
    rng = np.random.default_rng(seed)
    shape, axis = {
        None: (size, None),
        "first": ((*lead, 3, *size), len(lead)),
        "last": ((*lead, *size, 3), -1),
    }[channel]
    image = rng.integers(0, 200, shape).astype(["u1", "f4", "u2"][seed % 3])
    call = {"mode": mode, "cval": 7.0, "origin": origin, "channel_axis": axis}
    call_filter, weights = getattr(filters, name), integers(rng, kernel, "f")
    same(call_filter(chunked(rng, image), weights, **call), call_filter(image, weights, **call))
