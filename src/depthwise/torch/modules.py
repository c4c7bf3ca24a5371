"""The layer, and the exchange of a model's layers."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from .convolution import convolve


class DepthwiseConv2d(nn.Conv2d):
    """``torch.nn.Conv2d(..., groups=in_channels)`` through :func:`depthwise.torch.conv2d`.

    Parameters, state_dict, initialisation and padding modes are those of ``torch.nn.Conv2d``.

    Parameters
    ----------
    in_channels, out_channels : int
        out_channels is a multiple of in_channels; in_channels where it is not given.
    kernel_size, stride, padding, dilation, bias, padding_mode, device, dtype
        As ``torch.nn.Conv2d`` takes them.
    groups : int, optional
        in_channels, and nothing else.

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import DepthwiseConv2d
    >>> layer = DepthwiseConv2d(8, 16, 3, padding=1)
    >>> layer(torch.zeros(1, 8, 10, 10)).shape, layer.weight.shape
    (torch.Size([1, 16, 10, 10]), torch.Size([16, 1, 3, 3]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        kernel_size: Any = 3,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int | None = None,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if groups not in (None, in_channels):
            msg = f"groups must be in_channels ({in_channels}) in a depthwise layer, got {groups}"
            raise ValueError(msg)
        outs = in_channels if out_channels is None else out_channels
        args = outs, kernel_size, stride, padding, dilation, in_channels, bias, padding_mode, device, dtype
        super().__init__(in_channels, *args)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return convolve(input, weight, bias, self.stride, padding, self.dilation, self.groups)


class Changes(NamedTuple):
    """What :func:`accelerate` did to a model's depthwise layers."""

    changed: list[str]  # names of the layers that are fast now
    left: dict[str, str]  # names of the others, and why


@cache
def _fast(cls: type) -> type:
    """A layer's class with the convolution of this package in it."""
    if cls is nn.Conv2d:
        return DepthwiseConv2d
    # A class made here cannot be found by its name: copies and pickles are rebuilt from the class that it came from.
    body: dict[str, Any] = {"__module__": cls.__module__, "__reduce_ex__": _reduce, "_stock": cls}
    return type(cls.__name__, (cls, DepthwiseConv2d), body)


def _reduce(self: Any, protocol: int) -> Any:
    return _rebuild, (self._stock,), self.__dict__


def _rebuild(cls: type) -> Any:
    fast: Any = _fast(cls)
    return fast.__new__(fast)


def _stock(cls: type) -> type:
    return nn.Conv2d if cls is DepthwiseConv2d else cls._stock  # type: ignore[attr-defined]


def _exchange(module: nn.Module, other: Any) -> None:
    """Give a layer the class `other(its class)`."""
    cls = type(module)
    if is_parametrized(module):  # its class, which deep copies share, stands above the layer's and holds its properties
        body = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
        module.__class__ = type(cls.__name__, (other(cls.__bases__[0]),), body)
    else:
        module.__class__ = other(cls)


def _why_not(module: nn.Conv2d) -> str | None:
    if isinstance(module, DepthwiseConv2d):
        return "is fast already"
    if "forward" in vars(module) or "_conv_forward" in vars(module):
        return "has a forward of its own"
    cls = type(module)
    if cls.forward is not nn.Conv2d.forward or cls._conv_forward is not nn.Conv2d._conv_forward:
        return f"{cls.__name__} has a forward of its own"
    return None


def accelerate(model: nn.Module) -> Changes:
    """Make the depthwise layers of a model fast, in place.

    Every ``torch.nn.Conv2d`` with ``groups == in_channels > 1`` becomes a :class:`DepthwiseConv2d`: the same object
    with the same parameters, buffers, hooks and parametrizations, so that optimizers and references made before keep
    working and state_dicts keep their keys.

    Parameters
    ----------
    model : torch.nn.Module
        A network, or a layer.

    Returns
    -------
    Changes
        ``changed``, names of layers; ``left``, the depthwise layers that were left as they are, and why.

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
        if not isinstance(module, nn.Conv2d) or not module.groups == module.in_channels > 1:
            continue
        reason = _why_not(module)
        if reason:
            changes.left[name] = reason
            continue
        _exchange(module, _fast)
        module._accelerated = True  # type: ignore[assignment]
        changes.changed.append(name)
    return changes


def restore(model: nn.Module) -> list[str]:
    """Undo :func:`accelerate`; layers that were made as :class:`DepthwiseConv2d` stay.

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
        if vars(module).pop("_accelerated", False):
            _exchange(module, _stock)
            restored.append(name)
    return restored
