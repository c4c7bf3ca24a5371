"""Targets, threads, processes: what can be forced, and that it changes no bit."""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import timeit
from pathlib import Path

import numpy as np
import pytest

import depthwise
from depthwise import _core, ops
from helpers import DTYPES, LAYOUTS, lanes


def run(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env}, timeout=120
    )


def test_targets_end_with_scalar_and_are_runnable():
    assert depthwise.targets()[-1] == "scalar"
    assert set(depthwise.targets()) <= {"avx512", "avx2", "sse4", "neon", "scalar"}


def test_use_target_as_a_call_and_as_a_context():
    best = depthwise.explain((1, 1, 4, 4), (1, 1, 3, 3))["target"]
    depthwise.use_target("scalar")
    try:
        assert depthwise.explain((1, 1, 4, 4), (1, 1, 3, 3))["target"] == "scalar"
    finally:
        depthwise.use_target(best)
    with depthwise.use_target("scalar"):
        pass
    assert depthwise.explain((1, 1, 4, 4), (1, 1, 3, 3))["target"] == best


def test_target_from_the_environment():
    code = "import depthwise; print(depthwise.explain((1, 1, 4, 4), (1, 1, 3, 3))['target'])"
    assert run(code, DEPTHWISE_TARGET="scalar").stdout.strip() == "scalar"
    bad = run(code, DEPTHWISE_TARGET="altivec")
    assert "ValueError: DEPTHWISE_TARGET: 'altivec' is not a compiled target" in bad.stderr


def test_threads_from_the_environment():
    code = "import depthwise; print(depthwise.get_num_threads())"
    assert run(code, DEPTHWISE_NUM_THREADS="3", OMP_NUM_THREADS="5").stdout.strip() == "3"
    assert run(code, DEPTHWISE_NUM_THREADS="", OMP_NUM_THREADS="5,2").stdout.strip() == "5"


def test_threads_context_is_its_python_threads_own():
    before = depthwise.get_num_threads()
    seen = []
    with depthwise.threads(7):
        other = threading.Thread(target=lambda: seen.append(depthwise.get_num_threads()))
        other.start()
        other.join()
        with depthwise.threads(2):
            assert depthwise.get_num_threads() == 2
        assert depthwise.get_num_threads() == 7
    assert seen == [before] == [depthwise.get_num_threads()]
    depthwise.set_num_threads(3)
    try:
        assert depthwise.get_num_threads() == 3
    finally:
        depthwise.set_num_threads(before)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_weight_gradient_has_the_same_bits_at_any_place(target, dtype):
    """Planes at an array's ends, where whole vectors would leave it, are summed as the others, by any thread."""
    rng = np.random.default_rng(4)
    for n, (h, w), kernel in (
        (1, (10, 100), (1, 161)),
        (1, (12, 65), (3, 3)),
        (3, (11, 40), (3, 3)),
        (2, (17, 9), (5, 3)),
    ):
        x, gy = (np.repeat(rng.standard_normal((n, 1, h, w)).astype(dtype), 20, 1) for _ in range(2))
        pad = (kernel[0] // 2, kernel[1] // 2)
        out = np.empty((1, 20, *kernel), np.float32)
        for count in 1, 2, 3:
            with depthwise.threads(count):
                ops.weight_grad(x, gy, kernel, pad=pad, out=out)
            np.testing.assert_array_equal(out, np.broadcast_to(out[:, 7:8], out.shape))


def test_one_weight_that_is_not_finite_costs_no_more_than_its_plane(target):
    def seconds(W):
        return min(timeit.repeat(lambda: ops.forward(x, W, pad=1), number=1, repeat=5))

    x, W = np.ones((1, 8192, 4, 4), np.float32), np.ones((1, 8192, 3, 3), np.float32)
    ordinary = seconds(W)
    W[0, -4, 0, 0] = np.inf
    assert seconds(W) < 20 * ordinary  # 400 times where every plane looks at all that follow


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_same_bits_for_any_number_of_threads_and_from_run_to_run(target, dtype, layout):
    rng = np.random.default_rng(12)
    for n, c, size, k, stride, m in ((1, 40, (37, 41), 5, 1, 1), (5, 3, (64, 50), 3, 2, 2), (1, 2, (200, 90), 7, 1, 1)):
        x = layout(rng.normal(size=(n, c, *size)).astype(dtype))
        W = rng.normal(size=(m, c, k, k)).astype(dtype)
        gy = layout(rng.normal(size=ops.forward(x, W, stride=stride, pad=1).shape).astype(dtype))
        results = []
        for n_threads in (1, 2, 3, 7, 2):
            gb = np.empty(gy.shape[1], dtype)
            with depthwise.threads(n_threads):
                results.append(
                    (
                        ops.forward(x, W, stride=stride, pad=1),
                        ops.input_grad(gy, W, size, stride=stride, pad=1),
                        ops.weight_grad(x, gy, (k, k), stride=stride, pad=1, bias_out=gb),
                        ops.bias_grad(gy),
                        gb,
                    )
                )
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_same_bits_for_any_number_of_threads_beside_a_channel_that_is_not_finite(target, layout, stride):
    """Planes that are summed together are not all done again because of one."""
    rng = np.random.default_rng(13)
    for size, k, pad in ((57, 57), 3, 2), ((29, 29), 7, 3), ((13, 14), 4, 3):
        x = layout(rng.normal(size=(1, 64, *size)).astype(np.float32))
        gy = ops.forward(x, np.ones((1, 64, k, k), np.float32), stride=stride, pad=pad)
        gy[0, 1, 2, 3] = np.inf
        results = []
        for n_threads in (1, 2, 4):
            with depthwise.threads(n_threads):
                results.append(ops.weight_grad(x, gy, (k, k), stride=stride, pad=pad))
        finite = ops.weight_grad(x, np.where(np.isfinite(gy), gy, 0), (k, k), stride=stride, pad=pad)
        for other in results:
            np.testing.assert_array_equal(np.delete(other, 1, axis=1), np.delete(finite, 1, axis=1))
            assert other.tobytes() == results[0].tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_hang_on_the_plan_alone(target, dtype, layout):
    """Not on where arrays lie, on who gives the output's memory, or on what other channels hold."""
    rng = np.random.default_rng(16)
    for (n, c, h, w), k, stride in ((2, 21, 13, 40), 3, 1), ((1, 3, 9, 33), 5, 2), ((1, 17, 1, 300), 1, 1):
        kernel = min(k, h), k
        x, W = rng.normal(size=(n, c, h, w)).astype(dtype), rng.normal(size=(1, c, *kernel)).astype(dtype)
        steps = {"stride": stride, "pad": (kernel[0] // 2, k // 2)}
        x = layout(x)
        gy = layout(rng.normal(size=ops.forward(x, W, **steps).shape).astype(dtype))

        def results(x, W, gy, y=None, gx=None, gW=None, steps=steps):
            return (
                ops.forward(x, W, out=y, **steps),
                ops.input_grad(gy, W, x.shape[2:], out=gx, **steps),
                ops.weight_grad(x, gy, W.shape[2:], out=gW, **steps),
            )

        def elsewhere(a, elements):
            """A copy in the same layout, so many elements behind a multiple of 64 bytes."""
            spans = [(size - 1) * stride for size, stride in zip(a.shape, a.strides, strict=True)]
            memory = np.zeros(sum(map(abs, spans)) + (elements + 1) * a.itemsize + 64, np.uint8)
            start = -memory.ctypes.data % 64 + elements * a.itemsize - sum(s for s in spans if s < 0)
            view = np.ndarray(a.shape, a.dtype, memory, start, a.strides)
            view[...] = a
            return view

        expected = results(x, W, gy)
        for elements in (0, 1, 5, 16):
            moved = [elsewhere(a, elements) for a in (x, W, gy)]
            given = {name: elsewhere(a, elements) for name, a in zip(("y", "gx", "gW"), expected, strict=True)}
            for again in results(*moved), results(*moved, **given):
                for a, b in zip(expected, again, strict=True):
                    assert a.tobytes() == b.tobytes()
        spoilt = [elsewhere(a, 0) for a in (x, W, gy)]
        for a in spoilt:
            a[:, 1] = np.nan
        for i, (a, b) in enumerate(zip(expected, results(*spoilt), strict=True)):
            assert np.delete(a, 1, 1).tobytes() == np.delete(b, 1, 1).tobytes(), i
            assert np.isnan(b[:, 1].astype(np.float64)).all()


def big_problem():
    rng = np.random.default_rng(13)
    return rng.normal(size=(2, 32, 96, 96)).astype(np.float32), rng.normal(size=(1, 32, 7, 7)).astype(np.float32)


def child(queue):
    x, W = big_problem()
    before = len(os.listdir("/proc/self/task"))
    result = ops.forward(x, W).tobytes()
    queue.put((result, len(os.listdir("/proc/self/task")) - before))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_works_after_fork():
    x, W = big_problem()
    with depthwise.threads(2):
        expected = ops.forward(x, W).tobytes()
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        result, helpers = queue.get(timeout=60)
        process.join(60)
    assert process.exitcode == 0
    assert result == expected
    assert helpers == 1


def test_the_gil_is_released():
    """Another Python thread runs while a long call is under way."""
    x, W = np.ones((8, 64, 128, 128), np.float32), np.ones((1, 64, 31, 31), np.float32)
    ticks = []
    done = threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.perf_counter()
    with depthwise.threads(1):
        ops.forward(x, W, pad=15)
    end = time.perf_counter()
    done.set()
    ticker.join()
    assert sum(start < t < end for t in ticks) >= 5


def test_calls_from_many_threads():
    rng = np.random.default_rng(14)
    problems = [(rng.normal(size=(2, c, 20, 30)).astype(np.float32), k) for c in (1, 8, 17, 32) for k in (1, 3, 5, 7)]
    weights = {k: rng.normal(size=(1, 32, k, k)).astype(np.float32) for k in (1, 3, 5, 7)}

    def solve(problem):
        x, k = problem
        return ops.forward(x, weights[k][:, : x.shape[1]], pad=k // 2).tobytes()

    expected = [solve(p) for p in problems]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            assert list(pool.map(solve, problems)) == expected


def test_import_brings_no_framework_and_is_quick():
    code = """
import sys, time, numpy
start = time.perf_counter()
import depthwise
seconds = time.perf_counter() - start
assert not {"torch", "jax", "cupy", "dask", "ml_dtypes", "scipy", "matplotlib"} & set(sys.modules)
print(seconds)
"""
    assert min(float(run(code).stdout) for _ in range(3)) < 0.1


def test_explain_says_why_input_is_packed():
    x, W = np.ones((1, 8, 16, 128), np.float32), np.ones((1, 8, 3, 3), np.float32)
    assert depthwise.explain(x, W)["input"] == "in place"
    assert "converted" in depthwise.explain(x.astype(np.float16), W)["input"]
    assert "2 elements apart" in depthwise.explain(np.ones((1, 8, 16, 256), np.float32)[..., ::2], W)["input"]
    with depthwise.use_target(depthwise.targets()[0]):
        channels = lanes()
        transposed = depthwise.explain((1, channels, 7, 7), (1, channels, 13, 13), pad=6)
    if depthwise.targets()[0] != "scalar":
        assert "49 elements apart" in transposed["input"]
    last = x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    assert depthwise.explain(last, W, kind="weight_grad")["kernel"] == "weight_grad_channels_last"
    large = (1, 64, 300, 300), (1, 64, 3, 3)
    assert depthwise.explain(*large, pad=1, kind="weight_grad")["gy"] == "in place"
    assert depthwise.explain((1, 8, 16, 16), (1, 8, 3, 3), pad=1)["flop"] == 2 * 8 * (16 * 3 - 2) ** 2


def test_explain_names_the_candidates_that_lost_and_why():
    planar = depthwise.explain((1, 64, 56, 56), (1, 64, 3, 3), pad=1)
    assert planar["candidate"] == "planar, in place"
    assert planar["others"]["planar, converted"] == "no dense planes of another dtype"
    assert planar["others"]["channels last, in place"] == "pixels cannot be read as they lie"
    x = np.ones((1, 56, 56, 64), np.float16).transpose(0, 3, 1, 2)
    last = depthwise.explain(x, (1, 64, 3, 3), pad=1)
    assert last["candidate"] == "channels last, converted"
    gradient = depthwise.explain(x, (1, 64, 3, 3), pad=1, kind="weight_grad")
    assert gradient["others"]["channels last, converted"] == "it does no weight gradients"
    for plan in (planar, last, gradient):
        assert plan["candidate"] not in plan["others"]
        assert plan["cycles"] > 0
        assert all(plan["cycles"] <= cost for cost in plan["others"].values() if isinstance(cost, int))


def test_caches_from_the_environment_decide_how_memory_is_walked():
    code = (
        "import numpy, depthwise; x = numpy.ones((1, 100, 100, 64), 'f').transpose(0, 3, 1, 2);"
        "print(depthwise.explain(x, (1, 64, 3, 3), pad=1)['output'])"
    )
    assert run(code, DEPTHWISE_CACHES="32K,1M,32M").stdout.strip() == "in place"
    assert run(code, DEPTHWISE_CACHES="32K,1M,2M").stdout.strip() == "staged, and stored past the caches"
    info = run("import sys; from depthwise.__main__ import main; main(['info'])", DEPTHWISE_CACHES="48K,2M,64M")
    assert "caches     48 KiB, 2048 KiB, 65536 KiB" in info.stdout


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="nothing else here names the processor")
def test_processors_of_amd_alone_store_past_the_caches():
    """As machine.cpp asks the processor, beside what the system says of it; no cache holds such an image."""
    if "avx2" not in depthwise.targets():
        pytest.skip("this CPU has no AVX2")
    code = (
        "import numpy, depthwise; x = numpy.empty((400, 100, 100, 64), 'f').transpose(0, 3, 1, 2);"
        "print(depthwise.explain(x, (1, 64, 3, 3), pad=1)['output'])"
    )
    is_amd = any(name in Path("/proc/cpuinfo").read_text() for name in ("AuthenticAMD", "HygonGenuine"))
    past = run(code, DEPTHWISE_CACHES="").stdout.strip() == "staged, and stored past the caches"
    assert past == is_amd


def test_caches_of_this_machine():
    first, second, last = map(
        int, run("from depthwise import _core; print(*_core.caches())", DEPTHWISE_CACHES="").stdout.split()
    )
    assert 4 << 10 <= first <= second <= last <= 16 << 30


@pytest.mark.parametrize(
    "text", ["1M", "32K,1M", "32K,1M,32M,", "32K,1M,32M,64M", "32K,1M,x", "1M,32K,32M", "-1,1,1", "32KB,1M,2M"]
)
def test_malformed_caches_are_said_to_be_so(text):
    with pytest.raises(ValueError, match="DEPTHWISE_CACHES must be the sizes of three caches"):
        _core.parse_caches(text)
    bad = run("import depthwise; depthwise.explain((1, 1, 4, 4), (1, 1, 3, 3))", DEPTHWISE_CACHES=text)
    assert "ValueError: DEPTHWISE_CACHES must be the sizes of three caches" in bad.stderr


def test_sizes_of_caches():
    assert _core.parse_caches("512,1K,1G") == (512, 1 << 10, 1 << 30)


def test_results_do_not_hang_on_the_caches_bit_for_bit():
    code = """
import hashlib
import numpy as np
import depthwise
from depthwise import ops
rng = np.random.default_rng(0)
found = hashlib.sha1()
for target in depthwise.targets():
    with depthwise.use_target(target):
        for c, h, w, k, s in [(3, 40, 300, 3, 1), (32, 30, 41, 5, 1), (32, 31, 40, 3, 2), (64, 14, 14, 11, 1)]:
            for dtype in ("f4", "f2", "f8"):
                for axes in ((0, 1, 2, 3), (0, 3, 1, 2)):
                    def make(n, *shape):
                        shape = (n, *shape) if axes[1] == 1 else (n, *shape[1:], shape[0])
                        return rng.standard_normal(shape).astype(dtype).transpose(axes)
                    x, W = make(2, c, h, w), rng.standard_normal((1, c, k, k)).astype(dtype)
                    y = ops.forward(x, W, stride=s, pad=k // 2)
                    gy = make(2, *y.shape[1:])
                    for a in (y, ops.input_grad(gy, W, (h, w), stride=s, pad=k // 2),
                              ops.weight_grad(x, gy, (k, k), stride=s, pad=k // 2)):
                        found.update(np.ascontiguousarray(a).tobytes())
print(found.hexdigest())
"""
    found = {run(code, DEPTHWISE_CACHES=c).stdout for c in ("32K,1M,32M", "512,2K,4K", "64K,4G,4G", "1K,1M,1M")}
    assert len(found) == 1
    assert len(found.pop()) == 41


def test_explain_measures_the_limit():
    problem = (1, 32, 56, 56), (1, 32, 31, 31)
    assert "limit" not in depthwise.explain(*problem)
    plan = depthwise.explain(*problem, pad=15, measure=True)
    assert plan["bound by"] == "arithmetic"
    # Nothing computes more than 10 TFLOP/s on a CPU's threads of today, nor less than 10 MFLOP/s.
    assert plan["flop"] / 1e13 < plan["limit"] < plan["flop"] / 1e7
    copied = depthwise.explain((1, 64, 512, 512), (1, 64, 1, 1), measure=True)
    assert copied["bound by"] == "memory"
    assert copied["bytes"] == 2 * 4 * 64 * 512 * 512
    assert copied["flop"] / 1e13 < copied["limit"]


def test_no_openmp_is_brought():
    script = "import depthwise; print(open('/proc/self/maps').read())"
    if sys.platform == "linux":
        run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        assert "_core" in run.stdout
        assert "omp.so" not in run.stdout


@pytest.mark.parametrize(
    ("cpu_max", "cpus"),
    [
        ("max 100000\n", 0),
        ("200000 100000\n", 2),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("-1\n 100000\n", 0),
        ("", 0),
    ],
)
def test_cpus_of_a_containers_quota(cpu_max, cpus):
    """0: there is no quota."""
    assert _core.cpus_of_quota(cpu_max) == cpus
