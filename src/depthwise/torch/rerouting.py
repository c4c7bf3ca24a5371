"""Code that calls PyTorch's convolutions, run so that the depthwise ones among the calls are the engine's."""

from __future__ import annotations

import copy
import dis
import inspect
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, has_torch_function

from .._core import SpectraKeeper
from ..enums import METHODS, method_code
from .convolution import convolve_axes, convolve_axes_transposed, keeps_spectra
from .internals import HOOK, pads_by_its_padding

Function = Callable[..., Any]


def _conv(
    axes: int,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    *,
    method: str,
) -> Tensor | None:
    if groups == 1 or padding == "causal":  # a word of ours, which PyTorch refuses
        return None
    return convolve_axes(axes, input, weight, bias, stride, padding, dilation, groups, None, method)


def _conv_transposed(
    axes: int,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
    *,
    method: str,
) -> Tensor | None:
    if groups == 1:
        return None
    return convolve_axes_transposed(
        axes, input, weight, bias, stride, padding, output_padding, groups, dilation, method
    )


_OURS: dict[Any, Function] = {
    F.conv1d: partial(_conv, 1),
    F.conv2d: partial(_conv, 2),
    F.conv3d: partial(_conv, 3),
    F.conv_transpose1d: partial(_conv_transposed, 1),
    F.conv_transpose2d: partial(_conv_transposed, 2),
    F.conv_transpose3d: partial(_conv_transposed, 3),
}


class _Rerouting(TorchFunctionMode):
    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # A subclass of Tensor may know the function that was called; it does not know ours.
        if func in _OURS and not types:
            y = _OURS[func](*args, **kwargs, method=self.method)
            if y is not None:
                return y
        return func(*args, **kwargs)


class _Thread(threading.local):
    is_rerouting = False


_MODES = {method: _Rerouting(method) for method in METHODS}
_thread = _Thread()


def accelerated(*, method: str = "direct") -> TorchFunctionMode:
    """A context in which this thread's calls of PyTorch's convolutions go to the engine where they are depthwise.

    Those are calls of ``torch.nn.functional.conv1d`` to ``conv3d`` and ``conv_transpose1d`` to ``3d``, whoever makes
    them, with as many groups as channels, more than one. The engine computes what :func:`depthwise.torch.conv2d` gives
    to it, PyTorch all else. Every call of a function of PyTorch then takes some microseconds longer.

    Parameters
    ----------
    method : {"direct", "fft", "auto"}, default "direct"
        As :func:`depthwise.torch.conv2d` takes it.

    Examples
    --------
    >>> import torch
    >>> from torch.nn import functional as F
    >>> from depthwise.torch import accelerated
    >>> x, blur = torch.ones(1, 8, 6, 6), torch.full((8, 1, 3, 3), 1 / 9)
    >>> with accelerated():
    ...     y = F.conv2d(x, blur, padding=1, groups=8)
    >>> y.shape
    torch.Size([1, 8, 6, 6])
    """
    method_code(method)  # or an error
    return _MODES[method]


_LAYERS = nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
_FORWARDS = {cls.forward for cls in _LAYERS[:3]}
_HOOKS = {getattr(cls, HOOK) for cls in _LAYERS[:3]} - _FORWARDS


class Rerouted:
    """A method of a module's class, run with rerouted calls: an attribute of the module, in the method's place.

    An attribute and not a class of its own, since PyTorch's tools for quantisation, fusion, graphs and scripts go by
    the exact class of a layer. It does not keep the module alive; copies and pickles of the module have their own. To
    all who ask (scripts, signatures) it is the method.
    """

    def __init__(self, module: nn.Module, name: str, method: str = "direct") -> None:
        self._module, self._name, self._method = weakref.ref(module), name, method
        self._is_known = getattr(type(module), name) in _HOOKS
        self._kept = SpectraKeeper()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return types.MethodType

    def _parts(self) -> tuple[nn.Module, Function]:
        module = self._module()
        if module is None:
            msg = "this module is a copy.copy of an accelerated module that is no more: accelerate it"
            raise RuntimeError(msg)
        return module, getattr(type(module), self._name)

    def __getattr__(self, name: str) -> Any:
        module, function = self._parts()
        return getattr(types.MethodType(function, module), name)

    def __reduce__(self) -> Any:
        return Rerouted, (self._parts()[0], self._name, self._method)

    def __deepcopy__(self, memo: Any) -> Rerouted:
        return Rerouted(copy.deepcopy(self._parts()[0], memo), self._name, self._method)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - it has the method's own
        module, function = self._parts()
        by_place = self._is_known and len(args) == 3 and not kwargs
        if by_place and pads_by_its_padding(module) and not has_torch_function(args):  # without what follows
            input, weight, bias = args
            steps = module.stride, module.padding, module.dilation, module.groups
            kept = self._kept if keeps_spectra(module, self._method) else None
            rest = None, self._method, module.padding_mode, kept
            return convolve_axes(len(module.kernel_size), input, weight, bias, *steps, *rest)
        if torch.compiler.is_compiling():
            with _MODES[self._method]:
                return function(module, *args, **kwargs)
        if _thread.is_rerouting:  # whatever passes through two modes takes longer
            return function(module, *args, **kwargs)
        _thread.is_rerouting = True
        try:
            with _MODES[self._method]:
                return function(module, *args, **kwargs)
        finally:
            _thread.is_rerouting = False


def is_layer(module: nn.Module) -> bool:
    """Whether this is one of PyTorch's layers that convolve, or of a class made from one."""
    return isinstance(module, _LAYERS)


def reroute(module: nn.Module, method: str) -> None:
    """Reroute what a module calls, to be convolved by this method."""
    # The hook is handed the weights, which are then a clone's own where the layer was cloned attribute by attribute.
    name = HOOK if type(module).forward in _FORWARDS else "forward"
    vars(module)[name] = Rerouted(module, name, method)


def _find(module: nn.Module) -> Rerouted | None:
    """What :func:`reroute` has put into a module, or into one that this is a copy of."""
    found = (vars(module).get(name) for name in (HOOK, "forward"))
    return next((f for f in found if type(f) is Rerouted), None)


def method_of(module: nn.Module) -> str | None:
    """What :func:`reroute` was called with for this module, and not for one that it is a copy of; else None."""
    found = _find(module)
    return found._method if found is not None and found._module() is module else None


def undo(module: nn.Module) -> bool:
    """Undo :func:`reroute`; whether there was something to undo."""
    found = _find(module)
    if found is not None:
        del vars(module)[found._name]
    return found is not None


def may_reroute(module: nn.Module) -> bool:
    """Whether no one else has put something in the place of a method that :func:`reroute` replaces."""
    return all(type(vars(module).get(name)) in (Rerouted, type(None)) for name in (HOOK, "forward"))


def convolves(module: nn.Module, in_groups: bool) -> bool:
    """Whether a forward that is not PyTorch's, or what it calls, calls a convolution of PyTorch, and speaks of groups.

    Only the code is read, so this may be wrong, in both directions; what is rerouted stays right.
    """
    callers = _callers(type(module))  # type: ignore[arg-type]
    return any("groups" in _words(f) for f in callers) if in_groups else bool(callers)


@lru_cache(maxsize=4096)
def _callers(cls: Any) -> list[types.FunctionType]:
    """What calls a convolution, of the forward of a class and all that it calls."""
    seen: set[types.FunctionType] = set()
    functions: list[Any] = [getattr(cls, "forward", None)]  # scripts say that they have none
    callers = []
    while functions:
        function = inspect.unwrap(functions.pop())
        if not isinstance(function, types.FunctionType) or function in seen or _is_pytorchs(function):
            continue
        seen.add(function)
        named = list(_named(function, cls))
        if any(isinstance(f, types.BuiltinFunctionType) and f in _OURS for f in named):
            callers.append(function)
        functions += named
    return callers


def _is_pytorchs(function: types.FunctionType) -> bool:
    return str(function.__module__).split(".")[0] == "torch"  # generated code has no module


def _named(function: types.FunctionType, cls: type) -> Iterator[Any]:
    """The functions that code names: ``name``, ``module.name`` and ``self.name``."""
    value: Any = None
    self = function.__code__.co_varnames[:1]
    for i in dis.get_instructions(function):
        if i.opname == "LOAD_GLOBAL":
            value = function.__globals__.get(i.argval)
        elif i.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            value = getattr(value, i.argval, None) if value is cls or isinstance(value, types.ModuleType) else None
        elif i.opname in ("LOAD_FAST", "LOAD_FAST_BORROW"):
            value = cls if (i.argval,) == self else None
        elif i.opname != "EXTENDED_ARG":
            value = None
        if callable(value):
            yield value


def _words(function: types.FunctionType) -> set[str]:
    code = function.__code__
    keywords = (c for c in code.co_consts if isinstance(c, tuple))
    return {*code.co_names, *code.co_varnames, *(word for c in keywords for word in c if isinstance(word, str))}
