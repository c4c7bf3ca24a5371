"""How a model's depthwise layers become fast, and stock again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..enums import method_code
from .layers import Depthwise
from .rerouting import convolves, is_layer, may_reroute, method_of, reroute, undo


class Changes(NamedTuple):
    """What :func:`accelerate` did to a model's depthwise layers."""

    changed: list[str]  # names of the layers that are fast now
    left: dict[str, str]  # names of the others, and why


def _is_lazy(module: nn.Module) -> bool:
    return isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()


def _is_depthwise(module: nn.Module) -> bool:
    """Whether this is a depthwise convolution, of any class and dimension, or may become one."""
    groups, channels = getattr(module, "groups", None), getattr(module, "in_channels", None)
    if not isinstance(groups, int) or not isinstance(channels, int):
        return False
    return groups > 1 and (groups == channels or _is_lazy(module))


def _why_not(module: nn.Module, functional: bool, method: str) -> str | None:
    name = getattr(module, "original_name", type(module).__name__)
    if isinstance(module, Depthwise) or method_of(module) == method:
        return "is fast already"
    if isinstance(module, torch.jit.ScriptModule):
        return f"{name} is a script"
    if isinstance(module, torch.fx.GraphModule):  # which is copied and pickled in a way of its own
        return f"{name} is a graph: run it in depthwise.torch.accelerated()"
    if _is_lazy(module):
        return f"{name} has no channels before its first input"
    if not may_reroute(module):
        return "has a forward of its own"
    if is_layer(module) or functional:
        return None
    if not convolves(module, in_groups=False):
        return f"{name} calls no convolution of torch.nn.functional"
    if next(module.children(), None) is not None:
        return f"{name} is more than a layer: accelerate(model, functional=True)"
    return None


def accelerate(model: nn.Module, *, functional: bool = False, method: str = "direct") -> Changes:
    """Make the depthwise layers of a model fast, in place.

    Every ``torch.nn.Conv1d`` to ``3d`` and ``ConvTranspose1d`` to ``3d`` with ``groups == in_channels > 1``, of these
    classes and of those made from them, and every other module without children whose ``forward`` calls a depthwise
    convolution of ``torch.nn.functional``, calls the engine. It is the same object of the same class with the same
    parameters, buffers, hooks and parametrizations, so that optimizers and references made before keep working,
    state_dicts keep their keys, and layers can be fused and quantised.

    Parameters
    ----------
    model : torch.nn.Module
        A network, or a layer.
    functional : bool, default False
        Whether the ``forward`` of the model itself, and of modules with children that call such a convolution, runs in
        :func:`accelerated` too.
    method : {"direct", "fft", "auto"}, default "direct"
        As :func:`depthwise.torch.conv2d` takes it: "auto" makes the layers of large kernels (RepLKNet, SLaK) faster
        still, within another bound of the error.

    Returns
    -------
    Changes
        ``changed``, names of modules; ``left``, all other depthwise layers, of any class and dimension, and why.

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
    method_code(method)  # or an error
    changes = Changes([], {})
    for name, module in model.named_modules():
        calls = not is_layer(module) and convolves(module, in_groups=True)
        if not (_is_depthwise(module) or calls or (functional and module is model)):
            continue
        reason = _why_not(module, functional, method)
        if reason:
            changes.left[name] = reason
        else:
            reroute(module, method)
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
        Names of the modules that are stock again.
    """
    return [name for name, module in model.named_modules() if undo(module)]
