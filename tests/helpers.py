"""Arrays in every kind of memory, and comparisons that can fail."""

from __future__ import annotations

import itertools
import json
import os
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import depthwise
from depthwise import _core, ops, reference

# Have the adapters imported as with a version of their framework that lacks every private name which they use.
WITHOUT_PRIVATE_NAMES = bool(os.environ.get("DEPTHWISE_TEST_WITHOUT_PRIVATE_NAMES"))
COMPILED = [name for name, _ in _core.targets()]
CHAINER_CASES = json.loads((Path(__file__).parent / "chainer_cases.json").read_text())["cases"]
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
AXES = [pytest.param(n, id=f"{n}d") for n in (1, 2, 3)]  # a test's parameters: the numbers of spatial axes


@contextmanager
def hidden(*names):
    """Take these attributes, (owner, name), away meanwhile, where the fallbacks are to be forced."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in names if WITHOUT_PRIVATE_NAMES else ():
            patch.delattr(owner, name)
        yield


def combinations(*choices):
    """Every combination as a test's parameters; the first few, which hold every pair of values, are not slow."""
    left = [tuple(enumerate(c)) for c in itertools.product(*map(range, map(len, choices)))]
    missing, parameters = {pair for c in left for pair in itertools.combinations(c, 2)}, []
    while left:
        best = max(left, key=lambda c: len(missing.intersection(itertools.combinations(c, 2))))
        values = [choices[i][n] for i, n in best]
        parameters.append(pytest.param(*values, marks=() if missing else pytest.mark.slow))
        missing.difference_update(itertools.combinations(best, 2))
        left.remove(best)
    return parameters


def named(value):
    """A parameter's name in a test's, the same in every process."""
    return getattr(value, "__name__", str(value))


def in_turn(first, second):
    """Every pair as a test's parameters; those that are not slow hold every value."""
    return [
        pytest.param(a, b, marks=() if (i + j) % len(second) == 0 else pytest.mark.slow)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]


def planar(a):
    """Contiguous rows."""
    return np.ascontiguousarray(a)


def channels_last(a):
    """Contiguous channels."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def spread(a):
    """Every second element of an array framed with NaN."""
    big = np.full([2 * n + 3 for n in a.shape], np.nan, a.dtype)
    view = big[tuple(slice(1, 1 + 2 * n, 2) for n in a.shape)]
    view[...] = a
    return view


def reversed_rows(a):
    """Negative strides."""
    turned = (..., *[slice(None, None, -1)] * (a.ndim - 2))
    return np.ascontiguousarray(a[turned])[turned]


LAYOUTS = [planar, channels_last, spread, reversed_rows]


def from_json(v):
    """An array of a case of Chainer's."""
    return None if v is None else np.array(v["data"], np.float64).reshape(v["shape"])


def steps_of(case):
    """Stride and pad of a case of Chainer's."""
    return {k: tuple(case[k]) if isinstance(case[k], list) else case[k] for k in ("stride", "pad")}


def integers(rng, shape, dtype, low=-3, high=4):
    """Small integers: every order of summation gives the same floating-point sum."""
    return rng.integers(low, high, shape).astype(dtype)


def lanes(name=None):
    """Lanes of a target's float32 vectors."""
    names = [n for n, _ in _core.targets()]
    return _core.lanes(names.index(name or depthwise.targets()[0]))[0]


def assert_same(actual, expected):
    """Equal in every element, after rounding the float64 reference to the result's dtype."""
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual.astype(np.float64), expected.astype(actual.dtype).astype(np.float64))


def assert_near(actual, expected):
    """Near whole numbers as near as no other whole number is, after rounding to the result's dtype."""
    assert actual.shape == expected.shape
    unit = 2.0 ** {2: -7 if actual.dtype == ml_dtypes.bfloat16 else -10, 4: -23, 8: -52}[actual.dtype.itemsize]
    assert (np.abs(actual.astype(np.float64) - expected) <= 0.02 + unit * np.abs(expected)).all()


def places(size, pads, mode):
    """For each axis, the elements that numpy.pad puts there."""
    return [np.pad(np.arange(n), sides, mode) for n, sides in zip(size, pads, strict=True)]


def padded(x, pads, mode):
    """An image as numpy.pad has it."""
    return np.pad(x, [(0, 0), (0, 0), *pads], mode)


def folded(gx, size, pads, mode):
    """The gradient of numpy.pad."""
    for axis, at in enumerate(places(size, pads, mode), 2):
        sums = np.zeros((*gx.shape[:axis], size[axis - 2], *gx.shape[axis + 1 :]))
        np.add.at(np.moveaxis(sums, axis, 0), at, np.moveaxis(gx, axis, 0))
        gx = sums
    return gx


def sides_of(size, kernel, stride, pad, dilate):
    """(before, after) of each axis."""
    axes = depthwise.geometry.geometry((1, 1, *size), (1, 1, *kernel), stride, pad, dilate).axes
    return [a.pad for a in axes]


def with_border(x, W, gy, b, kernel, mode, stride=1, pad=0, dilate=1):
    """Y, gx, gW and gb in float64, by numpy.pad."""
    size = x.shape[2:]
    pads, steps = sides_of(size, kernel, stride, pad, dilate), {"stride": stride, "dilate": dilate}
    image = x.astype(float)
    if mode == "constant":
        steps["pad"] = pads
        gx = reference.input_grad(gy, W, size, **steps)
    else:
        image = padded(image, pads, mode)
        gx = folded(reference.input_grad(gy, W, image.shape[2:], **steps), size, pads, mode)
    y, gW = reference.forward(image, W, b, **steps), reference.weight_grad(image, gy, kernel, **steps)
    return y, gx, gW, gy.astype(float).sum((0, *range(2, gy.ndim)))


def check_passes(
    rng, n, c, m, size, kernel, stride, pad, dilate, layout=None, dtypes=(np.float32,) * 3, method="direct"
):
    """All passes of one problem against the reference: small integers, exactly where sums are formed directly."""
    same = assert_same if method == "direct" else assert_near
    steps = {"stride": stride, "pad": pad, "dilate": dilate}
    ours = steps | {"method": method}
    layout = layout or planar
    x = layout(integers(rng, (n, c, *size), dtypes[0]))
    W = integers(rng, (m, c, *kernel), dtypes[1], -2, 3)
    b = integers(rng, (c * m,), dtypes[2])
    out = depthwise.output_size(size, kernel, **steps)
    gy = layout(integers(rng, (n, c * m, *out), dtypes[0], -2, 3))
    y = ops.forward(x, W, b, **ours)
    same(y, reference.forward(x, W, b, **steps))
    assert_same(ops.forward(x, W, b, activation="relu", **ours), np.maximum(y, 0))
    same(ops.input_grad(gy, W, size, **ours), reference.input_grad(gy, W, size, **steps))
    gb = np.empty(c * m, dtypes[2])
    gW, expected = ops.weight_grad(x, gy, kernel, bias_out=gb, **ours), reference.bias_grad(gy)
    same(gW, reference.weight_grad(x, gy, kernel, **steps))
    assert_same(gb, expected)
    assert_same(ops.weight_grad(x, gy, kernel, **ours), gW)
    assert_same(ops.bias_grad(gy), expected)


def axis_of_any_steps(rng, most, taps=31):
    """(size, kernel, stride, dilate, (before, after)) with few outputs, some tap of which meets the image."""

    def step():
        return int(rng.choice([1, 2, 3, int(10 ** rng.uniform(0.5, 8))], p=[0.4, 0.1, 0.1, 0.4]))

    while True:
        size, kernel, stride, dilate = int(rng.integers(1, most)), int(rng.integers(1, taps + 1)), step(), step()
        outs = int(rng.integers(1, 12 if stride > 3 else 40))
        padding = max(0, (outs - 1) * stride + dilate * (kernel - 1) + 1 - size) + int(rng.integers(0, stride))
        # The image is a speck in its padding: put it under a tap.
        place = int(rng.integers(outs)) * stride + int(rng.integers(kernel)) * dilate - int(rng.integers(size))
        before = min(max(place, 0), padding)
        if max(before, padding - before) < 2**31 and (size + padding - dilate * (kernel - 1) - 1) // stride < 200:
            return size, kernel, stride, dilate, (before, padding - before)
