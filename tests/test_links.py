"""The link: parameters, drawing, copies, and npz files that Chainer wrote."""

import copy
import io
import pickle

import numpy as np
import pytest

from depthwise import functions as F  # noqa: N812
from depthwise import links as L  # noqa: N812
from depthwise import serializers


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


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    return file


def test_keys(tmp_path):
    link = L.DepthwiseConvolution2D(3, 2, 3)
    serializers.save_npz(tmp_path / "link", link)
    assert sorted(np.load(tmp_path / "link").files) == ["W", "b"]
    serializers.save_npz(tmp_path / "nested.npz", {"dw1": link, "block": {"dw2": link}}, compression=False)
    assert sorted(np.load(tmp_path / "nested.npz").files) == ["block/dw2/W", "block/dw2/b", "dw1/W", "dw1/b"]
    twin = L.DepthwiseConvolution2D(None, 2, 3)
    serializers.load_npz(tmp_path / "nested.npz", twin, path="block/dw2/")
    np.testing.assert_array_equal(twin.W.array, link.W.array)
    other = L.DepthwiseConvolution2D(3, 2, 3)
    serializers.load_npz(tmp_path / "nested.npz", {"block": {"dw2": other}})
    np.testing.assert_array_equal(other.b.array, link.b.array)
    with pytest.raises(TypeError, match="a link or a dict"):
        serializers.save_npz(tmp_path / "x", 3)


def test_files_that_chainer_wrote():
    """Chainer 7.8.1 writes these keys, and an object array of None for a parameter that has no value yet."""
    W, b = np.random.normal(size=(2, 3, 3, 3)).astype("f"), np.arange(6, dtype="f")
    link = L.DepthwiseConvolution2D(None, 2, 3)
    serializers.load_npz(saved(**{"W": W, "b": b}), link)
    np.testing.assert_array_equal(link.W.array, W)
    np.testing.assert_array_equal(link.b.array, b)
    lazy = L.DepthwiseConvolution2D(None, 2, 3)
    none = np.array(None, dtype=object)
    serializers.load_npz(saved(**{"conv/dw/W": none, "conv/dw/b": none}), {"conv": {"dw": lazy}})
    assert lazy.W.array is None
    wide = L.DepthwiseConvolution2D(3, 2, 3)
    serializers.load_npz(saved(W=W.astype(np.float64), b=b, more=b), wide)
    assert wide.W.dtype == np.float32


def test_files_that_do_not_fit():
    W, b = np.zeros((2, 3, 3, 3), "f"), np.zeros(6, "f")
    with pytest.raises(KeyError, match="b is not a file in the archive"):
        serializers.load_npz(saved(W=W), L.DepthwiseConvolution2D(3, 2, 3))
    link = L.DepthwiseConvolution2D(3, 2, 3)
    serializers.load_npz(saved(W=W), link, strict=False)
    assert (link.W.array == 0).all()
    with pytest.raises(ValueError, match=r"W has shape \(2, 3, 3, 3\) in the archive but \(2, 4, 3, 3\)"):
        serializers.load_npz(saved(W=W, b=b), L.DepthwiseConvolution2D(4, 2, 3))
    with pytest.raises(ValueError, match="does not fit"):
        serializers.load_npz(saved(W=W, b=b), L.DepthwiseConvolution2D(None, 2, 5))
