"""Filters that are columns times rows: the sums of the filters that they make."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import depthwise
from depthwise import ops, separable
from depthwise.enums import PAD_MODES
from helpers import DTYPES, LAYOUTS, assert_same, integers, with_border

slow = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def check(rng, n, c, m, size, kernel, mode="constant", layout=LAYOUTS[0], dtypes=(np.float32,) * 3, **steps):
    """All passes, exactly: what is summed are whole numbers."""
    x_dtype, columns_dtype, rows_dtype = dtypes
    out = depthwise.output_size(size, kernel, **steps)
    x = layout(integers(rng, (n, c, *size), x_dtype, -2, 3))
    gy = layout(integers(rng, (n, c * m, *out), x_dtype, -1, 2))
    columns = integers(rng, (m, c, kernel[0]), columns_dtype, -1, 2)
    rows = integers(rng, (m, c, kernel[1]), rows_dtype, -1, 2)
    b = integers(rng, c * m, x_dtype)
    W = columns.astype(float)[..., None] * rows.astype(float)[:, :, None]
    y, gx, gW, _ = with_border(x.astype(float), W, gy.astype(float), b.astype(float), kernel, mode, **steps)
    gW = gW.reshape(W.shape)  # without channels the reference cannot know how many filters there are
    steps["pad_mode"] = mode
    assert_same(ops.forward_separable(x, columns, rows, b, **steps), y)
    frame = np.full((n, c * m, out[0] + 2, 2 * out[1]), 7, x_dtype)
    view = frame[:, :, 1:-1, ::2]
    assert ops.forward_separable(x, columns, rows, b, out=view, **steps) is view
    assert_same(view, y)
    assert (frame[:, :, [0, -1]] == 7).all()
    assert (frame[..., 1::2] == 7).all()
    assert_same(ops.input_grad_separable(gy, columns, rows, size, **steps), gx)
    g_columns, g_rows = ops.weight_grads_separable(x, gy, columns, rows, **steps)
    assert_same(g_columns, (gW * rows.astype(float)[:, :, None]).sum(-1))
    assert_same(g_rows, (gW * columns.astype(float)[..., None]).sum(-2))


@pytest.fixture(params=[2 << 20, 600], ids=["whole", "parts"])
def _parts(request, monkeypatch):
    monkeypatch.setattr(separable, "_PART_BYTES", request.param)


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("mode", list(PAD_MODES))
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("size", "kernel", "steps"),
    [
        ((40, 9), (3, 3), {"pad": 1}),
        ((40, 9), (5, 7), {"pad": "same", "stride": 2}),
        ((40, 9), (3, 2), {"pad": ((0, 3), (2, 0)), "dilate": (2, 5)}),
        ((9, 40), (3, 1), {"stride": (3, 1)}),
        ((4, 5), (9, 9), {"pad": 5}),
    ],
    ids=str,
)
def test_passes(layout, mode, size, kernel, steps):
    for n, c, m in (2, 3, 1), (3, 9, 2):
        check(np.random.default_rng(3), n, c, m, size, kernel, mode, layout, **steps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x_dtype", DTYPES)
def test_dtypes(x_dtype, dtype):
    check(np.random.default_rng(3), 2, 3, 2, (12, 9), (3, 5), dtypes=(x_dtype, dtype, x_dtype), pad=(1, 2))
    check(np.random.default_rng(3), 2, 3, 2, (12, 9), (3, 5), dtypes=(x_dtype, x_dtype, dtype), pad=(1, 2))


@slow
@given(
    n=st.integers(1, 3),
    c=st.integers(1, 9),
    m=st.integers(1, 3),
    axes=st.tuples(*[st.tuples(*map(st.integers, (1, 1, 1, 0, 0, 1), (60, 6, 4, 7, 7, 3)))] * 2),
    mode=st.sampled_from(list(PAD_MODES)),
    layout=st.sampled_from(LAYOUTS),
    part=st.sampled_from([300, 3000, 1 << 20]),
    seed=st.integers(0, 99),
)
def test_any_geometry(n, c, m, axes, mode, layout, part, seed):
    size, kernel, stride, before, behind, dilate = zip(*axes, strict=True)
    steps = {"stride": stride, "pad": tuple(zip(before, behind, strict=True)), "dilate": dilate}
    try:
        depthwise.output_size(size, kernel, **steps)
    except ValueError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separable, "_PART_BYTES", part)
        check(np.random.default_rng(seed), n, c, m, size, kernel, mode, layout, **steps)


def test_what_lies_between_is_not_rounded():
    x = np.array([[1, 1], [1, 0]], np.float16)[None, None]
    columns, rows = np.array([[[1, -1]]], np.float16), np.array([[[1, 2**-11]]], np.float16)
    assert ops.forward_separable(x, columns, rows)[0, 0, 0, 0] == 2**-11


@pytest.mark.parametrize(("n", "c", "m"), [(0, 2, 1), (2, 0, 1), (2, 3, 0)])
def test_nothing(n, c, m):
    check(np.random.default_rng(3), n, c, m, (6, 5), (3, 3), pad=1)


def test_a_bias_of_float64_counts():
    x, line, b = np.ones((1, 1, 1, 1), "f"), np.ones((1, 1, 1), "f"), np.full(1, 2.0**-40)
    assert ops.forward_separable(x, line, -line, 1 + b)[0, 0, 0, 0] == np.float32(2.0**-40)


def test_refusals():
    x, line = np.zeros((1, 2, 8, 9), "f"), np.ones((1, 2, 3), "f")
    with pytest.raises(ValueError, match="columns and rows must have shapes"):
        ops.forward_separable(x, line, np.ones((2, 2, 3), "f"))
    with pytest.raises(ValueError, match="columns and rows must have shapes"):
        ops.forward_separable(x, line[0], line[0])
    with pytest.raises(ValueError, match="W has 2 input channels but x has 1"):
        ops.forward_separable(x[:, :1], line, line)
    with pytest.raises(TypeError, match="rows must be float16"):
        ops.forward_separable(x, line, line.astype("i4"))
    with pytest.raises(TypeError, match="columns must be a NumPy array"):
        ops.forward_separable(x, [1], line)
    with pytest.raises(ValueError, match="out overlaps x"):
        ops.forward_separable(x, line, line, pad=1, out=x)
    with pytest.raises(ValueError, match="gy must have shape"):
        ops.input_grad_separable(x, line, line, (8, 9))
    with pytest.raises(ValueError, match="gy must have shape"):
        ops.weight_grads_separable(x, x, line, line)
    with pytest.raises(ValueError, match="x must have 4 axes"):
        ops.forward_separable(x[0], line, line)
