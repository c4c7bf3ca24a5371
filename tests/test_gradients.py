"""Differentiation through Variable: Chainer's own numbers, numerical checks, higher orders, the training loop."""

import gc
import weakref

import numpy as np
import pytest

import depthwise
from depthwise import Variable, gradient_check
from depthwise import functions as F  # noqa: N812 - Chainer's users call it so
from helpers import AXES, CHAINER_CASES, LAYOUTS, from_json, integers, steps_of


def test_chainer_cases_to_second_order(target):
    """sum(gx**2) + sum(gW**2), differentiated for x, W and gy, as Chainer computed it."""
    for case in CHAINER_CASES:
        x, W, b, gy = (None if case[k] is None else Variable(from_json(case[k])) for k in ("x", "W", "b", "gy"))
        y = F.depthwise_convolution_2d(x, W, b, **steps_of(case))
        y.grad_var = gy
        y.backward(enable_double_backprop=True)
        for v, k in ((x, "gx"), (W, "gW"), (b, "gb")):
            if v is not None:
                np.testing.assert_array_equal(v.grad, from_json(case[k]))
        loss = F.sum(x.grad_var**2) + F.sum(W.grad_var**2)
        second = case["second_order"]
        assert second["loss"] == "sum(gx**2)+sum(gW**2)"
        found = depthwise.grad([loss], [x, W, gy])
        for g, k in zip(found, ("grad_x", "grad_W", "grad_gy"), strict=True):
            np.testing.assert_array_equal(g.array, from_json(second[k]))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("dilate", [1, (2, 1)])
@pytest.mark.parametrize("pad", [0, (1, 2), "same"])
@pytest.mark.parametrize("stride", [1, (2, 3)])
def test_check_backward_and_double_backward(stride, pad, dilate, multiplier, layout):
    rng = np.random.default_rng(15)
    np.random.seed(15)
    x, W = layout(rng.normal(size=(2, 3, 7, 8))), rng.normal(size=(multiplier, 3, 3, 2))
    b = rng.normal(size=3 * multiplier)

    def f(x, W, b):
        return F.depthwise_convolution_2d(x, W, b, stride, pad, dilate=dilate)

    gy = rng.normal(size=f(x, W, b).shape)
    gradient_check.check_backward(f, (x, W, b), gy)
    second = tuple(rng.normal(size=v.shape) for v in (x, W, b))
    gradient_check.check_double_backward(f, (x, W, b), gy, second)


CONVOLUTIONS = {1: F.depthwise_convolution_1d, 2: F.depthwise_convolution_2d, 3: F.depthwise_convolution_3d}


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "dilate"),
    [
        ((9,), (3,), 1, 0, 1),
        ((9,), (4,), 1, "causal", 1),
        ((9,), (3,), 2, "causal", 2),
        ((9,), (3,), 3, ((2, 1),), 1),
        ((3, 4, 5), (2, 3, 2), 1, 0, 1),
        ((3, 4, 5), (2, 3, 2), 1, "same", (1, 2, 1)),
        ((4, 4, 5), (3, 2, 3), (2, 1, 2), ((1, 0), (0, 1), (1, 1)), 1),
    ],
)
def test_check_backward_and_double_backward_of_one_and_three(size, kernel, stride, pad, dilate, multiplier, layout):
    rng = np.random.default_rng(20)
    np.random.seed(20)
    x, W = layout(rng.normal(size=(2, 3, *size))), rng.normal(size=(multiplier, 3, *kernel))
    b = rng.normal(size=3 * multiplier)

    def f(x, W, b):
        return CONVOLUTIONS[len(size)](x, W, b, stride, pad, dilate=dilate)

    gy = rng.normal(size=f(x, W, b).shape)
    gradient_check.check_backward(f, (x, W, b), gy)
    second = tuple(rng.normal(size=v.shape) for v in (x, W, b))
    gradient_check.check_double_backward(f, (x, W, b), gy, second)


def test_the_checks_can_fail():
    rng = np.random.default_rng(16)
    x, W = rng.normal(size=(1, 2, 5, 5)), rng.normal(size=(1, 2, 3, 3))
    gy = rng.normal(size=(1, 2, 3, 3))

    def detached(x, W):
        return F.depthwise_convolution_2d(x.array, W) + x[:, :, :3, :3] * 0

    with pytest.raises(AssertionError):
        gradient_check.check_backward(detached, (x, W), gy)
    with pytest.raises(AssertionError):
        gradient_check.check_double_backward(detached, (x, W), gy, (x, W))


def test_numerical_grad_sees_a_kink():
    x = np.array([1e-4])
    with pytest.raises(ValueError, match="not differentiable"):
        gradient_check.numerical_grad(lambda: (np.abs(x),), (x,), (np.ones(1),), detect_nondifferentiable=True)


@pytest.mark.parametrize(("axes", "size"), [(1, (9,)), (2, (3, 3)), (3, (1, 3, 3))])
def test_third_order(axes, size):
    x, W = Variable(np.full((1, 1, *size), 2.0)), Variable(np.full((1, 1, *size), 3.0))
    y = CONVOLUTIONS[axes](x, W) ** 3  # (sum of x * W)^3
    (g1,) = depthwise.grad([y], [x], enable_double_backprop=True)
    (g2,) = depthwise.grad([F.sum(g1)], [W], enable_double_backprop=True)
    (g3,) = depthwise.grad([F.sum(g2)], [x])
    s, xs, ws = 54.0, 18.0, 27.0  # sums of x * W, x, W
    # sum_i d/dx_i = 3 s^2 sum W; d/dW_j = 6 s x_j ws + 3 s^2; summed 6 s xs ws + 27 s^2; d/dx_k of that:
    expected = 6 * 3.0 * xs * ws + 6 * s * ws + 54 * s * 3.0
    np.testing.assert_allclose(g3.array, expected)


@pytest.mark.parametrize("axes", AXES)
def test_gradient_penalty(axes):
    """The pattern that fails in Chainer 7.8.1: double backward where gy requires no gradient."""
    for multiplier in (1, 2):
        rng = np.random.default_rng(17)
        size, kernel = (4, 6, 6)[-axes:], (2, 3, 3)[-axes:]
        x, W = Variable(rng.normal(size=(2, 3, *size))), Variable(rng.normal(size=(multiplier, 3, *kernel)))

        def penalty(W, x=x):
            (gx,) = depthwise.grad([CONVOLUTIONS[axes](x, W)], [x], enable_double_backprop=True)
            return F.sum(gx * gx)

        penalty(W).backward()
        start, eps, at = W.array, 1e-5, (0, 1, *(1, 2, 0)[-axes:])
        ends = []
        for sign in (1, -1):
            shifted = start.copy()
            shifted[at] += sign * eps
            ends.append(penalty(Variable(shifted)).item())
        assert W.grad[at] == pytest.approx((ends[0] - ends[1]) / (2 * eps), rel=1e-6)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("x_dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("W_dtype", [np.float16, np.float32, np.float64])
def test_dtypes_of_gradients(x_dtype, W_dtype, axes):
    rng = np.random.default_rng(18)
    size, kernel = (3, 6, 6)[-axes:], (2, 3, 3)[-axes:]
    x, W = Variable(integers(rng, (2, 3, *size), x_dtype)), Variable(integers(rng, (2, 3, *kernel), W_dtype))
    b = Variable(integers(rng, 6, x_dtype))
    y = CONVOLUTIONS[axes](x, W, b)
    assert y.dtype == x_dtype
    F.sum(y / 64 * y).backward(enable_double_backprop=True)
    assert (x.grad.dtype, W.grad.dtype, b.grad.dtype) == (x_dtype, W_dtype, x_dtype)
    gx = x.grad_var
    x.cleargrad()
    F.sum(gx / 64).backward()
    assert (x.grad.dtype, W.grad.dtype) == (x_dtype, W_dtype)


def test_float16_input_gradient_is_accurate():
    """Chainer's is off by 1.4e-3 of the largest element: it adds the taps in float16."""
    rng = np.random.default_rng(19)
    x = Variable(rng.normal(size=(4, 8, 28, 28)).astype(np.float16))
    W = Variable(rng.normal(size=(2, 8, 5, 5)).astype(np.float16))
    y = F.depthwise_convolution_2d(x, W, pad=2)
    gy = rng.normal(size=y.shape).astype(np.float16)
    y.grad = gy
    y.backward()
    exact = depthwise.reference.input_grad(gy, W.array, (28, 28), pad=2)
    assert np.abs(x.grad - exact).max() <= 2.0**-11 * np.abs(exact).max()


def test_gradients_accumulate_and_intermediate_ones_are_dropped():
    x = Variable(np.array([1.0, 2.0]))
    h = x * x
    y = F.sum(h)
    y.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])
    assert h.grad is None
    assert y.grad is None
    y.backward()
    np.testing.assert_array_equal(x.grad, [4, 8])
    x.cleargrad()
    y.backward(retain_grad=True, loss_scale=8)
    np.testing.assert_array_equal(x.grad, [16, 32])
    np.testing.assert_array_equal(h.grad, [8, 8])
    assert y.grad == 8


def test_only_what_requires_a_gradient_gets_one():
    x, W = np.ones((1, 2, 4, 4)), Variable(np.ones((1, 2, 3, 3)))
    frozen = Variable(np.ones((1, 2, 4, 4)), requires_grad=False)
    y = F.depthwise_convolution_2d(frozen, W)
    assert y.requires_grad
    F.sum(y).backward()
    assert frozen.grad is None
    assert W.grad is not None
    plain = F.depthwise_convolution_2d(x, np.ones((1, 2, 3, 3)))
    assert not plain.requires_grad
    assert plain.creator is not None


def test_no_backprop_mode():
    x, W = Variable(np.ones((1, 2, 4, 4))), Variable(np.ones((1, 2, 3, 3)))
    with depthwise.no_backprop_mode():
        y = F.depthwise_convolution_2d(x, W)
        with depthwise.force_backprop_mode():
            z = F.depthwise_convolution_2d(x, W)
    assert (y.creator, y.requires_grad) == (None, True)
    assert z.creator is not None


def test_arrays_are_kept_by_reference():
    x, W = Variable(np.ones((1, 1, 3, 3))), Variable(np.ones((2, 1, 3, 3)))
    y = F.depthwise_convolution_2d(x, W)
    x.array[...] = 5
    W.array[...] = 7
    F.sum(y).backward()
    assert (W.grad == 5).all()
    assert (x.grad == 14).all()


@pytest.mark.parametrize("kind", [list, np.array])
def test_steps_changed_later_are_not_those_of_the_graph(kind):
    x, W = (Variable(np.ones(shape, np.float32)) for shape in ((1, 1, 5, 5), (1, 1, 3, 3)))
    stride, pad, dilate = (kind([n, n]) for n in (2, 1, 1))
    y = F.depthwise_convolution_2d(x, W, stride=stride, pad=pad, dilate=dilate)
    stride[:], pad[:], dilate[:] = [1, 1], [0, 0], [2, 2]
    y.grad = np.ones_like(y.array)
    y.backward()
    np.testing.assert_array_equal(W.grad[0, 0], [[4, 6, 4], [6, 9, 6], [4, 6, 4]])


def test_another_array_given_later_is_not_what_was_computed_with():
    x = Variable(np.array([1.0, 2.0]))
    y = F.sum(x * x)
    x.array = np.array([5.0, 5.0])
    y.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_nothing_outlives_its_last_use():
    """Reference counts alone free a graph and its arrays, also after backward and double backward."""
    gc.disable()
    try:
        x, W = Variable(np.ones((1, 2, 8, 8))), Variable(np.ones((1, 2, 3, 3)))
        h = F.depthwise_convolution_2d(x, W)
        arrays = [weakref.ref(a) for a in (x.array, W.array, h.array)]
        loss = F.sum(h * h)
        loss.backward(enable_double_backprop=True)
        penalty = F.sum(x.grad_var**2)
        arrays.append(weakref.ref(penalty.array))
        penalty.backward()
        del x, W, h, loss, penalty
        assert [a() for a in arrays] == [None] * 4
    finally:
        gc.enable()


def test_backward_without_a_gradient_says_what_to_do():
    y = Variable(np.ones((2, 3))) * 2
    with pytest.raises(ValueError, match=r"set y.grad to an array of that shape, or reduce it to a scalar"):
        y.backward()


def test_wrong_gradients_are_refused():
    y = F.depthwise_convolution_2d(np.zeros((2, 3, 4, 7)), np.zeros((2, 3, 3, 3)))
    with pytest.raises(ValueError, match="Shape of data and grad mismatch"):
        y.grad = np.zeros(1)
    with pytest.raises(TypeError, match="Dtype of data and grad mismatch"):
        y.grad = np.zeros(y.shape, np.float32)


def test_grad():
    x, z = Variable(np.array([1.0, 2.0])), Variable(np.array([3.0, 4.0]))
    y = x * x
    gx, gz = depthwise.grad((y,), (x, z))
    np.testing.assert_array_equal(gx.array, [2, 4])
    assert gz is None
    assert x.grad is None
    (gx,) = depthwise.grad([y], [x], [np.array([10.0, 1.0])], [np.array([0.5, 0.5])], set_grad=True)
    np.testing.assert_array_equal(gx.array, [20.5, 4.5])
    np.testing.assert_array_equal(x.grad, gx.array)
    both = depthwise.grad([y, F.sum(y)], [y, x], loss_scale=2)
    np.testing.assert_array_equal(both[0].array, [4, 4])
    np.testing.assert_array_equal(both[1].array, [8, 16])
    with pytest.raises(TypeError, match="outputs must be a list or a tuple"):
        depthwise.grad(y, [x])
    with pytest.raises(ValueError, match="grad_outputs has 2 items for 1"):
        depthwise.grad([y], [x], [None, None])
