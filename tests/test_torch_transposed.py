"""Transposed convolution, which is the operator of the input gradient, beside PyTorch's."""

from __future__ import annotations

import itertools

import pytest

import depthwise
from torch_helpers import (
    DTYPES,
    LAYOUTS,
    F,
    flop_counter,
    integers,
    lies,
    memory,
    outcome,
    ran,
    torch,
    warnings_of_pytorch,
)

CASES = [  # n, c_I, size, c_M, kernel, stride, padding, output padding, dilation
    (2, 3, (6, 7), 1, (2, 2), 2, 0, 0, 1),
    (1, 16, (5, 9), 1, (3, 3), 1, 1, 0, 1),
    (2, 5, (4, 6), 3, (4, 3), (3, 2), (1, 2), (2, 1), (1, 2)),
    (2, 21, (5, 5), 1, (16, 16), 8, 4, 0, 1),
    (2, 6, (11,), 1, (4,), 2, (1,), (1,), 1),
    (1, 3, (11,), 2, (3,), 1, 0, 0, 3),
    (2, 3, (3, 4, 5), 1, (2, 2, 2), 2, 0, 0, 1),
    (1, 4, (3, 4, 5), 2, (3, 1, 3), (1, 2, 3), (1, 0, 1), (0, 1, 2), (2, 1, 1)),
]
ONE_OF_EACH = [CASES[4], CASES[2], CASES[7]]


def transposed(x, weight, bias=None, stride=1, padding=0, output_padding=0, dilation=1):
    function = getattr(depthwise.torch, f"conv_transpose{weight.dim() - 2}d")
    return function(x, weight, bias, stride, padding, output_padding, dilation)


def stock(x, weight, bias=None, stride=1, padding=0, output_padding=0, dilation=1):
    axes = weight.dim() - 2
    function = getattr(F, f"conv_transpose{axes}d")
    return function(x, weight, bias, stride, padding, output_padding, x.shape[-axes - 1], dilation)


def problem(case, dtype=torch.float32, layout="planar"):
    torch.manual_seed(0)
    n, c, size, m, kernel, *steps = case
    x, weight, bias = (integers(*shape, dtype=dtype) for shape in [(n, c, *size), (c, m, *kernel), (c * m,)])
    return [a.requires_grad_() for a in (memory(x, layout), weight, bias)], steps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_gradients_and_memory_are_those_of_pytorch(case, layout, dtype):
    inputs, steps = problem(case, dtype, layout)
    exact = [a.detach().double().requires_grad_() for a in inputs]
    before = ran()
    y, expected = transposed(*inputs, *steps), stock(*exact, *steps)
    assert ran() == before + 1
    assert y.dtype == dtype
    assert lies(y, layout)
    torch.testing.assert_close(y, expected.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(transposed(inputs[0][0], *inputs[1:], *steps), y[0], rtol=0, atol=0)
    gy = integers(*y.shape, dtype=dtype, layout=layout)
    grads = torch.autograd.grad(y, inputs, gy)
    assert ran() >= before + 4
    for a, g, e in zip(inputs, grads, torch.autograd.grad(expected, exact, gy.double()), strict=True):
        assert (g.dtype, g.shape) == (a.dtype, a.shape)
        torch.testing.assert_close(g, e.to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_results_of_16_bits_are_rounded_once(dtype):
    """And not before the bias is added, either."""
    x, weight, bias = torch.randn(2, 6, 11), torch.randn(6, 1, 4), torch.randn(6)
    narrow = [a.to(dtype) for a in (x, weight, bias)]
    assert torch.equal(transposed(*narrow, 2), transposed(*[a.float() for a in narrow], 2).to(dtype))


@pytest.mark.parametrize("case", CASES[1:3] + CASES[4:], ids=str)
def test_gradcheck_and_gradgradcheck(case):
    inputs, steps = problem((1, 2, [min(s, 4) for s in case[2]], *case[3:]), torch.float64)
    inputs = [torch.randn_like(a).requires_grad_() for a in inputs]
    assert torch.autograd.gradcheck(lambda *a: transposed(*a, *steps), inputs)
    assert torch.autograd.gradgradcheck(lambda *a: transposed(*a, *steps), inputs)


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_functional_transforms_and_autocast(case):
    (x, weight, bias), steps = problem(case, torch.float64)
    args = x.detach(), weight.detach(), bias.detach()

    def slope(f):
        return torch.func.grad(lambda *a: f(*a, *steps).sin().sum(), (0, 1, 2))

    torch.testing.assert_close(slope(transposed)(*args), slope(stock)(*args))
    many = tuple(torch.stack([a, -a]) for a in args)
    for dims in itertools.product((None, 0), repeat=3):
        if any(d is not None for d in dims):
            mapped = [a if d is None else b for a, b, d in zip(args, many, dims, strict=True)]
            results = [torch.func.vmap(slope(f), dims)(*mapped) for f in (transposed, stock)]
            torch.testing.assert_close(*results)
    with torch.autocast("cpu"):
        narrow = [f(*(a.float() for a in args), *steps).dtype for f in (transposed, stock)]
    assert narrow[0] == narrow[1] == torch.bfloat16


@warnings_of_pytorch
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_compile_and_export(case):
    (x, weight, bias), steps = problem(case, torch.float64)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = torch.nn.Parameter(weight.detach()), torch.nn.Parameter(bias.detach())

        def forward(self, x):
            return transposed(x, self.weight, self.bias, *steps)

    model, many = Model(), torch.cat([x.detach()] * 3)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for a in (torch.cat([many, many]), many):
        grads = [torch.autograd.grad(f(a).sin().sum(), list(model.parameters())) for f in (model, compiled)]
        torch.testing.assert_close(*grads)
    program = torch.export.export(model, (many,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert "depthwise.conv_input_grad" in str(program.graph)
    torch.testing.assert_close(program.module()(torch.cat([many, many])), model(torch.cat([many, many])))


@pytest.mark.parametrize("case", [CASES[1], CASES[4], CASES[6]], ids=str)
def test_flops_are_those_of_pytorch(case):
    counts = []
    for f in (transposed, stock):
        inputs, steps = problem(case)
        with flop_counter.FlopCounterMode(display=False) as counter:
            f(*inputs, *steps).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


ODD = [  # the last: an output padding beyond the stride, which PyTorch takes below the dilation
    {"stride": 0},
    {"stride": (1, 2, 3, 4)},
    {"stride": 2**31},
    {"padding": -1},
    {"padding": "same"},
    {"padding": 40},
    {"output_padding": 1},
    {"output_padding": -1},
    {"dilation": 0},
    {"dilation": 2**31},
    {"bias": torch.zeros(5)},
    {"bias": torch.zeros(4).double()},
    {"x": torch.zeros(1, 5, 9)},
    {"x": torch.zeros(0, 4, 9)},
    {"x": torch.zeros(4)},
    {"x": None},
    {"weight": torch.zeros(4, 3)},
    {"weight": torch.zeros(4, 1, 3).double()},
    {"weight": torch.zeros(2, 2, 3)},
    {"weight": torch.zeros(4, 0, 3)},
    {"output_padding": 1, "dilation": 2},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_odd_arguments_end_as_in_pytorch(odd):
    values = {"x": torch.ones(1, 4, 9), "weight": torch.ones(4, 1, 3), "bias": None}
    values |= {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1} | odd
    x, weight, bias, stride, padding, output_padding, dilation = values.values()
    groups = x.shape[-2] if isinstance(x, torch.Tensor) and x.dim() > 1 else 1
    before = ran()
    expected = outcome(F.conv_transpose1d, x, weight, bias, stride, padding, output_padding, groups, dilation)
    actual = outcome(depthwise.torch.conv_transpose1d, *values.values())
    assert ran() == before
    if isinstance(expected, tuple):
        assert actual == expected
    else:
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


class Wrapped(torch.Tensor):
    calls = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.calls += func is depthwise.torch.conv_transpose1d
        return super().__torch_function__(func, types, args, kwargs or {})


def test_subclasses_see_the_call():
    x = integers(1, 4, 6).as_subclass(Wrapped)
    y = depthwise.torch.conv_transpose1d(x, integers(4, 1, 3))
    assert type(y) is Wrapped
    assert Wrapped.calls == 1
