"""The decode step of a state-space language model, y = silu(convolution of the last inputs), by whom it is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from depthwise import get_num_threads, reference, roofline
from depthwise.runtime import active_target
from layers import DECODE, Layer
from tensors import tensor

Call = Callable[[], Any]
Tensors = tuple[Any, Any, Any, Any]


def as_tensors(a: dict[str, Any]) -> Tensors:
    """Tensors x (n, c, 1), a state of its own (n, c, width), weight (c, width), bias (c)."""
    return tensor(a["x"]), tensor(a["state"]).clone(), tensor(a["W"][0]), tensor(a["b"])


def expected(a: dict[str, Any], channels: int, steps: int) -> Any:
    """The first steps, each with the same x, of the first channels."""
    x, state = a["x"][:, :channels], a["state"][:, :channels]
    past = np.concatenate([state[..., 1:], *[x] * steps], -1)
    return reference.forward(past, a["W"][:, :channels], a["b"][:channels], activation="silu")


def limit(a: dict[str, Any]) -> dict[str, Any]:
    """x, weight and bias read, y written, the state both, once each."""
    n, c, width = a["state"].shape
    flop, elements = 2 * n * c * width, 2 * a["x"].size + 2 * a["state"].size + a["W"].size + a["b"].size
    n_bytes = elements * a["x"].itemsize
    seconds, bound = roofline.least_seconds(flop, n_bytes, active_target(), False, get_num_threads())
    return {"flop": flop, "limit": seconds, "bound": bound}


def ours_decoding(a: dict[str, Any]) -> Call:
    from depthwise.torch import causal_conv1d_update

    x, state, weight, bias = as_tensors(a)
    return lambda: causal_conv1d_update(x, state, weight, bias, "silu")


def convolved(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    """What transformers 5 does on a CPU."""
    if kind != DECODE:
        return None
    import torch

    x, state, weight, bias = as_tensors(a)
    width, channels = weight.shape[1], weight.shape[0]

    def step() -> Any:
        window = torch.cat([state, x], -1)
        state.copy_(window[:, :, -width:])
        y = torch.nn.functional.conv1d(window, weight[:, None], bias, groups=channels)
        return torch.nn.functional.silu(y[:, :, -1:])

    return step


def rolled(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    """What transformers 4 does on a CPU."""
    if kind != DECODE:
        return None
    import torch

    x, state, weight, bias = as_tensors(a)

    def step() -> Any:
        state.copy_(state.roll(-1, -1))
        state[:, :, -1] = x[:, :, 0]
        return torch.nn.functional.silu(torch.sum(state * weight, -1) + bias)[:, :, None]

    return step


DECODERS = {"torch conv1d": convolved, "torch roll": rolled}
