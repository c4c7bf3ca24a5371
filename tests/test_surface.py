"""What is public, and that its names and documents keep step."""

import ast
import graphlib
import importlib
import importlib.metadata
import inspect
import pkgutil
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
    assert sorted(module.__all__) == sorted(defined)
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


ROOT = Path(depthwise.__file__).parent


def source_of(*names):
    """The file of a module or a package of ours; the engine's is its stub."""
    path = ROOT.joinpath(*names)
    files = path.with_suffix(".py"), path / "__init__.py", path.with_suffix(".pyi")
    return next((f for f in files if f.exists()), None)


def imports_of(path):
    """Files of the package that one of them imports, as it is loaded or later in a function."""
    package = path.relative_to(ROOT).parts[:-1]
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":  # names of types
            node.body.clear()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(n.name == "depthwise" for n in node.names):
            yield source_of()
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) + 1 - node.level], *(node.module.split(".") if node.module else [])]
            yield from (source_of(*base, name.name) or source_of(*base) for name in node.names)


def test_no_module_is_imported_in_a_circle():
    graph = {path: set(imports_of(path)) for path in ROOT.rglob("*.py")}
    graph[source_of("chainer", "link")].remove(source_of("chainer", "chains"))  # a Link repeated is a Sequential
    assert sum(map(len, graph.values())) > 100
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_no_module_hides_a_function_of_its_name():
    """An import of ``depthwise.x`` sets the attribute x of the package, whatever it was."""
    public = {name for name in depthwise.__all__ if not inspect.ismodule(getattr(depthwise, name))}
    assert not public & {module.name for module in pkgutil.iter_modules(depthwise.__path__)}


def test_torch_exports_documented_names():
    pytest.importorskip("torch")
    module = importlib.import_module("depthwise.torch")
    assert module.__all__ == sorted(module.__all__)
    assert all(getattr(module, n).__doc__ for n in module.__all__)


def test_version():
    assert depthwise.__version__ == importlib.metadata.version("depthwise")


def test_who_cites_names_this_version():
    root = Path(__file__).parent.parent
    assert f"\nversion: {depthwise.__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"version = {{{depthwise.__version__}}}" in (root / "docs/citing.md").read_text()


def test_the_signature_is_chainers():
    parameters = inspect.signature(depthwise.depthwise_convolution_2d).parameters.values()
    kinds = [p.kind.name for p in parameters]
    assert [p.name for p in parameters] == ["x", "W", "b", "stride", "pad", "dilate", "method", "pad_mode"]
    assert kinds == ["POSITIONAL_OR_KEYWORD"] * 5 + ["KEYWORD_ONLY"] * 3
    assert depthwise.functions.depthwise_convolution_2d is depthwise.depthwise_convolution_2d
