"""The three operators, registered with torch.library; the derivative of each is made of the three.

``depthwise::conv(x, weight, bias)``, ``depthwise::conv_input_grad(gy, weight)`` and
``depthwise::conv_weight_grad(x, gy)``, in one to three dimensions. Weights are (c_I * c_M, 1, kernel...), as PyTorch
has them; stride and dilation have an item an axis, padding has two: before, after, before, after and so on. Each is
told the dtype of its result, which may be any, the method, and what the padding holds. Callers check their arguments
first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .. import _core
from ..enums import DTYPES as CODES
from ..enums import FORWARD, INPUT_GRAD, WEIGHT_GRAD, activation_code
from ..geometry import Geometry, geometry, output_length
from ..runtime import active_target
from . import activations, cuda
from .internals import differentiable

DTYPES = {getattr(torch, name): code for name, code in CODES.items()}
Ints = Sequence[int]
_NO_BIAS = (0, (), 0)
_ALL_BUT_CHANNELS = {axes: (0, *range(2, axes)) for axes in (3, 4, 5)}
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}

# The engine has the threads of PyTorch's OpenMP runtime, or where that is of an unknown kind its own.
_core.find_openmp(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))


def _is_channels_last(a: Tensor) -> bool:
    """Whether PyTorch takes these strides for channels_last (its C++ ``suggest_memory_format``; no size is zero)."""
    shape, strides = a.shape, a.stride()
    channel = strides[1]
    least = channel * shape[1]
    if not 0 < least <= strides[-1]:
        return False
    for axis in range(len(shape) - 1, 1, -1):
        if strides[axis] < least:
            return False
        least = strides[axis] * shape[axis]
    # The inequality is for sizes of one alone, where both formats have the same strides: it counts as planar.
    return bool(channel != least <= strides[0])


def result_is_channels_last(x: Tensor, weight: Tensor) -> bool:
    """Whether what is computed from the two is to lie in channels_last memory: where either does, as in PyTorch.

    In one dimension, where PyTorch has no such format, x alone decides.
    """
    return _is_channels_last(x) or (weight.dim() > 3 and _is_channels_last(weight))


def _empty(x: Tensor, shape: Ints, dtype: torch.dtype, channels_last: bool) -> Tensor:
    if not channels_last:
        return torch.empty(shape, dtype=dtype, device=x.device)
    if len(shape) == 3:
        _, channels, length = shape
        return torch.empty_strided(shape, (channels * length, 1, channels), dtype=dtype, device=x.device)
    return torch.empty(shape, dtype=dtype, device=x.device, memory_format=_FORMATS[len(shape)])


def output_shape(x_shape: Ints, weight_shape: Ints, stride: Ints, padding: Ints, dilation: Ints) -> list[Any]:
    """Shape of y, for sizes that may be symbols."""
    axes = zip(x_shape[2:], weight_shape[2:], stride, _pairs(padding), dilation, strict=True)
    return [x_shape[0], weight_shape[0], *(output_length(*axis) for axis in axes)]


def _pairs(padding: Ints) -> tuple[tuple[int, int], ...]:
    return tuple(zip(padding[::2], padding[1::2], strict=True))


@lru_cache(maxsize=4096)
def sizes(
    x_shape: tuple[int, ...],
    outs: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    method: str = "direct",
    pad_mode: str = "constant",
) -> Geometry:
    """What the engine is told of a problem; a ValueError where it is too large for it."""
    channels = x_shape[1]
    W_shape = (outs // channels if channels else 0, channels, *kernel)
    return geometry(x_shape, W_shape, stride, _pairs(padding), dilation, method=method, pad_mode=pad_mode)


def _place(a: Tensor) -> tuple[int, tuple[int, ...], int]:
    return a.data_ptr(), a.stride(), DTYPES[a.dtype]


def _run(
    kind: int,
    g: Geometry,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    y: Tensor,
    activation: str | None = None,
    kept: _core.SpectraKeeper | None = None,
) -> None:
    """Run the engine as many threads wide as PyTorch's own operators; the tensor that is computed is already there."""
    # Filter m of channel c is row c * c_M + m of PyTorch's weight: the engine's W[m, c] without a copy.
    row, _, *taps = weight.stride()
    filters = weight.data_ptr(), (row, g.multiplier * row, *taps), DTYPES[weight.dtype]
    arrays = _place(x), filters, _NO_BIAS if bias is None else _place(bias), _place(y)
    code = 0 if activation is None else activation_code(activation)
    if cuda.is_cuda(x):
        cuda.run(kind, g.sizes, *arrays, activation=code, like=x)
    else:
        _core.run_at(kind, g.sizes, *arrays, active_target(), torch.get_num_threads(), code, kept)


class _Keeping(threading.local):
    """Who keeps the spectra of the weight that this thread convolves with."""

    spectra: _core.SpectraKeeper | None = None


_keeping = _Keeping()


def conv_kept(spectra: _core.SpectraKeeper, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    """:func:`conv`, of a weight whose spectra are kept where it is dense."""
    before, _keeping.spectra = _keeping.spectra, spectra
    try:
        return conv(x, weight, bias, *rest)  # type: ignore[no-any-return]
    finally:
        _keeping.spectra = before


def _steps(stride: Ints, padding: Ints, dilation: Ints, *rest: str) -> tuple[Any, ...]:
    return tuple(stride), tuple(padding), tuple(dilation), *rest


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    method: str,
    pad_mode: str,
    activation: str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    outs, _, *kernel = weight.shape
    g = sizes(x.shape, outs, tuple(kernel), *_steps(stride, padding, dilation, method, pad_mode))
    y = _empty(x, g.y_shape, dtype or x.dtype, result_is_channels_last(x, weight))
    kept = _keeping.spectra if weight.is_contiguous() else None
    _run(FORWARD, g, x, weight, bias, y, activation, kept)
    return y


def _conv_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    method: str,
    pad_mode: str,
    activation: str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    shape = output_shape(x.shape, weight.shape, stride, padding, dilation)
    return _empty(x, shape, dtype or x.dtype, result_is_channels_last(x, weight))


def _conv_context(
    ctx: Any,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    method: str,
    pad_mode: str,
    activation: str | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    ctx.steps = stride, padding, dilation, method, pad_mode
    ctx.activation = activation
    ctx.x_shape, ctx.x_dtype, ctx.bias_dtype = x.shape, x.dtype, None if bias is None else bias.dtype
    # A compiler lays x out anew after this was traced: the gradient then goes by what gy has become. PyTorch 2.6 does
    # not say here that it compiles, but its tensors are not plain ones.
    traced = torch.compiler.is_compiling() or type(x) not in (Tensor, torch.nn.Parameter)
    ctx.channels_last = None if traced else result_is_channels_last(x, weight)
    if activation is None:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight, None)
    else:
        ctx.save_for_backward(x, weight, bias)


def _conv_backward(ctx: Any, gy: Tensor) -> tuple[Any, ...]:
    x, weight, bias = ctx.saved_tensors
    needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
    if ctx.activation is not None:
        # What it was applied to, which was never stored, once more: as wide as the sums were, not as y was.
        z = conv(x, weight, bias, *ctx.steps, None, torch.promote_types(ctx.x_dtype, torch.float32))
        gy = activations.gradient(ctx.activation, gy.to(z.dtype), z)
    gx = gW = gb = None
    if needs_x:
        gx = conv_input_grad(gy, weight, ctx.x_shape, ctx.channels_last, ctx.x_dtype, *ctx.steps)
    if needs_weight:
        gW = conv_weight_grad(x, gy, weight.shape[2:], weight.dtype, *ctx.steps)
    if needs_bias:
        gb = gy.sum(_ALL_BUT_CHANNELS[gy.dim()], dtype=ctx.bias_dtype)
    return gx, gW, gb, None, None, None, None, None, None, None


def _input_grad(
    gy: Tensor,
    weight: Tensor,
    shape: Ints,
    channels_last: bool | None,
    dtype: torch.dtype,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    method: str,
    pad_mode: str,
) -> Tensor:
    outs, _, *kernel = weight.shape
    g = sizes(tuple(shape), outs, tuple(kernel), *_steps(stride, padding, dilation, method, pad_mode))
    gx = _input_grad_fake(gy, weight, shape, channels_last, dtype)
    _run(INPUT_GRAD, g, gx, weight, None, gy)
    return gx


def _input_grad_fake(
    gy: Tensor, weight: Tensor, shape: Ints, channels_last: bool | None, dtype: torch.dtype, *steps: Any
) -> Tensor:
    return _empty(gy, shape, dtype, result_is_channels_last(gy, weight) if channels_last is None else channels_last)


def _input_grad_context(
    ctx: Any, gy: Tensor, weight: Tensor, shape: Ints, channels_last: bool | None, dtype: torch.dtype, *steps: Any
) -> None:
    ctx.steps = steps
    ctx.save_for_backward(gy, weight)


def _input_grad_backward(ctx: Any, ggx: Tensor) -> tuple[Any, ...]:
    gy, weight = ctx.saved_tensors
    g_gy = conv(ggx, weight, None, *ctx.steps, None, gy.dtype) if ctx.needs_input_grad[0] else None
    gW = None
    if ctx.needs_input_grad[1]:
        gW = conv_weight_grad(ggx, gy, weight.shape[2:], weight.dtype, *ctx.steps)
    return g_gy, gW, None, None, None, None, None, None, None, None


def _weight_grad(
    x: Tensor,
    gy: Tensor,
    kernel: Ints,
    dtype: torch.dtype,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    method: str,
    pad_mode: str,
) -> Tensor:
    g = sizes(x.shape, gy.shape[1], tuple(kernel), *_steps(stride, padding, dilation, method, pad_mode))
    gW = torch.empty((gy.shape[1], 1, *kernel), dtype=dtype, device=x.device)
    _run(WEIGHT_GRAD, g, x, gW, None, gy)
    return gW


def _weight_grad_fake(x: Tensor, gy: Tensor, kernel: Ints, dtype: torch.dtype, *steps: Any) -> Tensor:
    return torch.empty((gy.shape[1], 1, *kernel), dtype=dtype, device=x.device)


def _weight_grad_context(ctx: Any, x: Tensor, gy: Tensor, kernel: Ints, dtype: torch.dtype, *steps: Any) -> None:
    ctx.steps = steps
    ctx.save_for_backward(x, gy)


def _weight_grad_backward(ctx: Any, ggW: Tensor) -> tuple[Any, ...]:
    x, gy = ctx.saved_tensors
    gx = g_gy = None
    if ctx.needs_input_grad[0]:
        gx = conv_input_grad(gy, ggW, x.shape, result_is_channels_last(x, ggW), x.dtype, *ctx.steps)
    if ctx.needs_input_grad[1]:
        g_gy = conv(x, ggW, None, *ctx.steps, None, gy.dtype)
    return gx, g_gy, None, None, None, None, None, None, None


# vmap folds its axis into the batch where the weight has none of it, else into the channels.
def _fold(a: Tensor, dim: int | None, size: int, axis: int) -> Tensor:
    """`a` with its mapped axis, or `size` copies where it has none, merged in front of `axis`."""
    a = a.unsqueeze(axis).expand(*a.shape[:axis], size, *a.shape[axis:]) if dim is None else a.movedim(dim, axis)
    return a.flatten(axis, axis + 1)


def _unfold(a: Tensor, size: int, axis: int) -> tuple[Tensor, int]:
    return a.unflatten(axis, (size, -1)), axis


def _conv_vmap(info: Any, dims: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> tuple[Tensor, int]:
    n = info.batch_size
    if dims[1] is None and dims[2] is None:
        return _unfold(conv(_fold(x, dims[0], n, 0), weight, bias, *rest), n, 0)
    if bias is not None:
        bias = _fold(bias, dims[2], n, 0)
    return _unfold(conv(_fold(x, dims[0], n, 1), _fold(weight, dims[1], n, 0), bias, *rest), n, 1)


def _input_grad_vmap(
    info: Any, dims: Any, gy: Tensor, weight: Tensor, shape: Ints, channels_last: bool | None, *rest: Any
) -> tuple[Tensor, int]:
    n, (batch, channels, *size) = info.batch_size, shape
    if dims[1] is None:
        gx = conv_input_grad(_fold(gy, dims[0], n, 0), weight, [n * batch, channels, *size], channels_last, *rest)
        return _unfold(gx, n, 0)
    gy, weight = _fold(gy, dims[0], n, 1), _fold(weight, dims[1], n, 0)
    return _unfold(conv_input_grad(gy, weight, [batch, n * channels, *size], channels_last, *rest), n, 1)


def _weight_grad_vmap(
    info: Any, dims: Any, x: Tensor, gy: Tensor, kernel: Ints, dtype: torch.dtype, *steps: Any
) -> tuple[Tensor, int]:
    n = info.batch_size
    gW = conv_weight_grad(_fold(x, dims[0], n, 1), _fold(gy, dims[1], n, 1), kernel, dtype, *steps)
    return _unfold(gW, n, 0)


# What torch.utils.flop_counter counts for PyTorch's own depthwise convolution and its gradients, also where that is too
# much (the gradient of the weight, as if every pair of channels had one).
def _conv_flops(x: Ints, weight: Ints, *_: Any, out_shape: Ints, **__: Any) -> int:
    return 2 * x[0] * prod(weight) * prod(out_shape[2:])


def _input_grad_flops(gy: Ints, weight: Ints, *_: Any, out_shape: Ints, **__: Any) -> int:
    return 2 * gy[0] * prod(weight) * prod(gy[2:])


def _weight_grad_flops(x: Ints, gy: Ints, *_: Any, out_shape: Ints, **__: Any) -> int:
    return 2 * x[1] * gy[0] * gy[1] * prod(gy[2:]) * prod(out_shape[2:])


def _register(
    name: str,
    before: str,
    after: str,
    compute: Callable[..., Tensor],
    fake: Callable[..., Tensor],
    context: Callable[..., None],
    backward: Callable[..., Any],
    vmap: Callable[..., Any],
    flops: Callable[..., int],
) -> Any:
    qualified = f"depthwise::{name}"
    steps = "int[] stride, int[] padding, int[] dilation, str method, str pad_mode"
    # flexible_layout: a compiler may hand over any strides, and what is computed lies as they do (its fake says how).
    tags = torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout
    torch.library.define(qualified, f"({before}, {steps}{after}) -> Tensor", tags=tags)
    torch.library.impl(qualified, ("cpu", "cuda") if cuda.IS_BUILT else "cpu", compute)
    torch.library.register_fake(qualified, fake)
    torch.library.register_vmap(qualified, vmap)
    packet = getattr(torch.ops.depthwise, name)
    register_flop_formula(packet)(flops)
    return differentiable(packet.default, context, backward, vmap)


conv = _register(
    "conv",
    "Tensor x, Tensor weight, Tensor? bias",
    ", str? activation=None, ScalarType? dtype=None",
    _conv,
    _conv_fake,
    _conv_context,
    _conv_backward,
    _conv_vmap,
    _conv_flops,
)
conv_input_grad = _register(
    "conv_input_grad",
    "Tensor gy, Tensor weight, SymInt[] input_shape, bool? channels_last, ScalarType dtype",
    "",
    _input_grad,
    _input_grad_fake,
    _input_grad_context,
    _input_grad_backward,
    _input_grad_vmap,
    _input_grad_flops,
)
conv_weight_grad = _register(
    "conv_weight_grad",
    "Tensor x, Tensor gy, SymInt[] kernel_size, ScalarType dtype",
    "",
    _weight_grad,
    _weight_grad_fake,
    _weight_grad_context,
    _weight_grad_backward,
    _weight_grad_vmap,
    _weight_grad_flops,
)
