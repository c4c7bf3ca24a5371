"""Threads that begin at once share caches, spectra and blocks; without the GIL they really run at the same time."""

import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import numpy as np
import pytest

import depthwise
from depthwise import filters, ops

CALLERS = 8


def at_once(*calls):
    """What each call returns, all begun at the same moment."""
    barrier, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(i):
        barrier.wait()
        try:
            results[i] = calls[i]()
        except Exception as e:
            results[i] = e

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def all_passes(shape, kernel, method):
    rng = np.random.default_rng(shape[-1])
    x, W = rng.standard_normal(shape, np.float32), rng.standard_normal((2, shape[1], *kernel), np.float32)
    pad = tuple(k // 2 for k in kernel)
    y = ops.forward(x, W, pad=pad, method=method)
    gx = ops.input_grad(y, W, shape[2:], pad=pad, method=method)
    gW = ops.weight_grad(x, y, kernel, pad=pad, method=method)
    return b"".join(a.tobytes() for a in (y, gx, gW))


PROBLEMS = [((1, 5, 20, 21 + i % 3), (3, 3), "direct") for i in range(4)] + [
    ((1, 5, 40, 41 + i % 2), (15, 15), "fft") for i in range(4)
]
FIRST_CALLS = """
import sys
sys.path.insert(0, sys.argv[1])
import test_threads as t
print(b"".join(t.at_once(*[lambda p=p: t.all_passes(*p) for p in t.PROBLEMS])).hex())
"""


def test_first_calls():
    """Of a process that has cached nothing: each table and cache is made while others ask for it."""
    expected = b"".join(all_passes(*p) for p in PROBLEMS).hex()
    for _ in range(3):
        command = [sys.executable, "-c", FIRST_CALLS, str(Path(__file__).parent)]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == expected


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has the GIL")
def test_gil_stays_off():
    """An extension that does not say that it needs no GIL would bring it back, with a warning."""
    code = "import sys, depthwise; assert not sys._is_gil_enabled()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_one_caller_changes_what_all_share():
    """Limits of memory and numbers of threads change, and caches are emptied, while others compute."""
    expected = [all_passes((2, 6, 30, 31 + i), (5, 5), "direct") for i in range(CALLERS)]
    limit, threads = depthwise.get_cache_limit(), depthwise.get_num_threads()
    done = threading.Event()

    def disturb():
        for i in range(10**9):
            depthwise.set_cache_limit((i % 3) << 20)
            depthwise.set_num_threads(1 + i % 3)
            depthwise.empty_cache()
            if done.is_set():
                return

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        for _ in range(3):
            assert at_once(*[lambda i=i: all_passes((2, 6, 30, 31 + i), (5, 5), "direct") for i in range(CALLERS)]) == (
                expected
            )
    finally:
        done.set()
        disturber.join()
        depthwise.set_cache_limit(limit)
        depthwise.set_num_threads(threads)


def test_no_two_results_share_memory():
    """Results are freed and taken again by all callers, a thousand times each."""

    def right(i):
        x, W = np.full((1, 1, 100, 101), 1 + i, np.float32), np.ones((1, 1, 1, 1), np.float32)
        return all((ops.forward(x, W) == 1 + i).all() for _ in range(1000))

    assert all(at_once(*[lambda i=i: right(i) for i in range(CALLERS)]))


def test_one_array_and_graphs_of_their_own():
    """An array that all read; a graph for each, whose gradients add up."""
    x = np.random.default_rng(0).standard_normal((1, 4, 25, 27), np.float32)
    W = np.random.default_rng(1).standard_normal((1, 4, 3, 3), np.float32)

    def gradient():
        w = depthwise.Variable(W)
        y = depthwise.depthwise_convolution_2d(x, w, pad=1) + depthwise.depthwise_convolution_2d(x, w, pad=1)
        y.grad = np.ones_like(y.array)
        y.backward()
        return w.grad.tobytes()

    assert len(set(at_once(*[gradient] * CALLERS))) == 1
    assert len({r.tobytes() for r in at_once(*[lambda: filters.gaussian(x[0, 0], 2)] * CALLERS)}) == 1
