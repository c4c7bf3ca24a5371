"""Activations and their gradients through `ops`; test_activations.py has the errors of the engine, in every mix."""

import re

import numpy as np
import pytest

import depthwise
from depthwise import ops, reference
from depthwise.enums import ACTIVATIONS
from helpers import AXES, DTYPES, LAYOUTS, assert_same, integers

# The most that each may be off, in units in the last place of the sums' type: docs/numerics.md. The quotient and the
# two operations before it make hardswish's.
UNITS = {"silu": 2, "relu": 0, "relu6": 0, "hardswish": 3, "gelu": 4, "gelu_tanh": 3}
HALF_UNIT = {np.dtype(t): e for t, e in zip(DTYPES, (2.0**-11, 2.0**-8, 0, 0), strict=True)}
LEAST = {np.dtype(t): e for t, e in zip(DTYPES, (2.0**-24, 2.0**-133, 2.0**-149, 2.0**-1074), strict=True)}


def assert_near(actual, expected, units, scale=None):
    """Within so many units of the sums' type, of `expected` or of `scale`, and one rounding to a smaller type."""
    wide = np.float64 if actual.dtype == np.float64 else np.float32
    if wide is np.float64:
        units += 1024  # a tail's definition in float64 is itself off by the square of its argument
    unit = np.spacing(np.abs(expected if scale is None else scale).astype(wide)).astype(np.float64)
    bound = units * unit + 1.001 * HALF_UNIT[actual.dtype] * np.abs(expected) + bool(units) * LEAST[actual.dtype]
    assert (np.abs(actual.astype(np.float64) - expected) <= bound).all()


def problem(dtype, axes, layout=LAYOUTS[0], step=8):
    """x, W and b whose sums are multiples of 1 / step, exact in every type."""
    rng = np.random.default_rng(axes)
    size, kernel = (3, 7, 19)[-axes:], (2, 3, 3)[-axes:]
    x = layout(integers(rng, (2, 17, *size), dtype))
    W, b = ((integers(rng, shape, np.float32) / step).astype(dtype) for shape in ((2, 17, *kernel), 34))
    return x, W, b


def test_every_activation_is_tested():
    assert set(UNITS) == set(ACTIVATIONS) == set(reference.ACTIVATIONS)


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_forward(target, dtype, layout, axes, name):
    """Of the sum with the bias, before it is rounded."""
    x, W, b = problem(dtype, axes, layout)
    for stride in (1, 2):
        for bias in (None, b):
            y = ops.forward(x, W, bias, stride=stride, pad=1, activation=name)
            assert y.dtype == dtype
            assert_near(y, reference.forward(x, W, bias, stride=stride, pad=1, activation=name), UNITS[name])


@pytest.mark.parametrize("name", UNITS)
def test_the_names_and_out_and_threads(name):
    x, W, b = problem(np.float32, 2)
    y = ops.forward(x, W, b, pad=1, activation=name)
    assert (y != ops.forward(x, W, b, pad=1)).any()
    out = np.full((*y.shape, 2), np.nan, np.float32)[..., 0]
    assert ops.forward(x, W, b, pad=1, activation=name, out=out) is out
    assert out.tobytes() == y.tobytes()
    with depthwise.threads(2):
        assert ops.forward(x, W, b, pad=1, activation=name).tobytes() == y.tobytes()
    swapped = ops.forward(x.astype(">f4"), W, b, pad=1, activation=name)
    assert swapped.astype("f4").tobytes() == y.tobytes()
    if name == "silu":
        assert ops.forward(x, W, b, pad=1, activation="swish").tobytes() == y.tobytes()


def test_none_is_no_activation():
    x, W, b = problem(np.float32, 1)
    assert ops.forward(x, W, b, activation=None).tobytes() == ops.forward(x, W, b).tobytes()


def strided(a):
    """Every second element along the last axis of an array, turned around."""
    memory = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan, a.dtype)
    view = memory[..., ::-2]
    view[...] = a
    return view


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("gy_dtype", DTYPES)
@pytest.mark.parametrize("z_dtype", DTYPES)
def test_gradient(z_dtype, gy_dtype, name):
    """The derivative is at most 1.13: what it is off by is counted in units of gy."""
    rng = np.random.default_rng(21)
    for shape in ((), (1,), (50,), (3, 41), (2, 3, 41), (2, 17, 5, 9), (2, 3, 4, 5, 6), (0, 4)):
        z = np.array(np.round(rng.normal(size=shape) * 32) / 8, z_dtype)  # corners too
        gy = np.array(rng.normal(size=shape), gy_dtype)
        expected = gy.astype(np.float64) * reference.ACTIVATIONS[name][1](z.astype(np.float64))
        kinds = (lambda a: a, strided, np.asfortranarray, lambda a: a.astype(a.dtype.newbyteorder(">")))
        for kind in kinds[: 4 if shape else 1]:
            gz = ops.activation_grad(kind(gy), kind(z), name)
            assert (gz.shape, np.dtype(gz.dtype.type)) == (shape, gy_dtype)
            gz = gz.astype(gy_dtype)
            wide = np.float64 if z_dtype == np.float64 else np.float32
            assert_near(gz, expected, 6, scale=np.abs(gy.astype(wide)) + np.finfo(wide).tiny)
            out = strided(np.zeros(shape, gy_dtype)) if shape else np.zeros(shape, gy_dtype)
            assert ops.activation_grad(kind(gy).astype(gy_dtype), kind(z), name, out=out) is out
            np.testing.assert_array_equal(out.astype(np.float64), gz.astype(np.float64))


def test_gradient_of_none():
    gy = np.arange(5, dtype=np.float32)
    assert_same(ops.activation_grad(gy, gy, None), gy.astype(np.float64))


@pytest.mark.parametrize("name", UNITS)
def test_gradients_of_a_forward_pass_with_an_activation(name):
    """By differences, as the documentation of activation_grad puts them together."""
    rng = np.random.default_rng(22)
    x, W, b = rng.normal(size=(2, 3, 9)), rng.normal(size=(1, 3, 4)), rng.normal(size=3)
    gy, steps = rng.normal(size=x.shape), {"pad": "causal"}
    gz = ops.activation_grad(gy, ops.forward(x, W, b, **steps), name)
    gradients = ops.input_grad(gz, W, 9, **steps), ops.weight_grad(x, gz, 4, **steps), ops.bias_grad(gz)
    for a, gradient in zip((x, W, b), gradients, strict=True):
        direction = rng.normal(size=a.shape)
        ends = []
        for sign in (1, -1):
            moved = [v + sign * 1e-6 * direction if v is a else v for v in (x, W, b)]
            ends.append((gy * ops.forward(*moved, **steps, activation=name)).sum())
        assert (gradient * direction).sum() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: ops.activation_grad([1.0], a, "silu"), TypeError, "gy must be a NumPy array, got list"),
        (lambda a: ops.activation_grad(a, [1.0], "silu"), TypeError, "z must be a NumPy array, got list"),
        (lambda a: ops.activation_grad(a, a.astype(int), "silu"), TypeError, "z must be float16"),
        (lambda a: ops.activation_grad(a, a[:2], "silu"), ValueError, "gy must have z's shape (2, 4), got (3, 4)"),
        (lambda a: ops.activation_grad(a, a, "tanh"), ValueError, 'activation must be None, "silu"'),
        (lambda a: ops.activation_grad(a, a, ["silu"]), TypeError, 'activation must be None, "silu"'),
        (lambda a: ops.activation_grad(a, a, "silu", out=a), ValueError, "out overlaps gy"),
        (lambda a: ops.activation_grad(a, a, "silu", out=a[:2] * 1), ValueError, "out must have shape (3, 4)"),
        (lambda a: ops.activation_grad(a, a, "silu", out=a.astype("f8")), TypeError, "out must have dtype float32"),
        (
            lambda a: ops.activation_grad(a.reshape(1, 1, 1, 1, 3, 4), a.reshape(1, 1, 1, 1, 3, 4), "silu"),
            ValueError,
            "gy must have at most 5 axes, got 6",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call(np.ones((3, 4), np.float32))
