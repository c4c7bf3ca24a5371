"""How a model's layers become fast."""

from __future__ import annotations

import copy
import weakref
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.modules.lazy import LazyModuleMixin

from .convolution import convolve
from .internals import HOOK, border
from .layers import Depthwise


class _Engine:
    """What one layer calls to convolve, through the engine.

    An attribute of the layer and not a class of its own: PyTorch's tools for quantisation, fusion, graphs and scripts
    go by the exact class of a layer. It does not keep the layer alive; copies and pickles of the layer have their own.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        self._layer = weakref.ref(layer)

    def layer(self) -> nn.Conv2d:
        layer = self._layer()
        if layer is None:
            msg = "this layer is a copy.copy of an accelerated layer that is no more: accelerate it"
            raise RuntimeError(msg)
        return layer

    def __reduce__(self) -> Any:
        return _Engine, (self.layer(),)

    def __deepcopy__(self, memo: Any) -> _Engine:
        return _Engine(copy.deepcopy(self.layer(), memo))

    def __call__(self, input: Tensor, *weights: Tensor | None) -> Tensor:
        layer = self.layer()
        if isinstance(input, Proxy):  # a symbolic graph is for other tools, as a traced one is
            return getattr(nn.Conv2d, HOOK)(layer, input, *weights)
        weight, bias = weights or (layer.weight, layer.bias)
        padding = layer.padding
        if layer.padding_mode != "zeros":
            input, padding = F.pad(input, border(layer), mode=layer.padding_mode), 0
        return convolve(input, weight, bias, layer.stride, padding, layer.dilation, layer.groups)


class Changes(NamedTuple):
    """What :func:`accelerate` did to a model's depthwise layers."""

    changed: list[str]  # names of the layers that are fast now
    left: dict[str, str]  # names of the others, and why


def _make_fast(layer: nn.Conv2d) -> None:
    setattr(layer, HOOK, _Engine(layer))


def _overrides(method: str, layer: nn.Conv2d) -> bool:
    return getattr(type(layer), method) is not getattr(nn.Conv2d, method)


def _is_fast(module: nn.Module) -> bool:
    engine = vars(module).get(HOOK)
    return isinstance(module, Depthwise) or (isinstance(engine, _Engine) and engine._layer() is module)


def _is_depthwise(module: nn.Module) -> bool:
    """Whether this is a depthwise convolution, of any class and dimension, or may become one."""
    groups, channels = getattr(module, "groups", None), getattr(module, "in_channels", None)
    if not isinstance(groups, int) or not isinstance(channels, int):
        return False
    return groups > 1 and (groups == channels or _is_lazy(module))


def _is_lazy(module: nn.Module) -> bool:
    return isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()


def _why_not(module: nn.Module) -> str | None:
    name = getattr(module, "original_name", type(module).__name__)
    if _is_fast(module):
        return "is fast already"
    if isinstance(module, torch.jit.ScriptModule):
        return f"{name} is a script"
    if not isinstance(module, nn.Conv2d):
        return f"{name} is not a torch.nn.Conv2d"
    if _is_lazy(module):
        return f"{name} has no channels before its first input"
    if any(not isinstance(vars(module).get(method), _Engine | None) for method in ("forward", HOOK)):
        return "has a forward of its own"
    if _overrides("forward", module) or _overrides(HOOK, module):
        return f"{name} has a forward of its own"
    return None


def accelerate(model: nn.Module) -> Changes:
    """Make the depthwise layers of a model fast, in place.

    Every ``torch.nn.Conv2d`` with ``groups == in_channels > 1`` computes as :func:`depthwise.torch.conv2d` does. It is
    the same object of the same class with the same parameters, buffers, hooks and parametrizations, so that optimizers
    and references made before keep working, state_dicts keep their keys, and layers can be fused and quantised.

    Parameters
    ----------
    model : torch.nn.Module
        A network, or a layer.

    Returns
    -------
    Changes
        ``changed``, names of layers; ``left``, all other depthwise layers, of any class and dimension, and why.

    Examples
    --------
    >>> from torch import nn
    >>> from depthwise.torch import accelerate, restore
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    >>> accelerate(model)
    Changes(changed=['1'], left={})
    >>> restore(model)
    ['1']
    """
    changes = Changes([], {})
    for name, module in model.named_modules():
        if not _is_depthwise(module):
            continue
        reason = _why_not(module)
        if reason:
            changes.left[name] = reason
        else:
            _make_fast(module)  # type: ignore[arg-type]
            changes.changed.append(name)
    return changes


def restore(model: nn.Module) -> list[str]:
    """Undo :func:`accelerate`; layers that were made fast, as :class:`DepthwiseConv2d` is, stay.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    list of str
        Names of the layers that are stock again.
    """
    restored = []
    for name, module in model.named_modules():
        if isinstance(vars(module).get(HOOK), _Engine):
            delattr(module, HOOK)
            restored.append(name)
    return restored
