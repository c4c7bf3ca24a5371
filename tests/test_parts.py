"""`like=`: parts of an array, computed apart, have the bits of one call on the whole."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import depthwise
from depthwise import ops
from helpers import channels_last, planar

few = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))

GEOMETRY = {
    "n": st.integers(1, 2),
    "c": st.integers(1, 40),
    "m": st.integers(1, 3),
    "axes": st.lists(st.tuples(*map(st.integers, (1, 1, 1, 1, 0, 0), (70, 9, 3, 2, 4, 4))), min_size=1, max_size=3),
    "layout": st.sampled_from([planar, channels_last]),
    "dtype": st.sampled_from(["f4", "f8", "f2"]),
    "seed": st.integers(0, 10**6),
}


def span(rng, size):
    begin = int(rng.integers(0, size))
    return slice(begin, int(rng.integers(begin + 1, size + 1)))


def drawn(n, c, m, axes, dtype, seed):
    """A problem that is small."""
    size, kernel, stride, dilate, before, behind = zip(*axes, strict=True)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilate, strict=True)]
    steps = {"stride": stride, "dilate": dilate}
    pad = tuple(zip(before, behind, strict=True))
    assume(all(s + sum(p) >= r for s, p, r in zip(size, pad, reach, strict=True)))
    assume(n * c * m * np.prod(size) <= 5 * 10**5)
    out = depthwise.output_size(size, kernel, pad=pad, **steps)
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(m, c, *kernel)).astype(dtype)
    return rng, size, out, reach, steps, pad, W


@few
@given(**GEOMETRY)
def test_parts_have_the_bits_of_their_whole(n, c, m, axes, layout, dtype, seed):
    rng, size, out, reach, steps, pad, W = drawn(n, c, m, axes, dtype, seed)
    x, b = layout(rng.normal(size=(n, c, *size)).astype(dtype)), rng.normal(size=c * m).astype(dtype)
    y = ops.forward(x, W, b, pad=pad, **steps)
    images, channels, outs = span(rng, n), span(rng, c), [span(rng, o) for o in out]
    places = [
        ((o.start * s - p, (o.stop - 1) * s - p + r), n)
        for o, s, (p, _), r, n in zip(outs, steps["stride"], pad, reach, size, strict=True)
    ]
    inside = [(max(f, 0), min(e, n)) for (f, e), n in places]
    assume(all(f < e for f, e in inside))
    beside = [(f - first, last - e) for ((first, last), _), (f, e) in zip(places, inside, strict=True)]
    part = layout(x[(images, channels, *(slice(*at) for at in inside))])
    filters = slice(channels.start * m, channels.stop * m)
    like = depthwise.Whole(x.shape, pad, layout is channels_last)
    actual = ops.forward(part, W[:, channels], b[filters], pad=beside, like=like, **steps)
    np.testing.assert_array_equal(actual, y[(images, filters, *outs)])


@few
@given(**GEOMETRY)
def test_parts_of_an_input_gradient(n, c, m, axes, layout, dtype, seed):
    rng, size, out, reach, steps, pad, W = drawn(n, c, m, axes, dtype, seed)
    gy = layout(rng.normal(size=(n, c * m, *out)).astype(dtype))
    gx = ops.input_grad(gy, W, size, pad=pad, **steps)
    images, places = span(rng, n), [span(rng, s) for s in size]
    channels = span(rng, c) if m == 1 or layout is planar else slice(0, c)
    outs, beside = [], []
    for at, s, (p, _), r, o in zip(places, steps["stride"], pad, reach, out, strict=True):
        first, last = max(0, (p + at.start - r + 1) // s), min(o, (at.stop - 1 + p) // s + 1)
        assume(first < last)
        before = p + at.start - first * s
        outs.append(slice(first, last))
        beside.append((before, max(0, (last - first - 1) * s + r - (at.stop - at.start) - before)))
    part = layout(gy[(images, slice(channels.start * m, channels.stop * m), *outs)])
    like = depthwise.Whole(gx.shape, pad, layout is channels_last)
    part_size = [at.stop - at.start for at in places]
    actual = ops.input_grad(part, W[:, channels], part_size, pad=beside, like=like, **steps)
    np.testing.assert_array_equal(actual, gx[(images, channels, *places)])


@pytest.mark.parametrize("layout", [planar, channels_last])
def test_rows_of_a_large_image(target, layout):
    """Strips of an image, of which one is a single row, and columns that fill less than a vector."""
    rng = np.random.default_rng(3)
    x = layout(rng.normal(size=(1, 19, 64, 300)).astype("f"))
    for kernel, stride in ((3, 3), (1, 2)), ((9, 5), (2, 2)), ((7, 3), (1, 1)), ((5, 5), (3, 3)):
        W = rng.normal(size=(1, 19, *kernel)).astype("f")
        y = ops.forward(x, W, stride=stride)
        like = depthwise.Whole(x.shape, 0, layout is channels_last)
        for rows, columns in (slice(3, 4), slice(0, None)), (slice(2, 9), slice(5, 7)), (slice(0, 2), slice(40, 41)):
            outs = y[:, :, rows, columns]
            first = rows.start * stride[0], columns.start * stride[1]
            reach = [(o - 1) * s + k for o, s, k in zip(outs.shape[2:], stride, kernel, strict=True)]
            part = layout(x[:, :, first[0] : first[0] + reach[0], first[1] : first[1] + reach[1]])
            np.testing.assert_array_equal(ops.forward(part, W, stride=stride, like=like), outs)


def forward_part(x, W, outs, pad, stride, like):
    """Some outputs of the last two axes, from the part of x that their windows meet."""
    inside, beside = [], []
    for out, size, kernel, (before, _), s in zip(outs, x.shape[2:], W.shape[2:], pad, stride, strict=True):
        first, last = out.start * s - before, (out.stop - 1) * s - before + kernel
        inside.append(slice(max(first, 0), min(last, size)))
        beside.append((inside[-1].start - first, last - inside[-1].stop))
    return ops.forward(np.ascontiguousarray(x[(..., *inside)]), W, stride=stride, pad=beside, like=like)


def test_pairs_of_columns_are_the_same_in_every_part(target):
    """A part that does not meet the first column of taps, where the whole's vector does."""
    rng = np.random.default_rng(3)
    x, W = rng.normal(size=(1, 2, 16, 17)).astype("f"), rng.normal(size=(1, 2, 7, 3)).astype("f")
    pad, stride = ((2, 0), (3, 0)), (2, 2)
    y = ops.forward(x, W, stride=stride, pad=pad)
    for column in range(4):
        outs = slice(4, 6), slice(column, column + 1)
        part = forward_part(x, W, outs, pad, stride, depthwise.Whole(x.shape, pad))
        np.testing.assert_array_equal(part, y[(..., *outs)])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_columns_whose_windows_leave_the_row(target, dtype):
    """In a part no lane meets some of three columns of taps, where the whole's vector does."""
    rng = np.random.default_rng(3)
    x, W = rng.normal(size=(1, 3, 9, 35)).astype(dtype), rng.normal(size=(1, 3, 3, 3)).astype(dtype)
    pad = (1, 1), (2, 2)
    y = ops.forward(x, W, pad=pad)
    for first in range(37):
        for last in {first + 1, 37}:
            outs = slice(0, 9), slice(first, last)
            part = forward_part(x, W, outs, pad, (1, 1), depthwise.Whole(x.shape, pad))
            np.testing.assert_array_equal(part, y[(..., *outs)])


@pytest.mark.parametrize("kernel", [(7, 7), (3, 5)])
def test_any_column_of_an_input_gradient(target, kernel):
    """A part may have but one of two phases of columns, with three taps or fewer."""
    rng = np.random.default_rng(3)
    gy, W = rng.normal(size=(1, 2, 20, 20)).astype("f"), rng.normal(size=(1, 2, *kernel)).astype("f")
    for stride in (1, 2), (2, 2):
        size = tuple(19 * s + k for s, k in zip(stride, kernel, strict=True))
        gx = ops.input_grad(gy, W, size, stride=stride)
        for column in range(size[1]):
            first, last = max(0, (column - kernel[1] + 2) // 2), min(20, column // 2 + 1)
            part = ops.input_grad(
                np.ascontiguousarray(gy[..., first:last]),
                W,
                (size[0], 1),
                stride=stride,
                pad=((0, 0), (column - 2 * first, 2 * (last - 1) + kernel[1] - 1 - column)),
                like=depthwise.Whole(gx.shape),
            )
            np.testing.assert_array_equal(part, gx[..., column : column + 1])


def test_one_column_of_an_input_gradient(target):
    """Its whole sums two phases of columns side by side, fewer taps at once."""
    rng = np.random.default_rng(3)
    gy, W = rng.normal(size=(1, 2, 30, 20)).astype("f"), rng.normal(size=(1, 2, 9, 3)).astype("f")
    gx = ops.input_grad(gy, W, (38, 41), stride=(1, 2))
    part = ops.input_grad(
        np.ascontiguousarray(gy[..., 4:6]),
        W,
        (38, 1),
        stride=(1, 2),
        pad=((0, 0), (2, 2)),
        like=depthwise.Whole(gx.shape),
    )
    np.testing.assert_array_equal(part, gx[..., 10:11])


def test_one_channel_in_channels_last_memory_is_planar(target):
    rng = np.random.default_rng(3)
    x, W = channels_last(rng.normal(size=(2, 1, 26, 66)).astype("f")), rng.normal(size=(3, 1, 3, 2)).astype("f")
    pad = (2, 3), (1, 1)
    y = ops.forward(x, W, pad=pad)
    outs = slice(10, 12), slice(32, 38)
    part = forward_part(x, W, outs, pad, (1, 1), depthwise.Whole(x.shape, pad, channels_last=True))
    np.testing.assert_array_equal(part, y[(..., *outs)])


@pytest.mark.parametrize("layout", [planar, channels_last])
def test_volumes_with_gaps_under_a_kernel_that_has_a_depth_alone(target, layout):
    """Planes of a dense volume are rows. Those of a view are not, and are summed so only where it is a part."""
    rng = np.random.default_rng(3)

    def view(size):
        large = [s + 3 for s in size]
        return layout(rng.normal(size=(2, 19, *large)).astype("f"))[..., 1:-2, 2:-1, 1:-2]

    W = rng.normal(size=(1, 19, 5, 1, 1)).astype("f")
    steps = {"stride": (2, 1, 1), "pad": ((2, 1), (0, 0), (0, 0))}
    x, gy = view((16, 9, 11)), view((8, 9, 11))
    like = depthwise.Whole(x.shape, steps["pad"], layout is channels_last)
    for call, a in (
        (lambda a, **more: ops.forward(a, W, **steps, **more), x),
        (lambda a, **more: ops.input_grad(a, W, (16, 9, 11), **steps, **more), gy),
    ):
        expected = call(layout(a))
        np.testing.assert_array_equal(call(a, like=like), expected)
        np.testing.assert_allclose(call(a), expected, rtol=1e-5, atol=1e-5)
    gW = ops.weight_grad(layout(x), layout(gy), (5, 1, 1), **steps)
    np.testing.assert_allclose(ops.weight_grad(x, gy, (5, 1, 1), **steps), gW, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("layout", [planar, channels_last])
def test_a_whole_that_is_none_changes_no_value(target, layout):
    """It says in what order to sum, and nothing else."""
    rng = np.random.default_rng(3)
    x, W = layout(rng.integers(-9, 9, (1, 19, 50, 50)).astype("f")), rng.integers(-9, 9, (1, 19, 5, 5)).astype("f")
    for whole, steps in [
        (((1, 19, 1, 1), 2), {}),
        (((1, 19, 5, 5),), {"stride": 2}),
        (((1, 19, 3, 3), 1), {}),
        (((1, 19, 1000, 3), ((0, 0), (1, 1))), {}),
        (((3, 99, 7, 700), 9), {"dilate": 3, "pad": 4}),
    ]:
        like, y = depthwise.Whole(*whole), ops.forward(x, W, **steps)
        np.testing.assert_array_equal(ops.forward(x, W, like=like, **steps), y)
        gx = ops.input_grad(y, W, 50, **steps)
        np.testing.assert_array_equal(ops.input_grad(y, W, 50, like=like, **steps), gx)


def test_refusals():
    x, W = np.ones((1, 2, 8, 8), "f"), np.ones((1, 2, 3, 3), "f")
    whole = depthwise.Whole((1, 2, 20, 8), 1)
    with pytest.raises(TypeError, match=r"like must be a depthwise\.Whole, got tuple"):
        ops.forward(x, W, like=(1, 2, 20, 8))
    with pytest.raises(ValueError, match=r"x \(1, 2, 8, 8\) is no part of an array of shape \(1, 1, 20, 8\)"):
        ops.forward(x, W, like=depthwise.Whole((1, 1, 20, 8)))
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        ops.forward(x, W, like=depthwise.Whole((1, 2, 20.0, 8)))
    with pytest.raises(ValueError, match="is no part of an array of shape"):
        ops.input_grad(x, W, 10, like=depthwise.Whole((1, 2, 20)))
    with pytest.raises(ValueError, match='a part has pad_mode "constant"'):
        ops.forward(x, W, pad=1, pad_mode="edge", like=whole)
    with pytest.raises(ValueError, match="height of the output would be"):
        ops.forward(x, W, like=depthwise.Whole((1, 2, 2, 8)))
    with pytest.raises(ValueError, match="like is not for filters of each image"):
        ops.forward(x, W[None], like=whole)
    with pytest.raises(ValueError, match="like is not for filters of each image"):
        ops.input_grad(x, W[None], 10, like=whole)
