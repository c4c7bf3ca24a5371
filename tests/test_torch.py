"""depthwise.torch beside PyTorch's own convolution: values, gradients, errors, and every way to call an operator."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

import depthwise
from depthwise import _core
from helpers import WITHOUT_PRIVATE_NAMES, in_turn
from torch_helpers import CASES, DTYPES, LAYOUTS, F, conv2d, integers, internals, outcome, problem, ran, stock, torch


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_gradients_and_memory_are_those_of_pytorch(case, layout, dtype):
    inputs, steps = problem(case, dtype, layout)
    exact = [a.detach().double().requires_grad_() for a in inputs]
    before = ran()
    y, expected = conv2d(*inputs, *steps), stock(*exact, *steps)
    assert ran() == before + 1
    assert y.dtype == dtype
    assert y.stride() == expected.stride()
    torch.testing.assert_close(y, expected.to(dtype), rtol=0, atol=0)
    gy = integers(*y.shape, dtype=dtype, layout=layout)
    grads = torch.autograd.grad(y, inputs, gy)
    assert ran() >= before + 3
    for a, g, e in zip(inputs, grads, torch.autograd.grad(expected, exact, gy.double()), strict=True):
        assert (g.dtype, g.shape) == (a.dtype, a.shape)
        torch.testing.assert_close(g, e.to(dtype), rtol=0, atol=0)


SHAPES = [
    (2, 3, 5, 6),
    (1, 3, 5, 6),
    (2, 1, 5, 6),
    (1, 1, 5, 6),
    (2, 3, 1, 1),
    (1, 1, 1, 1),
    (2, 3, 1, 6),
    (2, 3, 5, 1),
]


def laid(shape):
    """Tensors of a shape in every kind of memory."""
    a = torch.randn(shape)
    n, c, h, w = shape
    part = torch.randn(n, c + 2, h + 1, w + 3).to(memory_format=torch.channels_last)[:, 1:-1, 1:, 3:]
    return [a, a.to(memory_format=torch.channels_last), part, a[:1, :1].expand(shape), a.permute(3, 2, 1, 0).clone().T]


@pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_lie_in_memory_as_those_of_pytorch(shape, dtype):
    c = shape[1]
    weights = [torch.randn(c, 1, 3, 3), torch.randn(c, 1, 3, 3).to(memory_format=torch.channels_last)]
    for x, weight in itertools.product(laid(shape), weights):
        x, weight = x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()
        y, expected = conv2d(x, weight, padding=1), stock(x, weight, padding=1)
        gy = torch.randn_like(y)
        grads = torch.autograd.grad(y, (x, weight), gy), torch.autograd.grad(expected, (x, weight), gy)
        for a, e in zip((y, *grads[0]), (expected, *grads[1]), strict=True):
            for layout in LAYOUTS:
                assert a.is_contiguous(memory_format=layout) == e.is_contiguous(memory_format=layout)
        # Which strides sizes of one have differs between PyTorch's own kernels where a plane is one pixel.
        if shape[2:] != (1, 1) or dtype is torch.float32:
            assert (y.stride(), grads[0][0].stride()) == (expected.stride(), grads[1][0].stride())
        with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = conv2d(mode.from_tensor(x.detach()), mode.from_tensor(weight.detach()), padding=1)
        assert (fake.shape, fake.stride()) == (y.shape, y.stride())


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_activations_are_read_in_place(layout):
    inputs, steps = problem(CASES[0], layout=layout)
    x = inputs[0].detach()
    big = torch.full((2, 5, 20, 24), float("nan"))
    view = big[:, 1:4, 2:11, 3:14]
    view.copy_(x)
    torch.testing.assert_close(conv2d(view, *inputs[1:], *steps), stock(*inputs, *steps), rtol=0, atol=0)


def test_an_image_without_a_batch():
    x, weight = integers(4, 9, 9), integers(4, 1, 3, 3)
    torch.testing.assert_close(conv2d(x, weight, padding=1), stock(x, weight, padding=1), rtol=0, atol=0)


ODD = [  # arguments that PyTorch refuses or reads in a way of its own
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": 0}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": -1}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": (1, 2, 3)}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": 1.5}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": True}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": (1, True)}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": -1}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": "full"}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": "same", "stride": 2}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"dilation": 0}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": (2,)}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": 2**31}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": (1, 2**40)}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": 2**63}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": 2**31}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": 2**31, "stride": 2**31}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": 2**62}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"dilation": 2**31}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"dilation": 2**31, "padding": "same"}),
    ((1, 4, 9, 9), (4, 1, 1, 1), {"dilation": 2**40}),
    ((1, 4, 2, 2), (4, 1, 3, 3), {}),
    ((1, 4, 9, 9), (6, 1, 3, 3), {}),
    ((1, 4, 9, 9), (4, 2, 3, 3), {}),
    ((1, 4, 9, 9), (4, 3, 3), {}),
    ((4, 9), (4, 1, 3, 3), {}),
    ((0, 4, 9, 9), (4, 1, 3, 3), {}),
    ((1, 0, 9, 9), (0, 1, 3, 3), {}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"bias": torch.zeros(3)}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"bias": torch.zeros(4, dtype=torch.float64)}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"bias": "no"}),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("shape", "weight_shape", "options"), ODD, ids=str)
def test_odd_arguments_end_as_in_pytorch(shape, weight_shape, options):
    if "1099511627776" in str(options) and torch.__version__.startswith("2.6."):
        pytest.skip("PyTorch 2.6's own convolution ends the process, dividing by 2**40 cut to 32 bits")
    steps = {"bias": None, "stride": 1, "padding": 0, "dilation": 1} | options
    arguments = torch.ones(shape), torch.ones(weight_shape), *steps.values()
    expected = outcome(F.conv2d, *arguments, shape[-3] if len(shape) > 2 else 1)
    actual = outcome(conv2d, *arguments)
    if isinstance(expected, tuple):
        assert actual == expected
    else:
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    "odd", [torch.ones(4, 1, 3, 3).double(), torch.ones(4, 1, 3, 3).to_sparse(), None, "W"], ids=str
)
def test_odd_tensors_end_as_in_pytorch(odd, autocast):
    x, weight = torch.ones(1, 4, 9, 9), torch.ones(4, 1, 3, 3)
    with torch.autocast("cpu", enabled=autocast):
        for arguments, groups in [((x, odd), 4), ((odd, weight), 1)]:
            rest = None, 1, 0, 1
            expected, actual = outcome(F.conv2d, *arguments, *rest, groups), outcome(conv2d, *arguments, *rest)
            if isinstance(expected, tuple):
                assert actual[0] is expected[0]
                assert actual[1].splitlines()[0] == expected[1].splitlines()[0]
            else:
                torch.testing.assert_close(actual, expected)


def test_what_the_engine_does_not_take_is_computed_by_pytorch():
    x, weight = torch.ones(1, 2, 5, 5, dtype=torch.complex64), torch.ones(2, 1, 3, 3, dtype=torch.complex64)
    before = ran()
    torch.testing.assert_close(conv2d(x, weight), stock(x, weight))
    integer = torch.ones(1, 2, 5, 5, dtype=torch.int64), torch.ones(2, 1, 3, 3, dtype=torch.int64)
    torch.testing.assert_close(conv2d(*integer), stock(*integer))
    meta = conv2d(torch.ones(1, 2, 5, 5, device="meta"), torch.ones(2, 1, 3, 3, device="meta"))
    assert (meta.shape, meta.device.type) == ((1, 2, 3, 3), "meta")
    assert ran() == before


class Wrapped(torch.Tensor):
    calls = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.calls += func is conv2d
        return super().__torch_function__(func, types, args, kwargs or {})


def test_subclasses_see_the_call():
    x = integers(1, 4, 6, 6).as_subclass(Wrapped)
    y = conv2d(x, integers(4, 1, 3, 3))
    assert type(y) is Wrapped
    assert Wrapped.calls == 1


# Chainer's function.


def test_chainers_function_takes_tensors():
    x, W, b = integers(2, 3, 8, 8), integers(2, 3, 3, 3), integers(6)
    for a in (x, W, b):
        a.requires_grad_()
    y = depthwise.depthwise_convolution_2d(x, W, b, 2, 1)
    variables = [depthwise.Variable(a.detach().numpy()) for a in (x, W, b)]
    expected = depthwise.depthwise_convolution_2d(*variables, 2, 1)
    assert y.detach().numpy().tobytes() == expected.array.tobytes()
    y.square().sum().backward()
    depthwise.functions.sum(expected * expected).backward()
    for a, v in zip((x, W, b), variables, strict=True):
        assert a.grad.numpy().tobytes() == v.grad.tobytes()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"W": torch.ones(1, 2, 3, 3)}, ValueError, "channel"),
        ({"W": 3}, TypeError, "W must be a tensor"),
        ({"x": torch.ones(1, 3, 8, 8, dtype=torch.int32)}, TypeError, "x must be float16"),
        ({"b": torch.ones(4)}, ValueError, "b must have shape"),
        ({"b": torch.ones(3).double()}, TypeError, "b must have x's dtype"),
        ({"stride": 0}, ValueError, "stride"),
        ({"pad": -1}, ValueError, "pad"),
    ],
)
def test_chainers_function_errors(change, error, words):
    arguments = {"x": torch.ones(1, 3, 8, 8), "W": torch.ones(1, 3, 3, 3), "b": torch.ones(3)} | change
    with pytest.raises(error, match=words):
        depthwise.depthwise_convolution_2d(**arguments)


# As PyTorch's own operators are.


def doubles(case):
    inputs, steps = problem(case, torch.float64)
    return [torch.randn_like(a).requires_grad_() for a in inputs], steps


@pytest.mark.parametrize(("case", "kind"), in_turn(CASES[:3], list(itertools.product(DTYPES[2:], LAYOUTS))), ids=str)
def test_opcheck(case, kind):
    dtype, layout = kind
    (x, weight, bias), _ = problem(case, dtype, layout)
    steps = [2, 1], [1, 0, 2, 1], [1, 2]
    y = torch.ops.depthwise.conv(x, weight, bias, *steps)
    gy = torch.randn_like(y).requires_grad_()
    last = layout is torch.channels_last
    for op, args in [
        (torch.ops.depthwise.conv, (x, weight, bias)),
        (torch.ops.depthwise.conv, (x, weight, None)),
        (torch.ops.depthwise.conv_input_grad, (gy, weight, x.shape, last, dtype)),
        (torch.ops.depthwise.conv_input_grad, (gy, weight, x.shape, None, dtype)),
        (torch.ops.depthwise.conv_weight_grad, (x, gy, weight.shape[2:], dtype)),
    ]:
        torch.library.opcheck(op, (*args, *steps))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradcheck_and_gradgradcheck(case):
    inputs, steps = doubles((1, 2, 6, 5, *case[4:]))
    if case[5] == (7, 7):
        steps[1] = 3

    def f(*args):
        return conv2d(*args, *steps)

    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # PyTorch's own, on the way to jvp
def test_functional_transforms():
    (x, weight, bias), steps = doubles(CASES[2])
    ours, theirs = (lambda *a, f=f: f(*a, *steps).sin().sum() for f in (conv2d, stock))
    args = x.detach(), weight.detach(), bias.detach()
    close = torch.testing.assert_close
    everything = 0, 1, 2
    close(torch.func.grad(ours, everything)(*args), torch.func.grad(theirs, everything)(*args))
    close(torch.func.hessian(ours, 2)(*args), torch.func.hessian(theirs, 2)(*args))
    tangents = tuple(torch.randn_like(a) for a in args)
    close(torch.func.jvp(ours, args, tangents), torch.func.jvp(theirs, args, tangents))

    def slope(f):
        return lambda *a: torch.func.grad(f)(*a).cos().sum()

    close(torch.func.grad(slope(ours), everything)(*args), torch.func.grad(slope(theirs), everything)(*args))


@pytest.mark.parametrize(
    "in_dims", [d for d in itertools.product((None, 0, 1), repeat=3) if any(i is not None for i in d)]
)
def test_vmap(in_dims):
    (x, weight, bias), steps = doubles(CASES[2])
    mapped = [
        a.detach() if d is None else torch.stack([a.detach() * k for k in (1, 2, -1)], d)
        for a, d in zip((x, weight, bias), in_dims, strict=True)
    ]

    def slope(f):
        return torch.func.grad(lambda *a: f(*a, *steps).sin().sum(), (0, 1, 2))

    for f, g in [(lambda *a: conv2d(*a, *steps), lambda *a: stock(*a, *steps)), (slope(conv2d), slope(stock))]:
        ours = torch.func.vmap(f, in_dims)(*mapped)
        torch.testing.assert_close(ours, torch.func.vmap(g, in_dims)(*mapped))


def test_double_backward_calls_the_engine_once_an_operator():
    (x, weight, bias), steps = doubles((2, 64, 8, 8, *CASES[0][4:]))
    gx, gW = torch.autograd.grad(conv2d(x, weight, bias, *steps).sin().sum(), (x, weight), create_graph=True)
    before = ran()
    torch.autograd.grad(gx.square().sum() + gW.square().sum(), (x, weight))
    assert ran() - before <= 6  # and not a multiple of the 64 channels


def test_autocast_is_bfloat16_as_convolution_is():
    (x, weight, bias), steps = problem(CASES[0])
    with torch.autocast("cpu"):
        y, expected = conv2d(x, weight, bias, *steps), stock(x, weight, bias, *steps)
    assert y.dtype == expected.dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype == weight.grad.dtype == torch.float32


def test_inference_mode_and_checkpoint():
    (x, weight, bias), steps = problem(CASES[0])
    with torch.inference_mode():
        assert conv2d(x, weight, bias, *steps).is_inference()
    y = torch.utils.checkpoint.checkpoint(lambda *a: conv2d(*a, *steps), x, weight, bias, use_reentrant=False)
    stored = torch.autograd.grad(conv2d(x, weight, bias, *steps).sum(), (x, weight, bias))
    torch.testing.assert_close(torch.autograd.grad(y.sum(), (x, weight, bias)), stored)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_bits_for_any_number_of_threads(channels):
    torch.manual_seed(0)
    x, weight = torch.randn(4, channels * 16, 40, 40), torch.randn(channels * 16, 1, 5, 5, requires_grad=True)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            y = conv2d(x.requires_grad_(), weight, padding=2)
            results.append([y, *torch.autograd.grad(y.sin().sum(), (x, weight))])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_without_pytorch_the_message_says_what_to_install():
    code = """
import sys
from pathlib import Path
sys.modules["torch"] = None
try:
    import depthwise.torch
except ModuleNotFoundError as e:
    print(e)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'depthwise[torch]'" in result.stdout


RUNTIMES = """
import sys
from pathlib import Path
for name in sys.argv[1].split():
    __import__(name)
import torch
import depthwise.torch
layer = depthwise.torch.DepthwiseConv2d(64, 64, 3, padding=1)
layer(torch.ones(8, 64, 56, 56)).sum().backward()
torch.ones(500, 500) @ torch.ones(500, 500)
files = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
assert depthwise._core.has_openmp(), "the adapter has not looked it up"
print([f for f in files if "libgomp" in f or "libomp" in f or "libiomp" in f])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("first", ["torch depthwise", "depthwise torch"])
def test_pytorchs_openmp_is_the_only_one(first):
    """With depthwise first PyTorch was moved to the system's runtime."""
    run = subprocess.run([sys.executable, "-c", RUNTIMES, first], check=True, capture_output=True, text=True)
    (runtime,) = ast.literal_eval(run.stdout)
    assert Path(runtime).is_relative_to(Path(torch.__file__).parents[1])


def test_pytorchs_openmp_is_found():
    assert _core.find_openmp(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    assert not _core.find_openmp("no such library")


def test_private_names_are_there():
    assert internals.IN_DISPATCHER is not WITHOUT_PRIVATE_NAMES
    assert (internals.HOOK == "forward") is WITHOUT_PRIVATE_NAMES
