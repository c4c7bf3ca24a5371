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
from helpers import WITHOUT_PRIVATE_NAMES
from torch_helpers import (
    CASES,
    DTYPES,
    LAYOUTS,
    ONE_OF_EACH,
    F,
    integers,
    internals,
    lies,
    memory,
    ours,
    outcome,
    problem,
    ran,
    stock,
    torch,
)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_gradients_and_memory_are_those_of_pytorch(case, layout, dtype):
    inputs, steps = problem(case, dtype, layout)
    exact = [a.detach().double().requires_grad_() for a in inputs]
    before = ran()
    y, expected = ours(*inputs, *steps), stock(*exact, *steps)
    assert ran() == before + 1
    assert y.dtype == dtype
    assert lies(y, layout)
    if y.dim() == 4:  # PyTorch knows no layouts in one dimension, and not all of its kernels those in three
        assert y.stride() == expected.stride()
    torch.testing.assert_close(y, expected.to(dtype), rtol=0, atol=0)
    gy = integers(*y.shape, dtype=dtype, layout=layout)
    grads = torch.autograd.grad(y, inputs, gy)
    assert lies(grads[0], layout)
    assert ran() >= before + 3
    for a, g, e in zip(inputs, grads, torch.autograd.grad(expected, exact, gy.double()), strict=True):
        assert (g.dtype, g.shape) == (a.dtype, a.shape)
        torch.testing.assert_close(g, e.to(dtype), rtol=0, atol=0)


PLANES = [
    (2, 3, 5, 6),
    (1, 3, 5, 6),
    (2, 1, 5, 6),
    (1, 1, 5, 6),
    (2, 3, 1, 1),
    (1, 1, 1, 1),
    (2, 3, 1, 6),
    (2, 3, 5, 1),
]
VOLUMES = [(2, 3, 4, 5, 6), (2, 1, 4, 5, 6), (1, 3, 1, 1, 1), (2, 3, 1, 5, 1)]
ROWS = [(2, 3, 6), (1, 3, 6), (2, 1, 6), (2, 3, 1)]


def laid(shape):
    """Tensors of a shape in every kind of memory."""
    a = torch.randn(shape)
    n, c, *size = shape
    part = memory(torch.randn(n, c + 2, *[s + 2 for s in size]), "channels_last")[:, 1:-1]
    part = part[(..., *[slice(1, -1)] * len(size))]
    mirrored = a.permute(*range(a.dim())[::-1]).clone().permute(*range(a.dim())[::-1])
    return [a, memory(a, "channels_last"), part, a[:1, :1].expand(shape), mirrored]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", PLANES + VOLUMES, ids=str)
def test_results_lie_in_memory_as_those_of_pytorch(shape, dtype):
    c, axes = shape[1], len(shape) - 2
    layouts = torch.contiguous_format, torch.channels_last if axes == 2 else torch.channels_last_3d
    weights = [torch.randn(c, 1, *[3] * axes).to(memory_format=layout) for layout in layouts]
    for x, weight in itertools.product(laid(shape), weights):
        x, weight = x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()
        y = ours(x, weight, padding=1)
        # In three dimensions PyTorch's kernels for other dtypes know no layouts.
        x_stock, weight_stock = (x.float(), weight.float()) if axes == 3 else (x, weight)
        expected = stock(x_stock, weight_stock, padding=1)
        gy = torch.randn_like(y)
        grads = (
            torch.autograd.grad(y, (x, weight), gy),
            torch.autograd.grad(expected, (x_stock, weight_stock), gy.to(expected.dtype)),
        )
        for a, e in zip((y, *grads[0]), (expected, *grads[1]), strict=True):
            for layout in layouts:
                assert a.is_contiguous(memory_format=layout) == e.is_contiguous(memory_format=layout)
        # Which strides sizes of one have differs between PyTorch's own kernels where a plane is one pixel.
        if set(shape[2:]) != {1} or dtype is torch.float32:
            assert (y.stride(), grads[0][0].stride()) == (expected.stride(), grads[1][0].stride())
        assert_fake_lies_as(y, x, weight)


@pytest.mark.parametrize("shape", ROWS, ids=str)
def test_results_in_one_dimension_lie_in_memory_as_the_input(shape):
    weight = torch.randn(shape[1], 1, 3)
    layouts = ["planar", "channels_last", "channels_last", "planar", "planar"]
    for x, layout in zip(laid(shape), layouts, strict=True):
        y = ours(x, weight, padding=1)
        assert lies(y, layout)
        assert_fake_lies_as(y, x, weight)


def assert_fake_lies_as(y, x, weight):
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = ours(mode.from_tensor(x.detach()), mode.from_tensor(weight.detach()), padding=1)
    assert (fake.shape, fake.stride()) == (y.shape, y.stride())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_inputs_are_read_in_place(case, layout):
    inputs, steps = problem(case, layout=layout)
    x = inputs[0].detach()
    big = memory(torch.full((x.shape[0], x.shape[1] + 2, *[s + 5 for s in x.shape[2:]]), float("nan")), layout)
    view = big[(slice(None), slice(1, -1), *[slice(2, -3)] * (x.dim() - 2))]
    view.copy_(x)
    torch.testing.assert_close(ours(view, *inputs[1:], *steps), stock(*inputs, *steps), rtol=0, atol=0)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_an_image_without_a_batch(axes):
    x, weight = integers(4, *[9] * axes), integers(4, 1, *[3] * axes)
    before = ran()
    torch.testing.assert_close(ours(x, weight, padding=1), stock(x, weight, padding=1), rtol=0, atol=0)
    assert ran() == before + 1


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
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": "causal"}),
]


def of_axes(axes, shape, weight_shape, options):
    """The same in another number of dimensions; what has too few or too many numbers still has."""
    shape = (*shape[:2], *[shape[-1]] * axes) if len(shape) == 4 else shape[:axes]
    weight_shape = (*weight_shape[:2], *[weight_shape[-1]] * axes) if len(weight_shape) == 4 else (4, *[3] * axes)
    options = {k: (*[1] * (axes - 2), *v[-axes:]) if k != "bias" and v in PAIRS else v for k, v in options.items()}
    return shape, weight_shape, options


PAIRS = (1, True), (1, 2**40)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("axes", "odd"),
    [(n, odd) for n in (1, 2, 3) for odd in ODD if (n, odd[2]) != (1, {"padding": "causal"})],
    ids=str,
)
def test_odd_arguments_end_as_in_pytorch(axes, odd):
    shape, weight_shape, options = of_axes(axes, *odd)
    if "1099511627776" in str(options) and torch.__version__.startswith("2.6."):
        pytest.skip("PyTorch 2.6's own convolution ends the process, dividing by 2**40 cut to 32 bits")
    steps = {"bias": None, "stride": 1, "padding": 0, "dilation": 1} | options
    arguments = torch.ones(shape), torch.ones(weight_shape), *steps.values()
    groups = shape[-axes - 1] if len(shape) > axes else 1
    expected = outcome(getattr(F, f"conv{axes}d"), *arguments, groups)
    actual = outcome(getattr(depthwise.torch, f"conv{axes}d"), *arguments)
    if isinstance(expected, tuple):
        assert actual == expected
    else:
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("odd", [True, (True,), 1.0], ids=str)
def test_a_step_that_is_no_int_is_not_taken_for_the_one_that_equals_it(odd):
    """Steps that were found once are kept, and 1 == True == 1.0."""
    x, weight = torch.ones(1, 4, 13), torch.ones(4, 1, 3)
    for transposed in (False, True):
        f = depthwise.torch.conv_transpose1d if transposed else depthwise.torch.conv1d
        outcome(f, x, weight, None, odd)
        before = ran()
        f(x, weight, None, (1,) if isinstance(odd, tuple) else 1)
        assert ran() == before + 1
        if not isinstance(odd, tuple):
            assert outcome(f, x, weight, None, odd)[0] is TypeError


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    "odd", [torch.ones(4, 1, 3, 3).double(), torch.ones(4, 1, 3, 3).to_sparse(), None, "W"], ids=str
)
def test_odd_tensors_end_as_in_pytorch(odd, autocast):
    x, weight = torch.ones(1, 4, 9, 9), torch.ones(4, 1, 3, 3)
    with torch.autocast("cpu", enabled=autocast):
        for arguments, groups in [((x, odd), 4), ((odd, weight), 1)]:
            rest = None, 1, 0, 1
            expected, actual = (
                outcome(F.conv2d, *arguments, *rest, groups),
                outcome(depthwise.torch.conv2d, *arguments, *rest),
            )
            if isinstance(expected, tuple):
                assert actual[0] is expected[0]
                assert actual[1].splitlines()[0] == expected[1].splitlines()[0]
            else:
                torch.testing.assert_close(actual, expected)


def test_what_the_engine_does_not_take_is_computed_by_pytorch():
    x, weight = torch.ones(1, 2, 5, 5, dtype=torch.complex64), torch.ones(2, 1, 3, 3, dtype=torch.complex64)
    before = ran()
    torch.testing.assert_close(ours(x, weight), stock(x, weight))
    integer = torch.ones(1, 2, 5, 5, dtype=torch.int64), torch.ones(2, 1, 3, 3, dtype=torch.int64)
    torch.testing.assert_close(ours(*integer), stock(*integer))
    meta = ours(torch.ones(1, 2, 5, 5, device="meta"), torch.ones(2, 1, 3, 3, device="meta"))
    assert (meta.shape, meta.device.type) == ((1, 2, 3, 3), "meta")
    assert ran() == before


class Wrapped(torch.Tensor):
    calls = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.calls += func is depthwise.torch.conv2d
        return super().__torch_function__(func, types, args, kwargs or {})


def test_subclasses_see_the_call():
    x = integers(1, 4, 6, 6).as_subclass(Wrapped)
    y = ours(x, integers(4, 1, 3, 3))
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


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_bits_for_any_number_of_threads(channels):
    torch.manual_seed(0)
    x, weight = torch.randn(4, channels * 16, 40, 40), torch.randn(channels * 16, 1, 5, 5, requires_grad=True)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            y = ours(x.requires_grad_(), weight, padding=2)
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
