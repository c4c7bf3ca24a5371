"""depthwise.jax on arrays that lie on several devices."""

from __future__ import annotations

import re

import numpy as np
import pytest

from helpers import WITHOUT_PRIVATE_NAMES, combinations
from jax_helpers import DIMS, PLACES, WITHOUT_ELEMENTS, internals, jax, lax, layout, problem, without_elements

AxisType, NamedSharding, P = jax.sharding.AxisType, jax.sharding.NamedSharding, jax.sharding.PartitionSpec


@pytest.mark.parametrize("shapes", WITHOUT_ELEMENTS[:4], ids=str)
def test_shards_without_elements(shapes):
    mesh = jax.make_mesh((2, 2), ("a", "c"), axis_types=(AxisType.Auto, AxisType.Auto))
    arrays, everything = without_elements([(s[0] * 2, *s[1:]) for s in shapes], "second")
    specs = P("a", "c"), P(None, "c"), P("c")
    args = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(arrays, specs, strict=True)]
    jax.tree.map(np.testing.assert_array_equal, jax.jit(everything)(*args), everything(*arrays))


@pytest.mark.parametrize(
    ("axes", "place", "multiplier", "kind", "dims", "activation"),
    combinations(
        [("a", None), ("a", "c"), (("a", "c"), None), (None, ("a", "c"))],
        PLACES,
        [1, 2],
        [AxisType.Auto, AxisType.Explicit],
        DIMS,
        [None, "relu"],
    ),
    ids=str,
)
def test_shards_stay_where_they_are(axes, place, multiplier, kind, dims, activation):
    case = 8, 8, (4, 6, 5)[3 - dims :], multiplier, (3,) * dims, {"pad": 1}
    (x, W, b), f = problem(case, channels=place, activation=activation)

    def step(x, W, b):
        return jax.grad(lambda *a: (f(*a) ** 2).sum(), (0, 1, 2))(x, W, b)

    expected = f(x, W, b), step(x, W, b)
    mesh = jax.make_mesh((2, 2), ("a", "c"), axis_types=(kind, kind))
    batch, channels = axes
    specs = [
        P(*({"N": batch, "C": channels}.get(axis) for axis in layout(dims, place))),
        P(None, channels),
        P(channels),
    ]
    with jax.set_mesh(mesh):
        args = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip((x, W, b), specs, strict=True)]
        y, gradients = jax.jit(f)(*args), jax.jit(step)(*args)
        text = jax.jit(f).lower(*args).compile().as_text()
    jax.tree.map(np.testing.assert_array_equal, (y, gradients), expected)
    if not internals.SPLITS:  # values alone, see test_without_private_names
        return
    assert not re.search("all-gather|all-to-all|collective-permute|dynamic-slice", text)
    for a, spec in zip((y, *gradients), (specs[0], *specs), strict=True):
        assert a.sharding.is_equivalent_to(NamedSharding(mesh, spec), a.ndim)


def test_shards_that_cannot_stay():
    mesh = jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,))
    (x, W, _), f = problem((3, 6, (8, 8), 2, (3, 3), {"pad": 1}))
    for spec in P("a"), P(None, "a"), P(None, None, "a"):
        here = NamedSharding(mesh, spec)
        split = jax.jit(
            lambda x, W, here=here: lax.with_sharding_constraint(f(lax.with_sharding_constraint(x, here), W), here)
        )
        np.testing.assert_array_equal(split(x, W), f(x, W))
        gradient = jax.grad(lambda *a, g=split: (g(*a) ** 2).sum(), (0, 1))
        expected = jax.grad(lambda *a: (f(*a) ** 2).sum(), (0, 1))
        jax.tree.map(np.testing.assert_array_equal, gradient(x, W), expected(x, W))


@pytest.mark.parametrize(("dims", "activation"), [(1, "relu"), (2, None), (3, None)])
def test_shard_map(dims, activation):
    mesh = jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,))
    (x, W, b), f = problem((8, 3, (6, 4, 6)[3 - dims :], 1, (3,) * dims, {}), activation=activation)
    g = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=(P("a"), P(), P()), out_specs=P("a")))
    np.testing.assert_array_equal(g(x, W, b), f(x, W, b))
    actual, expected = (jax.grad(lambda *a, h=h: (h(*a) ** 2).sum(), (0, 1, 2))(x, W, b) for h in (g, f))
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_private_names_are_there():
    assert internals.SPLITS is not WITHOUT_PRIVATE_NAMES
