"""The link: parameters, drawing, copies, and subclasses."""

import copy
import pickle

import numpy as np
import pytest

from depthwise import functions as F  # noqa: N812 - Chainer's users call it so
from depthwise import initializers, using_config
from depthwise import links as L  # noqa: N812 - Chainer's users call it so


def test_parameters():
    link = L.DepthwiseConvolution2D(3, 2, (3, 5), stride=(2, 1), pad=1)
    assert (link.W.shape, link.b.shape) == ((2, 3, 3, 5), (6,))
    assert (link.W.dtype, link.b.dtype) == (np.float32, np.float32)
    assert [name for name, _ in link.namedparams()] == ["/W", "/b"]
    assert next(iter(link.params())) is link.W
    assert link.count_params() == 96
    assert (link.b.array == 0).all()
    assert L.DepthwiseConvolution2D(3, 2, 3, nobias=True).b is None
    x = np.ones((1, 3, 6, 7), np.float32)
    y = link(x)
    assert y.array.tobytes() == F.depthwise_convolution_2d(x, link.W, link.b, (2, 1), 1).array.tobytes()
    F.sum(y).backward()
    assert link.W.grad is not None
    link.cleargrads()
    assert link.W.grad is None
    assert link.b.grad is None


LINKS = [
    (L.DepthwiseConvolution1D, F.depthwise_convolution_1d, (9,), (4,), (2,), "causal"),
    (L.DepthwiseConvolution2D, F.depthwise_convolution_2d, (6, 7), (3, 5), (2, 1), (1, 2)),
    (L.DepthwiseConvolution3D, F.depthwise_convolution_3d, (4, 6, 7), (2, 3, 5), (1, 2, 1), ((1, 0), (1, 1), (2, 2))),
]


@pytest.mark.parametrize(("link", "function", "size", "ksize", "stride", "pad"), LINKS)
def test_links_of_one_to_three_axes(link, function, size, ksize, stride, pad):
    """Weights by fan-in, a lazy number of channels, one call of the function, copies, a repr, and what is refused."""
    axes = len(size)
    np.random.seed(0)
    layer = link(256, 1, ksize, stride, pad)
    np.random.seed(0)
    drawn = np.random.normal(0, (256 * np.prod(ksize)) ** -0.5, (1, 256, *ksize)).astype("f")
    np.testing.assert_array_equal(layer.W.array, drawn)
    depthwise = link(256, 1, ksize, initialW="depthwise").W.array
    assert depthwise.std() == pytest.approx(np.prod(ksize) ** -0.5, rel=0.1)
    lazy = link(None, 2, ksize, stride, pad)
    x = np.random.normal(size=(2, 3, *size)).astype(np.float32)
    y = lazy(x)
    assert (lazy.W.shape, lazy.b.shape) == ((2, 3, *ksize), (6,))
    assert y.array.tobytes() == function(x, lazy.W, lazy.b, stride, pad).array.tobytes()
    F.sum(y).backward()
    assert (lazy.W.grad.shape, lazy.b.grad.shape) == (lazy.W.shape, lazy.b.shape)
    assert pickle.loads(pickle.dumps(lazy))(x).array.tobytes() == y.array.tobytes()
    assert repr(lazy) == (
        f"DepthwiseConvolution{axes}D(in_channels=3, channel_multiplier=2, ksize={ksize}, stride={stride}, "
        f"pad={pad!r}, nobias=False)"
    )
    assert link(3, 2, 3).W.shape == (2, 3, *[3] * axes)
    with pytest.raises(ValueError, match=f"x must have {axes + 2} axes"):
        link(None, 2, 3)(np.ones((5, 4), np.float32))
    with pytest.raises(ValueError, match="ksize must be"):
        link(3, 2, (3,) * (axes + 1))


def test_lazy():
    link = L.DepthwiseConvolution2D(None, 2, 3)
    assert link.W.array is None
    assert link(np.ones((1, 5, 4, 4), np.float32)).shape == (1, 10, 2, 2)
    with pytest.raises(ValueError, match="W has 5 input channels but x has 4"):
        link(np.ones((1, 4, 4, 4), np.float32))
    with pytest.raises(TypeError, match="b must have x's dtype float64"):
        link(np.ones((1, 5, 4, 4)))
    with pytest.raises(ValueError, match="x must have 4 axes"):
        L.DepthwiseConvolution2D(None, 2, 3)(np.ones((5, 4, 4), np.float32))


def test_parameters_of_a_lazy_link_are_not_counted():
    link = L.DepthwiseConvolution2D(None, 2, 3)
    with pytest.warns(UserWarning, match="parameter /[Wb] has no array yet and is not counted"):
        assert link.count_params() == 0
    assert list(link.params(include_uninit=False)) == []
    assert [path for path, _ in link.namedparams()] == ["/W", "/b"]
    link(np.ones((1, 5, 4, 4), np.float32))
    assert link.count_params() == 100


class Reflecting(L.DepthwiseConvolution2D):
    """How public code pads by reflection."""

    def forward(self, x):
        return super().forward(F.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect"))


@pytest.mark.parametrize("in_channels", [3, None])
def test_the_forward_of_a_subclass_is_run(in_channels):
    link = Reflecting(in_channels, 2, 3)
    x = np.random.normal(size=(1, 3, 5, 6)).astype(np.float32)
    y = link(x)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    assert y.array.tobytes() == F.depthwise_convolution_2d(padded, link.W, link.b).array.tobytes()
    assert pickle.loads(pickle.dumps(link))(x).array.tobytes() == y.array.tobytes()
    assert repr(link).startswith("Reflecting(in_channels=3")


def test_initial_weights():
    np.random.seed(0)
    link = L.DepthwiseConvolution2D(256, 1, 3)
    np.random.seed(0)
    np.testing.assert_array_equal(link.W.array, np.random.normal(0, (1 / 2304) ** 0.5, (1, 256, 3, 3)).astype("f"))
    assert L.DepthwiseConvolution2D(256, 1, 3, initialW="depthwise").W.array.std() == pytest.approx(1 / 3, rel=0.1)
    given = np.arange(3.0).reshape(1, 1, 1, 3)
    link = L.DepthwiseConvolution2D(2, 1, 3, initialW=given, initial_bias=np.array([1, 2]))
    np.testing.assert_array_equal(link.W.array, np.broadcast_to(given, (1, 2, 3, 3)))
    np.testing.assert_array_equal(link.b.array, [1, 2])
    assert link.W.dtype == np.float32
    assert (L.DepthwiseConvolution2D(2, 1, 3, initialW=7).W.array == 7).all()

    def fill(array):
        array[...] = 4

    assert (L.DepthwiseConvolution2D(2, 1, 3, initialW=fill).W.array == 4).all()
    with pytest.raises(ValueError, match="broadcast"):
        L.DepthwiseConvolution2D(2, 1, 3, initialW=np.zeros((1, 2, 3, 4)))
    with pytest.raises(ValueError, match='"chainer" or "depthwise"'):
        L.DepthwiseConvolution2D(2, 1, 3, initialW="glorot")
    with pytest.raises(TypeError, match="a number, an array, a name or a callable, got dict"):
        L.DepthwiseConvolution2D(2, 1, 3, initialW={})


def test_the_dtype_of_an_initializer_is_the_parameters():
    link = L.DepthwiseConvolution2D(
        None, 2, 3, initialW=initializers.Normal(1, np.float16), initial_bias=initializers.Constant(2, np.float64)
    )
    assert (link.W.dtype, link.b.dtype) == (np.float16, np.float64)
    assert link(np.ones((1, 3, 5, 5))).dtype == np.float64
    assert (link.W.array.dtype, link.b.array.dtype) == (np.float16, np.float64)
    with using_config("dtype", np.float64):
        assert L.DepthwiseConvolution2D(3, 2, 3).W.dtype == np.float64
        assert L.DepthwiseConvolution2D(3, 2, 3, initialW=initializers.Normal(1, "f")).W.dtype == np.float32


def test_copies():
    link = L.DepthwiseConvolution2D(3, 2, 3)
    shared, own, new = link.copy(), link.copy("copy"), link.copy("init")
    assert shared.W is not link.W
    assert shared.W.array is link.W.array
    assert own.W.array is not link.W.array
    np.testing.assert_array_equal(own.W.array, link.W.array)
    assert (new.W.array != link.W.array).any()
    for twin in (pickle.loads(pickle.dumps(link)), copy.deepcopy(link)):
        np.testing.assert_array_equal(twin.W.array, link.W.array)
        assert repr(twin) == repr(link)
    with pytest.raises(ValueError, match="mode must be"):
        link.copy("deep")


def test_repr():
    link = L.DepthwiseConvolution2D(3, 2, (3, 5), stride=2, pad="same", nobias=True)
    expected = "(in_channels=3, channel_multiplier=2, ksize=(3, 5), stride=2, pad='same', nobias=True)"
    assert repr(link) == f"DepthwiseConvolution2D{expected}"
