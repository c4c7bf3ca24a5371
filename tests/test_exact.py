"""Integer inputs, so that sums are exact in any order: `==` on every target, layout, dtype and thread count."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import depthwise
from depthwise import ops, reference
from helpers import (
    AXES,
    CHAINER_CASES,
    DTYPES,
    LAYOUTS,
    assert_same,
    check_passes,
    from_json,
    integers,
    lanes,
    steps_of,
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chainer_cases(target, layout):
    for case in CHAINER_CASES:
        x, W, b, gy = (from_json(case[k]) for k in ("x", "W", "b", "gy"))
        x, gy, steps = layout(x), layout(gy), steps_of(case)
        assert_same(ops.forward(x, W, b, **steps), from_json(case["y"]))
        assert_same(ops.input_grad(gy, W, x.shape[2:], **steps), from_json(case["gx"]))
        assert_same(ops.weight_grad(x, gy, W.shape[2:], **steps), from_json(case["gW"]))
        if b is not None:
            assert_same(ops.bias_grad(gy), from_json(case["gb"]))


def test_chainer_cases_check_the_reference():
    for case in CHAINER_CASES:
        x, W, b, gy = (from_json(case[k]) for k in ("x", "W", "b", "gy"))
        steps = steps_of(case)
        assert_same(reference.forward(x, W, b, **steps), from_json(case["y"]))
        assert_same(reference.input_grad(gy, W, x.shape[2:], **steps), from_json(case["gx"]))
        assert_same(reference.weight_grad(x, gy, W.shape[2:], **steps), from_json(case["gW"]))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("around", "k"),
    [
        *(((), k) for k in (1, 2, 3, 4, 5, 9, 31, 128)),
        *(((9,), k) for k in (1, 2, 3, 4, 5, 6, 7, 11, 31)),
        *(((4, 5), k) for k in (1, 2, 3, 5)),
    ],
)
def test_kernels_and_widths(target, around, k, stride, layout):
    rng = np.random.default_rng(k)
    N = lanes(target)
    for width in sorted({1, N - 1, N, N + 1, 2 * N + 1} - {0}):
        size = (*around, width)
        for pad in {0, k // 2, k}:
            if min(size) + 2 * pad >= k:
                check_passes(rng, 1, 3, 1, size, (k,) * len(size), stride, pad, 1, layout)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("stride", "k"), [(3, 3), (4, 7), (5, 2), (8, 3), (9, 1)])
def test_larger_strides(target, stride, k, dtype, layout):
    """Rows are packed by blocks of columns, or pixels by columns; taps share few rows."""
    rng = np.random.default_rng(stride)
    for c in (2, 17):
        for width in (stride, 8 * stride + 1, 19 * stride - 1):
            size = (2 * stride + 3, width)
            check_passes(rng, 2, c, 1, size, (k, k), stride, k // 2, 1, layout, (dtype,) * 3)
    # An input plane's packed rows serve several output planes, whatever lies between these.
    for stride_d, dilate_d in ((1, 1), (1, 2), (2, 1), (3, 1)):
        steps = (stride_d, stride, stride), (1, k // 2, k // 2), (dilate_d, 1, 1)
        check_passes(rng, 1, 3, 1, (6, stride + 3, 9 * stride), (3, k, k), *steps, layout, (dtype,) * 3)


@pytest.mark.parametrize("axes", [pytest.param(n, id=f"{n}d") for n in (1, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [-3, -2, -1, 0, 2, 3, 4, 5])
def test_views_of_any_step(target, step, dtype, axes):
    """Rows whose elements lie `step` apart, of x and of gy; 0: each is one element."""
    rng = np.random.default_rng(axes)

    def view(shape):
        wide = integers(rng, (*shape[:-1], max(1, abs(step)) * shape[-1]), dtype)
        if step == 0:
            return np.broadcast_to(wide[..., :1], shape)
        return wide[..., ::step]

    for width in (5, 8, 31):
        for stride in (1, 2, 3):
            steps = {"stride": stride, "pad": 1}
            size, kernel = (7, width)[-axes:], (3,) * axes
            x, W = view((2, 9, *size)), integers(rng, (1, 9, *kernel), dtype)
            gy = view((2, 9, *depthwise.output_size(size, kernel, **steps)))
            assert_same(ops.forward(x, W, **steps), reference.forward(x, W, **steps))
            assert_same(ops.input_grad(gy, W, size, **steps), reference.input_grad(gy, W, size, **steps))
            assert_same(ops.weight_grad(x, gy, kernel, **steps), reference.weight_grad(x, gy, kernel, **steps))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [3, 16, 17])
def test_one_layout_in_and_another_out(target, channels, dtype):
    """Channels last from planar memory, from a sum's gradient, and back."""
    rng = np.random.default_rng(channels)
    W = integers(rng, (1, channels, 3, 3), dtype)
    planar, last = LAYOUTS[:2]
    shape = (2, channels, 6, 11)
    gy = integers(rng, shape, dtype)
    one = np.broadcast_to(integers(rng, (), dtype), shape)
    same = np.broadcast_to(integers(rng, shape[:1] + (1,) + shape[2:], dtype), shape)
    for g in (planar(gy), last(gy), one, same):
        for to in (planar, last):
            out = to(np.zeros(shape, dtype))
            ops.input_grad(g, W, shape[2:], pad=1, out=out)
            assert_same(out, reference.input_grad(g, W, shape[2:], pad=1))
            out = to(np.zeros(shape, dtype))
            ops.forward(g, W, pad=1, out=out)
            assert_same(out, reference.forward(g, W, pad=1))
            x = to(gy)
            assert_same(ops.weight_grad(x, g, (3, 3), pad=1), reference.weight_grad(x, g, (3, 3), pad=1))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_channel_counts(target, layout, axes):
    rng = np.random.default_rng(0)
    N = lanes(target)
    for c in sorted({1, N - 1, N, N + 1, 2 * N + 1} - {0}):
        for m in (1, 2, 3):
            check_passes(rng, 2, c, m, (4, 7, 9)[-axes:], (3,) * axes, 1, 1, 1, layout)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_batches(target, n, axes):
    size, kernel = (4, 6, 7)[-axes:], (3,) * axes
    check_passes(np.random.default_rng(n), n, 4, 2, size, kernel, 1, 1, 1)
    check_passes(np.random.default_rng(n), 2, 4, 2, size, kernel, 1, 1, 1)  # so that something runs for n = 0


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("W_dtype", DTYPES)
@pytest.mark.parametrize("x_dtype", DTYPES)
def test_dtypes(target, x_dtype, W_dtype, layout, axes):
    rng = np.random.default_rng(1)
    for stride, m in ((1, 1), (2, 2)):
        check_passes(
            rng, 2, 17, m, (3, 9, 19)[-axes:], (2, 3, 5)[-axes:], stride, 1, 1, layout, (x_dtype, W_dtype, x_dtype)
        )


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_wide_and_tall(target, layout):
    rng = np.random.default_rng(2)
    check_passes(rng, 1, 2, 1, (3, 2500), (3, 3), 1, 1, 1, layout)
    check_passes(rng, 1, 2, 1, (3, 2500), (1, 9), 2, 4, 3, layout)
    check_passes(rng, 1, 2, 1, (700, 3), (9, 1), (3, 1), (4, 0), (2, 1), layout)
    check_passes(rng, 1, 33, 1, (64, 1), (33, 1), 1, (16, 0), 1, layout)
    check_passes(rng, 1, 5, 1, (40, 40), (3, 3), 1, 18, 18, layout)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilate"),
    [
        ((11, 1024), (3, 3), 1, 1),
        ((9, 1023), (5, 3), 1, 1),
        ((19, 512), (7, 5), 1, 1),
        ((19, 512), (5, 5), 2, 1),
        ((33, 1024), (3, 3), 1, 3),
        ((33, 1024), (17, 1), 1, 1),
        ((17, 2048), (9, 1), (1, 2), 1),
        ((4, 10, 1024), (3, 3, 3), 1, 1),
    ],
)
def test_rows_a_power_of_two_long(target, size, kernel, stride, dilate, dtype, layout):
    pad = tuple(k // 2 for k in kernel)
    check_passes(np.random.default_rng(3), 1, 2, 1, size, kernel, stride, pad, dilate, layout, (dtype,) * 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("columns", "kernel"), [(64, (7, 7)), (65, (15, 1)), (64, (9, 3))])
def test_rows_of_pixels_a_power_of_two_long(target, columns, kernel, dtype):
    rng, pad = np.random.default_rng(4), tuple(k // 2 for k in kernel)
    for stride, dilate in ((1, 1), (2, 1), (1, 2)):
        check_passes(rng, 2, 16, 1, (21, columns), kernel, stride, pad, dilate, LAYOUTS[1], (dtype,) * 3)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize(
    ("c", "m", "size", "kernel", "stride", "pad", "dilate"),
    [
        (2, 1, (9001,), (4,), 1, "causal", 1),
        (70, 1, (300,), (4,), 1, "causal", 1),
        (5, 2, (700,), (3,), 1, "causal", 16),
        (3, 1, (2500,), (31,), 1, "same", 1),
        (3, 1, (400,), (128,), 1, "same", 1),
        (3, 2, (1100,), (49,), 1, "same", 1),
        (3, 2, (1000,), (9,), 4, "same", 3),
        (40, 1, (1,), (4,), 1, "causal", 1),
        (40, 1, (4,), (4,), 1, 0, 1),
        (5, 1, (40,), (3,), 1, 18, 18),
        (3, 1, (60, 3, 5), (9, 1, 1), 1, (4, 0, 0), 1),
        (3, 1, (60, 3, 5), (5, 3, 3), (3, 1, 2), "same", 1),
        (3, 2, (3, 40, 33), (3, 3, 3), (1, 2, 2), 1, 1),
        (5, 1, (7, 9, 70), (3, 3, 3), 1, (2, 1, 1), (2, 1, 1)),
        (19, 1, (2, 1, 90), (2, 1, 7), 1, "same", 1),
        (3, 1, (2, 3, 4), (1, 2, 2), 1, ((0, 1), (0, 0), (0, 0)), 1),
        (3, 1, (1, 9, 20), (3, 3, 3), 1, 1, 1),
        (2, 1, (12, 1, 1), (5, 1, 1), 2, ((4, 0), (0, 0), (0, 0)), 1),
        (3, 1, (7, 9, 1), (3, 2, 1), 1, (1, 1, 0), 1),
        (3, 2, (6, 5, 7), (3, 3, 3), 1, 9, 9),
        (4, 1, (5, 6, 7), (5, 6, 7), 1, 0, 1),
    ],
)
def test_long_and_deep(target, c, m, size, kernel, stride, pad, dilate, layout):
    check_passes(np.random.default_rng(16), 2, c, m, size, kernel, stride, pad, dilate, layout)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pixels_a_power_of_two_apart(target, dtype):
    """They push one another out of a cache: those of one line are copied in bands, for some channels at a time."""

    def layout(a):
        n, c, size = a.shape
        memory = np.full((n, size, 1024), np.nan, a.dtype)
        memory[:, :, :c] = a.swapaxes(1, 2)
        return memory[:, :, :c].swapaxes(1, 2)

    rng = np.random.default_rng(17)
    check_passes(rng, 2, 300, 1, (270,), (9,), 1, "causal", 1, layout, (dtype,) * 3)
    check_passes(rng, 1, 37, 1, (60,), (31,), 1, "same", 3, layout, (dtype, np.float32, dtype))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_taps_that_all_miss_the_image(target, layout):
    # Some columns of gx meet no tap at all.
    rng = np.random.default_rng(3)
    check_passes(rng, 1, 19, 2, (9, 2), (4, 2), (2, 3), (3, 1), 3, layout)
    check_passes(rng, 1, 19, 2, (2,), (2,), 3, 1, 3, layout)
    check_passes(rng, 1, 19, 2, (2, 9, 2), (2, 4, 2), (3, 2, 3), (1, 3, 1), 3, layout)


def geometries_of(axes):
    """Problems of so many spatial axes."""
    step = st.tuples(*[st.integers(1, 4)] * axes)
    most_taps, most_pad = {1: (40, 40), 2: (9, 8), 3: (4, 4)}[axes]
    return st.fixed_dictionaries(
        {
            "n": st.integers(0, 2),
            "c": st.integers(1, 35),
            "m": st.integers(1, 3),
            "size": st.tuples(*(st.integers(0, most) for most in {1: (200,), 2: (20, 40), 3: (7, 9, 30)}[axes])),
            "kernel": st.tuples(*[st.integers(0, most_taps)] * axes),
            "stride": step,
            "pad": st.tuples(*[st.tuples(st.integers(0, most_pad), st.integers(0, most_pad))] * axes),
            "dilate": step,
            "layout": st.sampled_from(LAYOUTS),
            "dtypes": st.tuples(*[st.sampled_from(DTYPES)] * 3),
        }
    )


geometries = st.sampled_from([1, 2, 2, 3]).flatmap(geometries_of)
slow = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


def fits(g):
    try:
        depthwise.output_size(g["size"], g["kernel"], g["stride"], g["pad"], g["dilate"])
    except ValueError:
        return False
    return True


@slow
@given(g=geometries.filter(fits), seed=st.integers(0, 99), n_threads=st.integers(1, 2), data=st.data())
def test_any_geometry(g, seed, n_threads, data):
    name = data.draw(st.sampled_from(depthwise.targets()))
    with depthwise.use_target(name), depthwise.threads(n_threads):
        check_passes(np.random.default_rng(seed), **g)


@slow
@given(g=geometries.filter(fits), seed=st.integers(0, 99))
def test_three_inner_products_agree(g, seed):
    """<forward(x, W), g> == <x, input_grad(g, W)> == <W, weight_grad(x, g)>."""
    rng = np.random.default_rng(seed)
    steps = {k: g[k] for k in ("stride", "pad", "dilate")}
    x = g["layout"](integers(rng, (g["n"], g["c"], *g["size"]), np.float64))
    W = integers(rng, (g["m"], g["c"], *g["kernel"]), np.float64)
    y = ops.forward(x, W, **steps)
    gy = g["layout"](integers(rng, y.shape, np.float64))
    product = (y * gy).sum()
    assert product == (x * ops.input_grad(gy, W, g["size"], **steps)).sum()
    assert product == (W * ops.weight_grad(x, gy, g["kernel"], **steps)).sum()


@pytest.mark.parametrize("axes", AXES)
def test_torch_agrees_with_the_reference(axes):
    torch = pytest.importorskip("torch", reason="PyTorch checks the reference in CI")
    rng = np.random.default_rng(3)
    convolution = (torch.conv1d, torch.conv2d, torch.conv3d)[axes - 1]
    for _ in range(100):
        c, m, k = rng.integers(1, 5), rng.integers(1, 4), rng.integers(1, 6, axes)
        stride, pad, dilate = rng.integers(1, 4, axes), rng.integers(0, 4, axes), rng.integers(1, 3, axes)
        size = tuple(int(v) for v in (k - 1) * dilate + 1 + rng.integers(0, 9, axes))
        steps = {"stride": tuple(stride), "pad": tuple(pad), "dilate": tuple(dilate)}
        x, W = integers(rng, (2, c, *size), np.float64), integers(rng, (m, c, *k), np.float64)
        b = integers(rng, (c * m,), np.float64)
        grouped = np.ascontiguousarray(W.swapaxes(0, 1)).reshape(c * m, 1, *k)
        tx, tW, tb = (torch.tensor(a, requires_grad=True) for a in (x, grouped, b))
        ty = convolution(tx, tW, tb, tuple(stride), tuple(pad), tuple(dilate), int(c))
        gy = integers(rng, tuple(ty.shape), np.float64)
        ty.backward(torch.tensor(gy))
        kernel = tuple(int(v) for v in k)
        assert_same(reference.forward(x, W, b, **steps), ty.detach().numpy())
        assert_same(reference.input_grad(gy, W, size, **steps), tx.grad.numpy())
        gW = tW.grad.numpy().reshape(c, m, *k).swapaxes(0, 1)
        assert_same(reference.weight_grad(x, gy, kernel, **steps), gW)
        assert_same(reference.bias_grad(gy), tb.grad.numpy())


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("stride", [1, 2])
def test_arrays_that_no_cache_holds(target, layout, stride):
    """Their rows are fetched ahead and their outputs stored past the caches: the tiles' ends must meet."""
    rng = np.random.default_rng(11)
    with depthwise.threads(2):
        check_passes(rng, 1, 17, 1, (601, 703), (3, 3), stride, 1, 1, layout)


@pytest.mark.parametrize("stride", [1, 2])
def test_large_images_of_pixels_a_power_of_two_apart(target, stride):
    """Their vectors of channels are summed in pairs, each with its own weights."""
    rng = np.random.default_rng(12)
    check_passes(rng, 1, 1024, 1, (28, 27), (3, 3), stride, 1, 1, LAYOUTS[1])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("rows", [7, 10, 11, 14, 19, 23])
def test_small_planes_of_many_channels(target, rows, stride):
    """Several planes a call, first and last of the array apart, rows that do and do not divide into equal tiles."""
    rng = np.random.default_rng(rows)
    for size in (rows, rows + 1), (rows, 2 * lanes() + 1):
        for n, kernel in (1, (3, 3)), (2, (5, 5)), (1, (1, 3)), (1, (7, 2)):
            check_passes(rng, n, 37, 1, size, kernel, stride, tuple(k // 2 for k in kernel), 1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 31, 33, 47, 70])
def test_weight_gradients_of_rows_that_roll_past_the_taps(target, rows, stride):
    """Rows of gy come and go at the ends of tiles, where x lies beside the image; channels fill no vector."""
    rng = np.random.default_rng(rows)
    for k in (1, 2, 3, 4, 5, 7, 9, 11, 14, 31):
        for pad in {(0, 0), (k // 2, k // 2), (k // 2, 0), (0, k - 1), (k, k + 1)}:
            steps = {"stride": stride, "pad": (pad, (1, 1))}
            for columns, taps in (11, 3), (19, 5):
                if rows + sum(pad) >= k:
                    x = integers(rng, (2, 3, rows, columns), np.float32)
                    out = depthwise.output_size((rows, columns), (k, taps), **steps)
                    gy = integers(rng, (2, 3, *out), np.float32, -2, 3)
                    expected = reference.weight_grad(x, gy, (k, taps), **steps)
                    assert_same(ops.weight_grad(x, gy, (k, taps), **steps), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_weight_gradients_of_rows_that_are_not_finite(target, value, stride):
    """Each element of x or gy in turn: a total that is not finite is summed again without the lanes beside the row."""
    for size, kernel in ((5, 9), (3, 3)), ((8, 3), (5, 2)):
        steps = {"stride": stride, "pad": (2, 1)}
        shapes = (1, 2, *size), (1, 2, *depthwise.output_size(size, kernel, **steps))
        for spoilt in (0, 1):
            for at in np.ndindex(shapes[spoilt][2:]):
                arrays, where = [np.ones(s, np.float32) for s in shapes], [np.ones(s) for s in shapes]
                arrays[spoilt][(0, 1, *at)] = value
                where[spoilt] = np.zeros(shapes[spoilt])
                where[spoilt][(0, 1, *at)] = 1
                met = reference.weight_grad(*where, kernel, **steps) != 0
                assert_same(np.isfinite(ops.weight_grad(*arrays, kernel, **steps)), ~met)


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("sizes", [(3, 9), (14, 16), (15, 17), (30, 33), (33, 48), (47, 63)])
def test_stride_two_with_every_padding(target, sizes, k):
    rng = np.random.default_rng(sum(sizes) + k)
    for before in range(k):
        for behind in {0, before, k - 1}:
            pad = ((before, behind), (behind, before))
            if all(n + before + behind >= k for n in sizes):
                check_passes(rng, 1, 3, 1, sizes, (k, k), 2, pad, 1)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize(
    ("size", "kernel", "pad", "dilate"),
    [
        ((1, 40), (3, 3), 1, 1),
        ((40, 1), (3, 3), 1, 1),
        ((2, 19), (7, 5), (3, 2), 1),
        ((1, 9), (5, 3), (4, 1), 2),
        ((1, 5, 9), (3, 3, 3), 1, 1),
        ((4, 1, 9), (3, 5, 3), (1, 2, 1), 1),
        ((5, 30), (3, 3), (9, 10), 10),
    ],
)
def test_taps_that_no_output_meets(target, size, kernel, pad, dilate, stride, layout):
    check_passes(np.random.default_rng(3), 2, 9, 2, size, kernel, stride, pad, dilate, layout)
    check_passes(np.random.default_rng(3), 2, 9, 1, size, kernel, stride, pad, dilate, layout)


@pytest.mark.parametrize("columns", [1, 4, 40, 200, 1100, 9001])
def test_single_rows(target, columns):
    """The vectors of a single row are stacked as the lines of a tile."""
    rng = np.random.default_rng(columns)
    for kernel, m in (1, 1), (4, 2), (31, 1):
        for stride in 1, 2:
            check_passes(rng, 2, 3, m, (1, columns), (1, kernel), stride, (0, kernel // 2), 1)
            check_passes(rng, 2, 3, m, (columns, 1), (kernel, 1), stride, (kernel // 2, 0), 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stride", [2, 3, 4, 7])
@pytest.mark.parametrize("columns", [5, 39, 700, 4097, 9001])
def test_lines_a_stride_apart(target, columns, stride, dtype):
    """Rows are copied as one for each residue of columns, which short and long ones, few and many taps meet."""
    rng = np.random.default_rng(columns)
    for kernel, m, dilate in (1, 1, 1), (3, 1, 1), (4, 2, 3), (21, 1, 1), (40, 2, 1):
        check_passes(
            rng, 2, 9, m, (columns,), (kernel,), stride, kernel * dilate // 2, dilate, LAYOUTS[0], (dtype,) * 3
        )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("axes", AXES)
def test_what_is_not_finite_reaches_nothing_through_the_padding(target, axes, layout, dtype, value):
    """A weight, a pixel and an element of gy count where the definition has a product of them, and nowhere else."""
    rng = np.random.default_rng(15)

    def spoilt(a):
        """Ones, and where the result of these and ones is to be not finite."""
        where = rng.random(a) < 0.15
        return layout(np.where(where, value, 1).astype(dtype)), where.astype(np.float64)

    problems = {
        1: (((6,), (40,)), (((3,), 1, 1), ((4,), 2, 1), ((7,), 1, 2), ((31,), 1, 1), ((19,), 2, 1), ((2,), 3, 2))),
        2: (
            ((6, 21), (3, 8), (1, 40), (40, 1), (7, 7)),
            (((3, 3), 1, 1), ((3, 3), 2, 1), ((5, 4), 1, 2), ((1, 7), 3, 1), ((2, 5), (1, 2), 3)),
        ),
        3: (((3, 6, 11), (5, 1, 9)), (((3, 3, 3), 1, 1), ((2, 3, 3), (2, 1, 2), (1, 2, 1)))),
    }
    sizes, kernels = problems[axes]
    for size in sizes:
        for kernel, stride, dilate in kernels:
            dilates = dilate if isinstance(dilate, tuple) else (dilate,) * axes
            pad = tuple(d * (k - 1) for d, k in zip(dilates, kernel, strict=True))
            steps = {"stride": stride, "dilate": dilate, "pad": pad}
            c, m = 9, 1 if kernel == (3,) * axes else 2
            out = (1, c * m, *depthwise.output_size(size, kernel, **steps))
            (x, x_at), (W, W_at), (gy, gy_at) = (spoilt(s) for s in ((1, c, *size), (m, c, *kernel), out))
            ones = {s: np.ones(s, dtype) for s in (x.shape, W.shape, out)}
            for actual, expected in (
                (ops.forward(ones[x.shape], W, **steps), reference.forward(ones[x.shape], W_at, **steps)),
                (ops.forward(x, ones[W.shape], **steps), reference.forward(x_at, ones[W.shape], **steps)),
                (ops.input_grad(ones[out], W, size, **steps), reference.input_grad(ones[out], W_at, size, **steps)),
                (
                    ops.input_grad(gy, ones[W.shape], size, **steps),
                    reference.input_grad(gy_at, ones[W.shape], size, **steps),
                ),
                (
                    ops.weight_grad(ones[x.shape], gy, kernel, **steps),
                    reference.weight_grad(ones[x.shape], gy_at, kernel, **steps),
                ),
                (
                    ops.weight_grad(x, ones[out], kernel, **steps),
                    reference.weight_grad(x_at, ones[out], kernel, **steps),
                ),
            ):
                np.testing.assert_array_equal(np.isfinite(actual.astype(np.float64)), expected == 0)


def test_same_pads_behind(target):
    """As TensorFlow does: where the padding of an axis is odd, the last row or column is the one more."""
    x = np.arange(1, 7, dtype=np.float32)
    for shape, stride in (((1, 1, 1, 6), (1, 2)), ((1, 1, 6, 1), (2, 1))):
        kernel = shape[:2] + tuple(3 if n == 6 else 1 for n in shape[2:])
        y = ops.forward(x.reshape(shape), np.float32([1, 10, 100]).reshape(kernel), stride=stride, pad="same")
        np.testing.assert_array_equal(y.ravel(), [321, 543, 65])
    y = ops.forward(x.reshape(1, 1, 1, 6), np.float32([1, 10]).reshape(1, 1, 1, 2), pad="same")
    np.testing.assert_array_equal(y.ravel(), [21, 32, 43, 54, 65, 6])
    y = ops.forward(x.reshape(1, 1, 6), np.float32([1, 10]).reshape(1, 1, 2), pad="same")
    np.testing.assert_array_equal(y.ravel(), [21, 32, 43, 54, 65, 6])
    y = ops.forward(x.reshape(1, 1, 6, 1, 1), np.float32([1, 10, 100]).reshape(1, 1, 3, 1, 1), stride=2, pad="same")
    np.testing.assert_array_equal(y.ravel(), [321, 543, 65])


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dilate", [1, 3])
@pytest.mark.parametrize("k", [1, 4, 31])
def test_causal_pads_before(target, k, dilate, layout):
    """No output hangs on what comes later, and one without its past is that of zeros before it."""
    rng = np.random.default_rng(k)
    x, W = layout(integers(rng, (2, 19, 50), np.float32)), integers(rng, (1, 19, k), np.float32)
    y = ops.forward(x, W, dilate=dilate, pad="causal")
    assert y.shape == x.shape
    past = dilate * (k - 1)
    assert_same(y, reference.forward(np.pad(x, ((0, 0), (0, 0), (past, 0))), W, dilate=dilate))
    assert y.tobytes() == ops.forward(x, W, dilate=dilate, pad=((past, 0),)).tobytes()
    later = x.copy()
    later[:, :, 30:] = np.nan
    assert_same(ops.forward(later, W, dilate=dilate, pad="causal")[:, :, :30], y[:, :, :30])
    strided = ops.forward(x, W, stride=2, dilate=dilate, pad="causal")
    assert_same(strided, y[:, :, ::2])


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_planes_of_16_bit_floats(target, dtype, gap):
    """Converted in groups, of which the last of an image is smaller; with and without gaps in memory."""

    def layout(a):
        n, c, h, w = a.shape
        memory = np.full((n, c + gap, h + gap, w + gap), np.nan, a.dtype)
        memory[:, gap:, gap:, gap:] = a
        return memory[:, gap:, gap:, gap:]

    rng = np.random.default_rng(gap)
    check_passes(rng, 2, 200, 1, (14, 14), (3, 3), 1, 1, 1, layout, (dtype, dtype, dtype))
    check_passes(rng, 2, 150, 2, (15, 13), (5, 3), 2, (2, 1), 1, layout, (dtype, np.float32, dtype))
    check_passes(rng, 1, 3, 1, (70, 90), (3, 3), 1, 1, 2, layout, (dtype, dtype, np.float32))
    check_passes(rng, 40, 17, 1, (45, 40), (3, 3), 1, 1, 1, layout, (dtype, dtype, dtype))  # images in two parts

    def volumes(a):
        n, c, d, h, w = a.shape
        memory = np.full((n, c, d, 1 + gap, h, w), np.nan, a.dtype)
        memory[:, :, :, gap] = a
        return memory[:, :, :, gap]

    check_passes(rng, 2, 5, 2, (4, 9, 14), (2, 3, 3), 1, 1, 1, volumes, (dtype, np.float32, dtype))


@pytest.mark.parametrize("apart", [0, 256, 1024])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilate"),
    [
        ((3, 3), 1, 1),
        ((3, 3), 2, 1),
        ((2, 3), (1, 2), 1),
        ((3, 3), 1, 2),
        ((7, 7), 1, 1),
        ((5, 5), 2, 1),
        ((11, 1), 1, 1),
        ((1, 11), 1, 1),
        ((6, 4), (3, 1), 1),
        ((13, 13), 1, 1),
    ],
)
def test_weight_gradients_of_pixels(target, kernel, stride, dilate, apart):
    """Blocks of columns, the vectors that share a line, the last one that laps over its neighbour, fewer channels than
    lanes, and pixels that lie so that they are copied; what lies between pixels is no number."""

    def pixels(a):
        n, c, h, w = a.shape
        memory = np.full((n, h, w, max(c, apart)), np.nan, a.dtype)
        memory[..., :c] = a.transpose(0, 2, 3, 1)
        return memory[..., :c].transpose(0, 3, 1, 2)

    rng = np.random.default_rng(18)
    N = lanes(target)
    for channels, size in ((4 * N, (19, 21)), (3 * N + 1, (37, 11)), (2 * N - 1, (7, 30)), (3, (20, 7))):
        steps = {"stride": stride, "pad": [(k // 2 * dilate, k // 3) for k in kernel], "dilate": dilate}
        x = pixels(integers(rng, (2, channels, *size), np.float32))
        out = depthwise.output_size(size, kernel, **steps)
        gy = pixels(integers(rng, (2, channels, *out), np.float32, -2, 3))
        assert_same(ops.weight_grad(x, gy, kernel, **steps), reference.weight_grad(x, gy, kernel, **steps))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("kernel", [(8, 1), (1, 8), (3, 3), (8,), (2, 3, 3)])
def test_weight_gradient_into_any_strides(target, kernel, layout):
    """A gap after each tap, row and channel stays as it was."""
    rng = np.random.default_rng(14)
    size = (4, 12, 20)[-len(kernel) :]
    x = layout(integers(rng, (2, 5, *size), np.float32))
    gy = layout(integers(rng, (2, 5, *(s + 1 - k for s, k in zip(size, kernel, strict=True))), np.float32))
    for dtype in (np.float32, np.float64):
        memory = np.full((3, 7, *(k + 2 for k in kernel[:-1]), 2 * kernel[-1]), np.nan, dtype)
        out = memory[(slice(1, 2), slice(1, 6), *[slice(1, -1)] * (len(kernel) - 1), slice(None, None, 2))]
        ops.weight_grad(x, gy, kernel, out=out)
        assert_same(out, reference.weight_grad(x, gy, kernel))
        out[...] = np.nan
        assert np.isnan(memory).all()


@pytest.mark.parametrize("layout", ["planar", "channels_last"])
def test_more_than_2_to_31_elements(layout):
    """Strides and offsets of more than 32 bits; the array is pages of zeros of which a few samples are touched."""
    h, w = 2**15 + 1, 2**16 + 1
    try:
        x = np.zeros((1, 2, h, w) if layout == "planar" else (1, h, w, 2), np.float16)
    except MemoryError:
        pytest.skip("this system does not lend 8 GiB that are not used")
    if layout == "channels_last":
        x = x.transpose(0, 3, 1, 2)
    x[0, 1, -1, -1], x[0, 0, 2**14, 2**14] = 3, 5
    W, stride = np.float32([2, 7]).reshape(1, 2, 1, 1), 2**14
    y = ops.forward(x, W, stride=stride)
    expected = np.zeros((1, 2, 3, 5))
    expected[0, 1, 2, 4], expected[0, 0, 1, 1] = 21, 10
    assert_same(y, expected)
    gW = ops.weight_grad(x, y, (1, 1), stride=stride)
    np.testing.assert_array_equal(gW.ravel(), [50, 63])
    if layout == "planar":  # the samples lie at multiples of the stride in a line as long as the image has pixels
        line = ops.forward(x.reshape(1, 2, -1), W[..., 0], stride=stride)
        expected = np.zeros((1, 2, (h * w - 1) // stride + 1))
        expected[0, 1, -1], expected[0, 0, w + 1] = 21, 10
        assert_same(line, expected)
    volume = x.reshape(1, 2, 3, h // 3, w) if layout == "planar" else x[:, :, None]
    y = ops.forward(volume, W[..., None], stride=(1, 1, stride))
    assert (y.sum(dtype=np.float64), y[0, 1, -1, -1, -1], y[0, 0].max()) == (31, 21, 10)
