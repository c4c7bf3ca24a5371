"""The convolution of state-space language models over whole sequences, called as the ``causal_conv1d`` package's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor

from ..enums import FORWARD, activation_code
from . import activations, operators
from .convolution import _is_ours
from .internals import IN_DISPATCHER, is_forward_mode

_OP = "depthwise::causal_conv1d"


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """``causal_conv1d.causal_conv1d_fn`` for CPU tensors: a depthwise convolution that sees the past only.

    ``y[n, c, t] = activation(bias[c] + sum(weight[c, k] * x[n, c, t - width + 1 + k] for k in range(width)))``

    Parameters
    ----------
    x : Tensor of shape (batch, dim, seqlen)
        float16, bfloat16, float32 or float64; any strides, (batch, seqlen, dim) memory seen through a transpose among
        them, which is read as it lies.
    weight : Tensor of shape (dim, width)
        Of any of these dtypes and any width.
    bias : Tensor of shape (dim,), optional
    seq_idx : Tensor of integers of shape (batch, seqlen), optional
        Numbers the sequences that lie one after another in a row. A new one begins wherever the number changes, and
        sees nothing of those before it, NaN neither. Where it is negative, which is padding, y is zero.
    initial_states : Tensor of shape (batch, dim, width - 1), optional
        Of x's dtype: what came before x, in place of zeros.
    return_final_states : bool, default False
        Whether to return the next call's `initial_states` too.
    final_states_out : Tensor of shape (batch, dim, width - 1), optional
        Where to write them, if they are returned; `initial_states` itself may be given.
    activation : {None, "silu", "swish"}
        Applied to the sum before it is rounded; both names mean the same. All others of :func:`conv1d` are taken too.

    Returns
    -------
    Tensor of shape (batch, dim, seqlen), or a pair of it and the final states
        Of x's dtype, in x's layout; sums are kept in float32, in float64 where an argument is float64.

    Raises
    ------
    TypeError, ValueError
        If an argument has another type, dtype or shape; if `seq_idx` comes with states.

    Notes
    -----
    A sequence cut into pieces, the final states of each given to the next, has the bits of one call. Differentiable in
    x, weight, bias and initial_states. Tensors on other devices are computed by PyTorch's convolution.

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import causal_conv1d_fn
    >>> x, weight = torch.arange(1.0, 6.0).reshape(1, 1, 5), torch.ones(1, 3)
    >>> causal_conv1d_fn(x, weight)
    tensor([[[ 1.,  3.,  6.,  9., 12.]]])
    >>> causal_conv1d_fn(x, weight, seq_idx=torch.tensor([[0, 0, 0, 1, 1]]))
    tensor([[[1., 3., 6., 4., 9.]]])
    >>> y, states = causal_conv1d_fn(x[..., :2], weight, return_final_states=True)
    >>> causal_conv1d_fn(x[..., 2:], weight, initial_states=states)
    tensor([[[ 6.,  9., 12.]]])
    """
    activation_code(activation)  # or an error
    _check(x, weight, bias, seq_idx, initial_states, return_final_states, final_states_out)
    y = _forward(x, weight, bias, seq_idx, initial_states, activation)
    if not return_final_states:
        return y
    states = _last(x, initial_states, weight.shape[1] - 1)
    return y, states if final_states_out is None else final_states_out.copy_(states)


def _check(x: Any, weight: Any, bias: Any, seq_idx: Any, initial: Any, returns_final: bool, final: Any) -> None:
    given = {"x": x, "weight": weight, "bias": bias, "seq_idx": seq_idx, "initial_states": initial}
    given["final_states_out"] = final
    for name, a in given.items():
        if not isinstance(a, Tensor) and not (a is None and name not in ("x", "weight")):
            msg = f"{name} must be a tensor, got {type(a).__name__}"
            raise TypeError(msg)
    if x.dim() != 3 or weight.dim() != 2 or weight.shape[0] != x.shape[1] or weight.shape[1] < 1:
        msg = f"x must be (batch, dim, seqlen), weight (dim, width), got {tuple(x.shape)} and {tuple(weight.shape)}"
        raise ValueError(msg)
    batch, dim, length = x.shape
    states = batch, dim, weight.shape[1] - 1
    shapes = {"bias": (dim,), "seq_idx": (batch, length), "initial_states": states, "final_states_out": states}
    for name, shape in shapes.items():
        a = given[name]
        if a is not None and tuple(a.shape) != shape:
            msg = f"{name} must have shape {tuple(map(int, shape))} for x {tuple(x.shape)} and weight "
            msg += f"{tuple(weight.shape)}, got {tuple(a.shape)}"
            raise ValueError(msg)
    for name in ("x", "weight", "bias"):
        if given[name] is not None and not given[name].is_floating_point():
            msg = f"{name} must be of a floating-point dtype, got {given[name].dtype}"
            raise TypeError(msg)
    for name in ("initial_states", "final_states_out"):
        if given[name] is not None and given[name].dtype != x.dtype:
            msg = f"{name} must have x's dtype {x.dtype}, got {given[name].dtype}"
            raise TypeError(msg)
    if seq_idx is not None:
        if seq_idx.is_floating_point() or seq_idx.is_complex() or seq_idx.dtype == torch.bool:
            msg = f"seq_idx must be of an integer dtype, got {seq_idx.dtype}"
            raise TypeError(msg)
        if initial is not None or returns_final:
            msg = "seq_idx excludes initial_states and return_final_states: which of a row's sequences has them?"
            raise ValueError(msg)


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    seq_idx: Tensor | None,
    initial: Tensor | None,
    activation: str | None,
) -> Tensor:
    if 0 in x.shape:  # nothing is computed, but the graph goes on: gradients are zeros
        meeting = (a for a in (weight, bias, initial) if a is not None and a.requires_grad)
        return sum((0 * a.sum() for a in meeting), x.clone()).to(x.dtype)
    if seq_idx is None and (initial is None or weight.shape[1] == 1):
        return _convolve(x, weight, bias, weight.shape[1] - 1, activation)
    inputs = x, weight, bias, initial
    needs_graph = torch.is_grad_enabled() and any(a is not None and a.requires_grad for a in inputs)
    # Without the private names a tangent cannot be seen; the compiler, which needs one operator, takes none.
    blind = not IN_DISPATCHER and not torch.compiler.is_compiling()
    if needs_graph or blind or not _are_ours(*inputs):
        return _compose(x, weight, bias, seq_idx, initial, activation)
    return torch.ops.depthwise.causal_conv1d(x, weight, bias, seq_idx, initial, activation)  # type: ignore[no-any-return]


def _compose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    seq_idx: Tensor | None,
    initial: Tensor | None,
    activation: str | None,
) -> Tensor:
    """The result made of differentiable functions, which copy."""
    if initial is not None:
        return _convolve(_join([initial, x], 2, x), weight, bias, 0, activation)
    assert seq_idx is not None
    before = weight.shape[1] - 1
    rows = []
    for row, runs in zip(x.split(1), _runs(seq_idx), strict=True):
        parts = row.split([length for _, length in runs], 2)
        done = [
            torch.zeros_like(part) if number < 0 else _convolve(part, weight, bias, before, activation)
            for part, (number, _) in zip(parts, runs, strict=True)
        ]
        rows.append(_join(done, 2, x))
    return _join(rows, 0, x)


def _write(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    seq_idx: Tensor | None,
    initial: Tensor | None,
    activation: str | None,
) -> Tensor:
    """The result written piece by piece, in place."""
    y = torch.empty_like(x)
    before = weight.shape[1] - 1
    if initial is not None:
        mixed = min(before, x.shape[2])  # outputs that see both the states and x
        _convolve_into(y[..., :mixed], _join([initial, x[..., :mixed]], 2, x), weight, bias, 0, activation)
        if x.shape[2] > mixed:
            _convolve_into(y[..., mixed:], x, weight, bias, 0, activation)
        return y
    assert seq_idx is not None
    for n, runs in enumerate(_runs(seq_idx)):
        end = 0
        for number, length in runs:
            here = slice(n, n + 1), slice(None), slice(end, end + length)
            if number < 0:
                y[here] = 0
            else:
                _convolve_into(y[here], x[here], weight, bias, before, activation)
            end += length
    return y


def _write_fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


torch.library.define(
    _OP,
    "(Tensor x, Tensor weight, Tensor? bias, Tensor? seq_idx, Tensor? initial_states, str? activation) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout),
)
torch.library.impl(_OP, "cpu", _write)
torch.library.register_fake(_OP, _write_fake)


def _runs(seq_idx: Tensor) -> list[list[tuple[int, int]]]:
    """Number and length of the sequences of each row."""
    pairs = [torch.unique_consecutive(row, return_counts=True) for row in seq_idx]
    return [list(zip(numbers.tolist(), lengths.tolist(), strict=True)) for numbers, lengths in pairs]


def _last(x: Tensor, initial: Tensor | None, length: int) -> Tensor:
    """A copy of the last elements of x, and of what was before it where it is shorter."""
    short = length - x.shape[2]
    if short > 0:
        past = x.new_zeros((*x.shape[:2], short)) if initial is None else initial[..., length - short :]
        last = torch.cat([past, x], 2)
    else:
        last = x[..., x.shape[2] - length :]
    return last.transpose(1, 2).clone(memory_format=torch.contiguous_format).transpose(1, 2)


def _join(parts: list[Tensor], axis: int, like: Tensor) -> Tensor:
    """The parts one after another, in the layout of `like`."""
    if like.stride(1) < like.stride(2):
        return torch.cat([a.transpose(1, 2) for a in parts], {0: 0, 2: 1}[axis]).transpose(1, 2)
    return torch.cat(parts, axis)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, before: int, activation: str | None) -> Tensor:
    """One convolution of all of x, with `before` zeros in front of it."""
    if not _are_ours(x, weight, bias):
        dtype = torch.promote_types(x.dtype, weight.dtype)
        bias = None if bias is None else bias.to(dtype)
        y = F.conv1d(F.pad(x, (before, 0)).to(dtype), weight[:, None].to(dtype), bias, groups=x.shape[1])
        return activations.apply(activation, y).to(x.dtype)
    inputs = x, weight[:, None], bias, [1], [before, 0], [1], "direct", "constant"
    if IN_DISPATCHER:
        return operators.conv(*inputs, activation)  # type: ignore[no-any-return]
    return activations.apply(activation, operators.conv(*inputs))


def _convolve_into(
    y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, before: int, activation: str | None
) -> None:
    g = operators.sizes(x.shape, x.shape[1], weight.shape[1:], (1,), (before, 0), (1,))
    operators._run(FORWARD, g, x, weight[:, None], bias, y, activation)


def _are_ours(*tensors: Tensor | None) -> bool:
    """Whether the engine reads these, each of a dtype of its own, and nothing but values is asked for."""
    plain = all(
        a is None or (a.is_cpu and a.dtype in operators.DTYPES and _is_ours(a, a.dtype, a.device)) for a in tensors
    )
    return plain and not is_forward_mode() and not torch.jit.is_tracing()
