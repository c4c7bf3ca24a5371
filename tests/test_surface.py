"""What is public, and that its names and documents keep step."""

import ast
import graphlib
import importlib
import importlib.metadata
import inspect
from pathlib import Path

import pytest

import depthwise

CHAINER = ["functions", "gradient_check", "initializers", "links", "serializers"]
MODULES = [*(f"chainer.{name}" for name in CHAINER), "ops"]


def test_all_is_sorted_and_exists():
    assert depthwise.__all__ == sorted(depthwise.__all__)
    for name in depthwise.__all__:
        assert hasattr(depthwise, name)


@pytest.mark.parametrize("name", MODULES)
def test_modules_define_what_they_export(name):
    module = importlib.import_module(f"depthwise.{name}")
    defined = {
        n
        for n, v in vars(module).items()
        if not n.startswith("_") and inspect.getmodule(v) is module and (inspect.isfunction(v) or inspect.isclass(v))
    }
    helpers = {"check_array", "describe", "gradient_geometry"}
    assert sorted(module.__all__) == sorted(defined - helpers)
    for n in module.__all__:
        assert getattr(module, n).__doc__


@pytest.mark.parametrize("name", CHAINER)
def test_names_of_chainer_stand_in_the_root_too(name):
    here, there = (importlib.import_module(f"depthwise.{path}{name}") for path in ("", "chainer."))
    assert here.__all__ == there.__all__
    assert all(getattr(here, n) is getattr(there, n) for n in here.__all__)


def test_chainer_has_the_names_of_chainer():
    """``import depthwise.chainer as chainer``, and what stands in the root too is the same."""
    from depthwise import chainer

    assert chainer.__all__ == sorted(chainer.__all__)
    assert {"Chain", "ChainList", "Link", "Parameter", "Sequential", "Variable", "config"} <= set(chainer.__all__)
    for name in set(chainer.__all__) & set(depthwise.__all__):
        if not inspect.ismodule(getattr(chainer, name)):
            assert getattr(chainer, name) is getattr(depthwise, name)


def imports_of(path, root):
    """Modules of the package that a file imports as it is loaded."""
    package = path.relative_to(root).parts[:-1]
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) + 1 - node.level], *(node.module or "").split(".")]
            for name in node.names:
                target = root.joinpath(*base, name.name).with_suffix(".py")
                yield target if target.exists() else root.joinpath(*base).with_suffix(".py")


def test_no_module_is_imported_in_a_circle():
    root = Path(depthwise.__file__).parent
    graph = {p: [q for q in imports_of(p, root) if q.exists()] for p in root.rglob("*.py")}
    assert sum(map(len, graph.values())) > 40
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_torch_exports_documented_names():
    pytest.importorskip("torch")
    module = importlib.import_module("depthwise.torch")
    assert module.__all__ == sorted(module.__all__)
    assert all(getattr(module, n).__doc__ for n in module.__all__)


def test_version():
    assert depthwise.__version__ == importlib.metadata.version("depthwise")


def test_signature_of_the_seed():
    parameters = inspect.signature(depthwise.depthwise_convolution_2d).parameters.values()
    kinds = [p.kind.name for p in parameters]
    assert [p.name for p in parameters] == ["x", "W", "b", "stride", "pad", "dilate"]
    assert kinds == ["POSITIONAL_OR_KEYWORD"] * 5 + ["KEYWORD_ONLY"]
    assert depthwise.functions.depthwise_convolution_2d is depthwise.depthwise_convolution_2d
