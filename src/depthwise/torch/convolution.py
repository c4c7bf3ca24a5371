"""Who convolves tensors: what the engine can do goes to its operators, all else to PyTorch's convolution."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from ..enums import activation_code
from ..geometry import geometry
from . import activations, operators
from .internals import IN_DISPATCHER, is_forward_mode

Ints = int | Sequence[int]
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_INTS = int, torch.SymInt  # tuples and no unions: the compiler of PyTorch 2.6 knows none
_MOST = 2**31 - 1  # of a step, for the engine
_HAS_ONEDNN = torch.backends.mkldnn.is_available()
if hasattr(torch.compiler, "is_exporting"):
    _is_exporting = torch.compiler.is_exporting
else:  # PyTorch 2.6, where a strict export cannot be told from a compilation

    def _is_exporting() -> bool:
        return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def _per_axis(v: Any, axes: int, least: int) -> list[Any] | None:
    """Sizes of each axis as PyTorch reads them, or None where it may think otherwise."""
    each = [v] * axes if isinstance(v, _INTS) else list(v) if isinstance(v, (tuple, list)) else []
    if len(each) == 1:
        each *= axes
    known = all(isinstance(i, _INTS) and not isinstance(i, bool) for i in each)
    fits = known and len(each) == axes and all(least <= i <= _MOST for i in each)
    return each if fits else None


def _padding(padding: Any, kernel: Sequence[int], stride: list[Any], dilation: list[Any]) -> list[Any] | None:
    """(before, after) of each axis in one list, or None."""
    axes = len(kernel)
    if isinstance(padding, str):
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        if padding == "valid":
            return [0] * (2 * axes)
        if padding == "same" and stride == [1] * axes:
            return [side for t in totals for side in (t // 2, t - t // 2)]
        return [*totals, 0] if padding == "causal" and axes == 1 else None
    pads = _per_axis(padding, axes, 0)
    return None if pads is None else [side for p in pads for side in (p, p)]


def _fit(axes: int, shape: Any, weight_shape: Any, groups: int) -> bool:
    """Whether shapes of so many axes are those of a depthwise convolution of something."""
    of_axes = len(shape) == len(weight_shape) == axes + 2
    return of_axes and 0 not in shape and 0 not in weight_shape and shape[1] == groups


def _take(shape: Any, outs: int, kernel: Sequence[int], steps: tuple[Any, Any, Any]) -> bool:
    """Whether the engine takes a problem whose sizes are sensible; sizes that are symbols are not asked."""
    if torch.compiler.is_compiling() or any(isinstance(i, torch.SymInt) for i in (*shape, *itertools.chain(*steps))):
        return True
    try:
        operators.sizes(tuple(shape), outs, tuple(kernel), *map(tuple, steps))
    except ValueError:  # too large for it
        return False
    return True


def _find_steps(axes: int, shape: Any, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Stride, padding and dilation for the operator, or None where PyTorch's convolution has to answer."""
    if not _fit(axes, shape, weight_shape, groups):
        return None
    outs, ones, *kernel = weight_shape
    strides, dilations = _per_axis(stride, axes, 1), _per_axis(dilation, axes, 1)
    if ones != 1 or outs % groups or strides is None or dilations is None:
        return None
    pads = _padding(padding, kernel, strides, dilations)
    if pads is None:
        return None
    # Each alone: a comparison of two sizes would bind a program that is compiled or exported for every batch.
    if any(size < 1 for size in operators.output_shape(shape, weight_shape, strides, pads, dilations)[2:]):
        return None
    steps = strides, pads, dilations
    return steps if _take(shape, outs, kernel, steps) else None


def _find_transposed(
    axes: int,
    shape: Any,
    weight_shape: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: int,
) -> Any:
    """The shape of the convolution's input whose gradient this is, and the convolution's steps; or None."""
    if not _fit(axes, shape, weight_shape, groups) or weight_shape[0] != groups:
        return None
    kernel = weight_shape[2:]
    each = [_per_axis(v, axes, least) for v, least in ((stride, 1), (padding, 0), (output_padding, 0), (dilation, 1))]
    if any(v is None for v in each):
        return None
    facts: Any = list(zip(shape[2:], kernel, *each, strict=True))
    size = [(n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, extra, d in facts]
    # PyTorch takes an output padding of a stride and more where it is below the dilation; no input has such a gradient.
    if any(s < 1 for s in size) or any(extra >= s for _, _, s, _, extra, _ in facts):
        return None
    strides, pads, _, dilations = each
    channels = weight_shape[0] * weight_shape[1]
    of_input = [shape[0], channels, *size]
    steps = strides, [side for p in pads or () for side in (p, p)], dilations
    return (of_input, steps) if _take(of_input, channels, kernel, steps) else None  # type: ignore[arg-type]


_known_steps = lru_cache(maxsize=4096)(_find_steps)
_known_transposed = lru_cache(maxsize=4096)(_find_transposed)


def _steps_of(find: Callable[..., Any], known: Callable[..., Any], sizes: tuple[Any, ...]) -> Any:
    if not torch.compiler.is_compiling():
        try:
            return known(*sizes)
        except TypeError:  # lists, or sizes that are symbols
            pass
    return find(*sizes)


def _is_ours(a: Any, dtype: torch.dtype) -> bool:
    """Whether this is a tensor that the engine reads, of `dtype`."""
    return (
        isinstance(a, Tensor)
        and a.is_cpu
        and a.dtype is dtype
        and a.layout is torch.strided
        and (type(a) is Tensor or not hasattr(a, "__tensor_flatten__"))  # else it is made of others
    )


def _are_ours(input: Tensor, weight: Any, bias: Any) -> bool:
    """Whether the engine reads these, and nothing but the values of a convolution is asked for."""
    dtype = input.dtype
    return (
        dtype in operators.DTYPES
        and not torch.jit.is_tracing()  # a traced graph can then be loaded without this package
        and _is_ours(input, dtype)
        and _is_ours(weight, dtype)
        and (bias is None or _is_ours(bias, dtype))
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
        and input.dtype is torch.float32
        and input.dim() == 4
        and weight.shape[0] == input.shape[1]
        and not (torch.is_grad_enabled() and any(a is not None and a.requires_grad for a in (input, weight, bias)))
    )


def _autocast(a: Any) -> Any:
    """What autocast makes of a convolution's argument."""
    if not isinstance(a, Tensor) or not a.is_floating_point() or a.dtype == torch.float64 or a.device.type != "cpu":
        return a
    return a.to(torch.get_autocast_dtype("cpu"))


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
) -> Tensor:
    """What PyTorch makes of a convolution."""
    if axes == 1 and isinstance(padding, str) and padding == "causal":  # a word that it does not know
        padding, dilations = 0, _per_axis(dilation, 1, 1)
        if dilations is not None and isinstance(input, Tensor) and isinstance(weight, Tensor) and weight.dim() == 3:
            input = F.pad(input, (dilations[0] * (weight.shape[2] - 1), 0))
    activation_code(activation)  # or an error
    return activations.apply(activation, _CONV[axes](input, weight, bias, stride, padding, dilation, groups))


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
) -> Tensor:
    """``torch.nn.functional.conv1d``, ``2d`` or ``3d``, as the weight has axes, and an activation of what it computes.

    The engine computes what is depthwise, PyTorch all else.
    """
    tensors: Any = input, weight, bias
    rest: Any = stride, padding, dilation, groups, activation
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
) -> Tensor:
    """:func:`convolve` where so many spatial axes are asked for, and whose arguments are no subclasses of Tensor."""
    if not isinstance(input, Tensor):
        return stock(axes, input, weight, bias, stride, padding, dilation, groups, activation)
    if input.dim() == axes + 1:
        batch = input.unsqueeze(0)
        return convolve_axes(axes, batch, weight, bias, stride, padding, dilation, groups, activation).squeeze(0)
    if torch.is_autocast_enabled("cpu"):
        input, weight, bias = _autocast(input), _autocast(weight), _autocast(bias)
    steps = None
    if _are_ours(input, weight, bias) and not _is_for_compiler(input, weight, bias):
        sizes = axes, input.shape, weight.shape, stride, padding, dilation, groups
        steps = _steps_of(_find_steps, _known_steps, sizes)
    if steps is None or (bias is not None and bias.shape != weight.shape[:1]):
        return stock(axes, input, weight, bias, stride, padding, dilation, groups, activation)
    if activation is None:
        return operators.conv(input, weight, bias, *steps)  # type: ignore[no-any-return]
    activation_code(activation)  # or an error
    if IN_DISPATCHER:
        return operators.conv(input, weight, bias, *steps, activation)  # type: ignore[no-any-return]
    return activations.apply(activation, operators.conv(input, weight, bias, *steps))


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
) -> Tensor:
    """:func:`convolve_transposed` as :func:`convolve_axes` is :func:`convolve`.

    It is the gradient of the convolution whose output `input` could be.
    """
    steps = stride, padding, output_padding, groups, dilation
    if not isinstance(input, Tensor):
        return _CONV_TRANSPOSED[axes](input, weight, bias, *steps)
    if input.dim() == axes + 1:
        return convolve_axes_transposed(axes, input.unsqueeze(0), weight, bias, *steps).squeeze(0)
    if torch.is_autocast_enabled("cpu"):
        input, weight, bias = _autocast(input), _autocast(weight), _autocast(bias)
    found = None
    if _are_ours(input, weight, bias):
        sizes = axes, input.shape, weight.shape, stride, padding, output_padding, dilation, groups
        found = _steps_of(_find_transposed, _known_transposed, sizes)
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
    y: Tensor = operators.conv_input_grad(input, weight, found[0], channels_last, wide, *found[1])
    return y if bias is None else (y + bias.reshape(-1, *[1] * axes)).to(dtype)


def depthwise_convolution(spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any) -> Tensor:
    """:func:`depthwise.depthwise_convolution_2d` and the like where x is a tensor: arguments, errors are Chainer's."""
    for name, a in (("x", x), ("W", W), ("b", b)):
        if not isinstance(a, Tensor) and not (name == "b" and a is None):
            msg = f"{name} must be a tensor, as x is, got {type(a).__name__}"
            raise TypeError(msg)
        if a is not None and a.dtype not in operators.DTYPES:
            msg = f"{name} must be float16, bfloat16, float32 or float64, got {a.dtype}"
            raise TypeError(msg)
    g = geometry(tuple(x.shape), tuple(W.shape), stride, pad, dilate, spatial)
    if b is not None and b.dtype != x.dtype:
        msg = f"b must have x's dtype {x.dtype}, got {b.dtype}"
        raise TypeError(msg)
    if b is not None and b.shape != g.y_shape[1:2]:
        msg = f"b must have shape ({g.y_shape[1]},) (x {tuple(x.shape)}, W {tuple(W.shape)}), got {tuple(b.shape)}"
        raise ValueError(msg)
    weight = W.transpose(0, 1).reshape(g.y_shape[1], 1, *W.shape[2:])
    strides, dilations = tuple(a.stride for a in g.axes), tuple(a.dilate for a in g.axes)
    if all(a is None or _is_ours(a, a.dtype) for a in (x, weight, b)):
        return operators.conv(x, weight, b, strides, [p for a in g.axes for p in a.pad], dilations)
    padded = F.pad(x, [p for a in reversed(g.axes) for p in a.pad])
    return _CONV[spatial](padded, weight, b, strides, 0, dilations, x.shape[1])
