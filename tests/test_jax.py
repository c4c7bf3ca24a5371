"""depthwise.jax beside the reference and XLA's own convolution: values, every transformation, devices, errors."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import ModuleType

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import numpy as np
import pytest

WITHOUT_PRIVATE_NAMES = bool(os.environ.get("DEPTHWISE_TEST_WITHOUT_PRIVATE_NAMES"))
jax = pytest.importorskip("jax", reason="depthwise.jax needs JAX")
if WITHOUT_PRIVATE_NAMES:  # as a version of JAX that has moved them
    private = sys.modules["jax._src.dispatch"]
    sys.modules[private.__name__] = without = ModuleType(private.__name__)
    vars(without).update((k, v) for k, v in vars(private).items() if k != "prim_requires_devices_during_lowering")
pytest.importorskip("depthwise.jax", reason="this build has nothing for JAX", exc_type=ImportError)

# These stand behind the skip, hence E402.
import jax.numpy as jnp  # noqa: E402 - behind importorskip
from jax import export, lax  # noqa: E402 - behind importorskip
from jax.sharding import AxisType, NamedSharding  # noqa: E402 - behind importorskip
from jax.sharding import PartitionSpec as P  # noqa: E402 - behind importorskip
from jax.test_util import check_grads  # noqa: E402 - behind importorskip

import depthwise  # noqa: E402 - behind importorskip
from depthwise import _core, reference  # noqa: E402 - behind importorskip
from depthwise.jax import conv, conv_general_dilated, internals, primitives  # noqa: E402 - behind importorskip

DTYPES = ["float16", "bfloat16", "float32", "float64"]
CASES = [  # n, c_I, h, w, c_M, kernel, steps
    (2, 3, 9, 11, 1, (3, 3), {"pad": 1}),
    (1, 16, 14, 14, 1, (3, 3), {"stride": (2, 1), "pad": ((0, 1), (2, 0))}),
    (2, 5, 12, 7, 2, (5, 3), {"stride": 2, "pad": (2, 1), "dilate": (2, 1)}),
    (1, 1, 8, 8, 3, (4, 2), {"pad": "same", "stride": 2}),
    (0, 4, 6, 6, 1, (3, 3), {}),
]
FIRST, THIRD = CASES[0], CASES[2]


def integers(*shape, dtype="float32", seed=0):
    """Small integers, of which every order of summation makes the same sum."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(jnp.dtype(dtype))


def problem(case, dtype="float32", layout="NCHW"):
    """(x, W, b) and the function of them."""
    n, c, h, w, m, kernel, steps = case
    x = integers(n, c, h, w, dtype=dtype)
    arrays = in_layout(x, layout), integers(m, c, *kernel, dtype=dtype, seed=1), integers(c * m, dtype=dtype, seed=2)
    return arrays, lambda x, W, b=None: conv(x, W, b, layout=layout, **steps)


def in_layout(a, layout):
    return a if layout == "NCHW" else np.ascontiguousarray(a.transpose(0, 2, 3, 1))


def planar(a, layout):
    a = np.asarray(a)
    return a if layout == "NCHW" else a.transpose(0, 3, 1, 2)


def assert_exact(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(
        np.asarray(actual).astype(np.float64), expected.astype(actual.dtype).astype(np.float64)
    )


def primitives_in(f, *args):
    return set(re.findall(r"depthwise_\w+|conv_general_dilated", str(jax.make_jaxpr(f)(*args))))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_exact(case, dtype, layout, target):
    with jax.enable_x64(True):
        (x, W, b), f = problem(case, dtype, layout)
        y, back = jax.vjp(jax.jit(f), x, W, b)
        assert y.dtype == x.dtype
        gy = integers(*y.shape, dtype=dtype, seed=3)
        gx, gW, gb = back(gy)
    steps, flat, g = case[-1], planar(x, layout), planar(gy, layout)
    assert_exact(planar(y, layout), reference.forward(flat, W, b, **steps))
    assert_exact(planar(gx, layout), reference.input_grad(g, W, flat.shape[2:], **steps))
    assert_exact(gW, reference.weight_grad(flat, g, W.shape[2:], **steps))
    assert_exact(gb, g.astype(np.float64).sum((0, 2, 3)))


def test_operands_of_several_dtypes():
    x, W, b = integers(1, 2, 6, 6, dtype="bfloat16"), integers(1, 2, 3, 3), integers(2, dtype="float16")
    y, back = jax.vjp(conv, jnp.asarray(x), jnp.asarray(W), jnp.asarray(b))
    assert [a.dtype for a in (y, *back(jnp.ones_like(y)))] == ["bfloat16", "bfloat16", "float32", "float16"]
    assert_exact(y, reference.forward(x, W, b))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_of_16_bits_are_summed_in_32(dtype):
    x, W, b = (jnp.zeros(s, dtype) for s in ((1, 2, 250, 250), (1, 2, 1, 1), (2,)))
    y, back = jax.vjp(jax.jit(conv), x + 1, W, b)
    _, gW, gb = back(jnp.full_like(y, 1 / 64))
    expected = np.full(2, 250 * 250 / 64).astype(y.dtype)  # in bfloat16 itself the sum would stop at 256
    np.testing.assert_array_equal(gb, expected)
    np.testing.assert_array_equal(gW.ravel(), expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_derivatives_to_the_third_order(layout):
    with jax.enable_x64(True):
        (x, W, b), f = problem((2, 2, 6, 5, 2, (3, 2), {"stride": (2, 1), "pad": 1, "dilate": (1, 2)}), layout=layout)
        rng = np.random.default_rng(0)
        args = [jnp.asarray(rng.standard_normal(a.shape)) for a in (x, W, b)]
        check_grads(f, args, order=3, modes=("fwd", "rev"))
        check_grads(lambda x, W: f(x, W), args[:2], order=3, modes=("fwd", "rev"))


def every_axis(*ranks):
    """Mapped axes, one of each kind: none, the first, one within, the last."""
    choices = itertools.product(*([None, 0, rank // 2, rank] for rank in ranks))
    return [dims for dims in choices if any(d is not None for d in dims)]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_vmap(layout, with_bias):
    arrays, f = problem(THIRD, layout=layout)
    arrays = arrays[: 2 + with_bias]

    def everything(*a):
        y, back = jax.vjp(f, *a)
        return y, back(y * y)

    for dims in every_axis(*(a.ndim for a in arrays))[:: 4 if with_bias else 1]:
        mapped = [a if d is None else np.stack([a + i for i in range(3)], d) for a, d in zip(arrays, dims, strict=True)]
        actual = jax.vmap(everything, dims)(*mapped)
        for i in range(3):
            one = [a if d is None else np.take(a, i, d) for a, d in zip(mapped, dims, strict=True)]
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


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("p", ["input_grad", "weight_grad"])
def test_vmap_of_the_gradients_themselves(p, layout):
    (x, W, _), f = problem(THIRD, layout=layout)
    y = f(x, W)
    linear = (
        (lambda gy, W: jax.vjp(f, x, W)[1](gy)[0]) if p == "input_grad" else (lambda gy, x: jax.vjp(f, x, W)[1](gy)[1])
    )
    other = W if p == "input_grad" else x
    for dims in every_axis(y.ndim, other.ndim):
        mapped = [
            a if d is None else np.stack([a + i for i in range(3)], d) for a, d in zip((y, other), dims, strict=True)
        ]
        actual = jax.vmap(linear, dims)(*mapped)
        for i in range(3):
            one = [a if d is None else np.take(a, i, d) for a, d in zip(mapped, dims, strict=True)]
            np.testing.assert_array_equal(actual[i], linear(*one))


@pytest.mark.parametrize("mapped", [(0, None, None), (None, 0, None), (0, 0, 0)])
def test_vmap_over_nothing(mapped):
    arrays, f = problem(THIRD)
    none = [a if d is None else np.zeros((0, *a.shape), a.dtype) for a, d in zip(arrays, mapped, strict=True)]
    gradients = jax.vmap(jax.grad(lambda *a: f(*a).sum(), (0, 1, 2)), mapped)(*none)
    assert [g.shape for g in gradients] == [(0, *a.shape) for a in arrays]


WITHOUT_ELEMENTS = [  # x, W; each axis that may be empty
    ((1, 0, 5, 6), (2, 0, 3, 2)),
    ((2, 0, 5, 6), (0, 0, 3, 2)),
    ((0, 2, 5, 6), (2, 2, 3, 2)),
    ((1, 2, 5, 6), (0, 2, 3, 2)),
    ((1, 2, 5, 6), (2, 2, 0, 2)),
    ((1, 2, 5, 6), (2, 2, 3, 0)),
    ((1, 2, 0, 6), (2, 2, 2, 2)),
]


def without_elements(shapes, layout):
    """(x, W, b) and all that follows from them."""
    x, W = (integers(*s, seed=i) for i, s in enumerate(shapes))

    def everything(x, W, b):
        y, back = jax.vjp(lambda *a: conv(*a, pad=1, layout=layout), x, W, b)
        return y, back(y)

    return (in_layout(x, layout), W, integers(x.shape[1] * W.shape[0], seed=2)), everything


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shapes", WITHOUT_ELEMENTS, ids=str)
def test_arrays_without_elements(shapes, layout):
    arrays, everything = without_elements(shapes, layout)
    x, W, b = arrays
    expected = reference.forward(planar(x, layout), W, b, pad=1)
    for f in everything, jax.jit(everything):
        y, gradients = f(*arrays)
        assert_exact(planar(y, layout), expected)
        assert [g.shape for g in gradients] == [a.shape for a in arrays]
        assert_exact(gradients[2], expected.sum((0, 2, 3)))
        assert not np.any(gradients[0])
        assert not np.any(gradients[1])
    steps = primitives_steps(lambda x, W: conv(x, W, pad=1, layout=layout), x, W)
    assert_exact(planar(primitives._xla_conv(x, W, b, steps=steps), layout), expected)
    gx = primitives._xla_input_grad(y, W, steps=steps, size=steps.sizes(x.shape)[2:])
    gW = primitives._xla_weight_grad(jnp.asarray(x), y, steps=steps, kernel=(W.shape[0], *W.shape[2:]), dtype=W.dtype)
    jax.tree.map(np.testing.assert_array_equal, (gx, gW), gradients[:2])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shapes", WITHOUT_ELEMENTS, ids=str)
def test_vmap_of_arrays_without_elements(shapes, layout):
    arrays, everything = without_elements(shapes, layout)
    expected = jax.tree.map(np.shape, everything(*arrays), is_leaf=lambda a: isinstance(a, jax.Array))
    for dims in itertools.product((None, 0), repeat=3):
        if dims != (None, None, None):
            mapped = [a if d is None else np.stack([a, a]) for a, d in zip(arrays, dims, strict=True)]
            actual = jax.vmap(everything, dims)(*mapped)
            assert jax.tree.map(lambda a: a.shape[1:], actual) == expected


@pytest.mark.parametrize("shapes", WITHOUT_ELEMENTS[:4], ids=str)
def test_shards_without_elements(shapes):
    mesh = jax.make_mesh((2, 2), ("a", "c"), axis_types=(AxisType.Auto, AxisType.Auto))
    arrays, everything = without_elements([(s[0] * 2, *s[1:]) for s in shapes], "NCHW")
    specs = P("a", "c"), P(None, "c"), P("c")
    args = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(arrays, specs, strict=True)]
    jax.tree.map(np.testing.assert_array_equal, jax.jit(everything)(*args), everything(*arrays))


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
    assert primitives_in(f, x, W, b) == {"depthwise_conv_bias"}
    second = jax.grad(lambda x, W: (jax.grad(lambda W: (f(x, W) ** 3).sum())(W) ** 2).sum(), (0, 1))
    assert primitives_in(second, x, W) == {"depthwise_conv", "depthwise_input_grad", "depthwise_weight_grad"}


def test_export():
    pytest.importorskip("flatbuffers", reason="jax.export needs it to serialize")

    (x, W, b), f = problem(THIRD)
    check = [export.DisabledSafetyCheck.custom_call("depthwise")]
    (n,) = export.symbolic_shape("n")

    def step(x, W, b):
        return jax.value_and_grad(lambda *a: (f(*a) ** 2).sum(), (0, 1, 2))(x, W, b)

    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((n, *x.shape[1:]), W.shape, b.shape)]
    for platforms in ["cpu"], ["cpu", "cuda", "tpu"]:
        exported = export.export(jax.jit(step), platforms=platforms, disabled_checks=check)(*shapes)
        again = export.deserialize(exported.serialize())
        jax.tree.map(np.testing.assert_array_equal, again.call(x, W, b), step(x, W, b))
        text = exported.mlir_module()
        assert text.count("@depthwise") == 3
        assert ("stablehlo.convolution" in text) == (len(platforms) > 1)


def test_export_where_the_pads_depend_on_a_symbol():
    h, w = export.symbolic_shape("h, w")
    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((1, 2, h, w), (2, 1, 3, 3))]
    with pytest.raises(ValueError, match="needs a known size"):
        export.export(jax.jit(lambda x, k: conv(x, k.reshape(1, 2, 3, 3), pad="same", stride=2)))(*shapes)
    same = jax.jit(lambda x, k: conv_general_dilated(x, k, (2, 2), "SAME", feature_group_count=2))
    exported = export.export(same)(*shapes)  # JAX's own function, which needs no check disabled
    x, kernel = integers(1, 2, 5, 8), integers(2, 1, 3, 3)
    np.testing.assert_array_equal(exported.call(x, kernel), same(x, kernel))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("stride", [1, 3])
def test_export_with_a_symbolic_height_that_turns_out_small(layout, stride):
    """Where a size is smaller than the kernel the output is empty, as lax's, and the gradients are zeros."""
    options = {"disabled_checks": [export.DisabledSafetyCheck.custom_call("depthwise")]}
    h, w = export.symbolic_shape("h, w")

    def types(h, w, kernel):
        return [
            jax.ShapeDtypeStruct(s, np.float32) for s in ((1, 2, h, w) if layout == "NCHW" else (1, h, w, 2), kernel)
        ]

    def step(x, W):
        y, back = jax.vjp(lambda x, W: conv(x, W, stride=stride, layout=layout), x, W)
        return y, *back(y)

    def other(f):
        numbers = (layout, "OIHW", layout)
        return jax.jit(lambda x, k: f(x, k, (stride,) * 2, "VALID", dimension_numbers=numbers, feature_group_count=2))

    exported = export.export(jax.jit(step), **options)(*types(h, w, (2, 2, 3, 3)))
    ours, stock = (
        export.export(other(f), **options)(*types(h, w, (4, 1, 3, 3)))
        for f in (conv_general_dilated, lax.conv_general_dilated)
    )
    assert "@depthwise" in ours.mlir_module()
    assert [str(a) for a in ours.out_avals] == [str(a) for a in stock.out_avals]
    for size in (7, 5), (3, 3), (2, 5), (1, 5), (5, 2), (5, 1), (1, 1):
        x, W = in_layout(integers(1, 2, *size), layout), integers(2, 2, 3, 3, seed=1)
        kernel = W.swapaxes(0, 1).reshape(4, 1, 3, 3)
        y = stock.call(x, kernel)
        actual = exported.call(x, W)
        np.testing.assert_array_equal(actual[0], y)
        np.testing.assert_array_equal(ours.call(x, kernel), y)
        if y.size:
            jax.tree.map(np.testing.assert_array_equal, actual, step(x, W))
        else:
            jax.tree.map(np.testing.assert_array_equal, actual[1:], (np.zeros_like(x), np.zeros_like(W)))


def test_a_symbolic_size_stands_for_no_number():
    """Whatever kernel there is may fit it; the size beside it is checked."""
    h, w = export.symbolic_shape("h, w")
    check = [export.DisabledSafetyCheck.custom_call("depthwise")]

    def exported(x_shape, W_shape, **steps):
        shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in (x_shape, W_shape)]
        return export.export(jax.jit(lambda x, W: conv(x, W, **steps)), disabled_checks=check)(*shapes)

    assert str(exported((1, 2, h, 9), (1, 2, 1 << 21, 3), pad=1).out_avals[0].shape[3]) == "9"
    x, W = integers(1, 2, 4, 9), integers(1, 2, 3, 3, seed=1)
    same = exported((1, 2, h, 9), (1, 2, 3, 3), pad="same", stride=(1, 2)).call(x, W)
    np.testing.assert_array_equal(same, conv(x, W, pad="same", stride=(1, 2)))
    with pytest.raises(ValueError, match="width of the output would be 0"):
        exported((1, 2, h, 2), (1, 2, 3, 3))
    with pytest.raises(ValueError, match="W has 3 input channels but x has 2"):
        exported((1, 2, h, w), (1, 3, 3, 3))
    with pytest.raises(ValueError, match="height is too large"):
        exported((1, 2, h, w), (1, 2, 1 << 12, 3), dilate=(1 << 30, 1))


def test_export_with_a_symbolic_height_for_several_platforms():
    h, w = export.symbolic_shape("h, w")
    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((1, 2, h, w), (2, 2, 3, 3))]
    check = [export.DisabledSafetyCheck.custom_call("depthwise")]
    exported = export.export(jax.jit(conv), platforms=["cpu", "cuda"], disabled_checks=check)(*shapes)
    x, W = integers(1, 2, 5, 7), integers(2, 2, 3, 3, seed=1)
    np.testing.assert_array_equal(exported.call(x, W), conv(x, W))
    assert exported.call(x[:, :, :1], W).shape == (1, 4, 0, 5)


def test_export_of_vmap_with_a_symbolic_size():
    (n,) = export.symbolic_shape("n")
    check = [export.DisabledSafetyCheck.custom_call("depthwise")]
    (x, W, b), f = problem(THIRD)

    def everything(*a):
        y, back = jax.vjp(f, *a)
        return y, back(y)

    for dims in (0, None, None), (None, 0, 0), (0, 0, 0):
        mapped = [a if d is None else np.stack([a, a + 1]) for a, d in zip((x, W, b), dims, strict=True)]
        shapes = [
            jax.ShapeDtypeStruct(a.shape if d is None else (n, *a.shape[1:]), a.dtype)
            for a, d in zip(mapped, dims, strict=True)
        ]
        step = jax.jit(jax.vmap(everything, dims))
        exported = export.export(step, disabled_checks=check)(*shapes)
        jax.tree.map(np.testing.assert_array_equal, exported.call(*mapped), step(*mapped))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_what_other_platforms_compute(case, layout):
    (x, W, b), f = problem(case, layout=layout)
    y, back = jax.vjp(f, x, W, b)
    steps = primitives_steps(f, x, W)
    gx, gW, _ = back(y)
    np.testing.assert_array_equal(primitives._xla_conv(x, W, b, steps=steps), y)
    size = steps.sizes(x.shape)[2:]
    np.testing.assert_array_equal(primitives._xla_input_grad(y, W, steps=steps, size=size), gx)
    parameters = {"kernel": (W.shape[0], *W.shape[2:]), "dtype": W.dtype}
    np.testing.assert_array_equal(primitives._xla_weight_grad(jnp.asarray(x), y, steps=steps, **parameters), gW)


def primitives_steps(f, x, W):
    (equation,) = [e for e in jax.make_jaxpr(f)(x, W).eqns if e.primitive is primitives.conv_p]
    return equation.params["steps"]


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("axes", [("a", None), ("a", "c"), (("a", "c"), None), (None, ("a", "c"))], ids=str)
def test_shards_stay_where_they_are(axes, layout, multiplier, kind):
    (x, W, b), f = problem((8, 8, 6, 5, multiplier, (3, 3), {"pad": 1}), layout=layout)

    def step(x, W, b):
        return jax.grad(lambda *a: (f(*a) ** 2).sum(), (0, 1, 2))(x, W, b)

    expected = f(x, W, b), step(x, W, b)
    mesh = jax.make_mesh((2, 2), ("a", "c"), axis_types=(kind, kind))
    batch, channels = axes
    specs = [P(*({"N": batch, "C": channels}.get(axis) for axis in layout)), P(None, channels), P(channels)]
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
    (x, W, _), f = problem((3, 6, 8, 8, 2, (3, 3), {"pad": 1}))
    for spec in P("a"), P(None, "a"), P(None, None, "a"):
        here = NamedSharding(mesh, spec)
        split = jax.jit(
            lambda x, W, here=here: lax.with_sharding_constraint(f(lax.with_sharding_constraint(x, here), W), here)
        )
        np.testing.assert_array_equal(split(x, W), f(x, W))
        gradient = jax.grad(lambda *a, g=split: (g(*a) ** 2).sum(), (0, 1))
        expected = jax.grad(lambda *a: (f(*a) ** 2).sum(), (0, 1))
        jax.tree.map(np.testing.assert_array_equal, gradient(x, W), expected(x, W))


def test_shard_map():
    mesh = jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,))
    (x, W, b), f = problem((8, 3, 6, 6, 1, (3, 3), {}))
    g = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=(P("a"), P(), P()), out_specs=P("a")))
    np.testing.assert_array_equal(g(x, W, b), f(x, W, b))
    actual, expected = (jax.grad(lambda *a, h=h: (h(*a) ** 2).sum(), (0, 1, 2))(x, W, b) for h in (g, f))
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.skipif(WITHOUT_PRIVATE_NAMES, reason="this is within it")
def test_without_private_names():
    """Where JAX has none of them arrays are gathered and the values are the same; all of this file passes so."""
    few = "transformations or shard_map or shards_that or shards_without or (shards_stay and NHWC-2-AxisType.Explicit)"
    environment = {**os.environ, "DEPTHWISE_TEST_WITHOUT_PRIVATE_NAMES": "1"}
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", few, __file__]
    run = subprocess.run(suite, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout


def test_private_names_are_there():
    assert internals.SPLITS is not WITHOUT_PRIVATE_NAMES


def test_same_bits_on_one_cpu_and_on_all():
    code = """
import os, sys, numpy as np
if sys.argv[1] == "1":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax
from depthwise.jax import conv
r = np.random.default_rng(0)
x, W = r.standard_normal((4, 80, 64, 64), np.float32), r.standard_normal((1, 80, 5, 5), np.float32)
x[:, ::3] *= 1e-38  # denormal products too
y, back = jax.jit(lambda x, W: jax.vjp(lambda x, W: conv(x, W, pad=2), x, W))(x, W)
import hashlib
print(hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in (y, *back(y)))).hexdigest())
"""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    ends = [
        subprocess.run([sys.executable, "-c", code, n], env=environment, capture_output=True, text=True, check=True)
        for n in ("1", "all", "all")
    ]
    assert len({end.stdout for end in ends}) == 1


def test_no_helper_is_left_behind():
    """A result that is returned while one of XLA's threads still writes it is wrong, or the process ends."""
    (x, W, _), f = problem((1, 96, 56, 56, 1, (7, 7), {"pad": 3}))
    g = jax.jit(f)
    expected = np.asarray(g(x, W)).copy()
    assert all(np.array_equal(g(x, W), expected) for _ in range(1500))


def test_many_callers_at_once():
    problems = [problem(case) for case in CASES]
    jitted = [(jax.jit(lambda *a, f=f: jax.vjp(f, *a)[1](f(*a))), arrays) for arrays, f in problems]
    expected = [g(*arrays) for g, arrays in jitted]

    def calls(i):
        g, arrays = jitted[i % len(jitted)]
        return [jax.block_until_ready(g(*arrays)) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        for i, results in enumerate(pool.map(calls, range(40))):
            for result in results:
                jax.tree.map(np.testing.assert_array_equal, result, expected[i % len(expected)])


NUMBERS = {"NHWC": ("NHWC", "HWIO", "NHWC"), "NCHW": ("NCHW", "OIHW", "NCHW")}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID", "SAME_LOWER", ((1, 0), (2, 1))])
@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), None), ((2, 1), None), ((1, 2), (2, 1))])
def test_conv_general_dilated(layout, multiplier, padding, stride, dilation):
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


def test_steps_may_be_numbers_and_arrays_of_any_kind():
    x, W = integers(1, 2, 8, 9), integers(1, 2, 3, 3, seed=1)
    expected = conv(x, W, stride=2, pad=1, dilate=(1, 2))
    steps = {"stride": jnp.int32(2), "pad": np.array([1, 1]), "dilate": np.array([1, 2])}
    np.testing.assert_array_equal(conv(x, W, **steps), expected)
    np.testing.assert_array_equal(jax.jit(lambda x: conv(x, W, **steps))(x), expected)
    with pytest.raises(TypeError, match="stride must be an int"):
        jax.jit(lambda x, stride: conv(x, W, stride=stride))(x, 2)


@pytest.mark.parametrize("stride", [10, 2**31 - 1])
def test_huge_strides(stride):
    """Of nine windows the middle one alone meets the image, so one of each kind of gradient is of ones."""
    x = W = jnp.ones((1, 1, 3, 3))
    y, back = jax.vjp(jax.jit(lambda x, W: conv(x, W, pad=stride, stride=stride)), x, W)
    np.testing.assert_array_equal(y[0, 0], [[0, 0, 0], [0, 9, 0], [0, 0, 0]])
    jax.tree.map(np.testing.assert_array_equal, back(jnp.ones_like(y)), (x, W))


@pytest.mark.parametrize(("pad", "stride"), [(100, 30), (10**8, 3 * 10**7)])
def test_huge_pads(pad, stride):
    """No window meets the image."""
    x = W = jnp.ones((1, 1, 3, 3))

    def everything(x, W):
        y, back = jax.vjp(lambda x, W: conv(x, W, pad=pad, stride=stride), x, W)
        return y, *back(y + 1)

    assert primitives_in(everything, x, W) == {"depthwise_conv", "depthwise_input_grad", "depthwise_weight_grad"}
    text = jax.jit(everything).lower(x, W).as_text()
    assert "stablehlo.convolution" not in text
    assert text.count(f"pad = dense<{pad}> : tensor<2xi64>") == text.count("@depthwise") == 3
    expected = (np.zeros(s, np.float32) for s in ((1, 1, 7, 7), x.shape, W.shape))
    jax.tree.map(np.testing.assert_array_equal, everything(x, W), tuple(expected))


def test_the_seed_function_takes_and_gives_jax_arrays():
    (x, W, b), _ = problem(FIRST)
    y = depthwise.depthwise_convolution_2d(jnp.asarray(x), jnp.asarray(W), jnp.asarray(b), 1, 1)
    assert isinstance(y, jax.Array)
    assert_exact(y, reference.forward(x, W, b, pad=1))
    traced = jax.jit(lambda x: depthwise.depthwise_convolution_2d(x, jnp.asarray(W), pad=1))
    assert_exact(traced(x), reference.forward(x, W, pad=1))
    with pytest.raises(TypeError, match="W must be a JAX array, as x is, got ndarray"):
        depthwise.depthwise_convolution_2d(jnp.asarray(x), W)
    with pytest.raises(TypeError, match="b must have x's dtype float32, got float16"):
        depthwise.depthwise_convolution_2d(jnp.asarray(x), jnp.asarray(W), jnp.asarray(b, jnp.float16))


X, KERNEL = np.ones((2, 4, 8, 8), np.float32), np.ones((1, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X, KERNEL[:, :3]), {}, ValueError, r"W has 3 input channels but x has 4 \(x \(2, 4, 8, 8\)"),
        ((X, KERNEL), {"layout": "NHWC"}, ValueError, r"W has 4 input channels but x has 8 \(x \(2, 4, 8, 8\)"),
        ((X[0], KERNEL), {}, ValueError, "x must have 4 axes"),
        ((X[0], KERNEL), {"layout": "NHWC"}, ValueError, "x must have 4 axes"),
        ((X, KERNEL[0]), {}, ValueError, "W must have 4 axes"),
        ((X, KERNEL, np.ones(3, np.float32)), {}, ValueError, r"b must have shape \(4,\)"),
        ((X.astype(int), KERNEL), {}, TypeError, "x must be float16, bfloat16, float32 or float64, got int64"),
        (([1.0], KERNEL), {}, TypeError, "x must be an array, got list"),
        ((X, None), {}, TypeError, "W must be an array, got NoneType"),
        ((X, KERNEL), {"layout": "CHWN"}, ValueError, 'layout must be "NCHW" or "NHWC"'),
        ((X, KERNEL), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ((X, KERNEL), {"pad": "full"}, ValueError, "pad must be"),
        ((X, KERNEL), {"dilate": 5}, ValueError, "height of the output would be"),
        ((X, KERNEL), {"dilate": 1.5}, TypeError, "dilate must be an int"),
    ],
)
def test_rejected(arguments, options, error, message):
    with pytest.raises(error, match=message):
        conv(*arguments, **options)
    with pytest.raises(error, match=message):  # where it is traced
        jax.jit(lambda: conv(*arguments, **options))()


def test_a_build_without_handlers_says_what_to_do(monkeypatch):
    import depthwise.jax as package

    monkeypatch.delattr(_core, "xla_handler")
    with pytest.raises(ImportError, match="DEPTHWISE_JAX=1 pip install"):
        importlib.reload(package)


def test_flax_layer():
    nnx = pytest.importorskip("flax.nnx", reason="the layer is Flax's")

    def layer(**options):
        return nnx.Conv(8, 16, (3, 3), strides=2, feature_group_count=8, rngs=nnx.Rngs(0), **options)

    stock, ours = layer(), layer(conv_general_dilated=conv_general_dilated)
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 8), np.float32)
    np.testing.assert_allclose(ours(x), stock(x), rtol=1e-5, atol=1e-6)
    assert primitives_in(lambda x: ours(x), x) == {"depthwise_conv"}
    assert jax.tree.map(np.shape, nnx.state(ours)) == jax.tree.map(np.shape, nnx.state(stock))
