"""Activations of a forward pass and their gradients, through the engine's own door: every dtype, layout and target.

Their errors in float32 and float64, at every magnitude, are csrc/tests/test_activations.cpp's part.
"""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

import depthwise
from depthwise import _core
from helpers import DTYPES

KINDS = [name for name in _core.activations if name != "none"]
LINEAR = 2 * math.sqrt(2 / math.pi)
EPS = {np.dtype(t): e for t, e in zip(DTYPES, (2.0**-11, 2.0**-8, 2.0**-24, 2.0**-53), strict=True)}
SMALLEST = {np.dtype(t): e for t, e in zip(DTYPES, (2.0**-24, 2.0**-133, 2.0**-149, 2.0**-1074), strict=True)}


@pytest.fixture(params=depthwise.targets())
def target_number(request):
    return [name for name, _ in _core.targets()].index(request.param)


def code(a):
    return _core.dtypes[a.dtype.name]


def bits(a):
    """What the engine takes: a buffer has no name for bfloat16."""
    return a.view(np.uint16) if a.dtype == ml_dtypes.bfloat16 else a


def gradient(kind, z, gy, gz, target, threads=1):
    _core.activation_grad(
        _core.activations[kind], bits(z), code(z), bits(gy), code(gy), bits(gz), code(gz), target, threads
    )
    return gz


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal(x):
    return np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)) / 2


def value(kind, x):
    """In float64, for x between -20 and 20."""
    match kind:
        case "silu":
            return x * sigmoid(x)
        case "relu":
            return np.maximum(x, 0)
        case "relu6":
            return np.clip(x, 0, 6)
        case "hardswish":
            return x * np.clip(x + 3, 0, 6) / 6
        case "gelu":
            return x * normal(x)
        case "gelu_tanh":
            return x * sigmoid(LINEAR * (x + 0.044715 * x**3))


def slope(kind, x):
    match kind:
        case "silu":
            return sigmoid(x) * (1 + x * sigmoid(-x))
        case "relu":
            return (x > 0).astype(float)
        case "relu6":
            return ((x > 0) & (x < 6)).astype(float)
        case "hardswish":
            return np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5))
        case "gelu":
            return normal(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        case "gelu_tanh":
            a = LINEAR * (x + 0.044715 * x**3)
            return sigmoid(a) * (1 + x * sigmoid(-a) * LINEAR * (1 + 3 * 0.044715 * x**2))


def truth_error(x):
    """Of the two above, relative: the argument of erfc and of exp is rounded, and grows with x squared."""
    return (64 + 4 * x * x) * 2.0**-53


def sums(*arrays):
    """The unit roundoff of the accumulator."""
    return 2.0**-53 if any(a.dtype == np.float64 for a in arrays) else 2.0**-24


def numbers(rng, shape, dtype, size=4.0):
    return rng.normal(scale=size, size=shape).clip(-12, 12).astype(dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_is_rounded_once(target_number, kind):
    """y of a 1x1 kernel of 1 is the activation of x: of the sum, before it is rounded to y's dtype."""
    rng = np.random.default_rng(1)
    sizes = _core.Sizes(2, 3, 1, [[37, 1, 1, 0, 1, 37]], 0, 0)
    for x_dtype, y_dtype in itertools.product(DTYPES, DTYPES):
        x, W = numbers(rng, (2, 3, 37), x_dtype), np.ones((1, 3, 1), x_dtype)
        y = np.zeros(x.shape, y_dtype)
        _core.run(
            _core.passes["forward"], sizes, bits(x), code(x), bits(W), code(W), None, 0, bits(y), code(y),
            target_number, 1, _core.activations[kind], None,
        )  # fmt: skip
        expected = value(kind, x.astype(np.float64))
        # Four units in the last place are at most eight roundoffs.
        wide = x.astype(np.float64)
        allowed = np.abs(expected) * (8 * sums(x) + truth_error(wide) + EPS[y.dtype])
        allowed += SMALLEST[y.dtype] + 4 * SMALLEST[np.result_type(x.dtype, np.float32)]
        assert (np.abs(y.astype(np.float64) - expected) <= allowed).all(), (x_dtype, y_dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_in_every_mix_of_dtypes(target_number, kind):
    rng = np.random.default_rng(2)
    for dtypes in itertools.product(DTYPES, DTYPES, DTYPES):
        z, gy = numbers(rng, (5, 431), dtypes[0]), numbers(rng, (5, 431), dtypes[1], 1.0)
        gz = gradient(kind, z, gy, np.zeros(z.shape, dtypes[2]), target_number)
        wide, g = z.astype(np.float64), gy.astype(np.float64)
        expected = slope(kind, wide) * g
        # The terms of a slope add up to less than 2 in magnitude.
        allowed = 2 * np.abs(g) * (8 * sums(z, gy) + truth_error(wide)) * (1 + np.abs(wide))
        allowed += np.abs(expected) * EPS[gz.dtype] + SMALLEST[gz.dtype]
        assert (np.abs(gz.astype(np.float64) - expected) <= allowed).all(), dtypes


def views(rng, axes):
    """Three arrays of one shape, of any strides, and what their memory holds."""
    shape = tuple(int(n) for n in rng.integers(1, 8, axes))
    arrays = []
    for kind in range(3):
        order = rng.permutation(axes)
        whole = np.full([2 * shape[i] + 1 for i in order], np.nan, np.float32)
        inner = whole[tuple(slice(1, None, 2) if rng.integers(2) else slice(shape[i]) for i in order)]
        view = inner.transpose(np.argsort(order))
        view = view[tuple(slice(None, None, -1) if rng.integers(2) else slice(None) for _ in order)]
        if kind < 2:
            view[...] = numbers(rng, shape, np.float32)
            if rng.integers(3) == 0:  # the same element along an axis
                axis = int(rng.integers(axes))
                first = view[tuple(slice(1) if i == axis else slice(None) for i in range(axes))]
                view = np.broadcast_to(first, shape)
        arrays.append((view, whole))
    return arrays


@pytest.mark.parametrize("axes", [1, 2, 3, 4, 5])
def test_gradient_of_any_strides(axes):
    """The bits of dense arrays, and nothing beside the result is touched."""
    rng = np.random.default_rng(axes)
    best = [supported for _, supported in _core.targets()].index(True)
    for _ in range(60):
        (z, _), (gy, _), (gz, memory) = views(rng, axes)
        dense = gradient("silu", z.copy(), gy.copy(), np.empty(z.shape, np.float32), best)
        gradient("silu", z, gy, gz, best)
        np.testing.assert_array_equal(gz, dense)
        gz[...] = np.nan
        assert np.isnan(memory).all()


def test_gradient_of_no_axes_and_of_no_elements():
    best = [supported for _, supported in _core.targets()].index(True)
    z, gy = np.float32(2), np.float32(3)
    assert gradient("relu", np.array(z), np.array(gy), np.zeros((), np.float32), best) == gy
    empty = np.zeros((3, 0, 2), np.float32)
    gradient("relu", empty, empty, empty.copy(), best)


def test_gradient_in_place_and_on_many_threads(target_number):
    """The same bits for any number of threads, and where gz is gy or z."""
    rng = np.random.default_rng(3)
    z, gy = numbers(rng, (7, 30011), np.float32), numbers(rng, (7, 30011), np.float32)
    once = gradient("gelu", z, gy, np.zeros_like(z), target_number)
    for threads in (2, 5):
        assert (gradient("gelu", z, gy, np.zeros_like(z), target_number, threads) == once).all()
    over_gy, over_z = gy.copy(), z.copy()
    assert (gradient("gelu", z, over_gy, over_gy, target_number, 2) == once).all()
    assert (gradient("gelu", over_z, gy, over_z, target_number, 2) == once).all()


def test_gradient_errors():
    best = [supported for _, supported in _core.targets()].index(True)
    a = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="not of one shape"):
        gradient("silu", a, a[:1], a.copy(), best)
    with pytest.raises(ValueError, match="at most five axes"):
        gradient("silu", *(np.zeros((1,) * 6, np.float32) for _ in range(3)), best)
    with pytest.raises(_core.Refused, match="gz is not in this machine's byte order"):
        gradient("silu", a, a, a.astype(a.dtype.newbyteorder()), best)
    with pytest.raises(ValueError, match="no such activation"):
        _core.activation_grad(7, a, code(a), a, code(a), a.copy(), code(a), best, 1)
