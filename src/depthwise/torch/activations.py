"""The activations that the engine applies to its sums, as PyTorch has them, and their derivatives."""

from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor

_ATEN = torch.ops.aten


def apply(activation: Optional[str], y: Tensor) -> Tensor:  # noqa: UP045 - scripts of PyTorch 2.6 know no unions
    """PyTorch's own activation of a name that the engine has, or none. Scripts compile this."""
    if activation is None:  # asked first: a script compares no Optional with a word
        return y
    if activation == "silu" or activation == "swish":
        return F.silu(y)
    if activation == "relu":
        return F.relu(y)
    if activation == "relu6":
        return F.relu6(y)
    if activation == "hardswish":
        return F.hardswish(y)
    if activation == "gelu":
        return F.gelu(y)
    return F.gelu(y, approximate="tanh")


def gradient(activation: str, gy: Tensor, z: Tensor) -> Tensor:
    """``gy`` times the derivative at `z`; differentiable to any order."""
    if activation in ("silu", "swish"):
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
