"""Where ``install_causal_conv1d`` puts our functions, and what it leaves alone. No test needs the real package."""

import importlib.util
import sys
from types import ModuleType

import pytest

import depthwise
from torch_helpers import torch

causal_conv1d_fn, causal_conv1d_update = depthwise.torch.causal_conv1d_fn, depthwise.torch.causal_conv1d_update
install_causal_conv1d = depthwise.torch.install_causal_conv1d
uninstall_causal_conv1d = depthwise.torch.uninstall_causal_conv1d
NAMES = "causal_conv1d_fn", "causal_conv1d_update"
X, W = torch.ones(1, 2, 5), torch.ones(2, 4)


@pytest.fixture(autouse=True)
def uninstalled():
    uninstall_causal_conv1d()
    before = sys.modules.pop("causal_conv1d", None)
    yield
    uninstall_causal_conv1d()
    sys.modules.pop("causal_conv1d", None)
    if before is not None:
        sys.modules["causal_conv1d"] = before


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A package that says what it was called with."""
    (tmp_path / "causal_conv1d").mkdir()
    lines = [f"def {name}(*args, **kwargs): return '{name} of the package', args, kwargs" for name in NAMES]
    (tmp_path / "causal_conv1d" / "__init__.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def model(monkeypatch):
    """A module of a model that was imported before."""
    module = ModuleType("transformers.models.some.modeling_some")
    for name in NAMES:
        setattr(module, name, lambda *args, **kwargs: ("stock", kwargs))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_the_package_can_be_imported_and_found_until_it_is_uninstalled():
    install_causal_conv1d()
    import causal_conv1d

    assert causal_conv1d.causal_conv1d_fn is causal_conv1d_fn
    assert causal_conv1d.causal_conv1d_update is causal_conv1d_update
    assert causal_conv1d.__version__
    assert importlib.util.find_spec("causal_conv1d") is not None
    uninstall_causal_conv1d()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("causal_conv1d")


def test_models_that_were_imported_before_call_ours_on_a_cpu_and_theirs_elsewhere(model):
    theirs = {name: getattr(model, name) for name in NAMES}
    install_causal_conv1d()
    assert torch.equal(model.causal_conv1d_fn(X, W), causal_conv1d_fn(X, W))
    assert torch.equal(model.causal_conv1d_fn(x=X, weight=W), causal_conv1d_fn(X, W))
    states = [torch.zeros(1, 2, 4) for _ in range(2)]
    step = X[..., :1], W
    y = model.causal_conv1d_update(step[0], states[0], W, None, "silu")
    assert torch.equal(y, causal_conv1d_update(step[0], states[1], W, None, "silu"))
    assert torch.equal(*states)
    for x in (X.to("meta"), X.int()):
        assert model.causal_conv1d_fn(x, W, extra=1) == ("stock", {"extra": 1})
    uninstall_causal_conv1d()
    assert {name: getattr(model, name) for name in NAMES} == theirs


def test_keywords_of_a_models_call_that_the_functions_do_not_know_are_dropped(model):
    install_causal_conv1d()
    y = model.causal_conv1d_fn(X, W, activation="silu", output_hidden_states=True, seq_idx=None)
    assert torch.equal(y, causal_conv1d_fn(X, W, activation="silu"))


def test_models_that_were_imported_without_the_package_have_none_of_it_replaced_by_ours(model):
    model.causal_conv1d_fn = model.causal_conv1d_update = None
    install_causal_conv1d()
    assert model.causal_conv1d_fn is causal_conv1d_fn
    assert model.causal_conv1d_update is causal_conv1d_update
    uninstall_causal_conv1d()
    assert model.causal_conv1d_fn is None


@pytest.mark.usefixtures("real")
def test_a_real_package_stays_in_place_for_other_devices():
    import causal_conv1d as package

    theirs = package.causal_conv1d_fn
    install_causal_conv1d()
    assert sys.modules["causal_conv1d"] is package
    assert torch.equal(package.causal_conv1d_fn(X, W), causal_conv1d_fn(X, W))
    x = X.to("meta")
    words, args, kwargs = package.causal_conv1d_fn(x, W, activation="silu")
    assert words == "causal_conv1d_fn of the package"
    assert args == (x, W)
    assert kwargs == {"activation": "silu"}
    assert package.causal_conv1d_update(x, 1, 2)[0] == "causal_conv1d_update of the package"
    uninstall_causal_conv1d()
    assert package.causal_conv1d_fn is theirs


def test_a_package_that_cannot_be_imported_is_as_none(tmp_path, monkeypatch):
    (tmp_path / "causal_conv1d.py").write_text("raise OSError('libcudart.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    install_causal_conv1d()
    import causal_conv1d

    assert causal_conv1d.causal_conv1d_fn is causal_conv1d_fn


def test_twice_is_once(model):
    theirs = model.causal_conv1d_fn
    install_causal_conv1d()
    install_causal_conv1d()
    assert model.causal_conv1d_fn.__wrapped__ is theirs
    uninstall_causal_conv1d()
    uninstall_causal_conv1d()
    assert model.causal_conv1d_fn is theirs
    assert "causal_conv1d" not in sys.modules


def test_transformers_is_told_that_the_package_is_there():
    transformers = pytest.importorskip("transformers")
    utils = transformers.utils.import_utils
    asks = utils.is_causal_conv1d_available
    install_causal_conv1d()
    assert utils.is_causal_conv1d_available()
    uninstall_causal_conv1d()
    assert utils.is_causal_conv1d_available is asks
