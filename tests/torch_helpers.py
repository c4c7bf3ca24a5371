"""What the tests of depthwise.torch share. A file that imports it is skipped where there is no PyTorch."""

from __future__ import annotations

import pytest

from helpers import hidden

torch = pytest.importorskip("torch", reason="depthwise.torch needs PyTorch")

# Behind importorskip, hence E402; for the files of tests, hence F401.
import torch.nn.functional as F  # noqa: E402, N812 - PyTorch's own abbreviation
from torch import nn  # noqa: E402
from torch._functorch import autograd_function  # noqa: E402
from torch.utils import flop_counter  # noqa: E402, F401 - with all that it needs, before names are hidden

with hidden(
    (torch._C, "_AutoDispatchBelowAutograd"),
    (torch._C, "_are_functorch_transforms_active"),
    (torch._C, "_len_torch_dispatch_stack"),
    (autograd_function, "enable_single_level_autograd_function"),
    (torch.autograd.forward_ad, "_current_level"),
    (nn.Conv2d, "_conv_forward"),
    (nn.Conv2d.__base__, "_conv_forward"),
):
    import depthwise.torch
    from depthwise.torch import (  # noqa: F401 - some are for the files of tests alone
        DepthwiseConv1d,
        DepthwiseConv2d,
        DepthwiseConv3d,
        internals,
        operators,
    )

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LAYOUTS = ["planar", "channels_last"]
ACTIVATIONS = ["silu", "relu", "relu6", "hardswish", "gelu", "gelu_tanh"]
LAYERS = {1: DepthwiseConv1d, 2: DepthwiseConv2d, 3: DepthwiseConv3d}
STOCK_LAYERS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CASES = [  # n, c_I, size, c_M, kernel, stride, padding, dilation
    (2, 3, (9, 11), 1, (3, 3), 1, 1, 1),
    (1, 16, (14, 14), 1, (3, 3), (2, 1), (0, 2), 1),
    (2, 5, (12, 7), 2, (5, 3), 2, (2, 1), (2, 1)),
    (1, 32, (7, 7), 1, (7, 7), 1, "same", 1),
    (1, 4, (10, 10), 3, (4, 2), 1, "same", (1, 3)),
    (3, 8, (6, 8), 1, (1, 5), 1, "valid", 1),
    (1, 1, (8, 8), 2, (3, 3), 1, 1, 1),
    (2, 40, (19,), 1, (4,), 1, "causal", 1),
    (2, 5, (23,), 2, (5,), 2, (3,), 3),
    (1, 3, (40,), 1, (31,), 1, "same", 1),
    (8, 33, (4,), 1, (4,), 1, 0, 1),
    (2, 3, (5, 6, 7), 1, (3, 3, 3), 1, 1, 1),
    (1, 5, (6, 7, 9), 2, (3, 1, 2), (2, 1, 2), (1, 0, 1), (1, 2, 2)),
    (1, 16, (4, 7, 7), 1, (2, 3, 3), 1, "same", (2, 1, 1)),
]
ONE_OF_EACH = [CASES[8], CASES[2], CASES[12]]  # in one, two and three dimensions


def memory(a, layout):
    """`a` in memory of a layout."""
    if layout == "planar":
        return a.contiguous()
    return a.movedim(1, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 1)  # strides of one channel too


def lies(a, layout):
    return (a.movedim(1, -1) if layout == "channels_last" else a).is_contiguous()


def integers(*shape, dtype=torch.float32, layout="planar"):
    """Small integers, of which every order of summation makes the same sum."""
    values = torch.randint(-3, 4, shape).to(dtype)
    return memory(values, layout) if len(shape) > 2 else values


def problem(case, dtype=torch.float32, layout="planar"):
    torch.manual_seed(0)
    n, c, size, m, kernel, *steps = case
    x = integers(n, c, *size, dtype=dtype, layout=layout)
    weight, bias = integers(c * m, 1, *kernel, dtype=dtype), integers(c * m, dtype=dtype)
    return [a.requires_grad_() for a in (x, weight, bias)], steps


def doubles(case):
    inputs, steps = problem(case, torch.float64)
    return [torch.randn_like(a).requires_grad_() for a in inputs], steps


def ours(x, weight, *args, **keywords):
    """depthwise.torch.conv1d, conv2d or conv3d."""
    return getattr(depthwise.torch, f"conv{weight.dim() - 2}d")(x, weight, *args, **keywords)


def activate(y, activation):
    """PyTorch's own function of a name of ours."""
    if activation == "gelu_tanh":
        return F.gelu(y, approximate="tanh")
    return getattr(F, activation)(y) if activation else y


def stock(x, weight, bias=None, stride=1, padding=0, dilation=1, activation=None):
    """What PyTorch makes of :func:`ours`."""
    axes = weight.dim() - 2
    if padding == "causal":
        x, padding = F.pad(x, (dilation * (weight.shape[2] - 1), 0)), 0
    y = getattr(F, f"conv{axes}d")(x, weight, bias, stride, padding, dilation, x.shape[-axes - 1])
    return activate(y, activation)


def ran():
    """How many problems the engine has done."""
    return sum(depthwise._core.executions(i) for i, (_, runs) in enumerate(depthwise._core.targets()) if runs)


def outcome(f, *args):
    try:
        return f(*args)
    except Exception as e:
        return type(e), str(e)


def small_network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, (5, 3), 2, (2, 1), groups=8, bias=False),
        nn.Conv2d(16, 16, 3, padding="same", padding_mode="reflect", groups=16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


warnings_of_pytorch = pytest.mark.filterwarnings("ignore")  # what its tools say of themselves


def accelerated(model):
    depthwise.torch.accelerate(model)
    return model
