"""Programs with depthwise.jax that are exported: symbolic sizes, several platforms."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import combinations
from jax_helpers import (
    ALL_OF_IT,
    DIMS,
    PLACES,
    conv,
    conv_general_dilated,
    export,
    in_layout,
    integers,
    jax,
    lax,
    layout,
    problem,
)


@pytest.mark.parametrize(("dims", "activation"), [(1, "relu"), (2, None), (3, None)])
def test_export(dims, activation):
    pytest.importorskip("flatbuffers", reason="jax.export needs it to serialize")

    (x, W, b), f = problem(ALL_OF_IT[dims], activation=activation)
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
        ours = 1 + ("cuda" in platforms)
        assert text.count("@depthwise") == ours * (3 + (activation is not None))
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


SMALL = {
    1: [(7,), (3,), (2,), (1,)],
    2: [(7, 5), (3, 3), (2, 5), (1, 5), (5, 2), (5, 1), (1, 1)],
    3: [(4, 7, 5), (3, 3, 3), (2, 5, 4), (5, 1, 4), (4, 5, 2), (1, 1, 1)],
}


@pytest.mark.parametrize(("dims", "channels", "stride"), combinations(DIMS, PLACES, [1, 3]))
def test_export_with_symbolic_sizes_that_turn_out_small(dims, channels, stride):
    """Where a size is smaller than the kernel the output is empty, as lax's, and the gradients are zeros."""
    options = {"disabled_checks": [export.DisabledSafetyCheck.custom_call("depthwise")]}
    size, name, taps = export.symbolic_shape(", ".join("dhw"[3 - dims :])), layout(dims, channels), (3,) * dims

    def types(kernel):
        image = (1, 2, *size) if channels == "second" else (1, *size, 2)
        return [jax.ShapeDtypeStruct(s, np.float32) for s in (image, kernel)]

    def step(x, W):
        y, back = jax.vjp(lambda x, W: conv(x, W, stride=stride, layout=name), x, W)
        return y, *back(y)

    def other(f):
        numbers, strides = (name, "OI" + name.strip("NC"), name), (stride,) * dims
        return jax.jit(lambda x, k: f(x, k, strides, "VALID", dimension_numbers=numbers, feature_group_count=2))

    exported = export.export(jax.jit(step), **options)(*types((2, 2, *taps)))
    ours, stock = (
        export.export(other(f), **options)(*types((4, 1, *taps)))
        for f in (conv_general_dilated, lax.conv_general_dilated)
    )
    assert "@depthwise" in ours.mlir_module()
    assert [str(a) for a in ours.out_avals] == [str(a) for a in stock.out_avals]
    for known in SMALL[dims]:
        x, W = in_layout(integers(1, 2, *known), channels), integers(2, 2, *taps, seed=1)
        kernel = W.swapaxes(0, 1).reshape(4, 1, *taps)
        y = stock.call(x, kernel)
        actual = exported.call(x, W)
        np.testing.assert_array_equal(actual[0], y)
        np.testing.assert_array_equal(ours.call(x, kernel), y)
        if y.size:
            jax.tree.map(np.testing.assert_array_equal, actual, step(x, W))
        else:
            jax.tree.map(np.testing.assert_array_equal, actual[1:], (np.zeros_like(x), np.zeros_like(W)))


def test_export_with_a_symbolic_height_for_several_platforms():
    h, w = export.symbolic_shape("h, w")
    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((1, 2, h, w), (2, 2, 3, 3))]
    check = [export.DisabledSafetyCheck.custom_call("depthwise")]
    exported = export.export(jax.jit(conv), platforms=["cpu", "cuda"], disabled_checks=check)(*shapes)
    x, W = integers(1, 2, 5, 7), integers(2, 2, 3, 3, seed=1)
    np.testing.assert_array_equal(exported.call(x, W), conv(x, W))
    assert exported.call(x[:, :, :1], W).shape == (1, 4, 0, 5)


@pytest.mark.parametrize("dims", DIMS)
def test_export_of_vmap_with_a_symbolic_size(dims):
    (n,) = export.symbolic_shape("n")
    check = [export.DisabledSafetyCheck.custom_call("depthwise")]
    (x, W, b), f = problem(ALL_OF_IT[dims])

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
