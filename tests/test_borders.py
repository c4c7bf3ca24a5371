"""What lies beside an image: every pass against the zero-padded reference on what numpy.pad makes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import depthwise
from depthwise import functions, gradient_check, ops, reference
from helpers import (
    DTYPES,
    LAYOUTS,
    assert_near,
    assert_same,
    channels_last,
    combinations,
    integers,
    named,
    padded,
    planar,
    with_border,
)

MODES = ["reflect", "symmetric", "edge", "wrap"]
PYTORCH = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def check(rng, n, c, m, size, kernel, mode, layout=planar, dtypes=(np.float32,) * 3, method="direct", **steps):
    """All passes, exactly: what is summed are whole numbers."""
    x_dtype, W_dtype, b_dtype = dtypes
    out = depthwise.output_size(size, kernel, **steps)
    x, gy = layout(integers(rng, (n, c, *size), x_dtype)), layout(integers(rng, (n, c * m, *out), x_dtype))
    W, b = integers(rng, (m, c, *kernel), W_dtype), integers(rng, c * m, b_dtype)
    y, gx, gW, gb = with_border(*(a.astype(float) for a in (x, W, gy, b)), kernel, mode, **steps)
    same = assert_same if method == "direct" else assert_near
    steps |= {"pad_mode": mode, "method": method}
    same(ops.forward(x, W, b, **steps), y)
    same(ops.input_grad(gy, W, size, **steps), gx)
    actual = np.empty(c * m, b_dtype)
    same(ops.weight_grad(x, gy, kernel, bias_out=actual, **steps), gW)
    same(actual, gb)


def spread_channels(a):
    """Pixels of which every second channel counts."""
    big = np.full((a.shape[0], *a.shape[2:], 2 * a.shape[1]), np.nan, a.dtype)
    view = np.moveaxis(big[..., ::2], -1, 1)
    view[...] = a
    return view


CASES = [
    ((9,), (3,), {"pad": 1}),
    ((9,), (4,), {"pad": "causal", "dilate": 2}),
    ((30, 29), (3, 3), {"pad": 1}),
    ((30, 29), (5, 7), {"pad": "same", "stride": 2}),
    ((30, 29), (3, 2), {"pad": ((0, 3), (2, 0)), "dilate": (1, 5)}),
    ((30, 29), (3, 3), {"pad": (0, 1), "stride": (3, 1)}),
    ((30, 29), (1, 1), {"pad": (2, 1), "stride": (2, 3)}),  # windows wholly beside the image
    ((4, 5), (9, 9), {"pad": 4}),  # no window inside
    ((3, 2), (2, 3), {"pad": ((7, 9), (11, 4))}),  # padding that goes round several times
    ((1, 6), (3, 3), {"pad": 2}),
    ((6, 7, 8), (3, 3, 3), {"pad": 1}),
    ((6, 7, 8), (2, 3, 1), {"pad": ((1, 0), (2, 2), (0, 3)), "stride": (1, 2, 1)}),
]


@pytest.mark.parametrize(("mode", "layout", "case"), combinations(MODES, [*LAYOUTS, spread_channels], CASES), ids=named)
def test_passes(target, mode, layout, case):
    size, kernel, steps = case
    for n, c, m in (2, 3, 1), (1, 17, 2):
        check(np.random.default_rng(3), n, c, m, size, kernel, mode, layout, **steps)


@pytest.mark.parametrize("W_dtype", DTYPES)
@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_dtypes(target, x_dtype, W_dtype, layout):
    for mode in MODES:
        check(np.random.default_rng(3), 2, 9, 1, (7, 9), (3, 3), mode, layout, (x_dtype, W_dtype, x_dtype), pad=2)


@slow
@given(
    n=st.integers(1, 3),
    c=st.integers(1, 20),
    m=st.integers(1, 3),
    axes=st.lists(st.tuples(*map(st.integers, (1, 1, 1, 0, 0, 1), (24, 6, 4, 9, 9, 3))), min_size=1, max_size=3),
    layout=st.sampled_from(LAYOUTS),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 99),
)
def test_any_geometry(n, c, m, axes, layout, mode, seed):
    size, kernel, stride, before, behind, dilate = zip(*axes, strict=True)
    steps = {"stride": stride, "pad": tuple(zip(before, behind, strict=True)), "dilate": dilate}
    try:
        depthwise.output_size(size, kernel, **steps)
    except ValueError:
        return
    check(np.random.default_rng(seed), n, c, m, size, kernel, mode, layout, **steps)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["fft", "auto"])
def test_methods(target, method, mode):
    check(np.random.default_rng(3), 2, 5, 1, (40, 37), (17, 15), mode, method=method, pad=(8, 7))
    check(np.random.default_rng(3), 1, 5, 1, (90, 37), (9, 15), mode, channels_last, method=method, pad=(4, 7))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_bits_are_those_of_one_call_on_a_padded_copy(target, layout):
    rng = np.random.default_rng(3)
    for shape, m, kernel, steps in [
        ((2, 19, 14, 14), 1, (3, 3), {}),
        ((1, 203, 44, 26), 1, (7, 9), {"stride": (2, 2)}),
        ((1, 107, 43, 55), 1, (7, 1), {"stride": (3, 3)}),
        ((1, 3, 300, 200), 2, (5, 4), {"stride": (1, 2)}),
        ((1, 3, 300, 200), 1, (7, 7), {"stride": (3, 1), "dilate": 2}),
        ((1, 17, 40, 300), 1, (1, 9), {}),
        ((1, 2, 9, 60, 70), 1, (3, 5, 3), {"stride": (1, 2, 1)}),
        ((2, 6, 900), 1, (4,), {"dilate": 3}),
    ]:
        x, W = layout(rng.normal(size=shape).astype("f")), rng.normal(size=(m, shape[1], *kernel)).astype("f")
        pad = [(2, 5)] * len(kernel)
        for mode in MODES:
            y = ops.forward(x, W, pad=pad, pad_mode=mode, **steps)
            stride, dilate = (np.broadcast_to(steps.get(name, 1), len(kernel)) for name in ("stride", "dilate"))
            met = (np.array(y.shape[2:]) - 1) * stride + dilate * (np.array(kernel) - 1) + 1
            around = np.pad(x, ((0, 0), (0, 0), *pad), mode=mode)[(..., *map(slice, met))]
            np.testing.assert_array_equal(y, ops.forward(layout(around), W, **steps))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_copies_are_made_in_groups(target, layout):
    """Copies of more than 8 MiB: of several images, and of channels of one."""
    rng = np.random.default_rng(3)
    check(rng, 9, 8, 1, (300, 9), (1, 2), "wrap", layout, pad=(0, 200))
    check(rng, 1, 37, 1, (300, 9), (1, 2), "reflect", layout, pad=(0, 300))


@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_rounded_once(target, layout, dtype):
    rng = np.random.default_rng(3)
    x, gy = (layout(integers(rng, (2, 5, 6, 7), dtype, 0, 40)) for _ in range(2))
    W, steps = integers(rng, (1, 5, 5, 5), dtype, 0, 8), {"pad": 2}
    for mode in MODES:
        _, gx, gW, _ = with_border(*(a.astype(float) for a in (x, W, gy)), None, (5, 5), mode, **steps)
        assert_same(ops.input_grad(gy, W, (6, 7), pad_mode=mode, **steps), gx)
        assert_same(ops.weight_grad(x, gy, (5, 5), pad_mode=mode, **steps), gW)


def test_input_gradients_that_are_not_rounded_yet(target):
    """`out` of the sums' type: whole numbers that gy's does not have."""
    rng = np.random.default_rng(3)
    for dtype, wide in ("f2", "f4"), ("f4", "f4"), ("f8", "f8"):
        gy, W = integers(rng, (2, 5, 6, 7), dtype, 90, 400), integers(rng, (1, 5, 5, 5), dtype, 1, 8)
        for mode in ("constant", *MODES):
            frame = np.full((2, 5, 6, 9), 7, wide)
            for out in frame[..., 1:-1], np.empty((2, 5, 6, 7), np.dtype(wide).newbyteorder()):
                assert ops.input_grad(gy, W, (6, 7), pad=2, pad_mode=mode, out=out) is out
                _, gx, _, _ = with_border(
                    gy.astype(float), W.astype(float), gy.astype(float), None, (5, 5), mode, pad=2
                )
                np.testing.assert_array_equal(out, gx)
            assert (frame[..., [0, -1]] == 7).all()
    with pytest.raises(TypeError, match="out must have dtype float16, got float64"):
        ops.input_grad(gy.astype("f2"), W.astype("f2"), (6, 7), pad=2, out=np.empty((2, 5, 6, 7)))


def test_activation_and_out(target):
    rng = np.random.default_rng(3)
    x, W, b = integers(rng, (2, 5, 30, 20), "f"), integers(rng, (2, 5, 3, 3), "f"), integers(rng, 10, "f")
    y = np.maximum(reference.forward(padded(x, [(1, 1)] * 2, "edge"), W, b), 0)
    frame = np.full((2, 30, 20, 12), 7, "f")
    out = frame[..., 1:-1].transpose(0, 3, 1, 2)
    assert ops.forward(x, W, b, pad=1, pad_mode="edge", activation="relu", out=out) is out
    assert_same(out, y)
    assert (frame[..., [0, -1]] == 7).all()


def test_threads_change_no_bit():
    rng = np.random.default_rng(3)
    x, W = rng.normal(size=(3, 40, 33, 35)).astype("f"), rng.normal(size=(1, 40, 5, 5)).astype("f")
    results = []
    for threads in 1, 2, 3:
        before = depthwise.get_num_threads()
        depthwise.set_num_threads(threads)
        try:
            steps = {"pad": 2, "pad_mode": "reflect"}
            y = ops.forward(x, W, **steps)
            results.append((y, ops.input_grad(y, W, (33, 35), **steps), ops.weight_grad(x, y, (5, 5), **steps)))
        finally:
            depthwise.set_num_threads(before)
    for first, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_infinities_stay_where_windows_meet_them():
    x, W = np.zeros((1, 1, 9, 9), "f"), np.ones((1, 1, 3, 3), "f")
    x[0, 0, 0, 4] = np.inf
    y = ops.forward(x, W, pad=1, pad_mode="wrap")
    assert np.isinf(y[0, 0, [8, 0, 1], 3:6]).all()
    assert np.isfinite(y[0, 0, 2:8]).all()


def test_filters_of_each_image():
    rng = np.random.default_rng(3)
    x, W = integers(rng, (3, 2, 8, 9), "f"), integers(rng, (3, 1, 2, 3, 3), "f")
    y = ops.forward(x, W, pad=1, pad_mode="symmetric")
    for i in range(3):
        assert_same(y[i : i + 1], reference.forward(padded(x[i : i + 1], [(1, 1)] * 2, "symmetric"), W[i]))


@pytest.mark.parametrize("mode", MODES)
def test_graph(mode):
    rng = np.random.default_rng(3)
    x, W, b = rng.normal(size=(2, 3, 6, 7)), rng.normal(size=(2, 3, 3, 5)), rng.normal(size=6)

    def f(x, W, b):
        return functions.depthwise_convolution_2d(x, W, b, pad=(1, 4), pad_mode=mode)

    gy = rng.normal(size=f(x, W, b).shape)
    gradient_check.check_backward(f, (x, W, b), gy, atol=1e-4, rtol=1e-4, dtype="d")
    ggs = tuple(rng.normal(size=a.shape) for a in (x, W, b))
    gradient_check.check_double_backward(f, (x, W, b), gy, ggs, atol=1e-4, rtol=1e-4, dtype="d")


def test_explain():
    zeros, reflect = (
        depthwise.explain((1, 8, 56, 56), (1, 8, 3, 3), pad=1, pad_mode=mode) for mode in ("constant", "reflect")
    )
    assert reflect["flop"] == 2 * 8 * 56 * 56 * 9 > zeros["flop"]
    small = depthwise.explain((1, 8, 5, 5), (1, 8, 9, 9), pad=4, pad_mode="wrap", kind="weight_grad")
    assert small["flop"] == 2 * 8 * 25 * 81


def test_refusals():
    x, W = np.ones((1, 1, 4, 4), "f"), np.ones((1, 1, 3, 3), "f")
    message = 'pad_mode must be "constant", "reflect", "symmetric", "edge" or "wrap", got'
    for wrong, error in ("mirror", ValueError), (2, TypeError), (None, TypeError):
        with pytest.raises(error, match=message):
            ops.forward(x, W, pad_mode=wrong)
        with pytest.raises(error, match=message):
            ops.weight_grad(x, x[:, :, :2, :2], (3, 3), pad_mode=wrong)
        with pytest.raises(error, match=message):
            ops.input_grad(x, W, (6, 6), pad_mode=wrong)
        with pytest.raises(error, match=message):
            depthwise.depthwise_convolution_2d(x, W, pad_mode=wrong)
    empty = np.ones((1, 1, 0, 4), "f")
    with pytest.raises(ValueError, match=r"\(1, 1, 0, 4\) has an axis without elements"):
        ops.forward(empty, W, pad=2, pad_mode="edge")
    assert ops.forward(np.ones((0, 1, 4, 4), "f"), W, pad=2, pad_mode="edge").shape == (0, 1, 6, 6)
    assert not ops.weight_grad(x[:0], x[:0], (3, 3), pad=1, pad_mode="edge").any()


def test_padding_beyond_all_memory_is_refused():
    x, W, far = np.ones((1, 1, 4, 4), "f"), np.ones((1, 1, 1, 1), "f"), 2**31 - 1
    steps = {"stride": far, "pad": ((0, far), (0, far)), "pad_mode": "edge"}
    with pytest.raises(ValueError, match="with its padding would have more than"):
        ops.forward(x, W, **steps)
    with pytest.raises(ValueError, match="with its padding would have more than"):
        ops.input_grad(x[..., :2, :2], W, (4, 4), **steps)
    steps = {"stride": 2**20, "pad": ((0, 2**20), (0, 2**20)), "pad_mode": "edge"}
    with pytest.raises(MemoryError):
        ops.forward(np.ones((1, 64, 4, 4), "f"), np.ones((1, 64, 1, 1), "f"), **steps)


def problem():
    rng = np.random.default_rng(3)
    x, W, gy = integers(rng, (2, 5, 12, 11), "f"), integers(rng, (1, 5, 5, 3), "f"), integers(rng, (2, 5, 12, 13), "f")
    return x, W, gy, {"pad": (2, 2)}


@pytest.mark.parametrize("mode", ["constant", *MODES])
def test_pytorch(mode):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    from depthwise.torch import conv2d

    x, W, gy, steps = problem()
    y, gx, gW, *_ = with_border(x, W, gy, None, (5, 3), mode, **steps)
    tx, tW = torch.tensor(x, requires_grad=True), torch.tensor(W[0][:, None], requires_grad=True)
    name = {"constant": "zeros", "symmetric": "symmetric", **PYTORCH}[mode]
    ty = conv2d(tx, tW, padding=2, padding_mode=name)
    ty.backward(torch.tensor(gy))
    for actual, array in (ty, y), (tx.grad, gx), (tW.grad[:, 0][None], gW):
        assert_same(actual.detach().numpy(), array)
    function = depthwise.depthwise_convolution_2d(tx, tW.transpose(0, 1), pad=2, pad_mode=mode)
    assert_same(function.detach().numpy(), y)
    meta = depthwise.depthwise_convolution_2d(tx.to("meta"), tW.transpose(0, 1).to("meta"), pad=2, pad_mode=mode)
    assert meta.shape == y.shape
    mapped = torch.func.vmap(lambda v: conv2d(v, tW, padding=2, padding_mode=name))(tx)
    assert_same(mapped.detach().numpy(), y)
    arguments = tx, tW, None, [1, 1], [2] * 4, [1, 1], "direct", mode
    torch.library.opcheck(torch.ops.depthwise.conv.default, arguments)
    double = [a.detach().double()[:, :2, :5, :5].requires_grad_() for a in (tx, tW[:2].view(1, 2, 5, 3))]
    assert torch.autograd.gradgradcheck(
        lambda x, W: conv2d(x, W[0][:, None], padding=2, padding_mode=name), (double[0], double[1])
    )
    each = torch.stack([tW, 2 * tW])
    of_each = conv2d(tx, each, padding=2, padding_mode=name).detach().numpy()
    assert_same(of_each, y * np.array([1, 2]).reshape(2, 1, 1, 1))
    # What the engine does not take is padded by a copy.
    assert_same(conv2d(tx.detach().to(torch.complex64), tW.detach().to(torch.complex64), padding=2,
                       padding_mode=name).real.numpy(), y)  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_pytorchs_layers_need_no_padded_copy(mode, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    from depthwise.torch import DepthwiseConv2d, accelerate

    if mode not in PYTORCH:
        return
    x, W, _, _ = problem()
    tx = torch.tensor(x)
    for padding, dilation in (2, 1), ((2, 1), (2, 1)), ("same", 1):
        facts = {"padding": padding, "dilation": dilation, "padding_mode": PYTORCH[mode], "bias": False}
        stock = torch.nn.Conv2d(5, 5, (5, 3), groups=5, **facts)
        stock.weight.data = torch.tensor(W[0][:, None])
        ours = DepthwiseConv2d(5, kernel_size=(5, 3), **facts)
        ours.load_state_dict(stock.state_dict())
        y = stock(tx).detach().numpy()
        accelerate(stock)
        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.functional, "pad", None)
            for layer in stock, ours:
                np.testing.assert_array_equal(layer(tx).detach().numpy(), y)


def test_padding_that_was_set_after_the_layer_was_made():
    """PyTorch then pads as the layer was made."""
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    from depthwise.torch import DepthwiseConv2d, accelerate

    stock = torch.nn.Conv2d(3, 3, 3, padding=1, groups=3, padding_mode="reflect")
    ours = DepthwiseConv2d(3, kernel_size=3, padding=1, padding_mode="reflect")
    ours.load_state_dict(stock.state_dict())
    stock.padding = ours.padding = (2, 2)
    x = torch.ones(2, 3, 9, 8)
    y = stock(x)
    accelerate(stock)
    for layer in stock, ours:
        torch.testing.assert_close(layer(x), y)


@pytest.mark.parametrize(("name", "pad"), [("reflect", 4), ("circular", 5)])
def test_padding_that_pytorch_refuses(name, pad):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    from depthwise.torch import DepthwiseConv1d, accelerate, conv1d

    x = torch.zeros(1, 2, 4)
    stock = torch.nn.Conv1d(2, 2, 3, groups=2, padding=pad, padding_mode=name)
    with pytest.raises(RuntimeError) as refusal:
        stock(x)
    ours = DepthwiseConv1d(2, kernel_size=3, padding=pad, padding_mode=name)
    accelerate(stock)
    for call in stock, ours, lambda x: conv1d(x, ours.weight, padding=pad, padding_mode=name):
        with pytest.raises(RuntimeError) as error:
            call(x)
        assert str(error.value) == str(refusal.value)
    with pytest.raises(ValueError, match="has an axis without elements"):
        conv1d(x[..., :0], ours.weight, padding=pad, padding_mode="symmetric")
    y = conv1d(x, ours.weight, padding=pad - 1, padding_mode=name)
    assert y.shape == (1, 2, 4 + 2 * (pad - 1) - 2)
    with pytest.raises(ValueError, match='padding_mode must be "zeros", "reflect"'):
        conv1d(x, ours.weight, padding_mode="edge")
    with pytest.raises(TypeError, match="padding_mode must be"):
        conv1d(x, ours.weight, padding_mode=None)


@pytest.mark.parametrize("mode", MODES)
def test_jax(mode):
    jax = pytest.importorskip("jax", reason="JAX is an extra")
    pytest.importorskip("depthwise.jax", reason="built without JAX", exc_type=ImportError)
    from depthwise.jax import conv, primitives

    x, W, gy, steps = problem()
    y, gx, gW, _ = with_border(x, W, gy, None, (5, 3), mode, **steps)
    jy, pull = jax.vjp(jax.jit(lambda x, W: conv(x, W, pad=2, pad_mode=mode)), x, W)
    for actual, array in zip((jy, *pull(gy)), (y, gx, gW), strict=True):
        assert_same(np.asarray(actual), array)
    last = conv(x.transpose(0, 2, 3, 1), W, pad=2, pad_mode=mode, layout="NHWC")
    assert_same(np.asarray(last).transpose(0, 3, 1, 2), y)
    assert_same(
        np.asarray(depthwise.depthwise_convolution_2d(*map(jax.numpy.asarray, (x, W)), pad=2, pad_mode=mode)), y
    )
    taken = primitives.Steps((1, 1), ((2, 2), (2, 2)), (1, 1), "NCHW", "direct", mode)
    assert_same(np.asarray(primitives._xla_conv(*map(jax.numpy.asarray, (x, W)), steps=taken)), y)
    other = primitives._xla_input_grad(*map(jax.numpy.asarray, (gy, W)), steps=taken, size=(12, 11))
    assert_same(np.asarray(other), gx)
    with pytest.raises(ValueError, match="pad_mode must be"):
        conv(x, W, pad_mode="mirror")
    with pytest.raises(ValueError, match="has an axis without elements"):
        conv(x[:, :, :0], W, pad=3, pad_mode=mode)
