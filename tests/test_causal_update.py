"""depthwise.torch.causal_conv1d_update beside its definition, one call over the whole sequence, and PyTorch's tools."""

from __future__ import annotations

import itertools
import random
import sys
from types import ModuleType

import numpy as np
import pytest

from torch_helpers import DTYPES, F, depthwise, integers, ran, torch

from depthwise.torch import causal_conv1d_update, conv1d  # isort: skip - torch_helpers skips where there is no PyTorch
from depthwise.torch.causal_update import _differentiably, _elsewhere  # isort: skip

warnings_of_pytorch = pytest.mark.filterwarnings("ignore")  # what its tools say of themselves


def definition(x, conv_state, weight, bias=None, cache_seqlens=None, conv_state_indices=None):
    """Outputs before an activation and the state after, in float64."""
    x, state, weight = (a.double().numpy() for a in (x, conv_state.clone(), weight))
    bias = np.zeros(weight.shape[0]) if bias is None else bias.double().numpy()
    x3 = x.reshape(*x.shape[:2], -1)
    y, width, length, state_len = np.zeros_like(x3), weight.shape[1], x3.shape[2], state.shape[2]
    for n, new in enumerate(x3):
        row = n if conv_state_indices is None else int(conv_state_indices[n])
        if row < 0:
            continue
        start = state_len if cache_seqlens is None else int(cache_seqlens[n])
        past = [state[row, :, (start + i) % state_len] for i in range(1 - width, 0)]
        line = np.stack([*past, *new.T], 1)
        for t in range(length):
            y[n, :, t] = bias + (weight * line[:, t : t + width]).sum(1)
        if cache_seqlens is None:
            state[row] = np.concatenate([state[row], new], 1)[:, length:]
        else:
            for t in range(length if state_len else 0):
                state[row, :, (start + t) % state_len] = new[:, t]
    return torch.from_numpy(y.reshape(x.shape)), torch.from_numpy(state)


def planar(a):
    return a.contiguous()


def channels_last(a):
    return a.transpose(1, 2).contiguous().transpose(1, 2) if a.dim() == 3 else a.t().contiguous().t()


def part(a):
    """Within NaN on all sides."""
    big = torch.full([n + 3 for n in a.shape], float("nan"), dtype=a.dtype)
    view = big[tuple(slice(1, 1 + n) for n in a.shape)]
    view.copy_(a)
    return view


def spread(a):
    """Every second element."""
    big = torch.full([2 * n + 1 for n in a.shape], 7 if a.dtype in (torch.int32, torch.int64) else torch.nan).to(
        a.dtype
    )
    view = big[tuple(slice(1, 2 * n + 1, 2) for n in a.shape)]
    view.copy_(a)
    return view


def batch_inside(a):
    return a.movedim(0, -1).contiguous().movedim(-1, 0)


LAYOUTS = [planar, channels_last, part, spread, batch_inside]


def around(view):
    """All that lies beside a view in its memory, as bits."""
    everything = view.as_strided((view.untyped_storage().nbytes() // view.element_size(),), (1,), 0).clone()
    mark = torch.zeros_like(everything, dtype=torch.bool)
    mark.as_strided(view.shape, view.stride(), view.storage_offset()).fill_(True)
    return everything[~mark].view(torch.int16)


def assert_step(x, state, weight, bias=None, cache_seqlens=None, conv_state_indices=None):
    """A step gives what the definition says, exactly, and touches nothing beside its state."""
    rest = weight, bias, cache_seqlens, conv_state_indices
    expected, state_after = definition(x, state, *rest)
    inputs = [(a, a.clone()) for a in (x, *rest) if a is not None]
    beside = around(state)
    y = causal_conv1d_update(x, state, weight, bias, None, cache_seqlens, conv_state_indices)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    torch.testing.assert_close(y, expected.to(x.dtype), rtol=0, atol=0)
    torch.testing.assert_close(state, state_after.to(state.dtype), rtol=0, atol=0)
    assert torch.equal(around(state), beside)
    assert all(torch.equal(a, before) for a, before in inputs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 7, 8, 31])
def test_every_width_and_dtype(target, width, dtype):
    torch.manual_seed(0)
    for extra, channels in itertools.product([0, 1, 3], [1, 5, 64, 299]):
        state = integers(2, channels, width - 1 + extra, dtype=dtype)
        weight, bias = integers(channels, width, dtype=dtype), integers(channels, dtype=dtype)
        for layout in (planar, channels_last):
            assert_step(integers(2, channels, dtype=dtype), layout(state), weight, bias)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_states_of_every_layout(target, layout, dtype):
    torch.manual_seed(1)
    for state_len, channels in itertools.product([1, 2, 3, 4, 7], [7, 96]):
        weight = integers(channels, 2, dtype=dtype)
        x = integers(3, channels, dtype=dtype)
        assert_step(x, layout(integers(3, channels, state_len, dtype=dtype)), weight)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_argument_of_every_layout(target, layout):
    torch.manual_seed(2)
    for length in (None, 1, 3):
        x = layout(integers(2, 40, *[] if length is None else [length]))
        assert_step(x, integers(2, 40, 5), layout(integers(40, 4)), spread(integers(40)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [0, 1, 2, 5, 63, 64, 65, 200])
def test_many_new_elements_at_once(target, length, dtype):
    torch.manual_seed(3)
    for state_len, layout in itertools.product([3, 4, 9], (planar, channels_last)):
        x, state = integers(2, 19, length, dtype=dtype), integers(2, 19, state_len, dtype=dtype)
        if length:
            assert_step(layout(x), layout(state), integers(19, 4, dtype=dtype), integers(19, dtype=dtype))
        else:
            before = state.clone()
            assert causal_conv1d_update(x, state, integers(19, 4, dtype=dtype)).shape == x.shape
            assert torch.equal(state, before)
    if not length:
        assert_step(integers(1, 1), integers(1, 1, 1), integers(1, 1))  # for the fixture


@pytest.mark.parametrize("integer", [torch.int32, torch.int64])
@pytest.mark.parametrize("length", [None, 1, 3, 7, 80])
def test_a_state_that_is_a_circle(target, length, integer):
    torch.manual_seed(4)
    for state_len, layout in itertools.product([3, 4, 5, 11], LAYOUTS):
        starts = torch.tensor([0, 1, 2, state_len - 1, state_len, 3 * state_len + 2, -1, 10**9], dtype=integer)
        x = integers(8, 21, *[] if length is None else [length])
        assert_step(x, layout(integers(8, 21, state_len)), integers(21, 4), integers(21), starts)
        assert_step(x, layout(integers(8, 21, state_len)), integers(21, 1), None, spread(starts))


def test_a_circle_without_a_place(target):
    state = integers(2, 5, 0)
    assert_step(integers(2, 5), state, integers(5, 1), None, torch.tensor([3, 4]))


@pytest.mark.parametrize("integer", [torch.int32, torch.int64])
@pytest.mark.parametrize("circle", [False, True])
def test_states_are_found_by_index_and_padding_is_left_out(target, circle, integer):
    torch.manual_seed(5)
    rows = torch.tensor([4, -1, 0, 2, -7], dtype=integer)
    for length, layout in itertools.product([None, 1, 5, 70], LAYOUTS):
        x = integers(5, 33, *[] if length is None else [length]) + 1
        starts = torch.arange(5, dtype=integer) if circle else None
        assert_step(x, layout(integers(6, 33, 4)), integers(33, 4), integers(33), starts, rows)
        assert_step(x, layout(integers(6, 33, 4)), integers(33, 4), None, starts, spread(rows))


@pytest.mark.parametrize("threads", [1, 4])
def test_a_state_named_twice_is_updated_twice_in_order(target, threads):
    torch.manual_seed(6)
    torch.set_num_threads(threads)
    rows = torch.tensor([1, 1, 0, 1])
    try:
        for channels in (3, 20000):
            assert_step(integers(4, channels), integers(2, channels, 3), integers(channels, 4), None, None, rows)
    finally:
        torch.set_num_threads(1)


def test_dtypes_are_mixed(target):
    torch.manual_seed(7)
    for of_x, of_state, of_weight in itertools.product(DTYPES, DTYPES, DTYPES):
        x, weight = integers(2, 30, dtype=of_x), integers(30, 3, dtype=of_weight)
        assert_step(x, integers(2, 30, 3, dtype=of_state), weight, integers(30, dtype=of_weight))


def test_random_steps(target):
    torch.manual_seed(8)
    draw = random.Random(8)
    for _ in range(150):
        batch, channels, width = draw.randint(1, 4), draw.choice([1, 2, 8, 9, 31, 130, 600]), draw.randint(1, 6)
        dtype, length, states = draw.choice(DTYPES), draw.choice([None, 1, 2, 9]), batch + draw.randint(0, 3)
        rows = torch.randint(-1, states, (batch,)) if states > batch else None
        starts = torch.randint(0, 100, (batch,)) if draw.random() < 0.3 else None
        x = integers(batch, channels, *[] if length is None else [length], dtype=dtype)
        state = integers(states, channels, width - 1 + draw.choice([0, 0, 1, 4]), dtype=dtype)
        bias = draw.choice([None, integers(channels, dtype=dtype)])
        weight = draw.choice(LAYOUTS)(integers(channels, width, dtype=dtype))
        assert_step(draw.choice(LAYOUTS)(x), draw.choice(LAYOUTS)(state), weight, bias, starts, rows)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [2, 3, 4, 5, 31])
def test_steps_have_the_bits_of_one_call_over_the_sequence(target, width, dtype):
    torch.manual_seed(9)
    for activation, layout in itertools.product([None, "silu"], [planar, channels_last]):
        x = layout(torch.randn(2, 70, 40, dtype=dtype))
        weight, bias = torch.randn(70, width, dtype=dtype), torch.randn(70, dtype=dtype)
        whole = conv1d(F.pad(x, (width - 1, 0)), weight[:, None], bias, activation=activation)
        state, steps, t = layout(torch.zeros(2, 70, width - 1, dtype=dtype)), [], 0
        for length in (1, 1, 1, 2, 1, 7, 1, 26):
            steps.append(causal_conv1d_update(x[..., t : t + length], state, weight, bias, activation))
            t += length
        assert torch.equal(torch.cat(steps, 2), whole)
        assert torch.equal(state, x[..., 41 - width :])


@pytest.mark.parametrize("name", ["silu", "swish", "relu", "relu6", "hardswish"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_activations_are_applied_to_the_sum_before_it_is_rounded(target, dtype, name):
    torch.manual_seed(10)
    x, state, weight = (4 * torch.randn(*shape, dtype=dtype) for shape in ((2, 50), (2, 50, 3), (50, 3)))
    for length in (None, 1, 2):
        new = x if length is None else x[:, :, None].repeat(1, 1, length)
        sums = definition(new, state, weight)[0]
        function = F.silu if name == "swish" else getattr(F, name)
        y = causal_conv1d_update(new, state.clone(), weight, None, name)
        # Of sums that cancel the error is that of their terms.
        tolerance = {torch.float64: 1e-13, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
        torch.testing.assert_close(y.double(), function(sums), rtol=tolerance, atol=tolerance)
        assert not torch.equal(y.double(), sums)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("state_len", [2, 3, 4, 6])
def test_threads_do_not_change_a_bit(target, state_len, dtype):
    torch.manual_seed(11)
    x, weight = torch.randn(4, 20011, dtype=dtype), torch.randn(20011, 3, dtype=dtype)
    state = torch.randn(4, 20011, state_len, dtype=dtype)
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            after = state.clone()
            results.append((causal_conv1d_update(x, after, weight, None, "silu"), after))
    finally:
        torch.set_num_threads(1)
    for y, after in results[1:]:
        assert torch.equal(y, results[0][0])
        assert torch.equal(after, results[0][1])


def test_inputs_within_the_states_memory(target):
    torch.manual_seed(12)
    for read in (lambda a: a[:, :, 0], lambda a: a[:, :, 4:7], lambda a: a[:, :, 2:4].flip(0)):
        both = integers(3, 24, 8)
        x, state, weight = read(both), both[:, :, :4], integers(24, 3)
        expected, after = definition(x.clone(), state.clone(), weight)
        assert torch.equal(causal_conv1d_update(x, state, weight), expected.float())
        assert torch.equal(state, after.float())
    buffer = integers(24, 9)
    state, weight, bias = buffer[None, :, :4], buffer[:, 2:5], buffer[:, 1]
    expected, after = definition(torch.ones(1, 24), state.clone(), weight.clone(), bias.clone())
    assert torch.equal(causal_conv1d_update(torch.ones(1, 24), state, weight, bias), expected.float())
    assert torch.equal(state, after.float())


GOOD = {
    "x": torch.ones(2, 6),
    "conv_state": torch.ones(2, 6, 3),
    "weight": torch.ones(6, 4),
    "bias": torch.ones(6),
    "activation": "silu",
    "cache_seqlens": torch.zeros(2, dtype=torch.int32),
    "conv_state_indices": torch.tensor([1, 0], dtype=torch.int32),
}
BAD = [
    ({"x": np.ones((2, 6))}, TypeError, "x must be a tensor, got ndarray"),
    ({"conv_state": None}, TypeError, "conv_state must be a tensor, got NoneType"),
    ({"bias": 1.0}, TypeError, "bias must be a tensor, got float"),
    ({"cache_seqlens": [0, 0]}, TypeError, "cache_seqlens must be a tensor, got list"),
    ({"x": torch.ones(2, 6).to_sparse()}, TypeError, "x must be a plain strided tensor"),
    ({"weight": torch.ones(6, 4, dtype=torch.int32)}, TypeError, "weight must be float16, .*, got torch.int32"),
    ({"x": torch.ones(2, 6, dtype=torch.complex64)}, TypeError, "x must be float16, .*, got torch.complex64"),
    ({"cache_seqlens": torch.zeros(2)}, TypeError, "cache_seqlens must be int32 or int64, got torch.float32"),
    ({"conv_state_indices": torch.zeros(2).bool()}, TypeError, "conv_state_indices must be int32 or int64"),
    ({"weight": torch.ones(6, 4, device="meta")}, ValueError, "weight must be on x's device cpu, got meta"),
    ({"x": torch.ones(6)}, ValueError, r"x must be \(batch, dim\) or \(batch, dim, seqlen\), got shape \(6,\)"),
    ({"x": torch.ones(2, 6, 1, 1)}, ValueError, r"x must be .*, got shape \(2, 6, 1, 1\)"),
    ({"weight": torch.ones(6, 1, 4)}, ValueError, r"weight must be \(dim, width\) .*, got shape \(6, 1, 4\)"),
    ({"weight": torch.ones(5, 4)}, ValueError, r"weight must be .* = \(6, at least 1\), got shape \(5, 4\)"),
    ({"weight": torch.ones(6, 0)}, ValueError, r"weight must be .*, got shape \(6, 0\)"),
    ({"weight": torch.ones(6, 5)}, ValueError, r"at least width - 1 = 4\), got shape \(2, 6, 3\)"),
    ({"bias": torch.ones(5)}, ValueError, r"bias must be \(dim,\) = \(6,\), got shape \(5,\)"),
    ({"conv_state": torch.ones(2, 5, 3)}, ValueError, r"conv_state must be .*, got shape \(2, 5, 3\)"),
    ({"conv_state": torch.ones(6, 3)}, ValueError, r"conv_state must be .*, got shape \(6, 3\)"),
    (
        {"conv_state": torch.ones(3, 6, 3), "conv_state_indices": None},
        ValueError,
        r"conv_state must be \(batch, dim, state_len\) = \(2, 6, at least .*, got shape \(3, 6, 3\)",
    ),
    ({"cache_seqlens": torch.tensor(0)}, ValueError, r"cache_seqlens must be \(batch,\) = \(2,\), got shape \(\)"),
    ({"conv_state_indices": torch.tensor([0])}, ValueError, r"conv_state_indices must be .*, got shape \(1,\)"),
    ({"activation": "tanh"}, ValueError, "activation must be None, .*, got 'tanh'"),
    ({"activation": ["silu"]}, TypeError, r"activation must be None, .*, got \['silu'\]"),
    ({"activation": 1}, TypeError, "activation must be None, .*, got 1"),
    ({"conv_state_indices": torch.tensor([0, 2])}, IndexError, "conv_state_indices has 2, .* only 2 states"),
    ({"conv_state": torch.ones(1, 6, 3).expand(2, 6, 3)}, ValueError, "conv_state has elements that share memory"),
    ({"conv_state": torch.ones(2, 6, 1).expand(2, 6, 3)}, ValueError, "conv_state has elements that share memory"),
    ({"conv_state": torch.ones(40).as_strided((2, 6, 3), (20, 2, 1))}, ValueError, "elements that share memory"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=lambda v: str(v)[:40])
def test_errors_are_in_the_callers_words_and_leave_the_state_as_it_was(change, error, words):
    arguments = GOOD | {"conv_state": torch.arange(36.0).reshape(2, 6, 3)} | change
    state = arguments["conv_state"]
    before = None if state is None else state.clone()
    with pytest.raises(error, match=words):
        causal_conv1d_update(**arguments)
    assert before is None or torch.equal(state, before)


def test_tensors_elsewhere_go_to_the_package_or_to_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "causal_conv1d", None)
    assert _elsewhere() is _differentiably
    package = ModuleType("causal_conv1d")
    monkeypatch.setitem(sys.modules, "causal_conv1d", package)
    assert _elsewhere() is _differentiably
    package.causal_conv1d_update = causal_conv1d_update
    assert _elsewhere() is _differentiably
    package.causal_conv1d_update = len
    assert _elsewhere() is len


def example(dtype=torch.float32):
    torch.manual_seed(13)
    shapes = {"x": (2, 24), "conv_state": (2, 24, 4), "weight": (24, 4), "bias": (24,)}
    return {name: torch.randn(*shape, dtype=dtype) for name, shape in shapes.items()}


def test_meta_and_fake_tensors_have_shapes_alone():
    inputs = {name: a.to("meta") for name, a in example().items()}
    y = causal_conv1d_update(**inputs)
    assert (y.shape, y.device.type) == ((2, 24), "meta")
    with torch._subclasses.FakeTensorMode() as mode:
        inputs = {name: mode.from_tensor(a) for name, a in example().items()}
        y = causal_conv1d_update(**inputs)
    assert (y.shape, type(y).__name__) == ((2, 24), "FakeTensor")
    assert causal_conv1d_update(**inputs).shape == (2, 24)  # and without the mode, too


@pytest.mark.parametrize("indexed", [False, True])
def test_the_operator_is_one_that_pytorch_can_rely_on(indexed):
    inputs = [*example().values(), "silu"]
    rest = [torch.tensor([3, 4]), torch.tensor([1, 0])] if indexed else [None, None]
    torch.library.opcheck(torch.ops.depthwise.causal_conv1d_update.default, (*inputs, *rest))


@warnings_of_pytorch
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_compiled_step(dynamic):
    inputs = example()

    def decode(x, conv_state, weight, bias):
        y = causal_conv1d_update(x * 2, conv_state, weight, bias, "silu")
        return y + causal_conv1d_update(y, conv_state, weight, bias)

    expected_state, state = inputs["conv_state"].clone(), inputs["conv_state"]
    with torch.no_grad():
        expected = decode(**inputs | {"conv_state": expected_state})
        before = ran()
        y = torch.compile(decode, fullgraph=True, dynamic=dynamic)(**inputs)
    assert ran() == before + 2
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(state, expected_state)


class Decoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        inputs = example()
        self.weight, self.bias = torch.nn.Parameter(inputs["weight"]), torch.nn.Parameter(inputs["bias"])
        self.register_buffer("conv_state", inputs["conv_state"])

    def forward(self, x):
        return causal_conv1d_update(x, self.conv_state, self.weight, self.bias, "silu")


@warnings_of_pytorch
def test_an_exported_step_updates_its_buffer():
    model, x = Decoder(), example()["x"]
    with torch.no_grad():
        program = torch.export.export(Decoder(), (x,)).module()
        expected = [model(x), model(x)]
        before = ran()
        assert all(torch.equal(program(x), e) for e in expected)
    assert ran() == before + 2
    assert torch.equal(program.conv_state, model.conv_state)


def test_modes_and_tracers_see_the_operator():
    inputs = example()
    seen = []

    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **kwargs or {})

    with Mode():
        causal_conv1d_update(**inputs)
    assert "depthwise.causal_conv1d_update.default" in seen
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda *a: causal_conv1d_update(*a))(*inputs.values())
    assert "causal_conv1d_update" in graph.code


def test_a_subclass_may_take_the_call():
    class Other(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return function.__name__

    inputs = example()
    assert causal_conv1d_update(**inputs | {"x": inputs["x"].as_subclass(Other)}) == "causal_conv1d_update"


def test_an_update_in_place_is_known_to_autograd():
    inputs = example()
    version = inputs["conv_state"]._version
    causal_conv1d_update(**inputs)
    assert inputs["conv_state"]._version == version + 1
    a = torch.ones(2, 24, 4, requires_grad=True)
    product = a * inputs["conv_state"]
    causal_conv1d_update(**inputs)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_inference_mode_takes_its_own_tensors_and_others():
    others = example()
    expected, after = definition(**others)
    with torch.inference_mode():
        own = example()
        for inputs in (own, others, own | {name: torch.nn.Parameter(others[name]) for name in ("weight", "bias")}):
            inputs["conv_state"].copy_(example()["conv_state"])
            torch.testing.assert_close(causal_conv1d_update(**inputs), expected.float())
            assert torch.equal(inputs["conv_state"], after.float())


@pytest.mark.parametrize("activation", [None, "silu", "relu"])
@pytest.mark.parametrize("length", [None, 1, 3])
@pytest.mark.parametrize("placed", ["", "circle", "rows", "both"])
def test_gradients_are_those_of_the_definition(length, activation, placed):
    torch.manual_seed(14)
    x = torch.randn(3, 4, *[] if length is None else [length], dtype=torch.double, requires_grad=True)
    state, weight, bias = (torch.randn(*s, dtype=torch.double, requires_grad=True) for s in ((5, 4, 4), (4, 4), (4,)))
    rest = [None, None]
    if placed in ("circle", "both"):
        rest[0] = torch.tensor([0, 2, 7])
    if placed in ("rows", "both"):
        rest[1] = torch.tensor([4, -1, 0])

    def step(x, state, weight, bias):
        state = (state if rest[1] is not None else state[:3]).clone()
        return causal_conv1d_update(x, state, weight, bias, activation, *rest), state

    assert torch.autograd.gradcheck(step, (x, state, weight, bias))
    with torch.no_grad():
        expected = step(x, state, weight, bias)
    torch.testing.assert_close(step(x, state, weight, bias), expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # PyTorch's own, on the way to jvp
def test_tangents_are_those_of_the_definition():
    inputs = example(torch.double)
    tangents = {name: torch.randn_like(inputs[name]) for name in ("x", "weight", "bias")}

    def step(x, weight, bias):
        return causal_conv1d_update(x, inputs["conv_state"] * 1, weight, bias, "silu")

    values = [inputs[name] for name in tangents]
    y, tangent = torch.func.jvp(step, tuple(values), tuple(tangents.values()))
    small = 1e-6
    moved = [v + small * t for v, t in zip(values, tangents.values(), strict=True)]
    torch.testing.assert_close((step(*moved) - y) / small, tangent, rtol=1e-4, atol=1e-4)


def test_numbers_whose_sign_is_not_in_memory():
    inputs = example()
    for name in ("x", "weight", "bias"):
        negative = torch.complex(torch.zeros_like(inputs[name]), inputs[name]).conj().imag
        assert negative.is_neg()
        state = inputs["conv_state"].clone()
        expected, after = definition(**inputs | {name: negative.clone()})
        torch.testing.assert_close(
            causal_conv1d_update(**inputs | {name: negative, "conv_state": state}), expected.float()
        )
        assert torch.equal(state, after.float())


def test_under_a_graph_an_index_without_a_state_is_refused():
    inputs = example() | {"conv_state_indices": torch.tensor([0, 2])}
    inputs["x"].requires_grad_()
    with pytest.raises(IndexError, match=r"conv_state_indices has 2, .* only 2 states"):
        causal_conv1d_update(**inputs)


def test_the_active_target_runs(target):
    before = ran()
    causal_conv1d_update(**example())
    assert ran() == before + 1
    assert depthwise.targets()
