"""What benchmarks/ says of the engine still holds."""

import re
from pathlib import Path

from depthwise import _core

TUNE = Path(__file__).resolve().parents[1] / "benchmarks" / "tune.py"


def test_tune_knows_every_number_of_the_plan():
    named = re.findall(r'^    "(\w+)": ', TUNE.read_text(), re.M)
    assert sorted(named) == sorted(name for name, _, _ in _core.numbers())
