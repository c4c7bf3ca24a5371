"""What benchmarks/ says of the engine still holds."""

import importlib
import re
from pathlib import Path

from depthwise import _core

TUNE = Path(__file__).resolve().parents[1] / "benchmarks" / "tune.py"


def test_tune_knows_every_number_of_the_plan():
    named = re.findall(r'^    "(\w+)": ', TUNE.read_text(), re.M)
    assert sorted(named) == sorted(name for name, _, _ in _core.numbers())


def test_drawn_layers_hang_on_the_seed_alone(monkeypatch):
    monkeypatch.syspath_prepend(str(TUNE.parent))
    layers = importlib.import_module("layers")
    first = layers.drawn(40, 7)
    assert layers.drawn(60, 7)[:40] == first
    assert layers.drawn(40, 8) != first
    assert {len(layer.size) for layer in first} == {1, 2, 3}
    assert all(min(layer.outs) > 0 for layer in first)
