"""Depthwise convolution of tensors: what the engine can do goes to its operators, all else to PyTorch's convolution."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from ..geometry import geometry
from . import operators
from .internals import is_forward_mode

Ints = int | Sequence[int]
_INTS = int, torch.SymInt  # tuples and no unions: the compiler of PyTorch 2.6 knows none
_MOST = 2**31 - 1  # of a step, for the engine
_HAS_ONEDNN = torch.backends.mkldnn.is_available()
if hasattr(torch.compiler, "is_exporting"):
    _is_exporting = torch.compiler.is_exporting
else:  # PyTorch 2.6, where a strict export cannot be told from a compilation

    def _is_exporting() -> bool:
        return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def _pair(v: Any, least: int) -> list[Any] | None:
    """Two sizes as PyTorch reads them, or None where it may think otherwise."""
    both = [v, v] if isinstance(v, _INTS) else list(v) if isinstance(v, (tuple, list)) else []
    if len(both) == 1:
        both *= 2
    known = all(isinstance(i, _INTS) and not isinstance(i, bool) for i in both)
    fits = known and len(both) == 2 and all(least <= i <= _MOST for i in both)
    return both if fits else None


def _padding(padding: Any, kernel: Sequence[int], stride: list[Any], dilation: list[Any]) -> list[Any] | None:
    """(top, bottom, left, right), or None."""
    if padding == "valid":
        return [0, 0, 0, 0]
    if padding == "same":
        if stride != [1, 1]:
            return None
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [side for t in totals for side in (t // 2, t - t // 2)]
    pad = _pair(padding, 0)
    return None if pad is None else [pad[0], pad[0], pad[1], pad[1]]


def _find_steps(shape: Any, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Stride, padding and dilation for the operator, or None where PyTorch's convolution has to answer."""
    if len(shape) != 4 or len(weight_shape) != 4 or 0 in shape or 0 in weight_shape or shape[1] != groups:
        return None
    outs, ones, *kernel = weight_shape
    strides, dilations = _pair(stride, 1), _pair(dilation, 1)
    if ones != 1 or outs % groups or strides is None or dilations is None:
        return None
    pads = _padding(padding, kernel, strides, dilations)
    if pads is None:
        return None
    # Each alone: a comparison of two sizes would bind a program that is compiled or exported for every batch.
    if any(size < 1 for size in operators.output_shape(shape, weight_shape, strides, pads, dilations)[2:]):
        return None
    steps = strides, pads, dilations
    if torch.compiler.is_compiling() or any(isinstance(i, torch.SymInt) for i in (*shape, *itertools.chain(*steps))):
        return steps
    try:
        operators.sizes(tuple(shape), outs, tuple(kernel), *map(tuple, steps))
    except ValueError:  # too large for the engine
        return None
    return steps


_known_steps = lru_cache(maxsize=4096)(_find_steps)


def _is_ours(a: Any, dtype: torch.dtype) -> bool:
    """Whether this is a tensor that the engine reads, of `dtype`."""
    return (
        isinstance(a, Tensor)
        and a.is_cpu
        and a.dtype is dtype
        and a.layout is torch.strided
        and (type(a) is Tensor or not hasattr(a, "__tensor_flatten__"))  # else it is made of others
    )


def _is_for_compiler(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether torch.compile is faster by itself.

    It fuses oneDNN's convolution with the layers around it, which spares a pass over memory. That is worth more than
    the engine in float32 with one filter a channel, where both run at the speed of the memory; in training it has to
    keep what lies between the layers.
    """
    return (
        torch.compiler.is_compiling()
        and not _is_exporting()
        and _HAS_ONEDNN
        and input.dtype is torch.float32
        and weight.shape[0] == input.shape[1]
        and not (torch.is_grad_enabled() and any(a is not None and a.requires_grad for a in (input, weight, bias)))
    )


def _autocast(a: Any) -> Any:
    """What autocast makes of a convolution's argument."""
    if not isinstance(a, Tensor) or not a.is_floating_point() or a.dtype == torch.float64 or a.device.type != "cpu":
        return a
    return a.to(torch.get_autocast_dtype("cpu"))


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d(input, weight, bias, stride, padding, dilation, groups=input.shape[1])``, faster.

    Parameters
    ----------
    input : Tensor of shape (n, c_I, h, w) or (c_I, h, w)
        float16, bfloat16, float32 or float64, in contiguous or channels_last memory, which are both read in place, or
        of any other strides.
    weight : Tensor of shape (c_I * c_M, 1, k_H, k_W)
        Of input's dtype; filters c * c_M to (c + 1) * c_M - 1 belong to channel c.
    bias : Tensor of shape (c_I * c_M,), optional
        Of input's dtype.
    stride, dilation : int or pair of ints, default 1
        (vertical, horizontal).
    padding : int, pair of ints, "same" or "valid", default 0
        Zeros on both sides; "same" needs stride 1 and puts an odd one at the end, as in PyTorch.

    Returns
    -------
    Tensor of shape (n, c_I * c_M, h_O, w_O)
        In channels_last memory where input is. Sums are kept in float32, in float64 for float64, and rounded once.

    Raises
    ------
    RuntimeError, TypeError, ValueError
        PyTorch's own: every argument that the engine does not take is handed to PyTorch's convolution, which computes
        or refuses it. So are tensors on other devices, subclasses of Tensor, and forward-mode differentiation.

    Notes
    -----
    Differentiable to any order; made of operators ``torch.ops.depthwise.*`` with fake implementations and batching
    rules, so that ``torch.compile``, ``torch.export``, ``torch.func`` and ``torch.autocast`` take it as one of
    PyTorch's. ``torch.get_num_threads()`` threads share the work; results have the same bits for any number of them.

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import conv2d
    >>> conv2d(torch.ones(1, 2, 4, 4), torch.ones(2, 1, 3, 3), padding=1).shape
    torch.Size([1, 2, 4, 4])
    """
    if has_torch_function((input, weight, bias)):
        arguments = input, weight, bias, stride, padding, dilation
        return handle_torch_function(conv2d, (input, weight, bias), *arguments)
    groups = input.shape[-3] if isinstance(input, Tensor) and input.dim() > 2 else 1
    return convolve(input, weight, bias, stride, padding, dilation, groups)


def convolve(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Ints, padding: Ints | str, dilation: Ints, groups: int
) -> Tensor:
    """:func:`conv2d` for a layer, which knows how many channels its input has to have."""
    if has_torch_function((input, weight, bias)):
        arguments = input, weight, bias, stride, padding, dilation, groups
        return handle_torch_function(convolve, (input, weight, bias), *arguments)
    if not isinstance(input, Tensor):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    if input.dim() == 3:
        return convolve(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    if torch.is_autocast_enabled("cpu"):
        input, weight, bias = _autocast(input), _autocast(weight), _autocast(bias)
    dtype, steps = input.dtype, None
    if (
        dtype in operators.DTYPES
        and not torch.jit.is_tracing()  # a traced graph can then be loaded without this package
        and _is_ours(input, dtype)
        and _is_ours(weight, dtype)
        and (bias is None or (_is_ours(bias, dtype) and bias.shape == weight.shape[:1]))
        and not is_forward_mode()
        and not _is_for_compiler(input, weight, bias)
    ):
        sizes = input.shape, weight.shape, stride, padding, dilation, groups
        try:
            steps = _find_steps(*sizes) if torch.compiler.is_compiling() else _known_steps(*sizes)
        except TypeError:  # lists, or sizes that are symbols
            steps = _find_steps(*sizes)
    if steps is None:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return operators.conv2d(input, weight, bias, *steps)


def depthwise_convolution(spatial: int, x: Any, W: Any, b: Any, stride: Any, pad: Any, dilate: Any) -> Tensor:
    """:func:`depthwise.depthwise_convolution_2d` and its like where x is a tensor: arguments and errors are Chainer's."""
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
    if spatial == 2 and all(a is None or _is_ours(a, a.dtype) for a in (x, weight, b)):
        return operators.conv2d(x, weight, b, strides, [p for a in g.axes for p in a.pad], dilations)
    padded = F.pad(x, [p for a in reversed(g.axes) for p in a.pad])
    convolution = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    return convolution(padded, weight, b, strides, 0, dilations, x.shape[1])
