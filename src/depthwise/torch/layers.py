"""The layers: those of torch.nn with groups=in_channels, through the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor, nn
from torch.fx import Proxy

from .._core import SpectraKeeper
from ..enums import activation_code, method_code
from . import activations
from .convolution import convolve, keeps_spectra, stock
from .internals import border, pads_by_its_padding


class Depthwise(nn.Module):
    """What the layers of one to three dimensions have in common."""

    if TYPE_CHECKING:
        weight: Tensor
        bias: Tensor | None
        padding_mode: str
        stride: tuple[int, ...]
        dilation: tuple[int, ...]
        groups: int
        _reversed_padding_repeated_twice: list[int]
        _kept: SpectraKeeper | None

    # Of a layer that was pickled before there were such; without types, which a script would read.
    method = "direct"
    _kept = None

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
        activation: str | None = None,
        method: str = "direct",
    ) -> None:
        if groups not in (None, in_channels):
            msg = f"groups must be in_channels ({in_channels}) in a depthwise layer, got {groups}"
            raise ValueError(msg)
        activation_code(activation)  # or an error
        method_code(method)
        outs = in_channels if out_channels is None else out_channels
        causal = isinstance(self, nn.Conv1d) and isinstance(padding, str) and padding == "causal"
        rest = dilation, in_channels, bias, padding_mode, device, dtype
        super().__init__(in_channels, outs, kernel_size, stride, "valid" if causal else padding, *rest)  # type: ignore[call-arg]
        if causal:  # a word that PyTorch does not know
            self.padding = padding
            self._reversed_padding_repeated_twice = [self.dilation[0] * (self.kernel_size[0] - 1), 0]  # type: ignore[index,operator]
        self.activation, self.method = activation, method

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        return self._conv_forward(input, self.weight, self.bias)

    # Optional, since a script knows no unions in PyTorch 2.6; nor does it take a comment about types in here.
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:  # noqa: UP045
        if torch.jit.is_scripting():
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            padded = F.pad(input, self._reversed_padding_repeated_twice, mode)
            if input.dim() < weight.dim():
                padded = padded.unsqueeze(0)
            none = [0] * len(self.stride)
            y = torch.convolution(padded, weight, bias, self.stride, none, self.dilation, False, none, self.groups)
            return activations.apply(self.activation, y if input.dim() == weight.dim() else y.squeeze(0))
        else:  # which a script does not look into
            return _convolve(self, input, weight, bias)

    def extra_repr(self) -> str:
        """Say what the layer was made with."""
        words: str = super().extra_repr()
        if self.activation is not None:
            words += f", activation={self.activation!r}"
        return words if self.method == "direct" else f"{words}, method={self.method!r}"


def _convolve(layer: Depthwise, input: Any, weight: Any, bias: Any) -> Tensor:
    facts: Any = layer
    padding, mode = facts.padding, facts.padding_mode
    symbolic = isinstance(input, Proxy)
    if (symbolic and (mode != "zeros" or padding == "causal")) or not pads_by_its_padding(facts):
        input, padding, mode = F.pad(input, border(facts), "constant" if mode == "zeros" else mode), 0, "zeros"
    arguments = input, weight, bias, facts.stride, padding, facts.dilation, facts.groups, layer.activation
    # A symbolic graph is for other tools, as a traced one is.
    if symbolic:
        return stock(len(facts.kernel_size), *arguments)
    if not keeps_spectra(layer, layer.method):
        return convolve(*arguments, layer.method, mode)
    if layer._kept is None:
        layer._kept = SpectraKeeper()
    return convolve(*arguments, layer.method, mode, layer._kept)


class DepthwiseConv1d(Depthwise, nn.Conv1d):
    """``torch.nn.Conv1d(..., groups=in_channels)`` through :func:`depthwise.torch.conv1d`.

    As :class:`DepthwiseConv2d`; `padding` may also be "causal".

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import DepthwiseConv1d
    >>> layer = DepthwiseConv1d(8, kernel_size=4, padding="causal", activation="silu")
    >>> layer(torch.zeros(1, 8, 10)).shape, layer.weight.shape
    (torch.Size([1, 8, 10]), torch.Size([8, 1, 4]))
    """


class DepthwiseConv2d(Depthwise, nn.Conv2d):
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
    activation : str, optional
    method : {"direct", "fft", "auto"}
        As :func:`depthwise.torch.conv2d` takes them. In ``eval()`` and ``torch.inference_mode()`` the spectra that
        transforms make of the weight are kept, up to 64 MiB.

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import DepthwiseConv2d
    >>> layer = DepthwiseConv2d(8, 16, 3, padding=1)
    >>> layer(torch.zeros(1, 8, 10, 10)).shape, layer.weight.shape
    (torch.Size([1, 16, 10, 10]), torch.Size([16, 1, 3, 3]))
    """


class DepthwiseConv3d(Depthwise, nn.Conv3d):
    """``torch.nn.Conv3d(..., groups=in_channels)`` through :func:`depthwise.torch.conv3d`.

    As :class:`DepthwiseConv2d`.

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import DepthwiseConv3d
    >>> layer = DepthwiseConv3d(8, kernel_size=(1, 3, 3), padding=(0, 1, 1))
    >>> layer(torch.zeros(1, 8, 4, 6, 6)).shape, layer.weight.shape
    (torch.Size([1, 8, 4, 6, 6]), torch.Size([8, 1, 1, 3, 3]))
    """
