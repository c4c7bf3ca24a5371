"""What the engine may touch: nothing outside the arrays, no input, and little beyond the output."""

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest

from depthwise import ops, reference
from helpers import AXES, LAYOUTS, assert_same, combinations, integers, planar

libc = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE


def guarded(a, at_end):
    """A copy of `a` whose first or last byte lies against a page that cannot be read."""
    size = -(-a.nbytes // PAGE) * PAGE
    memory = mmap.mmap(-1, size + 2 * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (address, address + PAGE + size):
        assert libc.mprotect(ctypes.c_void_p(page), PAGE, 0) == 0
    start = PAGE + (size - a.nbytes if at_end else 0)
    order = np.argsort([-s for s in a.strides])
    flat = np.frombuffer(memory, a.dtype, a.size, start).reshape([a.shape[i] for i in order])
    view = flat.transpose(np.argsort(order))
    view[...] = a
    return view


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("at_end", [True, False])
def test_guard_pages(target, at_end, dtype, layout):
    rng = np.random.default_rng(8)
    for c, m, size, k, stride in (
        (3, 1, (5, 33), 3, 1),
        (17, 1, (7, 7), 5, 1),
        (17, 1, (9, 18), 3, 2),
        (5, 1, (4, 15), 4, 3),
        (3, 2, (1, 40), 5, 1),
        (3, 1, (21, 1), 3, 1),
        (2, 3, (3, 2), 7, 2),
        (3, 1, (33,), 3, 1),
        (17, 2, (40,), 4, 1),
        (5, 1, (70,), 31, 3),
        (3, 1, (3, 5, 33), 3, 1),
        (17, 1, (4, 5, 6), 3, 2),
        (3, 2, (2, 1, 40), 5, 1),
    ):
        x = guarded(layout(integers(rng, (1, c, *size), dtype)), at_end)
        W = guarded(integers(rng, (m, c, *[k] * len(size)), dtype), at_end)
        expected = reference.forward(x, W, stride=stride, pad=k // 2)
        y = guarded(layout(np.zeros(expected.shape, dtype)), at_end)
        gy = guarded(layout(integers(rng, expected.shape, dtype)), at_end)
        assert_same(ops.forward(x, W, stride=stride, pad=k // 2, out=y), expected)
        gx = guarded(layout(np.zeros(x.shape, dtype)), at_end)
        ops.input_grad(gy, W, size, stride=stride, pad=k // 2, out=gx)
        assert_same(gx, reference.input_grad(gy, W, size, stride=stride, pad=k // 2))
        gW = guarded(np.zeros(W.shape, dtype), at_end)
        ops.weight_grad(x, gy, k, stride=stride, pad=k // 2, out=gW)
        assert_same(gW, reference.weight_grad(x, gy, k, stride=stride, pad=k // 2))


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("flip", [(1, 1, -1, 1), (1, -1, -1, 1)])
def test_guard_pages_beside_reversed_arrays_that_are_not_finite(target, flip, at_end):
    """Whole vectors lie across rows: what they load beside a row, or do again with care, stays inside the array."""
    rng = np.random.default_rng(9)
    turned = tuple(slice(None, None, step) for step in flip)
    x, W = (guarded(integers(rng, shape, np.float32), at_end) for shape in ((2, 5, 6, 21), (1, 5, 3, 5)))
    gy = guarded(integers(rng, (2, 5, 6, 21), np.float32), at_end)
    kw = {"pad": (1, 2)}
    assert_same(ops.forward(x[turned], W, **kw), reference.forward(x[turned], W, **kw))
    assert_same(ops.weight_grad(x[turned], gy, (3, 5), **kw), reference.weight_grad(x[turned], gy, (3, 5), **kw))
    W[0, 3, 0, 0] = gy[1, 3, 5, 20] = np.inf
    y, gW = ops.forward(x[turned], W, **kw), ops.weight_grad(x[turned], gy, (3, 5), **kw)
    finite = [0, 1, 2, 4]
    x, W, gy = x[turned][:, finite], W[:, finite], gy[:, finite]
    assert_same(y[:, finite], reference.forward(x, W, **kw))
    assert_same(gW[:, finite], reference.weight_grad(x, gy, (3, 5), **kw))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_out_is_written_inside_its_frame_only(target, layout, axes):
    rng = np.random.default_rng(9)
    size, kernel = (5, 9, 21)[-axes:], (3,) * axes
    x, W = layout(integers(rng, (2, 5, *size), np.float32)), integers(rng, (2, 5, *kernel), np.float32)
    frame = np.full((6, 23, *(7, 11, 45)[-axes:]), np.nan, np.float32)
    at = slice(1, 5, 2), slice(1, 21, 2), *(slice(1, 4), slice(2, 9), slice(3, 41, 2))[-axes:]
    out = frame[at]
    assert ops.forward(x, W, out=out) is out
    assert_same(out, reference.forward(x, W))
    inside = np.zeros(frame.shape, bool)
    inside[at] = True
    assert np.isnan(frame[~inside]).all()


def test_inputs_of_every_kind(target):
    rng = np.random.default_rng(10)
    x, W = integers(rng, (2, 3, 8, 20), np.float32), integers(rng, (1, 3, 3, 3), np.float32)
    expected = reference.forward(x, W)
    packed = np.zeros(x.shape, [("a", np.float32), ("b", np.int8)])
    packed["a"] = x
    odd = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    readonly = x.copy()
    readonly.flags.writeable = False
    for kind in (packed["a"], odd, readonly, x.astype(">f4"), x[:, :, ::-1][:, :, ::-1]):
        before = np.array(kind)
        y = ops.forward(kind, W)
        assert type(y) is np.ndarray
        assert_same(y, expected)
        np.testing.assert_array_equal(np.array(kind), before)
    assert ops.forward(x.astype(">f4"), W).dtype == np.dtype(">f4")
    swapped = np.zeros(expected.shape, ">f4")
    ops.forward(x.astype(">f4"), W, out=swapped)
    assert_same(swapped, expected)
    one_row = np.broadcast_to(x[:, :, :1], x.shape)
    assert_same(ops.forward(one_row, W), reference.forward(one_row, W))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_layout_of_the_result(layout, axes):
    for n in (9, 40):  # small arrays, and large ones, which start where vectors do
        x, W = layout(np.ones((2, 8, *[n] * axes), np.float32)), np.ones((1, 8, *[3] * axes), np.float32)
        y = ops.forward(x, W)
        assert (y if layout is planar else np.moveaxis(y, 1, -1)).flags.c_contiguous
        gx = ops.input_grad(y, W, n)
        assert (gx if layout is planar else np.moveaxis(gx, 1, -1)).flags.c_contiguous


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_pixels_reach_the_windows_that_cover_them(target, layout, value):
    rng = np.random.default_rng(11)
    W = rng.uniform(1, 2, (1, 18, 3, 3)).astype(np.float32)
    for stride in (1, 2):
        for row, column in ((0, 0), (4, 9), (8, 18), (3, 18), (8, 0)):
            x = layout(np.zeros((1, 18, 9, 19), np.float32))
            x[0, 4, row, column] = value
            y = ops.forward(x, W, stride=stride, pad=1)
            covered = reference.forward(np.isnan(x) | np.isinf(x), np.ones_like(W), stride=stride, pad=1) > 0
            np.testing.assert_array_equal(~np.isfinite(y), covered)
            gx = ops.input_grad(layout(y), W, (9, 19), stride=stride, pad=1)
            reached = reference.input_grad(covered, np.ones_like(W), (9, 19), stride=stride, pad=1) > 0
            np.testing.assert_array_equal(~np.isfinite(gx), reached)


PEAK = """
import resource, sys, numpy as np
from depthwise import ops
def ones(channels):
    a = np.ones((1, channels, *{size}), np.{dtype})
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if {last} else a
x, out = ones(64), ones(64 * {m})
W = np.ones(({m}, 64, *[{k}] * (x.ndim - 2)), np.float32)
small = x[(..., *[slice(0, 40)] * (x.ndim - 2))]
ops.forward(small, W, pad={k} // 2, method="{method}")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ops.forward(x, W, pad={k} // 2, out=out, method="{method}")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(("size", "k"), [((512, 512), 3), ((512, 512), 31), ((2**18,), 31), ((64, 64, 64), 3)])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_peak_memory(dtype, last, size, k):
    """At most 1 MiB a thread beyond the output on an image of 64 channels of 2^18 pixels."""
    import depthwise

    script = PEAK.format(dtype=dtype, last=last, size=size, k=k, m=1, method="direct")
    grown_kib = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert grown_kib <= 1024 * depthwise.get_num_threads()


@pytest.mark.parametrize(("k", "m"), [(31, 1), (101, 1), (101, 4)])
@pytest.mark.parametrize("last", [False, True])
def test_peak_memory_of_transforms(last, k, m):
    """At most 8 MiB a thread, also where the largest tiles of all filters of a channel would take more."""
    import depthwise

    script = PEAK.format(dtype="float32", last=last, size=(256, 256), k=k, m=m, method="fft")
    grown_kib = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert grown_kib <= 8192 * depthwise.get_num_threads()


BORDER_PEAK = """
import resource, numpy as np
from depthwise import ops
def ones(size):
    a = np.ones((1, 64, size, size), np.{dtype})
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if {last} else a
steps = dict(pad={k} // 2, pad_mode="wrap")
W = np.ones((1, 64, {k}, {k}), np.{dtype})
def run(x, y):
    if "{kind}" == "forward":
        ops.forward(x, W, out=y, **steps)
    elif "{kind}" == "input_grad":
        ops.input_grad(x, W, y.shape[2:], out=y, **steps)
    else:
        ops.weight_grad(x, y, ({k}, {k}), **steps)
run(ones(40), ones(40))
x, y = ones(512), ones(512)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(x, y)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("dtype", "last", "kind", "k"),
    combinations(["float32", "float16"], [False, True], ["forward", "input_grad", "weight_grad"], [3, 31]),
)
def test_peak_memory_of_borders(dtype, last, kind, k):
    """Copies of 8 MiB, as much again where gradients are rounded, and the kernels' own memory: of 64 MiB images."""
    import depthwise

    script = BORDER_PEAK.format(dtype=dtype, last=last, kind=kind, k=k)
    grown_kib = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    copies = 2 if (kind, dtype) == ("input_grad", "float16") else 1
    assert grown_kib <= 8192 * copies + 1024 * depthwise.get_num_threads() + 1024
