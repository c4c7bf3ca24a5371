"""Arrays from where data comes from: every spelling of a byte order, files and stores, and refusals that are errors."""

import io
import pickle

import numpy as np
import pytest

import depthwise
from depthwise import _core, ops, reference
from depthwise.enums import DTYPES as CODES
from helpers import AXES, DTYPES, assert_same, integers

ORDERS = ["<", ">", "=", "|"]


def in_order(a, order):
    """The same numbers, with a dtype that says its byte order."""
    return a.astype(a.dtype.newbyteorder(order))


def misaligned(a):
    """The same numbers, starting at an odd address."""
    memory = np.empty(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def field(a):
    """The same numbers as a field of records whose size is no multiple of theirs."""
    records = np.zeros(a.shape, [("a", a.dtype), ("b", np.int8)])
    records["a"] = a
    return records["a"]


def with_metadata(a):
    """The same numbers with a dtype that carries a note."""
    return a.astype(np.dtype(a.dtype.str, metadata={"unit": "K"})) if a.dtype.kind == "f" else a


KINDS = {"as it is": lambda a: a, "misaligned": misaligned, "field": field, "metadata": with_metadata}


def problem(dtype, axes=2):
    rng = np.random.default_rng(0)
    size, kernel = (4, 7, 19)[-axes:], (3,) * axes
    x, W, b = (integers(rng, s, dtype) for s in ((2, 3, *size), (2, 3, *kernel), (6,)))
    return x, W, b, integers(rng, (2, 6, *size), dtype)


def check(x, W, b, gy):
    """All passes against the definition, which NumPy computes from the numbers."""
    plain = [a.astype(np.float64) for a in (x, W, b, gy)]
    size, kernel = x.shape[2:], W.shape[2:]
    assert_same(ops.forward(x, W, b, pad=1), reference.forward(*plain[:3], pad=1))
    assert_same(ops.input_grad(gy, W, size, pad=1), reference.input_grad(plain[3], plain[1], size, pad=1))
    assert_same(ops.weight_grad(x, gy, kernel, pad=1), reference.weight_grad(plain[0], plain[3], kernel, pad=1))
    assert_same(ops.bias_grad(gy), reference.bias_grad(plain[3]))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_byte_order_of_every_operand(dtype, order, kind, axes):
    arrays = problem(dtype, axes)
    for i in range(4):
        odd = list(arrays)
        odd[i] = KINDS[kind](in_order(arrays[i], order))
        check(*odd)
    check(*(KINDS[kind](in_order(a, order)) for a in arrays))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_byte_order_of_out(dtype, order, kind, axes):
    x, W, b, gy = problem(dtype, axes)
    size, kernel = x.shape[2:], W.shape[2:]

    def out(shape):
        a = KINDS[kind](in_order(np.zeros(shape, dtype), order))
        a[...] = np.array(7, dtype)
        return a

    y, gx, gW, gb = out(gy.shape), out(x.shape), out(W.shape), out(b.shape)
    assert ops.forward(x, W, b, pad=1, out=y) is y
    assert_same(np.asarray(y, dtype), reference.forward(x, W, b, pad=1))
    ops.input_grad(gy, W, size, pad=1, out=gx)
    assert_same(np.asarray(gx, dtype), reference.input_grad(gy, W, size, pad=1))
    ops.weight_grad(x, gy, kernel, pad=1, out=gW, bias_out=gb)
    assert_same(np.asarray(gW, dtype), reference.weight_grad(x, gy, kernel, pad=1))
    assert_same(np.asarray(gb, dtype), reference.bias_grad(gy))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("order", ORDERS)
def test_every_byte_order_through_the_graph(order, axes):
    x, W, b, gy = (in_order(a, order) for a in problem(np.float32, axes))
    plain = [np.asarray(a, np.float32) for a in (x, W, b, gy)]
    results = []
    for arrays in ((x, W, b, gy), plain):
        v = [depthwise.Variable(a) for a in arrays[:3]]
        y = getattr(depthwise, f"depthwise_convolution_{axes}d")(*v, pad=1)
        y.grad = arrays[3].astype(y.dtype)
        y.backward()
        results.append([np.asarray(a, np.float32).tobytes() for a in (y.array, *(a.grad for a in v))])
    assert results[0] == results[1]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_only_this_machines_byte_order_is_taken_as_it_lies(dtype, order):
    a = in_order(np.ones((1, 1, 4, 4), dtype), order)
    code = CODES[np.dtype(dtype).name]
    assert _core.fits(a, code) == a.dtype.isnative
    assert not _core.fits(misaligned(a), code)
    assert not _core.fits(field(a), code)
    assert not any(_core.fits(a, other) for other in CODES.values() if other != code)


def test_a_refused_call_is_an_error():
    """The engine never returns without a result: whoever is refused and does not ask again hears of it."""
    x, y = (np.ones((1, 1, 4, 4), np.float32) for _ in range(2))
    sizes = _core.Sizes(1, 1, 1, [[4, 1, 1, 0, 1, 4], [4, 1, 1, 0, 1, 4]], 0, 0)
    W = np.ones((1, 1, 1, 1), np.float32)
    target = len(_core.targets()) - 1
    for odd, why in ((x.astype(">f4"), "byte order"), (misaligned(x), "aligned"), (field(x), "whole elements")):
        with pytest.raises(_core.Refused, match=why):
            _core.run(0, sizes, odd, 2, W, 2, None, 0, y, 2, target, 1, 0, None)
        with pytest.raises(_core.Refused, match=why):
            _core.run(0, sizes, x, 2, W, 2, None, 0, odd, 2, target, 1, 0, None)
    with pytest.raises(_core.Refused, match="dtype"):
        _core.run(0, sizes, x, 3, W, 2, None, 0, y, 2, target, 1, 0, None)
    with pytest.raises(ValueError, match="no such dtype"):
        _core.run(0, sizes, x, 4, W, 2, None, 0, y, 2, target, 1, 0, None)
    with pytest.raises(ValueError, match="no such pass"):
        _core.run(3, sizes, x, 2, W, 2, None, 0, y, 2, target, 1, 0, None)


@pytest.mark.parametrize("axes", AXES)
def test_memmap_npy_npz_and_pickle(tmp_path, axes):
    for order in ORDERS[:3]:
        arrays = [in_order(a, order) for a in problem(np.float32, axes)]
        files = []
        for i, a in enumerate(arrays):
            np.save(tmp_path / f"{i}.npy", a)
            files.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
        assert isinstance(files[0], np.memmap)
        check(*files)
        raw = np.memmap(tmp_path / "raw", arrays[0].dtype, "w+", offset=3, shape=arrays[0].shape)
        raw[...] = arrays[0]
        check(raw, *arrays[1:])
        file = io.BytesIO()
        np.savez(file, *arrays)
        file.seek(0)
        check(*np.load(file).values())
        check(*pickle.loads(pickle.dumps(arrays)))
        check(*(np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for a in arrays))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8"])
@pytest.mark.parametrize("axes", AXES)
def test_zarr(tmp_path, dtype, version, axes):
    zarr = pytest.importorskip("zarr")
    arrays = problem(np.dtype(dtype).newbyteorder("=").type, axes)
    stored = []
    for i, a in enumerate(arrays):
        z = zarr.create_array(tmp_path / f"{i}.zarr", shape=a.shape, dtype=dtype, chunks=a.shape, zarr_format=version)
        z[...] = a
        stored.append(zarr.open_array(tmp_path / f"{i}.zarr", mode="r"))
    check(*(z[...] for z in stored))
    dask = pytest.importorskip("dask.array")
    check(*(dask.from_zarr(z).compute() for z in stored))
    xarray = pytest.importorskip("xarray")
    check(*(xarray.DataArray(dask.from_zarr(z)).to_numpy() for z in stored))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f8"])
@pytest.mark.parametrize("axes", AXES)
def test_hdf5(tmp_path, dtype, axes):
    h5py = pytest.importorskip("h5py")
    arrays = problem(np.dtype(dtype).newbyteorder("=").type, axes)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        for i, a in enumerate(arrays):
            file.create_dataset(str(i), data=a, dtype=dtype)
        check(*(file[str(i)][...] for i in range(4)))


@pytest.mark.parametrize(("order", "endian"), [("<", "little"), (">", "big"), ("=", "native")])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_netcdf(tmp_path, dtype, order, endian):
    netcdf = pytest.importorskip("netCDF4")
    arrays = problem(np.dtype(dtype).type)
    with netcdf.Dataset(tmp_path / "file.nc", "w") as file:
        for i, a in enumerate(arrays):
            names = [f"{i}_{n}" for n in range(a.ndim)]
            for name, size in zip(names, a.shape, strict=True):
                file.createDimension(name, size)
            file.createVariable(str(i), order + dtype, names, endian=endian)[...] = a
    with netcdf.Dataset(tmp_path / "file.nc") as file:
        with pytest.raises(TypeError, match="x is a masked array"):  # what netCDF4 gives unless it is told otherwise
            ops.forward(file["0"][...], arrays[1])
        file.set_auto_mask(False)
        check(*(file[str(i)][...] for i in range(4)))


class Celsius(np.ndarray):
    """A subclass that gives its elements another meaning."""

    def __getitem__(self, key):
        return np.asarray(super().__getitem__(key)) + 273


class Tagged(np.ndarray):
    """A subclass whose elements are what they are."""


def test_subclasses_that_change_what_elements_mean_are_refused():
    x, W, b, gy = problem(np.float32)
    for kind, what in (
        (lambda a: np.ma.masked_array(a, a > 0), "masked array, whose mask would be ignored"),
        (lambda a: a.view(Celsius), "Celsius, whose elements may mean something else"),
    ):
        for call, name in (
            (lambda a: ops.forward(a(x), W), "x"),
            (lambda a: ops.forward(x, a(W)), "W"),
            (lambda a: ops.forward(x, W, a(b)), "b"),
            (lambda a: ops.forward(x, W, pad=1, out=a(gy)), "out"),
            (lambda a: ops.input_grad(a(gy), W, (7, 19), pad=1), "gy"),
            (lambda a: ops.weight_grad(x, a(gy), (3, 3), pad=1), "gy"),
            (lambda a: ops.bias_grad(a(gy)), "gy"),
            (lambda a: depthwise.depthwise_convolution_2d(a(x), W), "x"),
            (lambda a: depthwise.depthwise_convolution_2d(x, depthwise.Variable(a(W))), "data of a Variable"),
            (lambda a: depthwise.Parameter(a(W), W.shape), "an initial value"),
            (lambda a: depthwise.links.DepthwiseConvolution2D(3, 2, 3, initialW=a(W)), "an initial value"),
            (lambda a: depthwise.reference.forward(x, a(W)), "W"),
            (lambda a: depthwise.reference.weight_grad(a(x), gy, (3, 3), pad=1), "x"),
        ):
            with pytest.raises(TypeError, match=f"^{name} is a {what}"):
                call(kind)
    with pytest.raises(TypeError, match="x is a matrix"), pytest.warns(PendingDeprecationWarning):
        ops.forward(np.matrix(x[0, 0]), W)
    check(x.view(Tagged), W.view(Tagged), b, gy.view(np.recarray))


def test_out_and_bias_out_that_overlap_are_found_where_they_are_not_aligned():
    x, _, _, gy = problem(np.float32)
    memory = np.zeros(18 * 4 + 1 + 24, np.uint8)
    out = memory[1 : 1 + 72].view(np.float32).reshape(2, 1, 3, 3)
    bias_out = memory[61 : 61 + 8].view(np.float32)
    with pytest.raises(ValueError, match="bias_out overlaps out"):
        ops.weight_grad(x[:, :1], gy[:, :2], (3, 3), pad=1, out=out, bias_out=bias_out)


def test_a_swapped_x_takes_a_native_out():
    x, W, _, gy = problem(np.float32)
    out = np.zeros(gy.shape, np.float32)
    assert ops.forward(x.astype(">f4"), W, pad=1, out=out) is out
    assert_same(out, reference.forward(x, W, pad=1))
    with pytest.raises(TypeError, match="out must have dtype >f4, got float64"):
        ops.forward(x.astype(">f4"), W, pad=1, out=np.zeros(gy.shape))


def test_pads_in_an_array_are_what_a_nested_list_is():
    for axes in (1, 3):
        x, W, _, _ = problem(np.float32, axes)
        for pad in ([[1, 2]] * axes, [2] * axes):
            assert ops.forward(x, W, pad=np.array(pad)).tobytes() == ops.forward(x, W, pad=pad).tobytes()
    x, W, _, _ = problem(np.float32)
    for pad in ([[1, 2], [0, 3]], [[1, 1], [1, 1]], [1, 2]):
        assert ops.forward(x, W, pad=np.array(pad)).tobytes() == ops.forward(x, W, pad=pad).tobytes()
    for wrong, error in (
        (np.ones((2, 3), int), ValueError),
        (np.ones((2, 2)), TypeError),
        (np.ones(3, int), ValueError),
    ):
        with pytest.raises(error, match="pad must be"):
            ops.forward(x, W, pad=wrong)


@pytest.mark.parametrize("orders", [(">", "="), ("=", ">"), ("<", "=")])
def test_a_gradient_may_have_another_byte_order(orders):
    x, W, _, gy = problem(np.float32)
    v = depthwise.Variable(in_order(x, orders[0]))
    y = depthwise.depthwise_convolution_2d(v, W, pad=1)
    y.grad = in_order(gy, orders[1])
    y.backward()
    assert_same(np.asarray(v.grad, np.float32), reference.input_grad(gy, W, (7, 19), pad=1))
