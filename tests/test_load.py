"""The short form of fuzz.py and load.py."""

import multiprocessing

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


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")  # since NumPy 2.5
def test_an_array_that_changes_its_shape_meanwhile(monkeypatch):
    """As if another thread did so between the checks and the work: what was checked is not there any more."""
    x, W = np.arange(168, dtype=np.float32).reshape(2, 3, 4, 7), np.ones((1, 3, 1, 1), np.float32)
    real = ops.geometry

    def then_changed(*args, **keywords):
        result = real(*args, **keywords)
        x.shape = (1, 1, 1, 168)
        return result

    monkeypatch.setattr(ops, "geometry", then_changed)
    with pytest.raises(ValueError, match="changed its shape"):
        ops.forward(x, W)


def test_interrupt():
    load.interrupted()
