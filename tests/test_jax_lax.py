"""depthwise.jax.conv_general_dilated beside jax.lax's, whose place it takes: arguments, types, errors, and in Flax."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

from helpers import combinations
from jax_helpers import DIMS, PLACES, conv, conv_general_dilated, integers, jax, jnp, lax, layout, primitives_in


def assert_as_lax(x_shape, kernel_shape, numbers, *steps, **options):
    """Values and gradients are lax's, by our primitives; shapes are NC... and OI..., each axis of another size."""
    spatial = "DHW"[5 - len(x_shape) :]
    x, kernel = (
        integers(*(dict(zip(names, shape, strict=True))[axis] for axis in spec), seed=seed)
        for seed, (names, shape, spec) in enumerate(
            [("NC" + spatial, x_shape, numbers[0]), ("OI" + spatial, kernel_shape, numbers[1])]
        )
    )
    options = {"dimension_numbers": numbers, "feature_group_count": x_shape[1], **options}

    def everything(f):
        y, back = jax.vjp(lambda *a: f(*a, *steps, **options), x, kernel)
        return (y, *back(y))

    def call(*a):
        return conv_general_dilated(*a, *steps, **options)

    assert primitives_in(call, x, kernel) == {"depthwise_conv"}
    jax.tree.map(np.testing.assert_array_equal, everything(conv_general_dilated), everything(lax.conv_general_dilated))
    equations = jax.make_jaxpr(call)(x, kernel).eqns
    return [e.invars[0].aval.shape for e in equations if e.primitive.name == "transpose"]


@pytest.mark.parametrize(
    ("steps", "padding", "multiplier", "channels", "dims"),
    combinations(
        [((1, 1, 1), None), ((1, 2, 1), None), ((2, 1, 2), (1, 2, 1))],
        ["SAME", "VALID", "SAME_LOWER", ((2, 1), (1, 0), (2, 1))],
        [1, 2],
        PLACES,
        DIMS,
    ),
    ids=str,
)
def test_conv_general_dilated(steps, padding, multiplier, channels, dims):
    strides, dilation = (s if s is None else s[3 - dims :] for s in steps)
    padding = padding if isinstance(padding, str) else padding[3 - dims :]
    name = layout(dims, channels)
    spatial = name.strip("NC")
    numbers = name, ("OI" + spatial if channels == "second" else spatial + "IO"), name
    x_shape, kernel_shape = (2, 4, *(7, 9, 8)[3 - dims :]), (4 * multiplier, 1, *(2, 3, 2)[3 - dims :])
    transposed = assert_as_lax(x_shape, kernel_shape, numbers, strides, padding, rhs_dilation=dilation)
    assert all(np.prod(shape) == np.prod(kernel_shape) for shape in transposed)  # neither x nor y


ORDERS = {dims: list(itertools.permutations("NC" + "DHW"[3 - dims :])) for dims in DIMS}


@pytest.mark.parametrize(
    ("dims", "each"), [(1, 1), (2, 5), (3, 23), *(pytest.param(d, 1, marks=pytest.mark.slow) for d in (2, 3))]
)
def test_all_dimension_numbers(dims, each):
    """lhs in every order; each size, stride, dilation and pad tells where it went."""
    orders = ORDERS[dims]
    for i in range(0, len(orders), each):
        image, kernel, output = ("".join(orders[(i * n + n - 1) % len(orders)]) for n in (1, 5, 7))
        numbers = image, kernel.translate(str.maketrans("NC", "OI")), output
        steps = (1, 2, 3)[:dims], ((0, 1), (2, 0), (1, 3))[:dims]
        assert_as_lax((2, 3, 5, 9, 8)[: 2 + dims], (6, 1, 2, 3, 4)[: 2 + dims], numbers, *steps,
                      rhs_dilation=(2, 1, 2)[:dims])  # fmt: skip


def test_spatial_axes_in_another_order_are_not_transposed():
    transposed = assert_as_lax((2, 3, 5, 9), (3, 1, 2, 3), ("NWHC", "WHIO", "NWHC"), (2, 1), "SAME")
    assert all(np.prod(shape) == 3 * 2 * 3 for shape in transposed)


@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        (((2, 4, 9, 8), (8, 2, 3, 3)), {"feature_group_count": 2}),
        (((2, 4, 9, 8), (8, 4, 3, 3)), {}),
        (((2, 1, 9, 8), (8, 1, 3, 3)), {}),
        (((2, 4, 9, 8), (4, 1, 3, 3)), {"feature_group_count": 4, "lhs_dilation": (2, 1)}),
        (((2, 4, 9, 8), (4, 1, 3, 3)), {"feature_group_count": 4, "padding": ((-1, 0), (0, 0))}),
        (((2, 4), (4, 1)), {"feature_group_count": 4, "window_strides": (), "padding": ()}),
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
        (((1, 1), "VALID"), {"feature_group_count": 0}),
        (((1, 1), "VALID"), {"lhs_dilation": (1,)}),
        (((1, 1), "VALID"), {"lhs_dilation": (1, 1, 1)}),
        (((1, 1), "VALID"), {"rhs_dilation": (1,)}),
        (((1, 1), "VALID"), {"rhs_dilation": (0, 1)}),
        (((1, 1), "VALID"), {"rhs_dilation": (3, 1)}),
    ],
    ids=str,
)
def test_conv_general_dilated_has_jax_errors(arguments, options):
    theirs, ours = of(
        jnp.ones((1, 4, 5, 5)), jnp.ones((4, 1, 3, 3)), *arguments, **{"feature_group_count": 4, **options}
    )
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


@pytest.mark.parametrize(
    ("dims", "padding"), [(1, "CAUSAL"), (1, "SAME"), (2, "SAME"), (2, "CIRCULAR"), (3, "SAME"), (3, "VALID")]
)
def test_flax_layer(dims, padding):
    nnx = pytest.importorskip("flax.nnx", reason="the layer is Flax's")

    def layer(**options):
        options |= {"strides": 2, "padding": padding, "feature_group_count": 8, "rngs": nnx.Rngs(0)}
        return nnx.Conv(8, 16, (3,) * dims, **options)

    stock, ours = layer(), layer(conv_general_dilated=conv_general_dilated)
    x = np.random.default_rng(0).standard_normal((2, *(9, 8, 7)[:dims], 8), np.float32)
    np.testing.assert_allclose(ours(x), stock(x), rtol=1e-5, atol=1e-6)
    assert primitives_in(lambda x: ours(x), x) == {"depthwise_conv"}
    assert jax.tree.map(np.shape, nnx.state(ours)) == jax.tree.map(np.shape, nnx.state(stock))
