"""The activation that depthwise.jax applies in the forward pass: values, derivatives, programs."""

from __future__ import annotations

import numpy as np
import pytest

from depthwise import _core, reference
from helpers import combinations, in_turn
from jax_helpers import (
    ALL_OF_IT,
    DIMS,
    DTYPES,
    PLACES,
    conv,
    jax,
    jnp,
    planar,
    primitives,
    primitives_in,
    primitives_steps,
    problem,
)

ACTIVATIONS = list(reference.ACTIVATIONS)
JAX_FUNCTIONS = {
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "hardswish": jax.nn.hard_swish,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "gelu_tanh": jax.nn.gelu,
}


def test_every_activation_of_the_engine_has_jax_function():
    assert set(primitives.ACTIVATIONS) == set(_core.activations.values()) - {0}
    assert set(JAX_FUNCTIONS) == set(_core.activations) - {"none"}


@pytest.mark.parametrize(
    ("activation", "dtype", "dims", "channels"), combinations(ACTIVATIONS, DTYPES, DIMS, PLACES), ids=str
)
def test_values(activation, dtype, dims, channels, target):
    """Within two units in the last place of what is exact, rounded once; other platforms too, in theirs."""
    case = ALL_OF_IT[dims]
    with jax.enable_x64(True):
        (x, W, b), f = problem(case, dtype, channels, activation)
        x = x / np.asarray(8, x.dtype)  # exact sums, in eighths
        y = jax.jit(f)(x, W, b)
        steps = primitives_steps(lambda x, W: problem(case, dtype, channels)[1](x, W), x, W)
        other = primitives._xla_conv(x, W, b, steps=steps, activation=_core.activations[activation])
    assert y.dtype == other.dtype == x.dtype
    z, expected = (reference.forward(planar(x, channels), W, b, activation=a, **case[-1]) for a in (None, activation))
    unit = float(jnp.finfo(y.dtype).eps)
    for actual, units in (y, 2), (other, 4):
        error = np.abs(planar(actual, channels).astype(np.float64) - expected)
        # JAX's functions, and gelu's tail, are good to the size of z, not of the result.
        scale = np.abs(expected) if actual is y and activation == "silu" else np.maximum(np.abs(z), np.abs(expected))
        assert np.all(error <= units * unit * scale)


@pytest.mark.parametrize(("activation", "with_bias"), in_turn(ACTIVATIONS, [True, False]))
def test_derivatives_are_those_of_jax_function_of_the_sum(activation, with_bias):
    """Forward, reverse, and the third order by one over the other."""
    with jax.enable_x64(True):
        arrays, fused = problem(ALL_OF_IT[1], "float64", "last", activation)
        _, plain = problem(ALL_OF_IT[1], "float64", "last")
        rng = np.random.default_rng(0)
        arrays = [jnp.asarray(rng.standard_normal(a.shape)) for a in arrays[: 2 + with_bias]]
        tangents = [jnp.asarray(rng.standard_normal(a.shape)) for a in arrays]
        which = tuple(range(len(arrays)))

        def results(f):
            def loss(*a):
                return (f(*a) ** 2).sum()

            def directional(*a):
                return jax.jvp(jax.grad(loss, which), a, tuple(tangents))[1]

            third = jax.grad(lambda *a: sum((g**2).sum() for g in directional(*a)), which)
            return jax.jit(lambda *a: (jax.jvp(f, a, tuple(tangents)), jax.grad(loss, which)(*a), third(*a)))(*arrays)

        expected = results(lambda *a: JAX_FUNCTIONS[activation](plain(*a)))
        jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, 1e-9, 1e-9), results(fused), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_slopes_of_16_bits_are_made_in_32(dtype):
    """z and gy are of 16 bits, and so is the result; what lies between is rounded once."""
    rng = np.random.default_rng(0)
    x, W, gy = (jnp.asarray(rng.standard_normal(s), dtype) for s in ((1, 1, 500), (1, 1, 1), (1, 1, 500)))
    W = jnp.ones_like(W)
    gx = jax.vjp(lambda x: conv(x, W, activation="silu"), x)[1](gy)[0]
    slope = jax.vjp(jax.nn.silu, x.astype(jnp.float32))[1](gy.astype(jnp.float32))[0]
    np.testing.assert_array_equal(gx, slope.astype(dtype))


def test_the_forward_pass_is_one_call_and_keeps_nothing_of_its_own():
    """The backward pass makes the sums again, from x, W and b."""
    (x, W, b), f = problem(ALL_OF_IT[1], activation="silu")
    assert [e.primitive.name for e in jax.make_jaxpr(f)(x, W, b).eqns] == ["depthwise_conv_fused"]
    y, back = jax.vjp(f, x, W, b)
    kept = {a.shape for a in jax.tree.leaves(back) if a.size > 1}
    assert kept <= {x.shape, W.shape, b.shape}
    assert y.shape not in kept
    names = primitives_in(jax.grad(lambda *a: f(*a).sum(), (0, 1, 2)), x, W, b)
    assert names == {"depthwise_conv_fused", "depthwise_input_grad", "depthwise_weight_grad"}


def test_swish_is_silu():
    (x, W, b), silu = problem(ALL_OF_IT[1], activation="silu")
    np.testing.assert_array_equal(problem(ALL_OF_IT[1], activation="swish")[1](x, W, b), silu(x, W, b))


def test_scan_and_checkpoint():
    """As a training step over time has them."""
    (x, W, _), f = problem((2, 3, (8,), 1, (4,), {"pad": "causal"}), activation="relu")

    def loss(W, step):
        return jax.lax.scan(lambda x, _: (step(x, W), None), x, None, 3)[0].sum()

    plain = jax.grad(loss)(W, f)
    np.testing.assert_array_equal(jax.jit(jax.grad(loss), static_argnums=1)(W, jax.checkpoint(f)), plain)
    assert np.any(plain)
