"""``depthwise.torch.causal_conv1d_fn`` against its definition."""

import random

import pytest

import depthwise
from causal_helpers import DTYPES, LAYOUTS, WIDTHS, lay, numbers, reference, torch, whole_numbers
from torch_helpers import internals, operators, ran

causal_conv1d_fn = depthwise.torch.causal_conv1d_fn


@pytest.fixture
def seen(monkeypatch):
    """The inputs that the engine reads, problem by problem."""
    calls = []
    run = operators._run

    def spy(kind, g, x, *rest):
        calls.append(x)
        return run(kind, g, x, *rest)

    monkeypatch.setattr(operators, "_run", spy)
    return calls


def sequences(batch, length, generator):
    """Numbers of sequences of random lengths, a padded stretch among them."""
    starts = torch.randint(0, 3, (batch, length), generator=generator) == 0
    seq_idx = starts.cumsum(1)
    seq_idx[seq_idx == 2] = -1
    return seq_idx.to(torch.int32)


@pytest.mark.parametrize("width", [1, 2, 4, 7])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("given", ["nothing", "bias", "seq_idx", "initial_states"])
@pytest.mark.parametrize("graph", [False, True], ids=["no_grad", "graph"])
def test_values_are_those_of_the_definition(width, layout, dtype, given, graph):
    torch.manual_seed(width)
    batch, dim, length = 2, 5, 11
    x, weight = whole_numbers(batch, dim, length, dtype=dtype, layout=layout), whole_numbers(dim, width, dtype=dtype)
    options = {
        "bias": whole_numbers(dim, dtype=dtype),
        "seq_idx": sequences(batch, length, None),
        "initial_states": whole_numbers(batch, dim, width - 1, dtype=dtype),
    }
    options = {name: a for name, a in options.items() if name == given}
    y = causal_conv1d_fn(x, weight.requires_grad_(graph), **options)
    assert y.dtype == dtype
    assert y.stride()[1:] == x.stride()[1:]
    assert torch.equal(y.double(), reference(x, weight, **options))


@pytest.mark.parametrize("activation", ["silu", "swish"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("given", ["nothing", "seq_idx", "initial_states"])
@pytest.mark.parametrize("graph", [False, True], ids=["no_grad", "graph"])
def test_the_activation_is_applied_to_the_sum_and_rounded_once(activation, dtype, given, graph):
    torch.manual_seed(0)
    x, weight, bias = (whole_numbers(*shape, dtype=dtype) for shape in [(2, 6, 40), (6, 4), (6,)])
    options = {"seq_idx": sequences(2, 40, None), "initial_states": whole_numbers(2, 6, 3, dtype=dtype)}
    options = {name: a for name, a in options.items() if name == given}
    y = causal_conv1d_fn(x, weight.requires_grad_(graph), bias, activation=activation, **options)
    exact = reference(x, weight, bias, activation=activation, **options)
    half_units = 1 if dtype in (torch.float16, torch.bfloat16) else 4  # the engine's silu is good to two units
    bound = half_units * torch.finfo(dtype).eps / 2 * exact.abs() + torch.finfo(dtype).smallest_normal
    assert bool(((y.double() - exact).abs() <= 1.01 * bound).all())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", [None, "silu"])
def test_a_sequence_in_pieces_has_the_bits_of_one_call(width, layout, dtype, activation):
    torch.manual_seed(width)
    dim, length = random.Random(width).choice([3, 16, 37]), 61
    x, weight = numbers(2, dim, length, dtype=dtype, layout=layout), numbers(dim, width, dtype=dtype)
    bias = numbers(dim, dtype=dtype)
    whole = causal_conv1d_fn(x, weight, bias, activation=activation)
    for seed in range(4):
        cuts = sorted(random.Random(seed).sample(range(length + 1), 1 + 5 * seed))  # empty pieces among them
        states, pieces = None, []
        for piece in x.tensor_split(cuts, 2):
            y, states = causal_conv1d_fn(
                piece, weight, bias, initial_states=states, return_final_states=True, activation=activation
            )
            pieces.append(y)
        assert torch.equal(torch.cat(pieces, 2), whole)
        assert torch.equal(states, x[..., length - width + 1 :])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("graph", [False, True], ids=["no_grad", "graph"])
def test_sequences_of_a_row_have_the_bits_of_calls_of_their_own(layout, graph):
    torch.manual_seed(0)
    x, weight = numbers(3, 7, 50, dtype=torch.float32, layout=layout), numbers(7, 4, dtype=torch.float32)
    seq_idx = sequences(3, 50, None)
    y = causal_conv1d_fn(x, weight.requires_grad_(graph), seq_idx=seq_idx, activation="silu")
    for n in range(3):
        _, lengths = torch.unique_consecutive(seq_idx[n], return_counts=True)
        end = 0
        for length in lengths.tolist():
            here = slice(end, end + length)
            alone = causal_conv1d_fn(x[n : n + 1, :, here], weight, activation="silu")[0]
            assert torch.equal(y[n, :, here], torch.zeros_like(alone) if seq_idx[n, end] < 0 else alone)
            end += length


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_nothing_that_is_not_finite_leaks_into_another_sequence(poison):
    seq_idx = torch.tensor([[0] * 5 + [1] * 4 + [-1] * 2 + [2] * 5])
    x, weight = torch.ones(1, 3, 16), torch.ones(3, 4).requires_grad_()
    clean = causal_conv1d_fn(x, weight, seq_idx=seq_idx)
    x[0, :, 5:11] = poison
    for y in (causal_conv1d_fn(x, weight, seq_idx=seq_idx), causal_conv1d_fn(x, weight.detach(), seq_idx=seq_idx)):
        others = (seq_idx[0] != 1).nonzero()[:, 0]
        assert torch.equal(y[..., others], clean[..., others])
        assert not y[0, :, 5:9].isfinite().any()
    x = x.requires_grad_()
    causal_conv1d_fn(x, weight, seq_idx=seq_idx)[..., seq_idx[0] != 1].sum().backward()
    assert x.grad[..., seq_idx[0] != 1].isfinite().all()
    assert torch.equal(x.grad[..., 9:11], torch.zeros(1, 3, 2))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("length", [1, 2, 3, 9])
@pytest.mark.parametrize("initial", [False, True])
def test_final_states_are_the_last_of_what_came(layout, length, initial):
    torch.manual_seed(0)
    x = numbers(2, 3, length, dtype=torch.float32, layout=layout)
    before = numbers(2, 3, 3, dtype=torch.float32) if initial else torch.zeros(2, 3, 3)
    options = {"initial_states": before} if initial else {}
    _, states = causal_conv1d_fn(x, torch.ones(3, 4), return_final_states=True, **options)
    assert torch.equal(states, torch.cat([before, x], 2)[..., -3:])
    assert states.stride(1) == 1  # as the package lays them
    kept = states.clone()
    x.zero_()
    assert torch.equal(states, kept)


def test_final_states_are_written_to_final_states_out_which_may_be_the_initial_ones():
    x, weight = torch.randn(2, 3, 7), torch.randn(3, 4)
    states = torch.randn(2, 3, 3)
    expected = causal_conv1d_fn(x, weight, initial_states=states.clone())
    y, final = causal_conv1d_fn(x, weight, None, None, states, True, states)
    assert final is states
    assert torch.equal(final, x[..., -3:])
    assert torch.equal(y, expected)
    untouched = torch.full((2, 3, 3), 5.0)
    assert isinstance(causal_conv1d_fn(x, weight, final_states_out=untouched), torch.Tensor)
    assert torch.equal(untouched, torch.full((2, 3, 3), 5.0))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("activation", "width"), [("silu", 1), (None, 2), ("silu", 4)])
@pytest.mark.parametrize("given", ["nothing", "seq_idx", "initial_states"])
def test_gradients(layout, activation, width, given):
    torch.manual_seed(0)
    seq_idx = torch.tensor([[0, 0, 1, 1, 1, -1], [3, 3, 3, 3, 4, 4]]) if given == "seq_idx" else None
    shapes = [(2, 3, 6), (3, width), (3,), *([(2, 3, width - 1)] if given == "initial_states" else [])]
    inputs = [lay(torch.randn(s).double(), layout) if len(s) == 3 else torch.randn(s).double() for s in shapes]

    def f(x, weight, bias, initial=None):
        return causal_conv1d_fn(x, weight, bias, seq_idx, initial, given != "seq_idx", None, activation)

    inputs = [a.requires_grad_() for a in inputs]
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs, fast_mode=True)


def test_the_usual_call_is_one_problem_that_reads_x_where_it_lies(seen):
    mixed = torch.randn(2, 9, 20).transpose(1, 2)  # (n, l, c) memory, as a linear layer leaves it
    x, _ = mixed.chunk(2, 1)
    with torch.no_grad():
        causal_conv1d_fn(x, torch.randn(10, 4), torch.randn(10), activation="silu")
    assert [a.data_ptr() for a in seen] == [x.data_ptr()]
    assert seen[0].stride() == x.stride()


@pytest.mark.skipif(not internals.IN_DISPATCHER, reason="without private names it is made of functions, which copy")
def test_with_initial_states_x_is_read_where_it_lies_but_for_its_beginning(seen):
    x = torch.randn(2, 50, 10).transpose(1, 2)
    with torch.no_grad():
        causal_conv1d_fn(x, torch.randn(10, 4), initial_states=torch.randn(2, 10, 3), activation="silu")
    beginning, rest = seen
    assert beginning.shape == (2, 10, 6)
    assert rest.data_ptr() == x.data_ptr()
    assert rest.shape == x.shape


def test_dtypes_may_be_mixed_and_the_result_has_that_of_x():
    torch.manual_seed(0)
    x = numbers(1, 8, 30, dtype=torch.bfloat16)
    weight, bias = torch.randn(8, 4), torch.randn(8)
    y = causal_conv1d_fn(x, weight, bias)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, causal_conv1d_fn(x.float(), weight, bias).bfloat16())
    x.requires_grad_()
    weight.requires_grad_()
    bias.requires_grad_()
    causal_conv1d_fn(x, weight, bias, activation="silu").sum().backward()
    assert [a.grad.dtype for a in (x, weight, bias)] == [torch.bfloat16, torch.float32, torch.float32]


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0), (2, 0, 5)])
def test_empty_input(shape):
    weight, bias = torch.ones(shape[1], 4, requires_grad=True), torch.ones(shape[1], requires_grad=True)
    y, states = causal_conv1d_fn(torch.ones(shape), weight, bias, return_final_states=True)
    assert y.shape == shape
    assert states.shape == (*shape[:2], 3)
    y.sum().backward()  # as that of a convolution of nothing
    assert not weight.grad.any()
    assert not bias.grad.any()


def test_other_devices_are_computed_by_pytorch():
    runs = ran()
    x, weight = torch.ones(2, 3, 5, device="meta"), torch.ones(3, 4, device="meta", dtype=torch.float64)
    y, states = causal_conv1d_fn(x, weight, initial_states=x[..., :3], return_final_states=True, activation="silu")
    assert (y.shape, y.dtype, y.device.type, states.shape) == (x.shape, x.dtype, "meta", (2, 3, 3))
    assert ran() == runs


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # PyTorch's own, on the way to jvp
@pytest.mark.parametrize("given", ["nothing", "seq_idx", "initial_states"])
def test_forward_mode(given):
    x, tangent, weight = torch.randn(2, 3, 6).double(), torch.randn(2, 3, 6).double(), torch.randn(3, 4).double()
    options = {"seq_idx": sequences(2, 6, None), "initial_states": torch.randn(2, 3, 3).double()}
    options = {name: a for name, a in options.items() if name == given}

    def f(x):
        return causal_conv1d_fn(x, weight, activation="silu", **options)

    _, forward = torch.func.jvp(f, (x,), (tangent,))
    _, backward = torch.autograd.functional.jvp(f, x, tangent)
    torch.testing.assert_close(forward, backward)


def test_vmap():
    x, weight = torch.randn(3, 2, 4, 9), torch.randn(4, 3)
    states = torch.randn(3, 2, 4, 2)

    def f(x, states):
        return causal_conv1d_fn(x, weight, initial_states=states)

    each = torch.stack([f(a, b) for a, b in zip(x, states, strict=True)])
    assert torch.equal(torch.func.vmap(f)(x, states), each)


@pytest.mark.parametrize("given", ["nothing", "seq_idx", "initial_states"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_compiled_in_one_graph_it_has_the_bits_of_eager(given, layout):
    torch.manual_seed(0)
    x, weight = numbers(2, 5, 12, dtype=torch.float32, layout=layout), torch.randn(5, 4)
    options = {"seq_idx": sequences(2, 12, None), "initial_states": torch.randn(2, 5, 3)}
    options = {name: a for name, a in options.items() if name == given}

    activation = "silu" if internals.IN_DISPATCHER else None  # else PyTorch's own, to which rounded sums are handed

    def f(x, weight, options):
        return causal_conv1d_fn(x, weight, activation=activation, **options)

    with torch.no_grad():
        compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(x, weight, options), f(x, weight, options))


@pytest.mark.parametrize("given", ["seq_idx", "initial_states"])
def test_opcheck(given):
    x, weight, states = torch.randn(2, 5, 12).mT.contiguous().mT, torch.randn(5, 4), torch.randn(2, 5, 3)
    seq_idx = sequences(2, 12, None)
    options = (seq_idx, None) if given == "seq_idx" else (None, states)
    torch.library.opcheck(torch.ops.depthwise.causal_conv1d.default, (x, weight, None, *options, "silu"))


X, W, B = torch.ones(2, 3, 5), torch.ones(3, 4), torch.ones(3)
STATES, SEQUENCES = torch.ones(2, 3, 3), torch.zeros(2, 5, dtype=torch.int32)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"x": X.numpy()}, TypeError, "x must be a tensor, got ndarray"),
        ({"weight": None}, TypeError, "weight must be a tensor, got NoneType"),
        ({"bias": 1.0}, TypeError, "bias must be a tensor, got float"),
        ({"x": X[0]}, ValueError, r"x must be \(batch, dim, seqlen\), weight \(dim, width\), got \(3, 5\) and"),
        ({"weight": W[:, None]}, ValueError, r"got \(2, 3, 5\) and \(3, 1, 4\)"),
        ({"weight": W[:2]}, ValueError, r"got \(2, 3, 5\) and \(2, 4\)"),
        ({"weight": W[:, :0]}, ValueError, r"got \(2, 3, 5\) and \(3, 0\)"),
        ({"bias": B[:2]}, ValueError, r"bias must have shape \(3,\)"),
        ({"initial_states": STATES[..., :2]}, ValueError, r"initial_states must have shape \(2, 3, 3\)"),
        ({"final_states_out": STATES[:1]}, ValueError, r"final_states_out must have shape \(2, 3, 3\)"),
        ({"initial_states": STATES.double()}, TypeError, "initial_states must have x's dtype torch.float32, got"),
        ({"seq_idx": SEQUENCES[:, :4]}, ValueError, r"seq_idx must have shape \(2, 5\)"),
        ({"seq_idx": SEQUENCES.float()}, TypeError, "seq_idx must be of an integer dtype, got torch.float32"),
        ({"seq_idx": SEQUENCES, "initial_states": STATES}, ValueError, "seq_idx excludes"),
        ({"seq_idx": SEQUENCES, "return_final_states": True}, ValueError, "seq_idx excludes"),
        ({"x": X.int()}, TypeError, "x must be of a floating-point dtype, got torch.int32"),
        ({"activation": "tanh"}, ValueError, "activation must be None"),
    ],
)
def test_errors(arguments, error, words):
    with pytest.raises(error, match=words):
        causal_conv1d_fn(**{"x": X, "weight": W} | arguments)


def test_the_signature_is_the_packages():
    names = "x weight bias seq_idx initial_states return_final_states final_states_out activation"
    code = causal_conv1d_fn.__code__
    assert code.co_varnames[: code.co_argcount] == tuple(names.split())
