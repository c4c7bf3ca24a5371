"""Real inputs against bounds that follow from the number of additions, never from what was seen."""

import numpy as np
import pytest

from depthwise import ops, reference
from helpers import AXES, DTYPES, LAYOUTS

EPS = {np.dtype(t): e for t, e in zip(DTYPES, (2.0**-11, 2.0**-8, 2.0**-24, 2.0**-53), strict=True)}


# A float32 sum is emptied into float64 after at most 512 additions into a lane; at last 16 lanes are added in float32.
KEPT = 512 + 16


def assert_within(actual, expected, magnitudes, additions):
    """|error| <= gamma(additions) * sum |terms|, plus one rounding to the result's dtype.

    `additions` in float32 (float64 for a float64 result) each add at most half an ulp of a partial sum, which is at
    most the sum of the terms' magnitudes.
    """
    unit = 2.0**-53 if actual.dtype == np.float64 else 2.0**-24
    gamma = additions * unit / (1 - additions * unit)
    bound = gamma * magnitudes + EPS[actual.dtype] * (np.abs(expected) + gamma * magnitudes)
    if actual.dtype == np.float16:
        bound = bound + 2.0**-25  # subnormal results are rounded to multiples of 2^-24
    assert (np.abs(actual.astype(np.float64) - expected) <= bound).all()


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_and_gradients(target, dtype, layout, axes):
    rng = np.random.default_rng(5)
    size, k = {1: (784,), 2: (28, 28), 3: (7, 8, 14)}[axes], 5
    kernel = (k,) * axes
    x = layout(rng.normal(size=(4, 8, *size)).astype(dtype))
    W = rng.normal(size=(2, 8, *kernel)).astype(dtype)
    gy = layout(rng.normal(size=(4, 16, *size)).astype(dtype))
    a = [np.abs(v.astype(np.float64)) for v in (x, W, gy)]
    taps, positions = k**axes, 4 * 784
    assert_within(ops.forward(x, W, pad=2), reference.forward(x, W, pad=2), reference.forward(a[0], a[1], pad=2), taps)
    assert_within(
        ops.input_grad(gy, W, size, pad=2),
        reference.input_grad(gy, W, size, pad=2),
        reference.input_grad(a[2], a[1], size, pad=2),
        2 * taps,
    )
    kept = positions if dtype is np.float64 else KEPT
    assert_within(
        ops.weight_grad(x, gy, kernel, pad=2),
        reference.weight_grad(x, gy, kernel, pad=2),
        reference.weight_grad(a[0], a[2], kernel, pad=2),
        kept,
    )
    assert_within(ops.bias_grad(gy), reference.bias_grad(gy), reference.bias_grad(a[2]), kept)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_long_sums_stay_accurate(target, layout):
    """Over 32 x 112 x 112 positions, the error of a float32 weight gradient is that of 528 additions, not 400,000."""
    rng = np.random.default_rng(6)
    x = layout(rng.uniform(0.5, 1, (32, 2, 112, 112)).astype(np.float32))
    gy = layout(rng.uniform(0.5, 1, (32, 2, 110, 110)).astype(np.float32))
    expected = reference.weight_grad(x, gy, (3, 3))
    assert_within(ops.weight_grad(x, gy, (3, 3)), expected, expected, KEPT)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_large_sums_do_not_swallow_small_products(target, layout):
    """A float32 sum of 2^24 loses every 1 that is added to it: no lane may stay there for more than 512 additions."""
    x = np.ones((1, 16, 512, 512), np.float32)
    x[:, :, 0, :16] = 2**24
    x, gy = layout(x), layout(np.ones((1, 16, 512, 512), np.float32))
    expected = np.full((1, 16, 1, 1), 16 * 2.0**24 + 512 * 512 - 16)
    assert_within(ops.weight_grad(x, gy, (1, 1)), expected, expected, KEPT)
    assert_within(ops.bias_grad(x), expected.ravel(), expected.ravel(), KEPT)


@pytest.mark.parametrize("axes", AXES)
def test_half_results_are_rounded_once(target, axes):
    """float16 and bfloat16 results are the float32 sums rounded to nearest even; float64 sums are not rounded twice."""
    rng = np.random.default_rng(7)
    for dtype in DTYPES[:2]:
        x = rng.normal(size=(1, 4, *(3, 9, 40)[-axes:])).astype(dtype)
        for w_dtype in (np.float32, np.float64):
            W = rng.normal(size=(1, 4, *[1] * axes)).astype(w_dtype)
            expected = (x.astype(w_dtype) * W).astype(dtype)
            np.testing.assert_array_equal(
                ops.forward(x, W).astype(np.float64),
                expected.astype(np.float64),
            )


def test_the_slices_of_a_volume_are_rounded_once(target):
    """What one tap in depth adds is lost where a sum is rounded to the result's dtype before all have been added."""
    for dtype, bits in ((DTYPES[0], 10), (DTYPES[1], 7)):
        third = 2.0 ** -(bits + 1) / 1.5
        x, W = np.ones((1, 2, 5, 4, 40), dtype), np.zeros((1, 2, 5, 1, 1), np.float32)
        W[:, :, :, 0, 0] = [1, third, third, third, third]  # each alone is less than half a step from 1
        for layout in LAYOUTS[:2]:
            y = ops.forward(layout(x), W)
            assert_within(y, reference.forward(x, W), reference.forward(x, W), 5)
            gx = ops.input_grad(layout(x), W, (5, 4, 40), pad=((2, 2), (0, 0), (0, 0)))
            expected = reference.input_grad(x, W, (5, 4, 40), pad=((2, 2), (0, 0), (0, 0)))
            assert_within(gx, expected, expected, 5)


def test_float64_sums_are_rounded_to_halves_once(target):
    """Next to the middle between two halves, where float32 in between would be the middle itself."""
    for dtype, bits in ((DTYPES[0], 10), (DTYPES[1], 7)):
        step, little = 2.0**-bits, 2.0**-30
        x = np.ones((1, 1, 4, 40), dtype)
        for weight, expected in ((1 + step / 2 + little, 1 + step), (1 + 1.5 * step - little, 1 + step)):
            W = np.full((1, 1, 1, 1), weight)
            for layout in LAYOUTS[:2]:
                assert (ops.forward(layout(x), W).astype(np.float64) == expected).all()
                assert (ops.input_grad(layout(x), W, (4, 40)).astype(np.float64) == expected).all()


def test_every_half_survives(target):
    """A 1x1 kernel of 1 returns every float16 and bfloat16 value, NaN as NaN."""
    for dtype in DTYPES[:2]:
        x = np.arange(65536, dtype=np.uint16).view(dtype).reshape(1, 1, 256, 256)
        y = ops.forward(x, np.ones((1, 1, 1, 1), np.float32))
        with np.errstate(invalid="ignore"):  # signalling NaNs
            numbers = ~np.isnan(x)
            assert (np.isnan(y) == ~numbers).all()
        # -0 + 0 is +0: the sum starts from zero.
        same = x.view(np.uint16)[numbers] == y.view(np.uint16)[numbers]
        assert (same | (x[numbers] == 0)).all()


def test_subnormal_numbers_are_kept(target):
    for dtype in (np.float32, np.float64):
        tiny = np.finfo(dtype).smallest_subnormal
        x = (np.arange(40) * tiny).astype(dtype).reshape(1, 2, 4, 5)
        W = np.ones((1, 2, 1, 1), dtype)
        for layout in LAYOUTS[:2]:
            assert (ops.forward(layout(x), W) == x).all()
            assert (ops.input_grad(layout(x), W, (4, 5)) == x).all()
            assert (ops.weight_grad(layout(x), np.ones_like(x), (1, 1)).ravel() == x.sum(axis=(2, 3))).all()
            assert (ops.bias_grad(layout(x)) == x.sum(axis=(0, 2, 3))).all()
