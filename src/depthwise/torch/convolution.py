"""Who convolves tensors: what the engine can do goes to its operators, all else to PyTorch's convolution."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from .._core import SpectraKeeper
from ..enums import activation_code, method_code
from ..geometry import geometry
from . import activations, cuda, operators
from .internals import IN_DISPATCHER, is_forward_mode
from .padding import PADDING_MODES, pad_mode, padded, pytorch_pads
from .steps import find_sides, find_steps, find_transposed, per_axis

Ints = int | Sequence[int]
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_HAS_ONEDNN = torch.backends.mkldnn.is_available()
if hasattr(torch.compiler, "is_exporting"):
    _is_exporting = torch.compiler.is_exporting
else:  # PyTorch 2.6, where a strict export cannot be told from a compilation

    def _is_exporting() -> bool:
        return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def _is_ours(a: Any, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this is a tensor that the engine reads, of `dtype` and on `device`."""
    return (
        isinstance(a, Tensor)
        and (a.is_cpu or cuda.is_cuda(a))
        and a.device == device
        and a.dtype is dtype
        and a.layout is torch.strided
        and (type(a) is Tensor or not hasattr(a, "__tensor_flatten__"))  # else it is made of others
    )


def _are_ours(input: Tensor, weight: Any, bias: Any) -> bool:
    """Whether the engine reads these, and nothing but the values of a convolution is asked for."""
    dtype, device = input.dtype, input.device
    return (
        dtype in operators.DTYPES
        and not torch.jit.is_tracing()  # a traced graph can then be loaded without this package
        and _is_ours(input, dtype, device)
        and _is_ours(weight, dtype, device)
        and (bias is None or _is_ours(bias, dtype, device))
        and not is_forward_mode()
    )


def _is_for_compiler(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether torch.compile is faster by itself.

    It fuses oneDNN's convolution with the layers around it, which spares a pass over memory. That is worth more than
    the engine in two dimensions in float32 with one filter a channel, where both run at the speed of the memory; in
    training it has to keep what lies between the layers. In one and three dimensions oneDNN is slower than that.
    """
    return (
        torch.compiler.is_compiling()
        and not _is_exporting()
        and _HAS_ONEDNN
        and input.is_cpu
        and input.dtype is torch.float32
        and input.dim() == 4
        and weight.shape[0] == input.shape[1]
        and not (torch.is_grad_enabled() and any(a is not None and a.requires_grad for a in (input, weight, bias)))
    )


def _autocast(device: str, *arguments: Any) -> list[Any]:
    """What autocast, where it is enabled for a kind of device, makes of a convolution's arguments."""
    if not torch.is_autocast_enabled(device):
        return list(arguments)
    dtype = torch.get_autocast_dtype(device)
    return [
        a.to(dtype)
        if isinstance(a, Tensor) and a.is_floating_point() and a.dtype != torch.float64 and a.device.type == device
        else a
        for a in arguments
    ]


def stock(
    axes: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    activation: str | None,
    padding_mode: str = "zeros",
) -> Tensor:
    """What PyTorch makes of a convolution."""
    if padding_mode != "zeros":
        sides = find_sides(axes, weight, stride, padding, dilation)
        if sides is None:
            msg = f"padding {padding!r} and stride {stride!r} are none of such a convolution with {padding_mode!r}"
            raise ValueError(msg)
        input, padding = padded(input, sides, padding_mode), 0
    if axes == 1 and isinstance(padding, str) and padding == "causal":  # a word that it does not know
        padding, dilations = 0, per_axis(dilation, 1, 1)
        if dilations is not None and isinstance(input, Tensor) and isinstance(weight, Tensor) and weight.dim() == 3:
            input = F.pad(input, (dilations[0] * (weight.shape[2] - 1), 0))
    activation_code(activation)  # or an error
    return activations.apply(activation, _CONV[axes](input, weight, bias, stride, padding, dilation, groups))


def keeps_spectra(module: torch.nn.Module, method: str) -> bool:
    """Whether a layer's weight is worth keeping the spectra of: it is not trained now."""
    if method == "direct" or module.training or torch.compiler.is_compiling():
        return False
    return torch.is_inference_mode_enabled()


def spatial_axes(weight: Any) -> int:
    """Of a layer's weight, where nobody said how many it has to be."""
    return min(max(weight.dim() - 2, 1), 3) if isinstance(weight, Tensor) else 2


def convolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints | str,
    dilation: Ints,
    groups: int,
    activation: str | None = None,
    method: str = "direct",
    padding_mode: str = "zeros",
    kept: SpectraKeeper | None = None,
) -> Tensor:
    """``torch.nn.functional.conv1d``, ``2d`` or ``3d``, as the weight has axes, and an activation of what it computes.

    The engine computes what is depthwise, PyTorch all else.
    """
    tensors: Any = input, weight, bias
    rest: Any = stride, padding, dilation, groups, activation, method, padding_mode, kept
    if has_torch_function(tensors):
        return handle_torch_function(convolve, tensors, *tensors, *rest)  # type: ignore[no-any-return]
    return convolve_axes(spatial_axes(weight), *tensors, *rest)


def convolve_axes(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints | str,
    dilation: Ints,
    groups: int,
    activation: str | None = None,
    method: str = "direct",
    padding_mode: str = "zeros",
    kept: SpectraKeeper | None = None,
) -> Tensor:
    """:func:`convolve` where so many spatial axes are asked for, and whose arguments are no subclasses of Tensor."""
    method_code(method)  # or an error
    mode = pad_mode(padding_mode)
    if not isinstance(input, Tensor):
        return stock(axes, input, weight, bias, stride, padding, dilation, groups, activation, padding_mode)
    if input.dim() == axes + 1:
        rest: Any = stride, padding, dilation, groups, activation, method, padding_mode, kept
        return convolve_axes(axes, input.unsqueeze(0), weight, bias, *rest).squeeze(0)
    if input.is_cpu or input.is_cuda:
        input, weight, bias = _autocast(input.device.type, input, weight, bias)
    steps = None
    if _are_ours(input, weight, bias) and not _is_for_compiler(input, weight, bias):
        steps = find_steps(axes, input.shape, weight.shape, stride, padding, dilation, groups)
        if steps is not None and not pytorch_pads(input.shape, steps[1], padding_mode):
            steps = None
    if steps is None or (bias is not None and bias.shape != weight.shape[:1]):
        return stock(axes, input, weight, bias, stride, padding, dilation, groups, activation, padding_mode)
    conv = operators.conv
    if kept is not None:
        conv = partial(operators.conv_kept, kept)
    if activation is None:
        return conv(input, weight, bias, *steps, method, mode)  # type: ignore[no-any-return]
    activation_code(activation)  # or an error
    if IN_DISPATCHER:
        return conv(input, weight, bias, *steps, method, mode, activation)  # type: ignore[no-any-return]
    return activations.apply(activation, conv(input, weight, bias, *steps, method, mode))


def convolve_each(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints | str,
    dilation: Ints,
    *rest: Any,
) -> Tensor:
    """Filters of its own for each image, a weight (n, c_I * c_M, 1, kernel ...): the images are channels of one."""
    n, channels, outs = input.shape[0], input.shape[1], weight.shape[1]
    if weight.shape[0] != n:
        msg = (
            f"weight {tuple(weight.shape)} has filters for {weight.shape[0]} images, input {tuple(input.shape)} has {n}"
        )
        raise ValueError(msg)
    if bias is not None and bias.shape != (outs,):
        msg = f"bias must have shape ({outs},), got {tuple(bias.shape)}"
        raise ValueError(msg)
    if n == 0:  # no images of any filters
        shared = weight.new_zeros(weight.shape[1:])
        return convolve_axes(axes, input, shared, bias, stride, padding, dilation, channels, *rest)
    image = input.reshape(1, n * channels, *input.shape[2:])
    biases = None if bias is None else bias.repeat(n)
    filters = weight.flatten(0, 1)
    y = convolve_axes(axes, image, filters, biases, stride, padding, dilation, n * channels, *rest)
    return y.reshape(n, outs, *y.shape[2:])


def convolve_transposed(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
) -> Tensor:
    """``torch.nn.functional.conv_transpose1d``, ``2d`` or ``3d``, as the weight has axes.

    The engine computes what is depthwise, PyTorch all else.
    """
    tensors: Any = input, weight, bias
    rest: Any = stride, padding, output_padding, groups, dilation
    if has_torch_function(tensors):
        return handle_torch_function(convolve_transposed, tensors, *tensors, *rest)  # type: ignore[no-any-return]
    return convolve_axes_transposed(spatial_axes(weight), *tensors, *rest)


def convolve_axes_transposed(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
    method: str = "direct",
) -> Tensor:
    """:func:`convolve_transposed` as :func:`convolve_axes` is :func:`convolve`.

    It is the gradient of the convolution whose output `input` could be.
    """
    steps = stride, padding, output_padding, groups, dilation
    if not isinstance(input, Tensor):
        return _CONV_TRANSPOSED[axes](input, weight, bias, *steps)
    if input.dim() == axes + 1:
        return convolve_axes_transposed(axes, input.unsqueeze(0), weight, bias, *steps, method).squeeze(0)
    if input.is_cpu or input.is_cuda:
        input, weight, bias = _autocast(input.device.type, input, weight, bias)
    found = None
    if _are_ours(input, weight, bias):
        found = find_transposed(axes, input.shape, weight.shape, stride, padding, output_padding, dilation, groups)
    if found is None or (bias is not None and bias.shape != (found[0][1],)):
        return _CONV_TRANSPOSED[axes](input, weight, bias, *steps)
    channels_last = None if torch.compiler.is_compiling() else operators.result_is_channels_last(input, weight)
    multiplier = weight.shape[1]
    if multiplier > 1:  # each filter has its channel to itself
        input = input.unsqueeze(2).expand(-1, -1, multiplier, *[-1] * axes).flatten(1, 2)
        weight = weight.reshape(-1, 1, *weight.shape[2:])
    dtype = input.dtype
    # The bias is added to sums that are not yet rounded.
    wide = dtype if bias is None else torch.promote_types(dtype, torch.float32)
    y: Tensor = operators.conv_input_grad(input, weight, found[0], channels_last, wide, *found[1], method, "constant")
    return y if bias is None else (y + bias.reshape(-1, *[1] * axes)).to(dtype)


def depthwise_convolution(
    spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any, method: str, pad_mode: str
) -> Tensor:
    """:func:`depthwise.depthwise_convolution_2d` and the like where x is a tensor: arguments, errors are Chainer's."""
    for name, a in (("x", x), ("W", W), ("b", b)):
        if not isinstance(a, Tensor) and not (name == "b" and a is None):
            msg = f"{name} must be a tensor, as x is, got {type(a).__name__}"
            raise TypeError(msg)
        if a is not None and a.dtype not in operators.DTYPES:
            msg = f"{name} must be float16, bfloat16, float32 or float64, got {a.dtype}"
            raise TypeError(msg)
    g = geometry(tuple(x.shape), tuple(W.shape), stride, pad, dilate, spatial, method, pad_mode)
    if b is not None and b.dtype != x.dtype:
        msg = f"b must have x's dtype {x.dtype}, got {b.dtype}"
        raise TypeError(msg)
    if b is not None and b.shape != g.y_shape[1:2]:
        msg = f"b must have shape ({g.y_shape[1]},) (x {tuple(x.shape)}, W {tuple(W.shape)}), got {tuple(b.shape)}"
        raise ValueError(msg)
    weight = W.transpose(0, 1).reshape(g.y_shape[1], 1, *W.shape[2:])
    strides, dilations = tuple(a.stride for a in g.axes), tuple(a.dilate for a in g.axes)
    sides = [p for a in g.axes for p in a.pad]
    if all(a is None or _is_ours(a, a.dtype, x.device) for a in (x, weight, b)):
        return operators.conv(x, weight, b, strides, sides, dilations, method, pad_mode)
    padding_mode = next(name for name, ours in PADDING_MODES.items() if ours == pad_mode)
    return _CONV[spatial](padded(x, sides, padding_mode), weight, b, strides, 0, dilations, x.shape[1])
