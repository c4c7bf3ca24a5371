"""The operators of depthwise.torch as PyTorch's own are: derivatives, transforms, autocast."""

from __future__ import annotations

import itertools

import pytest

from helpers import in_turn
from torch_helpers import CASES, DTYPES, LAYOUTS, ONE_OF_EACH, doubles, ours, problem, ran, stock, torch


@pytest.mark.parametrize(
    ("case", "kind"), in_turn([CASES[1], *ONE_OF_EACH], list(itertools.product(DTYPES[2:], LAYOUTS))), ids=str
)
def test_opcheck(case, kind):
    dtype, layout = kind
    (x, weight, bias), _ = problem(case, dtype, layout)
    axes = x.dim() - 2
    steps = [2, 1, 1][:axes], [1, 0, 2, 1, 0, 1][: 2 * axes], [1, 2, 1][:axes], "direct", "constant"
    y = torch.ops.depthwise.conv(x, weight, bias, *steps)
    gy = torch.randn_like(y).requires_grad_()
    last = layout == "channels_last"
    for op, *args in [
        (torch.ops.depthwise.conv, x, weight, bias, *steps),
        (torch.ops.depthwise.conv, x, weight, None, *steps, None, torch.float64),
        (torch.ops.depthwise.conv, x, weight, bias, *steps, "silu"),
        (torch.ops.depthwise.conv_input_grad, gy, weight, x.shape, last, dtype, *steps),
        (torch.ops.depthwise.conv_input_grad, gy, weight, x.shape, None, torch.float64, *steps),
        (torch.ops.depthwise.conv_weight_grad, x, gy, weight.shape[2:], dtype, *steps),
    ]:
        torch.library.opcheck(op, args)


SMALL = {1: (9,), 2: (6, 5), 3: (3, 4, 4)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradcheck_and_gradgradcheck(case):
    axes, kernel = len(case[2]), case[4]
    kernel, padding = ((3,) * axes, 2) if max(kernel) > 5 else (kernel, case[6])
    inputs, steps = doubles((1, 2, SMALL[axes], case[3], kernel, case[5], padding, case[7]))

    def f(*args):
        return ours(*args, *steps)

    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # PyTorch's own, on the way to jvp
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_functional_transforms(case, activation):
    (x, weight, bias), steps = doubles(case)
    steps.append(activation)
    engine, theirs = (lambda *a, f=f: f(*a, *steps).sin().sum() for f in (ours, stock))
    args = x.detach(), weight.detach(), bias.detach()
    close = torch.testing.assert_close
    everything = 0, 1, 2
    close(torch.func.grad(engine, everything)(*args), torch.func.grad(theirs, everything)(*args))
    close(torch.func.hessian(engine, 2)(*args), torch.func.hessian(theirs, 2)(*args))
    tangents = tuple(torch.randn_like(a) for a in args)
    close(torch.func.jvp(engine, args, tangents), torch.func.jvp(theirs, args, tangents))

    def slope(f):
        return lambda *a: torch.func.grad(f)(*a).cos().sum()

    close(torch.func.grad(slope(engine), everything)(*args), torch.func.grad(slope(theirs), everything)(*args))


MAPPED = [d for d in itertools.product((None, 0, 1), repeat=3) if any(i is not None for i in d)]


@pytest.mark.parametrize(
    ("case", "in_dims"),
    [(ONE_OF_EACH[1], d) for d in MAPPED] + [(c, d) for c in ONE_OF_EACH[::2] for d in [(0, None, None), (1, 0, None)]],
    ids=str,
)
def test_vmap(case, in_dims):
    (x, weight, bias), steps = doubles(case)
    mapped = [
        a.detach() if d is None else torch.stack([a.detach() * k for k in (1, 2, -1)], d)
        for a, d in zip((x, weight, bias), in_dims, strict=True)
    ]

    def slope(f):
        return torch.func.grad(lambda *a: f(*a, *steps).sin().sum(), (0, 1, 2))

    for f, g in [(lambda *a: ours(*a, *steps), lambda *a: stock(*a, *steps)), (slope(ours), slope(stock))]:
        actual = torch.func.vmap(f, in_dims)(*mapped)
        torch.testing.assert_close(actual, torch.func.vmap(g, in_dims)(*mapped))


def test_double_backward_calls_the_engine_once_an_operator():
    (x, weight, bias), steps = doubles((2, 64, (8, 8), *CASES[0][3:]))
    gx, gW = torch.autograd.grad(ours(x, weight, bias, *steps).sin().sum(), (x, weight), create_graph=True)
    before = ran()
    torch.autograd.grad(gx.square().sum() + gW.square().sum(), (x, weight))
    assert ran() - before <= 6  # and not a multiple of the 64 channels


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_autocast_is_bfloat16_as_convolution_is(case):
    (x, weight, bias), steps = problem(case)
    with torch.autocast("cpu"):
        y, expected = ours(x, weight, bias, *steps), stock(x, weight, bias, *steps)
    assert y.dtype == expected.dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype == weight.grad.dtype == torch.float32


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_inference_mode_and_checkpoint(case):
    (x, weight, bias), steps = problem(case)
    with torch.inference_mode():
        assert ours(x, weight, bias, *steps).is_inference()
    y = torch.utils.checkpoint.checkpoint(lambda *a: ours(*a, *steps), x, weight, bias, use_reentrant=False)
    stored = torch.autograd.grad(ours(x, weight, bias, *steps).sum(), (x, weight, bias))
    torch.testing.assert_close(torch.autograd.grad(y.sum(), (x, weight, bias)), stored)
