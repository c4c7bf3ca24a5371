"""Every example in the docstrings, the README and the docs runs as written."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import depthwise

ROOT = Path(__file__).parent.parent
MODULES = [
    m.name for m in pkgutil.iter_modules(depthwise.__path__) if m.name not in ("_core", "__main__", "bench", "demo")
]
PAGES = sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"depthwise.{name}")).failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_pages(page):
    assert doctest.testfile(str(ROOT / page), module_relative=False, globs={"np": np}).failed == 0
