"""The activations that the engine applies to its sums: their names, PyTorch's functions for them, their derivatives."""

from __future__ import annotations

from typing import Any, Optional

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor

from .. import _core

CODES = dict(_core.activations)
_ATEN = torch.ops.aten


def name_of(activation: Any) -> str:
    """The engine's name of an argument."""
    if activation is None:
        return "none"
    name = "silu" if isinstance(activation, str) and activation == "swish" else activation
    if isinstance(name, str) and name in CODES and name != "none":
        return name
    names = ", ".join(f'"{n}"' for n in CODES if n != "none")
    msg = f'activation must be None, {names} or "swish", got {activation!r}'
    raise (ValueError if isinstance(activation, str) else TypeError)(msg)


def apply(activation: Optional[str], y: Tensor) -> Tensor:  # noqa: UP045 - scripts of PyTorch 2.6 know no unions
    """PyTorch's own activation; None and "none" are none. Scripts compile it."""
    if activation == "silu" or activation == "swish":  # noqa: PLR1714 - scripts know no sets
        return F.silu(y)
    if activation == "relu":
        return F.relu(y)
    if activation == "relu6":
        return F.relu6(y)
    if activation == "hardswish":
        return F.hardswish(y)
    if activation == "gelu":
        return F.gelu(y)
    if activation == "gelu_tanh":
        return F.gelu(y, approximate="tanh")
    return y


def gradient(activation: str, gy: Tensor, z: Tensor) -> Tensor:
    """``gy`` times the derivative at `z`; differentiable to any order."""
    if activation == "silu":
        if not torch.is_grad_enabled():
            return _ATEN.silu_backward(gy, z)  # type: ignore[no-any-return] # which PyTorch cannot differentiate
        s = z.sigmoid()
        return gy * (s * (1 + z * (1 - s)))
    if activation == "relu":
        return _ATEN.threshold_backward(gy, z, 0)  # type: ignore[no-any-return]
    if activation == "relu6":
        return _ATEN.hardtanh_backward(gy, z, 0, 6)  # type: ignore[no-any-return]
    if activation == "hardswish":
        return _ATEN.hardswish_backward(gy, z)  # type: ignore[no-any-return]
    return _ATEN.gelu_backward(gy, z, approximate="tanh" if activation == "gelu_tanh" else "none")  # type: ignore[no-any-return]
