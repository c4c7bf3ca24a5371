"""What the tests of Chainer 7.8.1 check of this function and this link, in our words."""

import pickle

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from depthwise import functions as F  # noqa: N812 - Chainer's users call it so
from depthwise import gradient_check, initializers
from depthwise import links as L  # noqa: N812 - Chainer's users call it so
from helpers import channels_last, planar

FLOATS = [np.float16, np.float32, np.float64]
every_dtype = pytest.mark.parametrize("W_dtype", FLOATS)
every_case = [
    pytest.mark.parametrize("x_dtype", FLOATS),
    every_dtype,
    pytest.mark.parametrize("nobias", [True, False]),
]


def with_every_case(test):
    for mark in every_case:
        test = mark(test)
    return test


def uniform(shape, dtype):
    return np.random.uniform(-1, 1, shape).astype(dtype)


def dense(x, W):
    """A convolution that adds up over the channels too, stride 2 and pad 1, in float64."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, W.shape[2:], (2, 3))[:, :, ::2, ::2]
    return np.einsum("nchwyx,mcyx->nmhw", windows, W.astype(np.float64))


@with_every_case
@pytest.mark.parametrize("layout", [planar, channels_last])
def test_function_forward_summed_over_channels_is_a_dense_convolution(x_dtype, W_dtype, nobias, layout):
    np.random.seed(2)
    x, W = layout(uniform((2, 3, 4, 3), x_dtype)), (np.random.normal(size=(2, 3, 3, 3)) / 27**0.5).astype(W_dtype)
    b = None if nobias else uniform(6, x_dtype)
    y = F.depthwise_convolution_2d(x, W, b, stride=2, pad=1)
    assert (y.shape, y.dtype) == ((2, 6, 2, 2), x_dtype)
    expected = dense(x, W)
    if b is not None:
        expected += b.reshape(3, 2).astype(np.float64).sum(axis=0)[:, None, None]
    tolerance = 5e-3 if np.float16 in (x_dtype, W_dtype) else 1e-5
    found = y.array.astype(np.float64).reshape(2, 3, 2, 2, 2).sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance)


@with_every_case
def test_function_backward(x_dtype, W_dtype, nobias):
    np.random.seed(3)
    arrays = [uniform((2, 3, 4, 3), x_dtype), (np.random.normal(size=(2, 3, 3, 3)) / 27**0.5).astype(W_dtype)]
    if not nobias:
        arrays.append(uniform(6, x_dtype))
    tolerance = {"atol": 5e-3, "rtol": 5e-3} if np.float16 in (x_dtype, W_dtype) else {}
    gradient_check.check_backward(
        lambda *v: F.depthwise_convolution_2d(*v, stride=2, pad=1),
        tuple(arrays),
        uniform((2, 6, 2, 2), x_dtype),
        dtype=np.float64,
        **tolerance,
    )


@with_every_case
def test_link_backward_with_parameters_of_any_dtype(x_dtype, W_dtype, nobias):
    np.random.seed(4)
    link = L.DepthwiseConvolution2D(
        3,
        2,
        3,
        stride=2,
        pad=1,
        nobias=nobias,
        initialW=initializers.Normal(1, W_dtype),
        initial_bias=initializers.Normal(1, x_dtype),
    )
    link.cleargrads()
    parameters = tuple(link.params())
    assert [p.dtype for p in parameters] == ([W_dtype] if nobias else [W_dtype, x_dtype])
    tolerance = {"atol": 3e-2, "rtol": 5e-2} if np.float16 in (x_dtype, W_dtype) else {}
    x, gy = uniform((2, 3, 4, 3), x_dtype), uniform((2, 6, 2, 2), x_dtype)
    gradient_check.check_backward(link, x, gy, parameters, eps=2**-3, **tolerance)


@pytest.mark.parametrize("pickled", [False, True])
def test_link_backward_after_its_shape_was_taken_from_the_first_input(pickled):
    np.random.seed(5)
    link = L.DepthwiseConvolution2D(None, 2, 3, stride=2, pad=1)
    x, gy = uniform((2, 3, 4, 3), np.float32), uniform((2, 6, 2, 2), np.float32)
    if pickled:
        link = pickle.loads(pickle.dumps(link))
    link(x)
    link.b.data[...] = uniform(link.b.shape, np.float32)
    if pickled:
        before, link = link(x).array, pickle.loads(pickle.dumps(link))
        np.testing.assert_array_equal(link(x).array, before)
    link.cleargrads()
    gradient_check.check_backward(link, x, gy, (link.W, link.b), eps=1e-2)
