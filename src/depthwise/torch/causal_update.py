"""The decode step of a causal convolution: the function ``causal_conv1d_update`` of the package causal_conv1d."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.overrides import handle_torch_function, has_torch_function

from .. import _core
from ..enums import activation_code
from ..runtime import active_target
from . import activations
from .internals import is_forward_mode, sees_operators
from .operators import DTYPES

_INTEGERS = {torch.int32: 4, torch.int64: 8}
_NO_BIAS, _NO_INTEGERS = (0, (), 0), (0, 0, 4)
_NAMES = "x", "conv_state", "weight", "bias", "cache_seqlens", "conv_state_indices"
_FIRST_OPTIONAL, _FIRST_INTEGERS = 3, 4
_PLAIN = Tensor, torch.nn.Parameter


def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    cache_seqlens: Tensor | None = None,
    conv_state_indices: Tensor | None = None,
) -> Tensor:
    """``causal_conv1d.causal_conv1d_update`` for CPU tensors: the next outputs of a convolution of the past.

    ``conv_state`` holds the last inputs and is updated in place: x is appended to it, and its oldest are dropped.

    Parameters
    ----------
    x : Tensor of shape (batch, dim) or (batch, dim, seqlen)
        What is new; float16, bfloat16, float32 or float64, any strides.
    conv_state : Tensor of shape (batch, dim, state_len)
        The last inputs, the newest at the end; state_len is at least width - 1. Of these dtypes and any strides,
        (batch, state_len, dim) memory seen through a transpose among them.
    weight : Tensor of shape (dim, width)
        Of any of these dtypes and any width.
    bias : Tensor of shape (dim,), optional
    activation : {None, "silu", "swish"}
        Applied to the sum before it is rounded; both names mean the same. All others of
        :func:`depthwise.torch.conv1d` are taken too.
    cache_seqlens : int32 or int64 Tensor of shape (batch,), optional
        How many inputs each sequence has had: conv_state is a circle, in which x goes to the place
        ``cache_seqlens % state_len`` and those after it.
    conv_state_indices : int32 or int64 Tensor of shape (batch,), optional
        Which of conv_state's entries, of which there may then be any number, belongs to each sequence. Where it is
        negative, which is padding, y is zero and no state is touched. An entry named twice is updated twice, in order.

    Returns
    -------
    Tensor of x's shape
        Of x's dtype; sums are kept in float32, in float64 where x, conv_state or weight is float64.

    Raises
    ------
    TypeError, ValueError, IndexError
        If an argument has another type, dtype or shape, or an index has no entry. conv_state is then as it was.

    Notes
    -----
    A sequence taken step by step has the bits of one call over the whole of it. An operator with a fake implementation,
    for ``torch.compile`` and ``torch.export``. Where a gradient is asked for, PyTorch's operators compute, many times
    slower: decode under ``torch.inference_mode()`` or ``torch.no_grad()``. Tensors on another device are computed by
    the package causal_conv1d, or where it is not installed by PyTorch's operators.

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import causal_conv1d_update
    >>> state, weight = torch.tensor([[[1.0, 2.0]]]), torch.ones(1, 3)
    >>> causal_conv1d_update(torch.tensor([[3.0]]), state, weight)
    tensor([[6.]])
    >>> state
    tensor([[[2., 3.]]])
    """
    tensors = x, conv_state, weight, bias, cache_seqlens, conv_state_indices
    arguments = x, conv_state, weight, bias, activation, cache_seqlens, conv_state_indices
    if has_torch_function(tensors):
        return handle_torch_function(causal_conv1d_update, tensors, *arguments)  # type: ignore[no-any-return]
    if isinstance(x, Tensor) and not x.is_cpu and not x.is_meta:
        return _elsewhere()(*arguments)  # type: ignore[no-any-return]
    activation_code(activation)  # or an error
    watched = sees_operators()
    as_they_lie = _check_tensors(tensors, watched)
    (_check_shapes if watched else _known_shapes)(
        x.shape,
        conv_state.shape,
        weight.shape,
        None if bias is None else bias.shape,
        None if cache_seqlens is None else cache_seqlens.shape,
        None if conv_state_indices is None else conv_state_indices.shape,
    )
    if is_forward_mode() or (torch.is_grad_enabled() and any(a is not None and a.requires_grad for a in tensors)):
        compute = _differentiably
    elif not as_they_lie:
        compute = _operator
    else:  # the dispatcher would have nothing to do but to take time
        compute = _update
    return compute(x, conv_state, weight, bias, activation, cache_seqlens, conv_state_indices)  # type: ignore[no-any-return]


def _elsewhere() -> Any:
    """Who computes on another device: the real package, or where there is none PyTorch's operators."""
    try:
        function = import_module("causal_conv1d").causal_conv1d_update
    except (ImportError, AttributeError):
        return _differentiably
    return _differentiably if function is causal_conv1d_update else function


def _error(e: type[Exception], *words: object) -> Exception:
    return e(" ".join(map(str, words)))


def _check_tensors(tensors: tuple[Any, ...], watched: bool) -> bool:
    """Refuse what is no tensor that the engine reads, in the caller's words; whether it may read all as they lie."""
    x, as_they_lie = tensors[0], not watched
    for i, a in enumerate(tensors):
        if a is None and i >= _FIRST_OPTIONAL:
            continue
        if not isinstance(a, Tensor):
            raise _error(TypeError, _NAMES[i], "must be a tensor, got", type(a).__name__)
        if a.dtype not in (DTYPES if i < _FIRST_INTEGERS else _INTEGERS):
            known = "float16, bfloat16, float32 or float64" if i < _FIRST_INTEGERS else "int32 or int64"
            raise _error(TypeError, _NAMES[i], "must be", known + ", got", a.dtype)
        if a.layout is not torch.strided:
            raise _error(TypeError, _NAMES[i], "must be a plain strided tensor")
        if not watched and type(a) in _PLAIN and a.is_cpu and not a.is_neg():
            continue
        as_they_lie = False
        if hasattr(a, "__tensor_flatten__"):
            raise _error(TypeError, _NAMES[i], "must be a plain strided tensor")
        if a.device != x.device:
            raise _error(ValueError, _NAMES[i], "must be on x's device", f"{x.device}, got", a.device)
    return as_they_lie


def _check_shapes(x: Any, conv_state: Any, weight: Any, bias: Any, cache_seqlens: Any, conv_state_indices: Any) -> None:
    """Refuse shapes that are no decode step's, in the caller's words."""
    if len(x) not in (2, 3):
        raise _error(ValueError, "x must be (batch, dim) or (batch, dim, seqlen), got shape", tuple(x))
    batch, dim = x[:2]
    if len(weight) != 2 or weight[0] != dim or weight[1] < 1:
        raise _error(ValueError, f"weight must be (dim, width) = ({dim}, at least 1), got shape", tuple(weight))
    if bias is not None and (len(bias) != 1 or bias[0] != dim):
        raise _error(ValueError, f"bias must be (dim,) = ({dim},), got shape", tuple(bias))
    for name, shape in (("cache_seqlens", cache_seqlens), ("conv_state_indices", conv_state_indices)):
        if shape is not None and (len(shape) != 1 or shape[0] != batch):
            raise _error(ValueError, f"{name} must be (batch,) = ({batch},), got shape", tuple(shape))
    least, any_rows = weight[1] - 1, conv_state_indices is not None
    fits = len(conv_state) == 3 and (any_rows or conv_state[0] == batch)
    if not fits or conv_state[1] != dim or conv_state[2] < least:
        wanted = f"({'any' if any_rows else batch}, {dim}, at least width - 1 = {least})"
        words = "conv_state must be (batch, dim, state_len) =", wanted + ", got shape", tuple(conv_state)
        raise _error(ValueError, *words)


_known_shapes = lru_cache(maxsize=4096)(_check_shapes)


def _integers(a: Tensor | None) -> tuple[int, int, int]:
    return _NO_INTEGERS if a is None else (a.data_ptr(), a.stride(0), _INTEGERS[a.dtype])


def _update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    cache_seqlens: Tensor | None,
    conv_state_indices: Tensor | None,
) -> Tensor:
    y = torch.empty_like(x)
    batch, dim, *length = x.shape
    states, _, state_len = conv_state.shape
    done = _core.causal_update_at(
        (batch, dim, length[0] if length else 1, weight.shape[1], states, state_len),
        # Addresses, strides and dtypes, without a function's toll.
        (x.data_ptr(), x.stride(), DTYPES[x.dtype]),
        (conv_state.data_ptr(), conv_state.stride(), DTYPES[conv_state.dtype]),
        (weight.data_ptr(), weight.stride(), DTYPES[weight.dtype]),
        _NO_BIAS if bias is None else (bias.data_ptr(), bias.stride(), DTYPES[bias.dtype]),
        (y.data_ptr(), y.stride(), DTYPES[x.dtype]),
        _integers(cache_seqlens),
        _integers(conv_state_indices),
        active_target(),
        torch.get_num_threads(),
        activation_code(activation),
    )
    if not done:  # what is read may be changed meanwhile
        apart = x.clone(), conv_state, weight.clone(), None if bias is None else bias.clone()
        return _update(*apart, activation, cache_seqlens, conv_state_indices)
    if not conv_state.is_inference():
        increment_version(conv_state)
    return y


def _update_fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


torch.library.define(
    "depthwise::causal_conv1d_update",
    "(Tensor x, Tensor(a!) conv_state, Tensor weight, Tensor? bias, str? activation, Tensor? cache_seqlens,"
    " Tensor? conv_state_indices) -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.impl("depthwise::causal_conv1d_update", "cpu", _update)
torch.library.register_fake("depthwise::causal_conv1d_update", _update_fake)
_operator = torch.ops.depthwise.causal_conv1d_update.default


def _differentiable(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    start: int | None,
) -> Tensor:
    """The same in operators of PyTorch, for x of three axes."""
    width, state_len, length = weight.shape[1], conv_state.shape[2], x.shape[2]
    if start is None or not state_len:
        window = torch.cat([conv_state, x], 2)
        conv_state.copy_(window[:, :, length:])
    else:
        kept, new = ([(start + i) % state_len for i in steps] for steps in (range(1 - width, 0), range(length)))
        window = torch.cat([conv_state[:, :, kept], x], 2)
        conv_state[:, :, new[-state_len:]] = x[:, :, -state_len:].to(conv_state.dtype)
    window = window[:, :, window.shape[2] - length - (width - 1) :]
    sums = torch.promote_types(torch.promote_types(window.dtype, weight.dtype), torch.float32)
    y = F.conv1d(window.to(sums), weight.to(sums)[:, None], None if bias is None else bias.to(sums), groups=x.shape[1])
    return activations.apply(activation, y).to(x.dtype)


def _differentiably(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    cache_seqlens: Tensor | None,
    conv_state_indices: Tensor | None,
) -> Tensor:
    """One of a batch after another where each has a place of its own."""
    if x.dim() == 2:
        rest = conv_state, weight, bias, activation, cache_seqlens, conv_state_indices
        return _differentiably(x[:, :, None], *rest)[:, :, 0]
    if cache_seqlens is None and conv_state_indices is None:
        return _differentiable(x, conv_state, weight, bias, activation, None)
    batch = x.shape[0]
    starts = [None] * batch if cache_seqlens is None else cache_seqlens.tolist()
    rows = range(batch) if conv_state_indices is None else conv_state_indices.tolist()
    if max(rows) >= conv_state.shape[0]:
        states = conv_state.shape[0]
        raise _error(IndexError, f"conv_state_indices has {max(rows)}, but conv_state has only {states} states")
    ys = [
        torch.zeros_like(x[n : n + 1])
        if row < 0
        else _differentiable(x[n : n + 1], conv_state[row : row + 1], weight, bias, activation, starts[n])
        for n, row in enumerate(rows)
    ]
    return torch.cat(ys)
