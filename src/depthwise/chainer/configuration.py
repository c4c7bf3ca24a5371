"""What Chainer keeps in ``chainer.config``: values for the process, and over them those of a thread or task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = ["config", "force_backprop_mode", "global_config", "no_backprop_mode", "using_config"]

# Chainer's keys that choose between ways to the same result, or what a trainer reports: any value is the same here.
# Arguments are always checked, whatever `type_check` says.
_WITHOUT_EFFECT = (
    "autotune",
    "compute_mode",
    "cudnn_deterministic",
    "cudnn_fast_batch_normalization",
    "keep_graph_on_report",
    "lazy_grad_sum",
    "schedule_func",
    "type_check",
    "use_cudnn",
    "use_cudnn_tensor_core",
    "use_ideep",
    "use_static_graph",
    "warn_nondeterministic",
)


def _checked(name: str, value: Any) -> Any:
    """The value to keep; raises where Chainer would do something with it that is not done here."""
    if name == "dtype":
        try:
            dtype = np.dtype(value)
        except TypeError:
            msg = f"config.dtype must be a floating-point type, got {value!r}"
            raise ValueError(msg) from None
        if dtype.kind != "f" and dtype.name != "bfloat16":
            msg = f"config.dtype must be a floating-point type, got {dtype}"
            raise ValueError(msg)
        return dtype
    if name == "debug" and value:
        msg = "config.debug: results are not searched for NaN here, so it can only be False"
        raise ValueError(msg)
    known = name in ("train", "enable_backprop", "debug", *_WITHOUT_EFFECT)
    if not known and not name.startswith("user_"):
        msg = f"there is no configuration {name!r}; names of your own begin with user_"
        raise AttributeError(msg)
    return value


class GlobalConfig:
    """The values of the process, for threads that have set none of their own."""

    def __init__(self) -> None:
        self.train = True
        self.enable_backprop = True
        self.dtype = np.float32
        self.debug = False
        self.type_check = True

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _checked(name, value))


_no_values: Mapping[str, Any] = MappingProxyType({})
_values: ContextVar[Mapping[str, Any]] = ContextVar("depthwise_config", default=_no_values)


class LocalConfig:
    """The values of this thread or task; what it has not set is the process's.

    ``train`` is for your own code. ``enable_backprop`` says whether graphs are recorded, ``dtype`` the type of
    parameters whose initializer has none. Keys that choose among Chainer's ways to one result are taken and change
    nothing; ``debug`` can only be False, and other names are refused unless they begin with ``user_``.
    """

    def __getattr__(self, name: str) -> Any:
        values = _values.get()
        return values[name] if name in values else getattr(global_config, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _values.set({**_values.get(), name: _checked(name, value)})


global_config = GlobalConfig()
config = LocalConfig()


@contextmanager
def using_config(name: str, value: Any) -> Iterator[None]:
    """Context in which ``config.<name>`` is `value`: ``chainer.using_config``.

    Examples
    --------
    >>> from depthwise import config, using_config
    >>> with using_config("train", False):
    ...     config.train
    False
    >>> config.train
    True
    """
    before = _values.get()
    setattr(config, name, value)
    try:
        yield
    finally:
        others = {key: kept for key, kept in _values.get().items() if key != name}
        _values.set({**others, name: before[name]} if name in before else others)


def no_backprop_mode() -> Any:
    """Context in which no graph is recorded: results have no creator and nothing is kept for backward.

    Examples
    --------
    >>> import numpy as np, depthwise
    >>> x = depthwise.Variable(np.ones(3, np.float32))
    >>> with depthwise.no_backprop_mode():
    ...     y = x + x
    >>> y.creator is None
    True
    """
    return using_config("enable_backprop", False)


def force_backprop_mode() -> Any:
    """Context in which graphs are recorded, also inside :func:`no_backprop_mode`."""
    return using_config("enable_backprop", True)
