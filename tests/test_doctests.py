"""Every example in the docstrings, the README and the docs runs as written."""

import doctest
import importlib
import pkgutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import depthwise

ROOT = Path(__file__).parent.parent
MODULES = [
    m.name
    for m in pkgutil.walk_packages(depthwise.__path__, "depthwise.", onerror=lambda _: None)
    if m.name.split(".")[-1] not in ("_core", "__main__", "bench", "demo")
]
PAGES = sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")])


def need_installed(module):
    if find_spec(module) is None:  # to import Keras here would choose a backend before its page does
        pytest.skip(f"{module} is not installed")


def need_framework(name):
    if "torch" in name:
        pytest.importorskip("torch")
    if "jax" in name:
        pytest.importorskip("jax")
        pytest.importorskip("depthwise.jax", reason="this build has nothing for JAX", exc_type=ImportError)
        pytest.importorskip("flax", reason="its recipe is for Flax")
    for other in "keras", "onnx", "cv2", "scipy":
        if f"import {other}" in name or f"from {other}" in name:
            need_installed(other)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    need_framework(name)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_pages(page):
    need_framework("".join(e.source for e in doctest.DocTestParser().get_examples((ROOT / page).read_text())))
    assert doctest.testfile(str(ROOT / page), module_relative=False, globs={"np": np}).failed == 0
