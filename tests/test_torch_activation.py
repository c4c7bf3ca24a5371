"""Activations in the same pass: values, derivatives of any order, and every way around the engine."""

from __future__ import annotations

import pytest

from torch_helpers import (
    ACTIVATIONS,
    CASES,
    DTYPES,
    LAYERS,
    LAYOUTS,
    ONE_OF_EACH,
    F,
    activate,
    depthwise,
    doubles,
    internals,
    lies,
    memory,
    ours,
    outcome,
    ran,
    stock,
    torch,
)


def floats(case, dtype, layout="planar"):
    """Tensors on both sides of every kink."""
    (x, weight, bias), steps = doubles(case)
    x = memory((2 * x.detach()).to(dtype), layout)
    return [a.detach().to(dtype).requires_grad_() for a in (x, weight, bias)], steps


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_values_and_gradients_are_those_of_pytorch(case, layout, activation):
    for dtype in DTYPES:
        inputs, steps = floats(case, dtype, layout)
        exact = [a.detach().double().requires_grad_() for a in inputs]
        before = ran()
        y, expected = ours(*inputs, *steps, activation), stock(*exact, *steps, activation)
        assert ran() == before + 1 or not internals.IN_DISPATCHER
        assert lies(y, layout)
        # As a result that is rounded once: an element near zero is a sum whose terms cancel.
        tolerance = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 100 * torch.finfo(torch.float32).eps}
        if dtype is torch.float64:
            tolerance = {"rtol": 1e-12, "atol": 1e-12}
        elif not internals.IN_DISPATCHER:  # rounded before the activation too
            tolerance["atol"] = 100 * torch.finfo(dtype).eps
        torch.testing.assert_close(y, expected.to(dtype), **tolerance)
        gy = torch.ones_like(y)
        grads = torch.autograd.grad(y, inputs, gy), torch.autograd.grad(expected, exact, gy.double())
        for a, g, e in zip(inputs, *grads, strict=True):
            assert (g.dtype, g.shape) == (a.dtype, a.shape)
            if dtype is torch.float64 or internals.IN_DISPATCHER:
                torch.testing.assert_close(g, e.to(dtype), rtol=tolerance["rtol"], atol=10 * tolerance["atol"])


@pytest.mark.skipif(not internals.IN_DISPATCHER, reason="without private names the activation follows")
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_results_of_16_bits_are_rounded_once(case, activation, dtype):
    inputs, steps = floats(case, dtype)
    wide = ours(*[a.float() for a in inputs], *steps, activation)
    assert torch.equal(ours(*inputs, *steps, activation), wide.to(dtype))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("case", [CASES[7], CASES[2]], ids=str)
def test_gradcheck_and_gradgradcheck(case, activation):
    small = 1, 2, (6, 5)[: len(case[2])], *case[3:]
    inputs, steps = doubles(small)

    def f(*args):
        return ours(*args, *steps, activation)

    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_second_derivatives_are_those_of_pytorch(activation):
    grads = []
    for f in (ours, stock):
        inputs, steps = floats(CASES[8], torch.float64)
        first = torch.autograd.grad(f(*inputs, *steps, activation).sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs, create_graph=True)
        grads.append((first, second, torch.autograd.grad(sum(g.cos().sum() for g in second), inputs)))
    torch.testing.assert_close(*grads)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # PyTorch's own, on the way to jvp
@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_vmap_and_jvp(activation):
    (x, weight, bias), steps = floats(CASES[8], torch.float64)
    x, weight, bias = x.detach(), weight.detach(), bias.detach()
    many = torch.stack([x, -x]), torch.stack([weight, 2 * weight])
    for dims, args in [((0, None), (many[0], weight)), ((0, 0), many)]:
        results = []
        for f in (ours, stock):
            slope = torch.func.grad(lambda a, w, f=f: f(a, w, bias, *steps, activation).sin().sum(), (0, 1))
            results.append(torch.func.vmap(slope, dims)(*args))
        torch.testing.assert_close(*results)
    tangents = torch.randn_like(x), torch.randn_like(weight)
    jvps = [
        torch.func.jvp(lambda a, w, f=f: f(a, w, bias, *steps, activation), (x, weight), tangents)
        for f in (ours, stock)
    ]
    torch.testing.assert_close(*jvps)


def test_what_the_engine_does_not_take_has_its_activation_from_pytorch():
    x, weight = torch.randn(1, 4, 9, dtype=torch.float64), torch.randn(4, 1, 3, dtype=torch.float64)
    before = ran()
    assert depthwise.torch.conv1d(x[:0], weight, activation="silu").shape == (0, 4, 7)
    meta = depthwise.torch.conv1d(x.to("meta"), weight.to("meta"), padding="causal", activation="silu")
    assert (meta.shape, meta.device.type) == ((1, 4, 9), "meta")
    assert ran() == before
    torch.testing.assert_close(ours(x[0], weight, activation="swish"), stock(x[0], weight, activation="silu"))
    assert ran() == before + 1


@pytest.mark.parametrize(("odd", "error"), [("tanh", ValueError), ("none", ValueError), (1, TypeError), (F, TypeError)])
def test_an_activation_that_there_is_not_is_an_error(odd, error):
    x, weight = torch.ones(1, 4, 9), torch.ones(4, 1, 3)
    for call in (
        lambda: depthwise.torch.conv1d(x, weight, activation=odd),
        lambda: depthwise.torch.conv1d(x.int(), weight.int(), activation=odd),
        lambda: LAYERS[1](4, activation=odd),
    ):
        kind, message = outcome(call)
        assert kind is error
        assert 'activation must be None, "silu"' in message


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_backward_pass_keeps_no_sums(activation):
    """Of a layer with an activation only what it was given is kept, where stock keeps the sums too."""
    kept = []
    (x, weight, bias), steps = floats(CASES[7], torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(lambda a: kept.append(a) or a, lambda a: a):
        ours(x, weight, bias, *steps, activation)
    if internals.IN_DISPATCHER:
        assert {a.data_ptr() for a in kept} == {x.data_ptr(), weight.data_ptr(), bias.data_ptr()}


def test_autocast():
    (x, weight, bias), steps = floats(CASES[7], torch.float32)
    with torch.autocast("cpu"):
        y = ours(x, weight, bias, *steps, "silu")
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype == weight.grad.dtype == bias.grad.dtype == torch.float32
    torch.testing.assert_close(y, activate(stock(x, weight, bias, *steps), "silu").bfloat16(), rtol=0.02, atol=0.05)
