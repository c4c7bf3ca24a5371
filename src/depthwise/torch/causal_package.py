"""Puts ``causal_conv1d_fn`` and ``causal_conv1d_update`` where models look for the package ``causal_conv1d``."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from torch import Tensor

from .causal import causal_conv1d_fn
from .causal_update import causal_conv1d_update
from .convolution import _is_exporting
from .operators import DTYPES

_PACKAGE = "causal_conv1d"
_OURS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (causal_conv1d_fn, causal_conv1d_update)}
_VERSION = "1.6.0"  # of the package whose functions these are
_MISSING = object()

_undo: list[Callable[[], object]] = []


def install_causal_conv1d() -> None:
    """Let models of ``transformers`` on a CPU call our functions of the package ``causal_conv1d``.

    ``import causal_conv1d`` then finds a module with :func:`causal_conv1d_fn` and :func:`causal_conv1d_update`, and the
    modules of ``transformers`` that are imported already are changed to call them. Where the real package is installed
    it stays, with its functions for tensors on other devices; so do kernels from the hub.

    Notes
    -----
    Call it before or after models are imported. From transformers 5.14 models made before are served too; the models of
    earlier versions keep the functions that they were made with. There, only families that call the two functions on a
    CPU gain (Qwen3-Next and its like); for Mamba, Mamba-2, Falcon-H1 and LFM2 see :func:`depthwise.torch.accelerate`.

    :func:`uninstall_causal_conv1d` undoes it.

    Examples
    --------
    >>> from depthwise.torch import install_causal_conv1d, uninstall_causal_conv1d
    >>> install_causal_conv1d()
    >>> from causal_conv1d import causal_conv1d_fn
    >>> uninstall_causal_conv1d()
    """
    uninstall_causal_conv1d()
    _provide_package()
    _say_available()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("transformers", "transformers_modules"):
            _replace_functions(module)


def uninstall_causal_conv1d() -> None:
    """Undo :func:`install_causal_conv1d`; modules imported in between keep what they imported.

    Examples
    --------
    >>> from depthwise.torch import uninstall_causal_conv1d
    >>> uninstall_causal_conv1d()
    """
    while _undo:
        _undo.pop()()


def _provide_package() -> None:
    try:
        real = importlib.import_module(_PACKAGE)
    except Exception:  # a package for another CUDA raises anything; its users go on without it too
        module = ModuleType(_PACKAGE, "The functions of depthwise.torch that stand in for this package on a CPU.")
        module.__spec__ = ModuleSpec(_PACKAGE, None)
        vars(module).update(_OURS, __version__=_VERSION)
        sys.modules[_PACKAGE] = module
        _undo.append(functools.partial(sys.modules.pop, _PACKAGE))
    else:
        _replace_functions(real)


def _say_available() -> None:
    """Until transformers 5.13 modules ask this function, which wants a GPU, before they import the package."""
    try:
        utils = importlib.import_module("transformers.utils.import_utils")
    except ImportError:
        return
    if hasattr(utils, "is_causal_conv1d_available"):
        _set(utils, "is_causal_conv1d_available", lambda: True)


def _replace_functions(module: ModuleType) -> None:
    for name, ours in _OURS.items():
        original = vars(module).get(name, _MISSING)
        if original is not _MISSING and original is not ours:
            _set(module, name, ours if original is None else _choose(original, ours))


def _set(module: ModuleType, name: str, value: Any) -> None:
    _undo.append(functools.partial(setattr, module, name, getattr(module, name)))
    setattr(module, name, value)


def _choose(original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls `ours` where it can, `original` elsewhere."""
    known = frozenset(inspect.signature(ours).parameters)

    @functools.wraps(original)
    def chosen(*args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else kwargs.get("x")
        if not isinstance(x, Tensor) or not x.is_cpu or x.dtype not in DTYPES or _is_exporting():
            return original(*args, **kwargs)
        # transformers hands over all that a model was called with.
        return ours(*args, **{name: value for name, value in kwargs.items() if name in known})

    return chosen
