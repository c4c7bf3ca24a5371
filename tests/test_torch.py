"""depthwise.torch beside PyTorch's own convolution: values, gradients, errors, and every way to call an operator."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="depthwise.torch needs PyTorch")

import torch.nn.functional as F  # noqa: E402, N812 - PyTorch's own abbreviation
from torch import nn  # noqa: E402

import depthwise  # noqa: E402
from depthwise.torch import DepthwiseConv2d, conv2d  # noqa: E402

HERE = Path(__file__).parent
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
CASES = [  # n, c_I, h, w, c_M, kernel, stride, padding, dilation
    (2, 3, 9, 11, 1, (3, 3), 1, 1, 1),
    (1, 16, 14, 14, 1, (3, 3), (2, 1), (0, 2), 1),
    (2, 5, 12, 7, 2, (5, 3), 2, (2, 1), (2, 1)),
    (1, 32, 7, 7, 1, (7, 7), 1, "same", 1),
    (1, 4, 10, 10, 3, (4, 2), 1, "same", (1, 3)),
    (3, 8, 6, 8, 1, (1, 5), 1, "valid", 1),
    (1, 1, 8, 8, 2, (3, 3), 1, 1, 1),
]


def integers(*shape, dtype=torch.float32, layout=torch.contiguous_format):
    """Small integers, of which every order of summation makes the same sum."""
    values = torch.randint(-3, 4, shape).to(dtype)
    return values.contiguous(memory_format=layout) if len(shape) == 4 else values


def problem(case, dtype=torch.float32, layout=torch.contiguous_format):
    torch.manual_seed(0)
    n, c, h, w, m, kernel, *steps = case
    x = integers(n, c, h, w, dtype=dtype, layout=layout)
    weight, bias = integers(c * m, 1, *kernel, dtype=dtype), integers(c * m, dtype=dtype)
    return [a.requires_grad_() for a in (x, weight, bias)], steps


def stock(x, weight, bias=None, stride=1, padding=0, dilation=1):
    return F.conv2d(x, weight, bias, stride, padding, dilation, x.shape[-3])


def ran():
    """How many problems the engine has done."""
    return sum(depthwise._core.executions(i) for i, (_, runs) in enumerate(depthwise._core.targets()) if runs)


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
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": -1}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": "full"}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"padding": "same", "stride": 2}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"dilation": 0}),
    ((1, 4, 9, 9), (4, 1, 3, 3), {"stride": (2,)}),
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


def outcome(f, *args):
    try:
        return f(*args)
    except Exception as e:
        return type(e), str(e)


@pytest.mark.parametrize(("shape", "weight_shape", "options"), ODD, ids=str)
def test_odd_arguments_end_as_in_pytorch(shape, weight_shape, options):
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


# The seed's function.


def test_seed_function_takes_tensors():
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
def test_seed_function_errors(change, error, words):
    arguments = {"x": torch.ones(1, 3, 8, 8), "W": torch.ones(1, 3, 3, 3), "b": torch.ones(3)} | change
    with pytest.raises(error, match=words):
        depthwise.depthwise_convolution_2d(**arguments)


# As PyTorch's own operators are.


def doubles(case):
    inputs, steps = problem(case, torch.float64)
    return [torch.randn_like(a).requires_grad_() for a in inputs], steps


def test_opcheck():
    for case, dtype, layout in itertools.product(CASES[:3], DTYPES[2:], LAYOUTS):
        (x, weight, bias), _ = problem(case, dtype, layout)
        steps = [2, 1], [1, 0, 2, 1], [1, 2]
        y = torch.ops.depthwise.conv2d(x, weight, bias, *steps)
        gy = torch.randn_like(y).requires_grad_()
        last = layout is torch.channels_last
        for op, args in [
            (torch.ops.depthwise.conv2d, (x, weight, bias)),
            (torch.ops.depthwise.conv2d, (x, weight, None)),
            (torch.ops.depthwise.conv2d_input_grad, (gy, weight, x.shape, last)),
            (torch.ops.depthwise.conv2d_weight_grad, (x, gy, weight.shape[2:], dtype)),
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


def accelerated(model):
    depthwise.torch.accelerate(model)
    return model


@pytest.mark.filterwarnings("default")  # the compiler's own
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(dynamic):
    model = accelerated(small_network())
    expected = [model(torch.full((n, 3, 16, 16), 0.5)).sum() for n in (2, 3)]
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    for n, e in zip((2, 3), expected, strict=True):
        before = ran()
        loss = compiled(torch.full((n, 3, 16, 16), 0.5)).sum()
        loss.backward()
        assert ran() > before
        torch.testing.assert_close(loss, e)


@pytest.mark.filterwarnings("default")
def test_export():
    model = accelerated(small_network()).eval()
    x = torch.randn(2, 3, 16, 16)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert "depthwise.conv2d" in str(program.graph)
    torch.testing.assert_close(program.module()(x), model(x))
    x = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.filterwarnings("default")
def test_traced_and_symbolic_graphs():
    model = accelerated(small_network()).eval()
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(torch.jit.trace(model, x)(x), model(x))
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), model(x))


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


# Layers and models.


def test_layer_is_the_stock_layer():
    torch.manual_seed(1)
    ours = DepthwiseConv2d(6, 12, (3, 5), 2, (1, 2), 1, padding_mode="circular")
    torch.manual_seed(1)
    theirs = nn.Conv2d(6, 12, (3, 5), 2, (1, 2), 1, groups=6, padding_mode="circular")
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    x = torch.randn(2, 6, 11, 11)
    torch.testing.assert_close(ours(x), theirs(x))
    with pytest.raises(ValueError, match="groups must be in_channels"):
        DepthwiseConv2d(6, groups=3)
    message = outcome(theirs, torch.zeros(1, 5, 11, 11))
    assert outcome(ours, torch.zeros(1, 5, 11, 11)) == message


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [0, 2, (1, 2), "same", "valid"])
def test_padding_modes(mode, padding):
    layer = nn.Conv2d(4, 4, 3, padding=padding, padding_mode=mode, groups=4)
    x = torch.randn(2, 4, 9, 8)
    expected = layer(x)
    before = ran()
    torch.testing.assert_close(accelerated(layer)(x), expected)
    assert ran() == before + 1


def test_accelerate_and_restore():
    model = small_network()
    x = torch.randn(2, 3, 16, 16)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    parameters, keys, classes = list(model.parameters()), list(model.state_dict()), [type(m) for m in model]
    expected, before = model(x), ran()
    assert depthwise.torch.accelerate(model) == (["1", "4", "5"], {})
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert list(model.state_dict()) == keys
    y = model(x)
    assert ran() == before + 3
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    weight = model[1].weight.detach().clone()
    optimizer.step()
    assert not torch.equal(weight, model[1].weight)
    changed, left = depthwise.torch.accelerate(model)
    assert (changed, set(left)) == ([], {"1", "4", "5"})
    assert depthwise.torch.restore(model) == ["1", "4", "5"]
    assert [type(m) for m in model] == classes
    assert depthwise.torch.restore(model) == []
    before = ran()
    model(x)
    assert ran() == before


class Own(nn.Conv2d):
    def forward(self, input):
        return super().forward(input) + 1


class Named(nn.Conv2d):
    pass


def test_layers_of_other_classes():
    assert depthwise.torch.accelerate(Own(4, 4, 3, groups=4)) == ([], {"": "Own has a forward of its own"})
    layer = Named(4, 4, 3, groups=4)
    x = torch.randn(1, 4, 5, 5)
    expected = layer(x)
    accelerated(layer)
    assert isinstance(layer, Named)
    for again in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert isinstance(again, Named)
        assert isinstance(again, DepthwiseConv2d)
        torch.testing.assert_close(again(x), expected)
    depthwise.torch.restore(layer)
    assert type(layer) is Named


def test_hooks_and_parametrizations_are_kept():
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, groups=4))
    seen = []
    layer.register_forward_hook(lambda *_: seen.append("forward"))
    x = torch.randn(2, 4, 6, 6)
    expected = layer(x)
    accelerated(layer)
    torch.testing.assert_close(layer(x), expected)
    layer(x).sum().backward()
    assert seen == ["forward"] * 3
    assert layer.parametrizations.weight.original0.grad is not None
    depthwise.torch.restore(layer)
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Conv2d
    torch.testing.assert_close(layer(x), expected)


def test_copies_pickles_and_files(tmp_path):
    model = accelerated(small_network()).eval()
    x = torch.randn(1, 3, 16, 16)
    torch.save(model, tmp_path / "model.pt")
    for again in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(tmp_path / "model.pt", weights_only=False),
    ):
        assert torch.equal(again(x), model(x))
        assert depthwise.torch.restore(again) == ["1", "4", "5"]
    small_network().load_state_dict(model.state_dict())


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return conv2d(torch.full((1, 16, 64, 64), float(i)), torch.ones(16, 1, 3, 3))[0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_of_a_data_loader_after_fork():
    here = [Images()[i] for i in range(8)]  # the pools of both have run before the fork
    loader = torch.utils.data.DataLoader(Images(), num_workers=2, multiprocessing_context="fork", timeout=60)
    for a, b in zip(loader, here, strict=True):
        assert torch.equal(a[0], b)


def test_distributed_data_parallel_on_gloo(tmp_path):
    code = """
import gc, sys, torch, depthwise.torch
from torch import distributed, nn
rank, place = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method="file://" + place, rank=rank, world_size=2)
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8)).double()
whole = [torch.randn(2, 3, 9, 9).double() for _ in range(2)]
model(torch.cat(whole)).square().mean().backward()
expected = [p.grad.clone() for p in model.parameters()]
model.zero_grad()
assert depthwise.torch.accelerate(model).changed == ["1"]
parallel = nn.parallel.DistributedDataParallel(model)
parallel(whole[rank]).square().mean().backward()
for p, e in zip(model.parameters(), expected):
    torch.testing.assert_close(p.grad, e)
distributed.barrier()
del parallel  # it holds the group, whose threads must end before the interpreter does
gc.collect()
distributed.destroy_process_group()
"""
    commands = [[sys.executable, "-c", code, str(rank), str(tmp_path / "meeting")] for rank in range(2)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True, env=environment) for c in commands]
    errors = [p.communicate(timeout=120)[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], errors


def test_training_matches_stock():
    """In float64, where a different order of summation does not grow into another path."""
    x, labels, losses = torch.randn(8, 3, 16, 16).double(), torch.arange(8) % 4, []
    for prepare in (lambda m: m, accelerated):
        model = prepare(small_network().double())
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        losses.append([])
        for _ in range(10):
            loss = F.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0][0] != losses[0][-1]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=0)


def test_without_pytorch_the_message_says_what_to_install():
    code = """
import sys
sys.modules["torch"] = None
try:
    import depthwise.torch
except ModuleNotFoundError as e:
    print(e)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'depthwise[torch]'" in result.stdout
