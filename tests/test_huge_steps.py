"""Strides, pads and dilations of any size: right, and with no more memory than small ones take."""

import subprocess
import sys
import time

import numpy as np
import pytest

import depthwise
from depthwise import ops, reference
from helpers import AXES, DTYPES, LAYOUTS, assert_same, axis_of_any_steps, integers

MIB = 1 << 20


def copies(W):
    """Bytes of copies of the weights: for lanes of 16 channels, and as sums that are emptied into float64."""
    return 12 * 16 * -(-W.shape[1] // 16) * W[:, :1].size


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("seed", range(8))
def test_random_steps(target, seed, axes):
    """Every pass in every layout and dtype, exactly; scratch memory as promised, whatever the steps."""
    rng = np.random.default_rng(seed)
    most, taps = {1: ([200], 31), 2: ([20, 80], 31), 3: ([6, 8, 20], 4)}[axes]
    for _ in range(25 if axes == 2 else 12):
        each = (axis_of_any_steps(rng, pixels, taps) for pixels in most)
        size, kernel, stride, dilate, pad = zip(*each, strict=True)
        steps = {"stride": stride, "dilate": dilate, "pad": pad}
        n, c, m = int(rng.integers(1, 3)), int(rng.integers(1, 24)), int(rng.choice([1, 1, 2, 3]))
        dtype = DTYPES[rng.integers(4)]
        x = LAYOUTS[rng.integers(4)](integers(rng, (n, c, *size), dtype))
        W = integers(rng, (m, c, *kernel), dtype, -2, 3)
        out = depthwise.output_size(size, kernel, **steps)
        gy = LAYOUTS[rng.integers(4)](integers(rng, (n, c * m, *out), dtype, -2, 3))
        assert_same(ops.forward(x, W, **steps), reference.forward(x, W, **steps))
        assert_same(ops.input_grad(gy, W, size, **steps), reference.input_grad(gy, W, size, **steps))
        assert_same(ops.weight_grad(x, gy, kernel, **steps), reference.weight_grad(x, gy, kernel, **steps))
        for kind in ("forward", "input_grad", "weight_grad"):
            plan = depthwise.explain(x, W, kind=kind, **steps)
            assert plan["scratch bytes a thread"] <= MIB + copies(W), plan


@pytest.mark.parametrize("name", depthwise.targets())
@pytest.mark.parametrize("multiplier", [1, 3, 100])
@pytest.mark.parametrize("layout", LAYOUTS[:3])
@pytest.mark.parametrize("size", [(64, 1000), (1000, 64), (1, 100_000), (100_000, 1)])
def test_scratch_of_31_by_31(name, size, layout, multiplier):
    """What a thread takes beyond the output and the weights: 1 MiB, whatever stride, dilation and image."""
    kernel = tuple(min(31, n) for n in size)
    x, W = layout(np.zeros((1, 4, *size), np.float32)), np.zeros((multiplier, 4, *kernel), np.float32)
    for stride in (1, 2, 4, 31, 1000, 10**7):
        for dilate in (1, 7, 33, 1000, 10**7):
            pad = tuple(dilate * (k // 2) for k in kernel)
            for kind in ("forward", "input_grad", "weight_grad"):
                with depthwise.use_target(name):
                    plan = depthwise.explain(x, W, stride=stride, dilate=dilate, pad=pad, kind=kind)
                assert plan["scratch bytes a thread"] <= MIB + copies(W), (stride, dilate, plan)


@pytest.mark.parametrize("name", depthwise.targets())
@pytest.mark.parametrize("stride", [1, 2, 3, 8])
@pytest.mark.parametrize("kernel", [3, 24, 31, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scratch_of_lines(name, dtype, kernel, stride):
    """The same of rows whose outputs lie a stride apart, which are put together from a row for each residue."""
    x, W = np.zeros((1, 3, 100_000), dtype), np.zeros((1, 3, kernel), dtype)
    for kind in ("forward", "input_grad", "weight_grad"):
        with depthwise.use_target(name):
            plan = depthwise.explain(x, W, stride=stride, pad=kernel // 2, kind=kind)
        assert plan["scratch bytes a thread"] <= MIB + copies(W), plan


def test_an_output_in_the_padding():
    y = ops.forward(np.ones((1, 1, 3, 3), "f"), np.ones((1, 1, 3, 3), "f"), pad=10**8, stride=3 * 10**7)
    assert y.shape == (1, 1, 7, 7)
    assert not y.any()
    b = ops.forward(*(np.ones(s, "f") for s in ((1, 1, 3, 3), (1, 1, 3, 3), 1)), pad=10**8, stride=3 * 10**7)
    assert (b == 1).all()


GROWTH = """
import resource, numpy as np
from depthwise import ops
one = lambda *shape: np.ones(shape, np.float32)
n = 4_000_000
wide, tall, W = one(1, 1, 1, n), one(1, 2, n, 2), one(1, 1, 1, 3)
ops.forward(one(1, 1, 8, 8), one(1, 1, 3, 3), pad=1)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = np.zeros((1, 1, 1, n), np.float32); out[...] = 1
tall_out = np.zeros((1, 2, n, 2), np.float32); tall_out[...] = 1
before = peak()
ops.forward(one(1, 1, 3, 3), one(1, 1, 3, 3), pad=10**8, stride=3 * 10**7)
ops.forward(one(1, 1, 3, 3), one(1, 1, 3, 3), pad=10**7, stride=10**6)
ops.forward(wide, W, stride=n // 4, pad=(0, 10**9))
ops.forward(wide, W, dilate=n // 2 - 2)
ops.forward(tall, one(1, 2, 3, 1), dilate=n // 2 - 2)
ops.input_grad(one(1, 1, 1, 2), W, (1, n), stride=n - 4, out=out)
ops.input_grad(one(1, 2, 2, 2), one(1, 2, 3, 1), (n, 2), stride=(n - 4, 1), out=tall_out)
ops.weight_grad(wide, one(1, 1, 1, 2), (1, 3), stride=n - 4)
ops.weight_grad(tall, one(1, 2, 2, 2), (3, 1), stride=(n - 4, 1))
print(peak() - before)
assert out.sum() == 6 and tall_out.sum() == 24
"""


def test_memory_does_not_grow_with_steps():
    """Not by tables either: images of millions of pixels under strides and dilations of millions."""
    run = subprocess.run([sys.executable, "-c", GROWTH], check=True, capture_output=True, text=True)
    assert int(run.stdout) <= 2 * 1024  # KiB


OTHERS = (1, (10,), (3,)), (2, (0,), (0,)), (1, (3, 4, 5), (3, 3, 3)), (2, (0, 4, 5), (0, 1, 1))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_filters(target, dtype, layout):
    """A multiplier of 0: outputs without channels, and a gradient of x that is zero."""
    for n, size, kernel in (
        (1, (5, 10), (1, 1)),
        (2, (3, 3), (3, 3)),
        (1, (28, 28), (5, 5)),
        (2, (4, 0), (1, 0)),
        *OTHERS,
    ):
        x, W = layout(np.ones((n, 3, *size), dtype)), np.ones((0, 3, *kernel), dtype)
        y = ops.forward(x, W, pad=1)
        assert y.shape[1] == 0
        gb = np.ones(0, dtype)
        assert ops.weight_grad(x, y, kernel, pad=1, bias_out=gb).shape == W.shape
        assert not ops.input_grad(y, W, size, pad=1).any()
        ops.bias_grad(y)
    ops.forward(np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 1, 1), np.float32))  # that the target ran


def test_no_images_take_no_time():
    """However many rows they would have: this took 12 s on the scalar target, deaf to an interrupt."""
    start = time.perf_counter()
    rows = 2**32 + 1
    steps = {"pad": ((2**31 - 1, 2**31 - 1), (0, 0))}
    for name in depthwise.targets():
        with depthwise.use_target(name):
            x, gy = np.ones((0, 1, 3, 3), "f"), np.ones((0, 1, rows, 1), "f")
            assert not ops.weight_grad(x, gy, (1, 3), **steps).any()
            ops.forward(x, np.ones((1, 1, 1, 3), "f"), **steps)
            ops.input_grad(gy, np.ones((1, 1, 1, 3), "f"), (3, 3), **steps)
            deep = {"pad": ((2**31 - 1, 2**31 - 1), (0, 0), (0, 0))}
            volume, W, gy = (
                np.ones((0, 1, 3, 3, 3), "f"),
                np.ones((1, 1, 1, 1, 3), "f"),
                np.ones((0, 1, rows, 3, 1), "f"),
            )
            assert not ops.weight_grad(volume, gy, (1, 1, 3), **deep).any()
            ops.forward(volume, W, **deep)
            ops.input_grad(gy, W, 3, **deep)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_sums_of_many_planes(target, dtype):
    """An input gradient of many filters, of which not all are packed together."""
    rng = np.random.default_rng(4)
    for kernel, dilate, pad in (((31, 3), (100, 1), (1500, 1)), ((31, 31), (1, 100), (15, 1500)), ((3, 3), 1, 1)):
        steps = {"dilate": dilate, "pad": pad}
        W = integers(rng, (100, 2, *kernel), dtype)
        gy = LAYOUTS[2](integers(rng, (1, 200, 5, 40), dtype))
        assert_same(ops.input_grad(gy, W, (5, 40), **steps), reference.input_grad(gy, W, (5, 40), **steps))
