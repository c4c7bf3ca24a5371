"""depthwise.jax under JAX's transformations, and of arrays without elements."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from depthwise import reference
from helpers import combinations, in_turn
from jax_helpers import (
    ALL_OF_IT,
    DIMS,
    FIRST,
    PLACES,
    THIRD,
    WITHOUT_ELEMENTS,
    assert_exact,
    check_grads,
    conv,
    jax,
    jnp,
    lax,
    layout,
    planar,
    primitives,
    primitives_in,
    primitives_steps,
    problem,
    without_elements,
)

FEW = {
    1: (2, 2, (6,), 2, (3,), {"stride": 2, "pad": 2, "dilate": 2}),
    2: (2, 2, (6, 5), 2, (3, 2), {"stride": (2, 1), "pad": 1, "dilate": (1, 2)}),
    3: (1, 2, (3, 4, 5), 2, (2, 3, 2), {"stride": (1, 2, 1), "pad": 1, "dilate": (2, 1, 1)}),
}


@pytest.mark.parametrize(("dims", "channels"), in_turn(DIMS, PLACES))
def test_derivatives_to_the_third_order(dims, channels):
    with jax.enable_x64(True):
        (x, W, b), f = problem(FEW[dims], channels=channels)
        rng = np.random.default_rng(0)
        args = [jnp.asarray(rng.standard_normal(a.shape)) for a in (x, W, b)]
        check_grads(f, args, order=3, modes=("fwd", "rev"))
        check_grads(lambda x, W: f(x, W), args[:2], order=3, modes=("fwd", "rev"))


def every_axis(*ranks):
    """Mapped axes, one of each kind: none, the first, one within, the last."""
    choices = itertools.product(*([None, 0, rank // 2, rank] for rank in ranks))
    return [dims for dims in choices if any(d is not None for d in dims)]


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("dims", "channels", "with_bias", "activation"), combinations(DIMS, PLACES, [False, True], [None, "relu"])
)
def test_vmap(dims, channels, with_bias, activation, few):
    arrays, f = problem(ALL_OF_IT[dims], channels=channels, activation=activation)
    arrays = arrays[: 2 + with_bias]

    def everything(*a):
        y, back = jax.vjp(f, *a)
        return y, back(y * y)

    for axes in every_axis(*(a.ndim for a in arrays))[:: (13 if with_bias else 3) if few else 1]:
        mapped = [a if d is None else np.stack([a + i for i in range(3)], d) for a, d in zip(arrays, axes, strict=True)]
        actual = jax.jit(jax.vmap(everything, axes))(*mapped)
        for i in range(3):
            one = [a if d is None else np.take(a, i, d) for a, d in zip(mapped, axes, strict=True)]
            jax.tree.map(lambda a, e, i=i: np.testing.assert_array_equal(a[i], e), actual, everything(*one))


@pytest.mark.parametrize("dims", [(0, 0, None), (None, 0, 0), (None, 0, None), (None, None, 0)])
def test_vmap_rounds_once(dims):
    rng, (_, f) = np.random.default_rng(0), problem(THIRD)
    shapes = (2, 5, 12, 7), (2, 5, 5, 3), (10,)
    mapped = [rng.standard_normal(s if d is None else (3, *s)) for s, d in zip(shapes, dims, strict=True)]
    mapped = [jnp.asarray(a, jnp.bfloat16) for a in mapped]
    for i, y in enumerate(jax.vmap(f, dims)(*mapped)):
        one = [a if d is None else a[i] for a, d in zip(mapped, dims, strict=True)]
        np.testing.assert_array_equal(y, f(*one))


@pytest.mark.parametrize(("p", "channels", "dims"), combinations(["input_grad", "weight_grad"], PLACES, DIMS))
def test_vmap_of_the_gradients_themselves(p, channels, dims):
    (x, W, _), f = problem(ALL_OF_IT[dims], channels=channels)
    y = f(x, W)
    linear = (
        (lambda gy, W: jax.vjp(f, x, W)[1](gy)[0]) if p == "input_grad" else (lambda gy, x: jax.vjp(f, x, W)[1](gy)[1])
    )
    other = W if p == "input_grad" else x
    for axes in every_axis(y.ndim, other.ndim):
        mapped = [
            a if d is None else np.stack([a + i for i in range(3)], d) for a, d in zip((y, other), axes, strict=True)
        ]
        actual = jax.vmap(linear, axes)(*mapped)
        for i in range(3):
            one = [a if d is None else np.take(a, i, d) for a, d in zip(mapped, axes, strict=True)]
            np.testing.assert_array_equal(actual[i], linear(*one))


@pytest.mark.parametrize("mapped", [(0, None, None), (None, 0, None), (0, 0, 0)])
def test_vmap_over_nothing(mapped):
    arrays, f = problem(THIRD)
    none = [a if d is None else np.zeros((0, *a.shape), a.dtype) for a, d in zip(arrays, mapped, strict=True)]
    gradients = jax.vmap(jax.grad(lambda *a: f(*a).sum(), (0, 1, 2)), mapped)(*none)
    assert [g.shape for g in gradients] == [(0, *a.shape) for a in arrays]


def test_transformations():
    (x, W, b), f = problem(FIRST)
    y = f(x, W, b)

    def loss(W):
        return (f(x, W, b) ** 2).sum()

    gW = jax.grad(loss)(W)
    np.testing.assert_array_equal(jax.grad(jax.checkpoint(loss))(W), gW)
    np.testing.assert_array_equal(jax.hessian(loss)(W), jax.jacfwd(jax.grad(loss))(W))
    np.testing.assert_array_equal(jax.linearize(lambda W: f(x, W), W)[1](W), f(x, W))
    np.testing.assert_array_equal(jax.jvp(f, (x, W, b), (x, W, b))[1], 2 * f(x, W) + b[:, None, None])
    assert jax.eval_shape(f, x, W, b).shape == y.shape
    total, _ = lax.scan(lambda s, x: (s + f(x, W), None), jnp.zeros_like(y), np.stack([x, x]))
    np.testing.assert_array_equal(total, 2 * f(x, W))
    assert primitives_in(f, x, W, b) == {"depthwise_conv_fused"}
    second = jax.grad(lambda x, W: (jax.grad(lambda W: (f(x, W) ** 3).sum())(W) ** 2).sum(), (0, 1))
    assert primitives_in(second, x, W) == {"depthwise_conv", "depthwise_input_grad", "depthwise_weight_grad"}


@pytest.mark.parametrize(("shapes", "channels"), in_turn(WITHOUT_ELEMENTS, PLACES), ids=str)
def test_arrays_without_elements(shapes, channels):
    arrays, everything = without_elements(shapes, channels)
    x, W, b = arrays
    expected = reference.forward(planar(x, channels), W, b, pad=1)
    for f in everything, jax.jit(everything):
        y, gradients = f(*arrays)
        assert_exact(planar(y, channels), expected)
        assert [g.shape for g in gradients] == [a.shape for a in arrays]
        assert_exact(gradients[2], reference.bias_grad(expected))
        assert not np.any(gradients[0])
        assert not np.any(gradients[1])
    steps = primitives_steps(lambda x, W: conv(x, W, pad=1, layout=layout(W.ndim - 2, channels)), x, W)
    assert_exact(planar(primitives._xla_conv(x, W, b, steps=steps), channels), expected)
    gx = primitives._xla_input_grad(y, W, steps=steps, size=steps.sizes(x.shape)[2:])
    gW = primitives._xla_weight_grad(jnp.asarray(x), y, steps=steps, kernel=(W.shape[0], *W.shape[2:]), dtype=W.dtype)
    jax.tree.map(np.testing.assert_array_equal, (gx, gW), gradients[:2])


@pytest.mark.parametrize(("shapes", "channels"), in_turn(WITHOUT_ELEMENTS, PLACES[::-1]), ids=str)
def test_vmap_of_arrays_without_elements(shapes, channels):
    arrays, everything = without_elements(shapes, channels)
    expected = jax.tree.map(np.shape, everything(*arrays), is_leaf=lambda a: isinstance(a, jax.Array))
    for dims in itertools.product((None, 0), repeat=3):
        if dims != (None, None, None):
            mapped = [a if d is None else np.stack([a, a]) for a, d in zip(arrays, dims, strict=True)]
            actual = jax.jit(jax.vmap(everything, dims))(*mapped)
            assert jax.tree.map(lambda a: a.shape[1:], actual) == expected
