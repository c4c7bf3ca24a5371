"""Files of parameters: npz and HDF5, Chainer's keys, and what does not fit."""

import builtins
import io

import ml_dtypes
import numpy as np
import pytest

from depthwise import Chain, Sequential, initializers, serializers
from depthwise import functions as F  # noqa: N812 - Chainer's users call it so
from depthwise import links as L  # noqa: N812 - Chainer's users call it so


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


class Net(Chain):
    """Parameters two links down, one without a value, and persistent values."""

    def __init__(self, in_channels=3):
        super().__init__()
        with self.init_scope():
            self.stem = L.DepthwiseConvolution2D(in_channels, 2, 3)
            self.tail = Sequential(F.relu, L.DepthwiseConvolution2D(None, 1, 3, nobias=True))
        self.add_persistent("steps", 0)
        self.add_persistent("rate", 0.0)
        self.add_persistent("running", np.zeros(3))
        self.add_persistent("label", None)


def a_trained_net():
    net = Net()
    net.steps, net.rate = 7, 0.25
    net.running[...] = [1, 2, np.nan]
    return net


def in_npz(net, path):
    serializers.save_npz(path, net)
    return lambda twin, **options: serializers.load_npz(path, twin, **options)


def in_hdf5(net, path):
    pytest.importorskip("h5py")
    serializers.save_hdf5(path, net)
    return lambda twin: serializers.load_hdf5(path, twin)


@pytest.mark.parametrize("save", [in_npz, in_hdf5])
@pytest.mark.parametrize("in_channels", [3, None])
def test_a_chain_comes_back(save, in_channels, tmp_path):
    net, twin = a_trained_net(), Net(in_channels)
    running = twin.running
    save(net, tmp_path / "net")(twin)
    np.testing.assert_array_equal(twin.stem.W.array, net.stem.W.array)
    np.testing.assert_array_equal(twin.stem.b.array, net.stem.b.array)
    assert not twin.tail[1].W.is_initialized
    assert (twin.steps, twin.rate, twin.label) == (7, 0.25, None)
    assert (type(twin.steps), type(twin.rate)) == (int, float)
    assert twin.running is running
    np.testing.assert_array_equal(running, net.running)


def test_keys_are_chainers_in_both_formats(tmp_path):
    """As Chainer 7.8.1 names them for the same chain."""
    expected = ["label", "rate", "running", "stem/W", "stem/b", "steps", "tail/0/W"]
    serializers.save_npz(tmp_path / "net.npz", Net())
    assert sorted(np.load(tmp_path / "net.npz").files) == expected
    h5py = pytest.importorskip("h5py")
    serializers.save_hdf5(tmp_path / "net.h5", Net())
    found = []
    with h5py.File(tmp_path / "net.h5") as file:
        file.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
    assert sorted(found) == expected


def test_ignore_names(tmp_path):
    load = in_npz(a_trained_net(), tmp_path / "net")
    for ignored in ("stem/b", lambda key: key.endswith("/b"), ["steps", "stem/b"], ("nothing", lambda key: "b" in key)):
        twin = Net()
        twin.stem.b.array[...] = 9
        load(twin, ignore_names=ignored)
        assert (twin.stem.b.array == 9).all()
        assert twin.steps == (0 if isinstance(ignored, list) else 7)
    with pytest.raises(TypeError, match="ignore_names must be a name, a callable, or a list of them, got int"):
        load(Net(), ignore_names=3)


def test_persistent_values_that_do_not_fit(tmp_path):
    net = Net()
    net.rate = 2.5
    load = in_npz(net, tmp_path / "net")
    twin = Net()
    twin.rate = 1
    with pytest.raises(TypeError, match=r"rate is 2.5 in the file, which int cannot hold"):
        load(twin)
    twin.rate, twin.label = 1.0, 3
    with pytest.raises(ValueError, match="label is None in the file, or was pickled"):
        load(twin)
    net.label = {"a": 1}
    with pytest.raises(TypeError, match="label is a dict, which only pickle could save"):
        serializers.save_npz(tmp_path / "net", net)
    serializers.load_npz(tmp_path / "net", Net())  # the file is as it was


@pytest.mark.parametrize("save", [in_npz, in_hdf5])
@pytest.mark.parametrize("in_channels", [3, None])
def test_bfloat16_comes_back(save, in_channels, tmp_path):
    """Neither format knows it."""
    draw = initializers.Normal(1, ml_dtypes.bfloat16)
    link, twin = (L.DepthwiseConvolution2D(c, 2, 3, initialW=draw) for c in (3, in_channels))
    save(link, tmp_path / "link")(twin)
    assert twin.W.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(twin.W.array, link.W.array)


def test_hdf5_files_that_do_not_fit(tmp_path):
    load = in_hdf5(L.DepthwiseConvolution2D(3, 2, 3, nobias=True), tmp_path / "link")
    with pytest.raises(KeyError, match="b is not a file in the archive"):
        load(L.DepthwiseConvolution2D(3, 2, 3))
    with pytest.raises(ValueError, match=r"W has shape \(2, 3, 3, 3\) in the archive but \(2, 4, 3, 3\)"):
        load(L.DepthwiseConvolution2D(4, 2, 3, nobias=True))
    with pytest.raises(ValueError, match="does not fit"):
        load(L.DepthwiseConvolution2D(None, 2, 5, nobias=True))


def test_hdf5_without_h5py(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for call in (serializers.save_hdf5, serializers.load_hdf5):
        with pytest.raises(ImportError, match="HDF5 files need h5py: pip install h5py"):
            call(tmp_path / "x", L.DepthwiseConvolution2D(3, 1, 3))


def test_a_string_is_refused_before_the_file_is_opened(tmp_path):
    pytest.importorskip("h5py")
    link = L.DepthwiseConvolution2D(1, 1, 1)
    path = tmp_path / "link.h5"
    serializers.save_hdf5(path, link)
    before = path.read_bytes()
    link.add_persistent("unit", "K")
    with pytest.raises(TypeError, match="unit is a string, which HDF5 files"):
        serializers.save_hdf5(path, link)
    assert path.read_bytes() == before
