"""Fourier transforms: the same sums as the direct kernels, within a bound of another kind."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import depthwise
from depthwise import _core, ops, reference
from helpers import DTYPES, LAYOUTS, check_passes, lanes

slow = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    ("size", "kernel", "pad", "dilate"),
    [
        ((1, 1), (1, 1), 0, 1),
        ((5, 7), (3, 3), 1, 1),
        ((20, 31), (13, 8), (3, 6), 1),
        ((14, 14), (27, 27), 13, 1),
        ((9, 40), (5, 3), ((0, 4), (7, 1)), (2, 5)),
        ((3, 700), (2, 31), (1, 15), 1),  # several tiles along a row
        ((300, 290), (41, 33), 0, 1),  # and along both axes
        ((1, 500), (1, 64), (0, 63), 1),
        ((90, 1), (25, 1), (12, 0), 1),
        ((8, 8), (3, 3), (9, 12), 4),  # more padding than image
    ],
)
def test_passes(target, size, kernel, pad, dilate, stride, layout):
    large = np.prod(size) > 1e4
    channels = 3 if large else lanes(target) + 1
    for m in (1,) if large else (1, 2):
        check_passes(np.random.default_rng(3), 2, channels, m, size, kernel, stride, pad, dilate, layout, method="fft")


@pytest.mark.parametrize("W_dtype", DTYPES)
@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_dtypes(target, x_dtype, W_dtype, layout):
    dtypes = x_dtype, W_dtype, x_dtype
    check_passes(np.random.default_rng(3), 3, 17, 1, (11, 13), (5, 4), 1, 2, 1, layout, dtypes, "fft")


@pytest.mark.parametrize(("n", "c", "m"), [(0, 3, 1), (2, 0, 1), (1, 1, 1), (1, 9, 3), (19, 1, 1), (5, 2, 8)])
def test_batches_and_channels(target, n, c, m):
    check_passes(np.random.default_rng(3), n, c, m, (12, 10), (7, 7), 1, 3, 1, method="fft")


def test_length(target):
    check_passes(np.random.default_rng(3), 2, 5, 1, (400,), (31,), 1, 15, 1, method="fft")
    check_passes(np.random.default_rng(3), 2, 5, 2, (400,), (100,), 3, "causal", 2, method="fft")


@slow
@given(
    n=st.integers(1, 3),
    c=st.integers(1, 20),
    m=st.integers(1, 3),
    axes=st.tuples(*[st.tuples(*map(st.integers, (1, 1, 1, 0, 0, 1), (70, 30, 4, 20, 20, 3)))] * 2),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 99),
)
def test_any_geometry(n, c, m, axes, layout, seed):
    size, kernel, stride, before, behind, dilate = zip(*axes, strict=True)
    pad = tuple(zip(before, behind, strict=True))
    try:
        depthwise.output_size(size, kernel, stride, pad, dilate)
    except ValueError:
        return
    rng = np.random.default_rng(seed)
    check_passes(rng, n, c, m, size, kernel, stride, pad, dilate, layout, method="fft")


def passes_left(name, places):
    """Passes of a transform along both axes, as `explain` tells their lengths."""
    radices = 0
    for length in places:
        for radix in 4, 5, 3, 2:
            while length % radix == 0:
                length //= radix
                radices += 1
    assert radices, name
    return radices


@pytest.mark.parametrize("spike", [1, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("size", "k"), [(56, 31), (200, 25), (40, 5)])
def test_errors_are_within_the_published_bound(target, size, k, dtype, spike):
    """Of the largest values of a tile, and not of a window: docs/numerics.md."""
    rng = np.random.default_rng(8)
    x, W = rng.normal(size=(2, 5, size, size)).astype(dtype), rng.normal(size=(1, 5, k, k)).astype(dtype)
    x[:, :, 3, 3] *= spike
    gy = rng.normal(size=x.shape).astype(dtype)
    unit = 2.0**-24 if dtype == np.float32 else 2.0**-53
    passes = passes_left("fft", depthwise.explain(x, W, pad=k // 2, method="fft")["transforms"])

    def norm(a, axes=(2, 3)):
        return np.sqrt((a.astype(np.float64) ** 2).sum(axes))

    W1 = np.abs(W.astype(np.float64)).sum((2, 3))
    steps = {"pad": k // 2}
    for actual, expected, scale in (
        (ops.forward(x, W, method="fft", **steps), reference.forward(x, W, **steps), norm(x) * W1),
        (
            ops.input_grad(gy, W, x.shape[2:], method="fft", **steps),
            reference.input_grad(gy, W, x.shape[2:], **steps),
            norm(gy) * W1,
        ),
    ):
        error = np.abs(actual.astype(np.float64) - expected).max((2, 3))
        assert (error <= 30 * passes * unit * scale + unit * np.abs(expected).max((2, 3))).all()
    gW, expected = ops.weight_grad(x, gy, (k, k), method="fft", **steps), reference.weight_grad(x, gy, (k, k), **steps)
    scale = (norm(x) * np.abs(gy.astype(np.float64)).sum((2, 3))).sum(0)
    error = np.abs(gW.astype(np.float64) - expected).max((2, 3))[0]
    assert (error <= (30 * passes + 2) * unit * scale + unit * np.abs(expected).max((2, 3))[0]).all()


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_same_bits_for_any_number_of_threads(layout):
    rng = np.random.default_rng(4)
    x, W = layout(rng.normal(size=(3, 20, 60, 61)).astype(np.float32)), rng.normal(size=(1, 20, 19, 15)).astype("f")

    def results():
        y = ops.forward(x, W, pad=9, method="fft")
        return (
            y,
            ops.input_grad(y, W, (60, 61), pad=9, method="fft"),
            ops.weight_grad(x, y, (19, 15), pad=9, method="fft"),
        )

    with depthwise.threads(1):
        expected = results()
    for n_threads in 2, 3, 7:
        with depthwise.threads(n_threads):
            for a, b in zip(results(), expected, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("method", ["fft", "auto"])
def test_what_is_not_finite_is_done_directly(target, method, layout, value):
    """An infinity fills its tiles: the planes that hold one have what the direct sum gives, and no others."""
    rng = np.random.default_rng(6)
    x, W = rng.normal(size=(2, 9, 40, 50)).astype("f"), rng.normal(size=(2, 9, 21, 21)).astype("f")
    gy = rng.normal(size=(2, 18, 40, 50)).astype("f")
    x[1, 4, 20, 3] = gy[0, 5, 2, 40] = value
    x, gy = layout(x), layout(gy)
    for compute in (
        lambda **k: ops.forward(x, W, pad=10, **k),
        lambda **k: ops.input_grad(gy, W, (40, 50), pad=10, **k),
        lambda **k: ops.weight_grad(x, gy, (21, 21), pad=10, **k),
    ):
        direct, ours = compute(), compute(method=method)
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(direct))
        np.testing.assert_array_equal(ours[np.isinf(direct)], direct[np.isinf(direct)])
        finite = np.isfinite(direct)
        np.testing.assert_allclose(ours[finite], direct[finite], atol=1e-3)
        assert 0 < finite.sum() < finite.size


def test_sums_that_overflow_a_transform_are_done_directly(target):
    x, W = np.full((1, 2, 64, 64), 1e38, np.float32), np.full((1, 2, 15, 15), 1e-3, np.float32)
    expected = ops.forward(x, W)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(ops.forward(x, W, method="fft"), expected, rtol=1e-5)


def test_errors_in_the_callers_words():
    x, W = np.zeros((1, 2, 9, 9), "f"), np.zeros((1, 2, 3, 3), "f")
    with pytest.raises(ValueError, match='method must be "direct", "fft" or "auto", got \'fast\''):
        ops.forward(x, W, method="fast")
    with pytest.raises(TypeError, match="method must be"):
        ops.forward(x, W, method=1)
    with pytest.raises(TypeError, match="method must be"):
        ops.weight_grad(x, x, (1, 1), method=["fft"])
    with pytest.raises(ValueError, match='the method "fft" cannot do this: volumes'):
        ops.forward(np.zeros((1, 2, 4, 4, 4), "f"), np.zeros((1, 2, 3, 3, 3), "f"), method="fft")
    with pytest.raises(ValueError, match='the method "fft" cannot do this: volumes'):
        depthwise.explain((1, 2, 4, 4, 4), (1, 2, 3, 3, 3), method="fft")
    with pytest.raises(ValueError, match="wider than the largest transform"):
        ops.forward(np.zeros((1, 2, 9, 400), "f"), np.zeros((1, 2, 3, 300), "f"), method="fft")


def test_auto_takes_the_cheaper():
    large = depthwise.explain((1, 64, 56, 56), (1, 64, 31, 31), pad=15, method="auto")
    small = depthwise.explain((1, 64, 56, 56), (1, 64, 3, 3), pad=1, method="auto")
    assert large["candidate"] == "Fourier transforms"
    assert small["candidate"] != "Fourier transforms"
    assert small["others"]["Fourier transforms"] > small["cycles"]
    for kind in "input_grad", "weight_grad":
        plan = depthwise.explain((1, 64, 56, 56), (1, 64, 31, 31), pad=15, kind=kind, method="auto")
        assert plan["cycles"] < min(v for v in plan["others"].values() if isinstance(v, int))
    volume = depthwise.explain((1, 2, 4, 4, 4), (1, 2, 3, 3, 3), method="auto")
    assert volume["others"]["Fourier transforms"] == "volumes are not done so"


def problem(seed=2):
    rng = np.random.default_rng(seed)
    x, W = rng.normal(size=(2, 9, 30, 31)).astype("f"), rng.normal(size=(1, 9, 17, 15)).astype("f")
    return x, W, rng.normal(size=x.shape).astype("f")


def expected(x, W, gy):
    steps = {"pad": (8, 7), "method": "fft"}
    y = ops.forward(x, W, **steps)
    assert (y != ops.forward(x, W, pad=(8, 7))).any(), "the two methods can be told apart by their bits"
    return y, ops.input_grad(gy, W, x.shape[2:], **steps), ops.weight_grad(x, gy, W.shape[2:], **steps)


def test_the_functions_and_all_gradients_take_the_method():
    x, W, gy = problem()
    y, gx, gW = expected(x, W, gy)
    vx, vW = depthwise.Variable(x), depthwise.Variable(W)
    vy = depthwise.functions.depthwise_convolution_2d(vx, vW, pad=(8, 7), method="fft")
    np.testing.assert_array_equal(vy.array, y)
    vy.grad = gy
    vy.backward(enable_double_backprop=True)
    np.testing.assert_array_equal(vx.grad, gx)
    np.testing.assert_array_equal(vW.grad, gW)
    again = vx.grad_var
    vW.cleargrad()
    again.grad = x
    again.backward()
    np.testing.assert_array_equal(vW.grad, ops.weight_grad(x, gy, W.shape[2:], pad=(8, 7), method="fft"))


def test_pytorch_takes_the_method():
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    from depthwise.torch import DepthwiseConv2d, accelerate, accelerated, conv2d

    x, W, gy = problem()
    y, gx, gW = expected(x, W, gy)
    tx, tW = torch.tensor(x, requires_grad=True), torch.tensor(W[0][:, None], requires_grad=True)
    ty = conv2d(tx, tW, padding=(8, 7), method="fft")
    ty.backward(torch.tensor(gy))
    for actual, array in (ty, y), (tx.grad, gx), (tW.grad[:, 0][None], gW):
        np.testing.assert_array_equal(actual.detach().numpy(), array)
    layer = DepthwiseConv2d(9, kernel_size=(17, 15), padding=(8, 7), bias=False, method="fft")
    layer.weight.data = tW.data
    assert "method='fft'" in repr(layer)
    np.testing.assert_array_equal(layer(tx).detach().numpy(), y)
    stock = torch.nn.Conv2d(9, 9, (17, 15), padding=(8, 7), groups=9, bias=False)
    stock.weight.data = tW.data
    with accelerated(method="fft"):
        np.testing.assert_array_equal(stock(tx).detach().numpy(), y)
    accelerate(stock, method="fft")
    np.testing.assert_array_equal(stock(tx).detach().numpy(), y)
    batched = torch.func.vmap(lambda v: conv2d(v[None], tW, padding=(8, 7), method="fft")[0])(tx)
    np.testing.assert_allclose(batched.detach().numpy(), y, atol=1e-4)
    with pytest.raises(ValueError, match="method must be"):
        conv2d(tx, tW, method="fast")
    with pytest.raises(ValueError, match="method must be"):
        accelerate(stock, method="fast")


def test_jax_takes_the_method():
    jax = pytest.importorskip("jax", reason="JAX is an extra")
    pytest.importorskip("depthwise.jax", reason="built without JAX", exc_type=ImportError)
    from depthwise.jax import conv

    x, W, gy = problem()
    y, gx, gW = expected(x, W, gy)
    jy, pull = jax.vjp(jax.jit(lambda x, W: conv(x, W, pad=(8, 7), method="fft")), x, W)
    for actual, array in zip((jy, *pull(gy)), (y, gx, gW), strict=True):
        np.testing.assert_array_equal(actual, array)
    with pytest.raises(ValueError, match="method must be"):
        conv(x, W, method="fast")


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_prepared_weights_have_the_same_bits(target, layout):
    rng = np.random.default_rng(5)
    W = rng.normal(size=(2, 11, 15, 13)).astype("f")
    prepared = ops.prepare(W)
    W_before = W.copy()
    for n, size, steps in (
        (1, (40, 30), {}),
        (3, (40, 30), {"pad": 7}),
        (1, (40, 30), {}),
        (1, (300, 30), {"stride": 2}),
        (1, (60, 50), {"dilate": 2, "pad": 3}),
        (1, (40, 30), {}),
    ):
        x = layout(rng.normal(size=(n, 11, *size)).astype("f"))
        for method in "direct", "fft":
            actual = ops.forward(x, prepared, method=method, **steps)
            np.testing.assert_array_equal(actual, ops.forward(x, W_before, method=method, **steps))
    assert prepared.nbytes > 2 * W.nbytes
    x = rng.normal(size=(2, 11, 40, 30))  # float64: spectra of another type
    actual = ops.forward(x, prepared, method="fft")
    np.testing.assert_array_equal(actual, ops.forward(x, W_before, method="fft"))
    W[...] = 7  # what was prepared is a copy
    np.testing.assert_array_equal(ops.forward(x, prepared, method="fft"), actual)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_prepared_weights_tell_taps_and_axes_apart(layout):
    """Images that meet other taps, or lie turned, on circles of the same size."""
    rng = np.random.default_rng(5)
    W = rng.normal(size=(1, 4, 7, 7)).astype("f")
    prepared = ops.prepare(W)
    for size, pad in (
        ((1, 64), 3),
        ((64, 1), 3),
        ((4, 64), ((0, 3), (3, 3))),
        ((4, 64), ((3, 0), (3, 3))),
        ((3, 64), 3),
        ((64, 3), 3),
    ):
        x = layout(rng.normal(size=(1, 4, *size)).astype("f"))
        np.testing.assert_array_equal(
            ops.forward(x, prepared, pad=pad, method="fft"), ops.forward(x, W, pad=pad, method="fft")
        )


def test_more_spectra_than_are_kept():
    """Those of 520 channels on circles of 190 x 190 places and more would take 70 MB."""
    rng = np.random.default_rng(5)
    W = rng.normal(size=(1, 520, 64, 64)).astype("f")
    prepared, x = ops.prepare(W), rng.normal(size=(1, 520, 190, 190)).astype("f")
    np.testing.assert_array_equal(ops.forward(x, prepared, method="fft"), ops.forward(x, W, method="fft"))
    assert prepared.nbytes == W.nbytes
    ops.forward(x[:, :, :80, :80], prepared, method="fft")
    assert prepared.nbytes > W.nbytes


def test_what_no_tiles_fit_is_done_directly():
    rng = np.random.default_rng(5)
    x, W = rng.normal(size=(1, 2, 9, 600)).astype("f"), rng.normal(size=(1, 2, 1, 1)).astype("f")
    steps = {"stride": (1, 300), "method": "fft"}
    y = ops.forward(x, W, **steps)
    np.testing.assert_array_equal(
        ops.input_grad(y, W, (9, 600), **steps), ops.input_grad(y, W, (9, 600), stride=(1, 300))
    )


def test_prepared_weights_are_plain_objects():
    W = np.ones((1, 3, 5, 5), "f")
    prepared = ops.prepare(W)
    assert (prepared.shape, prepared.dtype) == (W.shape, W.dtype)
    with pytest.raises(ValueError, match="read-only"):
        prepared.array[...] = 0
    again = pickle.loads(pickle.dumps(prepared))
    np.testing.assert_array_equal(again.array, W)
    assert "PreparedWeight(shape=(1, 3, 5, 5)" in repr(again)
    np.testing.assert_array_equal(ops.input_grad(W, prepared, (9, 9)), ops.input_grad(W, W, (9, 9)))
    with pytest.raises(TypeError, match="W must be"):
        ops.prepare([[1.0]])
    with pytest.raises(ValueError, match="channels"):
        ops.forward(np.ones((1, 2, 9, 9), "f"), prepared)


def test_prepared_weights_may_be_used_by_many_threads():
    rng = np.random.default_rng(5)
    prepared = ops.prepare(rng.normal(size=(1, 9, 15, 15)).astype("f"))
    images = [rng.normal(size=(1, 9, 20 + 3 * i, 40)).astype("f") for i in range(12)]
    expected = [ops.forward(x, prepared.array, method="fft") for x in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            results = pool.map(lambda x: ops.forward(x, prepared, method="fft"), images)
            for actual, y in zip(results, expected, strict=True):
                np.testing.assert_array_equal(actual, y)


@pytest.mark.parametrize("accelerated", [False, True])
def test_pytorch_keeps_spectra_of_weights_that_are_not_trained(accelerated):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    from depthwise.torch import DepthwiseConv2d, accelerate

    x, _, _ = problem()
    tx = torch.tensor(x)
    layer = torch.nn.Conv2d(9, 9, (17, 15), padding=(8, 7), groups=9)
    if accelerated:
        accelerate(layer)
        assert accelerate(layer, method="fft").changed == [""]
        assert accelerate(layer, method="fft").left == {"": "is fast already"}
        kept = vars(layer)["_conv_forward"]._kept
    else:
        stock = layer
        layer = DepthwiseConv2d(9, kernel_size=(17, 15), padding=(8, 7), method="fft")
        layer.load_state_dict(stock.state_dict())
        layer._kept = kept = _core.SpectraKeeper()

    def expected():
        w = layer.weight.detach().numpy().swapaxes(0, 1)
        return ops.forward(x, w, layer.bias.detach().numpy(), pad=(8, 7), method="fft")

    def check(keeps=True):
        np.testing.assert_array_equal(layer(tx).detach().numpy(), expected())
        assert (kept.bytes() > 0) == keeps

    check(keeps=False)  # it is trained
    layer.eval()
    check(keeps=False)  # gradients may be asked for
    with torch.inference_mode():
        check()
        check()
    size = kept.bytes()
    # However a weight changes, nothing of the old one is used.
    with torch.no_grad():
        layer.weight.mul_(2)
    with torch.inference_mode():
        check()
    layer.weight.data[0, 0, 0, 0] = 5
    with torch.inference_mode():
        check()
    layer.weight = torch.nn.Parameter(torch.ones_like(layer.weight))
    with torch.inference_mode():
        check()
        layer.weight.fill_(3)
        check()
    assert kept.bytes() == size
    again = copy.deepcopy(layer)
    assert (vars(again)["_conv_forward"] if accelerated else again)._kept.bytes() == 0
    with torch.inference_mode():  # a compiler sees nothing of it
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(tx), layer(tx), atol=1e-3, rtol=0)
    again = pickle.loads(pickle.dumps(layer))
    with torch.inference_mode():
        np.testing.assert_array_equal(again(tx).numpy(), expected())
