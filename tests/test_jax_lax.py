"""depthwise.jax.conv_general_dilated beside jax.lax's, whose place it takes: arguments, types, errors, and in Flax."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from helpers import combinations
from jax_helpers import conv, conv_general_dilated, in_layout, integers, jax, jnp, lax, primitives_in

NUMBERS = {"NHWC": ("NHWC", "HWIO", "NHWC"), "NCHW": ("NCHW", "OIHW", "NCHW")}


@pytest.mark.parametrize(
    ("steps", "padding", "multiplier", "layout"),
    combinations(
        [((1, 1), None), ((2, 1), None), ((1, 2), (2, 1))],
        ["SAME", "VALID", "SAME_LOWER", ((1, 0), (2, 1))],
        [1, 2],
        ["NCHW", "NHWC"],
    ),
    ids=str,
)
def test_conv_general_dilated(steps, padding, multiplier, layout):
    stride, dilation = steps
    x, kernel = in_layout(integers(2, 4, 9, 8), layout), integers(4 * multiplier, 1, 3, 2, seed=1)
    if layout == "NHWC":
        kernel = kernel.transpose(2, 3, 1, 0)
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)

    def everything(f):
        def call(x, kernel):
            return f(
                x, kernel, stride, padding,
                rhs_dilation=dilation, dimension_numbers=NUMBERS[layout], feature_group_count=4,
            )  # fmt: skip

        y, back = jax.vjp(call, x, kernel)
        return primitives_in(call, x, kernel), (y, *back(y))

    names, actual = everything(conv_general_dilated)
    _, expected = everything(lax.conv_general_dilated)
    assert names == {"depthwise_conv"}
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        (((2, 4, 9, 8), (8, 2, 3, 3)), {"feature_group_count": 2}),
        (((2, 4, 9, 8), (8, 4, 3, 3)), {}),
        (((2, 1, 9, 8), (8, 1, 3, 3)), {}),
        (((2, 4, 9, 8), (4, 1, 3, 3)), {"feature_group_count": 4, "lhs_dilation": (2, 1)}),
        (((2, 4, 9, 8), (4, 1, 3, 3)), {"feature_group_count": 4, "padding": ((-1, 0), (0, 0))}),
        (((2, 4, 9), (4, 1, 3)), {"feature_group_count": 4, "window_strides": (1,), "padding": ((0, 0),)}),
        (((4, 4, 9, 8), (4, 4, 3, 3)), {"batch_group_count": 4}),
        (((2, 4, 9, 8), (4, 1, 3, 3)), {"feature_group_count": 4, "dtype": "int32"}),
    ],
)
def test_conv_general_dilated_leaves_the_rest_to_jax(shapes, options):
    dtype = options.pop("dtype", "float32")
    x, kernel = (jnp.asarray(integers(*s, dtype=dtype)) for s in shapes)
    steps = {"window_strides": (1, 1), "padding": ((0, 0), (0, 0)), **options}
    f, stock = (lambda x, k, g=g: g(x, k, **steps) for g in (conv_general_dilated, lax.conv_general_dilated))
    assert primitives_in(f, x, kernel) == {"conv_general_dilated"}
    np.testing.assert_array_equal(f(x, kernel), stock(x, kernel))


def of(*arguments, **options):
    """What lax's function and ours have of these: type, weakness and values, or the error."""
    results = []
    for f in lax.conv_general_dilated, conv_general_dilated:
        try:
            y = f(*arguments, **options)
        except Exception as e:
            results.append((type(e), str(e).partition("at loc")[0]))
        else:
            results.append((y.dtype, y.weak_type, y.shape, np.asarray(y).tolist()))
    return results


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (((1,), [(0, 0), (0, 0)]), {}),
        (((1, 1, 1), [(0, 0), (0, 0)]), {}),
        ((1, [(0, 0), (0, 0)]), {}),
        (((0, 1), [(0, 0), (0, 0)]), {}),
        (((1, 1), [(0, 0)]), {}),
        (((1, 1), [0, 0]), {}),
        (((1, 1), [(0, 0, 0), (0, 0)]), {}),
        (((1, 1), [(-6, 0), (0, 0)]), {}),
        (((1, 1), "FULL"), {}),
        (((1, 1), None), {}),
        (((1, 1), "VALID"), {"lhs_dilation": (1,)}),
        (((1, 1), "VALID"), {"lhs_dilation": (1, 1, 1)}),
        (((1, 1), "VALID"), {"rhs_dilation": (1,)}),
        (((1, 1), "VALID"), {"rhs_dilation": (0, 1)}),
        (((1, 1), "VALID"), {"rhs_dilation": (3, 1)}),
    ],
    ids=str,
)
def test_conv_general_dilated_has_jax_errors(arguments, options):
    theirs, ours = of(jnp.ones((1, 4, 5, 5)), jnp.ones((4, 1, 3, 3)), *arguments, **options, feature_group_count=4)
    assert ours == theirs


@pytest.mark.parametrize(
    "steps", [((2**32, 1), "VALID"), ((1, 1), ((2**31, 0), (0, 0))), ((1, 1), "VALID", (1, 2**31))]
)
def test_steps_beyond_the_engines_are_left_to_jax(steps):
    """No index of the engine's can then overflow."""
    x, kernel = jnp.ones((1, 4, 5, 5)), jnp.ones((4, 1, 3, 1))
    traced = primitives_in(
        lambda x, k: conv_general_dilated(x, k, *steps[:2], None, *steps[2:], feature_group_count=4), x, kernel
    )
    assert traced == {"conv_general_dilated"}


class Subclass(np.ndarray):
    pass


IMAGE, FILTERS = integers(1, 4, 5, 6, dtype="float64"), integers(8, 1, 3, 3, dtype="float64", seed=1)
PAIRS_OF_ARRAYS = {
    "float64": lambda: (IMAGE, FILTERS),
    "float64 and float32": lambda: (IMAGE, FILTERS.astype(np.float32)),
    "float64 and JAX": lambda: (IMAGE, jnp.asarray(FILTERS)),
    "JAX and float64": lambda: (jnp.asarray(IMAGE), FILTERS),
    "float16": lambda: (IMAGE.astype(np.float16), FILTERS.astype(np.float16)),
    "bfloat16": lambda: (IMAGE.astype(jnp.bfloat16), FILTERS.astype(jnp.bfloat16)),
    "JAX and bfloat16": lambda: (jnp.asarray(IMAGE, jnp.bfloat16), FILTERS.astype(jnp.bfloat16)),
    "subclass": lambda: (IMAGE, FILTERS.view(Subclass)),
    "little-endian by name": lambda: (IMAGE.astype("<f4"), FILTERS.astype(np.dtype("f4").newbyteorder("<"))),
    "strided": lambda: (IMAGE[:, ::-1, :, ::2], FILTERS[::-1, :, ::-1]),
    "read-only": lambda: (jnp.asarray(IMAGE), np.broadcast_to(np.float32(2), FILTERS.shape)),
    "weak": lambda: (jnp.broadcast_to(2.0, IMAGE.shape), jnp.broadcast_to(2.0, FILTERS.shape)),
    "weak x": lambda: (jnp.broadcast_to(2.0, IMAGE.shape), jnp.asarray(FILTERS)),
    "weak W": lambda: (IMAGE, jnp.broadcast_to(2.0, FILTERS.shape)),
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("pair", PAIRS_OF_ARRAYS)
def test_numpy_arrays_reach_the_engine(pair, x64):
    """A constant kernel of NumPy's too, inside and outside jit, with lax's types."""
    with jax.enable_x64(x64):
        x, kernel = PAIRS_OF_ARRAYS[pair]()
        steps = {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 4}
        theirs, ours = of(x, kernel, **steps)
        assert ours == theirs
        if theirs[0] is TypeError:  # float64 and float32 differ where there is float64
            assert x64
            return
        f = partial(conv_general_dilated, **steps)
        for call, arguments in (
            (f, (x, kernel)),
            (lambda x: f(x, kernel), (x,)),
            (lambda k: f(x, k), (kernel,)),
            (lambda: f(x, kernel), ()),
        ):
            assert primitives_in(call, *arguments) == {"depthwise_conv"}
            assert "@depthwise" in jax.jit(call).lower(*arguments).as_text()
            assert np.asarray(jax.jit(call)(*arguments)).tolist() == theirs[-1]


@pytest.mark.parametrize(
    "kernel",
    [
        FILTERS.astype(">f4"),
        FILTERS.tolist(),
        1.0,
        np.float32(1),
        np.ma.masked_greater(FILTERS, 1),
        FILTERS.astype(object),
        FILTERS.astype(np.longdouble),
        FILTERS.astype(np.complex64),
        None,
    ],
    ids=lambda a: f"{type(a).__name__} {getattr(a, 'dtype', '')}",
)
def test_what_is_no_array_of_jax_has_jax_errors(kernel):
    theirs, ours = of(jnp.asarray(IMAGE), kernel, (1, 1), "SAME", feature_group_count=4)
    assert ours == theirs
    assert issubclass(ours[0], Exception)
    with pytest.raises((TypeError, ValueError), match=r"^W must|masked arrays are not supported"):
        conv(jnp.asarray(IMAGE), kernel.reshape(2, 4, 3, 3) if isinstance(kernel, np.ndarray) else kernel)


def test_flax_layer():
    nnx = pytest.importorskip("flax.nnx", reason="the layer is Flax's")

    def layer(**options):
        return nnx.Conv(8, 16, (3, 3), strides=2, feature_group_count=8, rngs=nnx.Rngs(0), **options)

    stock, ours = layer(), layer(conv_general_dilated=conv_general_dilated)
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 8), np.float32)
    np.testing.assert_allclose(ours(x), stock(x), rtol=1e-5, atol=1e-6)
    assert primitives_in(lambda x: ours(x), x) == {"depthwise_conv"}
    assert jax.tree.map(np.shape, nnx.state(ours)) == jax.tree.map(np.shape, nnx.state(stock))
