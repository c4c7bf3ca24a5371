"""The short form of fuzz.py and load.py."""

import multiprocessing

import numpy as np
import pytest

import fuzz
import load


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


def test_interrupt():
    load.interrupted()
