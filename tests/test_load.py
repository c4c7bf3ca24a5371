"""The short form of fuzz.py and load.py."""

import multiprocessing
import threading

import numpy as np
import pytest

import fuzz
import load
from depthwise import ops


def test_random_problems():
    for i in range(400):
        fuzz.case(np.random.default_rng([3, i]))


def test_callers_at_once():
    assert load.at_once(3) >= 8


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_pools():
    load.in_pools()


def test_memory_does_not_grow():
    """Less than a small array's worth over thousands of calls."""
    assert load.growth(5000) < 512 << 10


def test_arrays_that_change_their_shape_meanwhile():
    """The right result or a ValueError, whatever another thread does to the array object."""
    x, W = np.arange(168, dtype=np.float32).reshape(2, 3, 4, 7), np.ones((1, 3, 1, 1), np.float32)
    right, done = ops.forward(x, W), threading.Event()
    shared = x.copy()

    def change():
        while not done.is_set():
            for shape in ((1, 1, 1, 168), (168,), (2, 3, 4, 7)):
                shared.shape = shape

    thread = threading.Thread(target=change)
    thread.start()
    counts = [0, 0]
    try:
        for _ in range(20_000):
            try:
                y = ops.forward(shared, W)
            except ValueError:
                counts[0] += 1
            else:
                assert y.shape == x.shape
                assert (y == right).all()
                counts[1] += 1
    finally:
        done.set()
        thread.join()
    assert sum(counts) == 20_000


def test_interrupt():
    load.interrupted()
