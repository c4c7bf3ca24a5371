"""Filters of its own for each image: as if each image were convolved alone."""

import itertools

import numpy as np
import pytest

import depthwise
from depthwise import ops
from helpers import AXES, DTYPES, LAYOUTS, assert_same, integers


def problem(rng, axes, n=3, c=5, m=2, dtype=np.float32):
    size, kernel = {1: ((19,), (4,)), 2: ((9, 12), (3, 4)), 3: ((4, 6, 5), (2, 3, 3))}[axes]
    return integers(rng, (n, c, *size), dtype), integers(rng, (n, m, c, *kernel), dtype, -2, 3)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_image_is_as_if_alone(target, layout, m, axes):
    rng = np.random.default_rng(3)
    x, W = problem(rng, axes, m=m)
    x, b, steps = layout(x), integers(rng, (5 * m,), np.float32), {"stride": 2, "pad": 1}
    y = ops.forward(x, W, b, **steps)
    gy = layout(integers(rng, y.shape, np.float32))
    gb = np.empty(5 * m, np.float32)
    gx = ops.input_grad(gy, W, x.shape[2:], **steps)
    gW = ops.weight_grad(x, gy, W.shape[3:], per_sample=True, bias_out=gb, **steps)
    assert gW.shape == W.shape
    for i in range(3):
        one = slice(i, i + 1)
        assert_same(y[one], ops.forward(x[one], W[i], b, **steps))
        assert_same(gx[one], ops.input_grad(gy[one], W[i], x.shape[2:], **steps))
        assert_same(gW[i], ops.weight_grad(x[one], gy[one], W.shape[3:], **steps))
    assert_same(gb, ops.bias_grad(gy))
    assert_same(ops.forward(x, W, b, activation="relu", **steps), np.maximum(y, 0))
    for method in "auto", "fft":
        if axes < 3:
            np.testing.assert_allclose(ops.forward(x, W, b, method=method, **steps), y, atol=1e-3)


@pytest.mark.parametrize(("x_dtype", "W_dtype"), [*itertools.product(DTYPES, DTYPES)])
def test_dtypes_and_out(x_dtype, W_dtype):
    rng = np.random.default_rng(3)
    x, W = problem(rng, 2, dtype=x_dtype)
    W = W.astype(W_dtype)
    for layout in LAYOUTS:
        out = layout(np.zeros((3, 10, 7, 9), x_dtype))
        y = ops.forward(layout(x), W, out=out)
        assert y is out
        assert_same(y, np.concatenate([ops.forward(x[i : i + 1], W[i]) for i in range(3)]))
        gx = layout(np.zeros(x.shape, x_dtype))
        assert ops.input_grad(out, W, x.shape[2:], out=gx) is gx
        gW = np.zeros(W.shape, W_dtype)
        assert ops.weight_grad(layout(x), out, (3, 4), per_sample=True, out=gW) is gW
        alone = np.empty(W.shape[1:], W_dtype)
        assert_same(gW[1], ops.weight_grad(x[1:2], out[1:2], (3, 4), out=alone))


@pytest.mark.parametrize(("n", "c"), [(0, 3), (2, 0), (1, 1)])
def test_none_and_one(n, c):
    x, W = np.ones((n, c, 5, 5), "f"), np.ones((n, 2, c, 3, 3), "f")
    y = ops.forward(x, W, pad=1)
    assert y.shape == (n, 2 * c, 5, 5)
    assert ops.input_grad(y, W, (5, 5), pad=1).shape == x.shape
    out = np.empty(W.shape, "f")
    assert ops.weight_grad(x, y, (3, 3), pad=1, per_sample=True, out=out).shape == W.shape


def test_errors_in_the_callers_words():
    x, W = np.zeros((3, 2, 5, 5), "f"), np.zeros((3, 1, 2, 3, 3), "f")
    with pytest.raises(ValueError, match="for each image, but for 2 images and not 3"):
        ops.forward(x, W[:2])
    with pytest.raises(ValueError, match="for each image, but for 2 images and not 3"):
        ops.input_grad(x, W[:2], (7, 7))
    with pytest.raises(ValueError, match="input channels"):
        ops.forward(x[:, :1], W)
    with pytest.raises(ValueError, match=r"b must have shape \(2,\)"):
        ops.forward(x, W, np.zeros(6, "f"))
    with pytest.raises(ValueError, match="gy must have shape"):
        ops.input_grad(x, W, (9, 9))
    with pytest.raises(ValueError, match="gy must have shape"):
        ops.weight_grad(x, x, (3, 3), per_sample=True)
    with pytest.raises(ValueError, match=r"gy must have shape \(3, 2, 3, 3\)"):
        ops.weight_grad(x, np.zeros((4, 2, 3, 3), "f"), (3, 3), per_sample=True)
    with pytest.raises(ValueError, match="out must have shape"):
        ops.forward(x, W, out=np.zeros((3, 2, 5, 5), "f"))
    with pytest.raises(ValueError, match="shape"):
        ops.weight_grad(x, x, (1, 1), per_sample=True, out=np.zeros((1, 2, 1, 1), "f"))


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(3)
    x, W = rng.normal(size=(4, 20, 30, 31)).astype("f"), rng.normal(size=(4, 1, 20, 5, 5)).astype("f")
    with depthwise.threads(1):
        y = ops.forward(x, W)
    with depthwise.threads(3):
        np.testing.assert_array_equal(ops.forward(x, W), y)


def real(seed=3):
    rng = np.random.default_rng(seed)
    x, W = rng.normal(size=(3, 4, 9, 8)), rng.normal(size=(3, 2, 4, 3, 3))
    b = rng.normal(size=8)
    y = ops.forward(x, W, b, pad=1)
    gy = rng.normal(size=y.shape)
    gW = ops.weight_grad(x, gy, (3, 3), pad=1, per_sample=True)
    return (x, W, b), gy, y, (ops.input_grad(gy, W, (9, 8), pad=1), gW, ops.bias_grad(gy))


def near(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-9, atol=1e-9)


def test_the_function_and_its_gradients():
    arrays, gy, y, grads = real()
    inputs = [depthwise.Variable(a) for a in arrays]
    vy = depthwise.depthwise_convolution_2d(*inputs, pad=1)
    vy.grad = gy
    vy.backward()
    near(vy.array, y)
    for v, grad in zip(inputs, grads, strict=True):
        near(v.grad, grad)
    with pytest.raises(ValueError, match="for each image, but for 2 images and not 3"):
        depthwise.depthwise_convolution_2d(arrays[0], arrays[1][:2])
    with pytest.raises(ValueError, match=r"b must have shape \(8,\)"):
        depthwise.depthwise_convolution_2d(arrays[0], arrays[1], np.zeros(24))


def test_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    from depthwise.torch import conv2d

    (x, W, b), gy, y, (gx, gW, gb) = real()
    weight = W.swapaxes(1, 2).reshape(3, 8, 1, 3, 3)
    inputs = [torch.tensor(a, requires_grad=True) for a in (x, weight, b)]
    ty = conv2d(*inputs, padding=1)
    ty.backward(torch.tensor(gy))
    near(ty.detach(), y)
    for t, grad in zip(inputs, (gx, gW.swapaxes(1, 2).reshape(weight.shape), gb), strict=True):
        near(t.grad, grad)
    near(conv2d(*inputs, padding=1, activation="relu").detach(), np.maximum(y, 0))
    assert conv2d(torch.zeros(0, 2, 5, 5), torch.zeros(0, 4, 1, 3, 3)).shape == (0, 4, 3, 3)
    with pytest.raises(ValueError, match="has filters for 2 images"):
        conv2d(inputs[0], inputs[1][:2])
    with pytest.raises(ValueError, match="bias must have shape"):
        conv2d(*inputs[:2], torch.zeros(24, dtype=torch.float64))


def test_jax_by_vmap():
    jax = pytest.importorskip("jax", reason="JAX is an extra")
    pytest.importorskip("depthwise.jax", reason="built without JAX", exc_type=ImportError)
    from depthwise.jax import conv

    arrays, gy, y, grads = real()
    arrays = [a.astype("f") for a in arrays]

    def each(x, W, b):
        return jax.vmap(lambda x, W: conv(x[None], W, b, pad=1)[0])(x, W)

    jy, pull = jax.vjp(each, *arrays)
    for actual, expected in zip((jy, *pull(gy.astype("f"))), (y, *grads), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)
