"""What the padding holds, in PyTorch's words, and padded copies for whoever convolves without the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor

# PyTorch's name, or that of numpy.pad where it has none, and the engine's.
PADDING_MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "symmetric": "symmetric",
    "replicate": "edge",
    "circular": "wrap",
}


def pad_mode(padding_mode: Any) -> str:
    """The engine's name of a padding mode."""
    if isinstance(padding_mode, str) and padding_mode in PADDING_MODES:
        return PADDING_MODES[padding_mode]
    *names, last = (f'"{name}"' for name in PADDING_MODES)
    msg = f"padding_mode must be {', '.join(names)} or {last}, got {padding_mode!r}"
    raise (ValueError if isinstance(padding_mode, str) else TypeError)(msg)


def pytorch_pads(shape: Sequence[Any], sides: Sequence[Any], padding_mode: str) -> bool:
    """Whether PyTorch pads an image of this shape so far: (before, after) of each axis in one list."""
    if padding_mode not in ("reflect", "circular"):
        return True
    spare = int(padding_mode == "reflect")  # the border itself is not repeated
    axes = len(sides) // 2
    return all(side <= size - spare for i, size in enumerate(shape[-axes:]) for side in sides[2 * i : 2 * i + 2])


def padded(input: Tensor, sides: Sequence[Any], padding_mode: str) -> Tensor:
    """A copy with (before, after) of each axis, in one list, around it."""
    axes = len(sides) // 2
    if padding_mode != "symmetric" or not isinstance(input, Tensor):  # which then says what is wrong
        last_first = [side for i in reversed(range(axes)) for side in sides[2 * i : 2 * i + 2]]
        return F.pad(input, last_first, {"zeros": "constant", "symmetric": "reflect"}.get(padding_mode, padding_mode))
    for i in range(axes):
        axis, size = input.dim() - axes + i, input.shape[i - axes]
        if size == 0:
            msg = f"input {tuple(input.shape)} has an axis without elements, which only zeros can pad"
            raise ValueError(msg)
        places = torch.arange(-sides[2 * i], size + sides[2 * i + 1], device=input.device) % (2 * size)
        input = input.index_select(axis, torch.minimum(places, 2 * size - 1 - places))
    return input
