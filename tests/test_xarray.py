"""DataArrays: the results of ops and filters, under their dimensions' names and with their coordinates."""

import numpy as np
import pytest

import depthwise
from depthwise import filters, ops
from helpers import integers

xr = pytest.importorskip("xarray", reason="xarray is an extra")
da = pytest.importorskip("dask.array", reason="Dask is an extra")
dx = pytest.importorskip("depthwise.xarray", reason="xarray is an extra")


def scan(rng, dims=("time", "lat", "band", "lon"), dtype="f"):
    """An array with coordinates of every kind along its dimensions."""
    sizes = {"time": 2, "lat": 20, "band": 3, "lon": 31}
    return xr.DataArray(
        integers(rng, [sizes[d] for d in dims], dtype),
        {
            "time": np.array(["2026-01-01", "2026-01-03"], "M8[ns]"),
            "lat": np.linspace(50, 59.5, 20),
            "band": ["red", "green", "blue"],
            "lon": np.arange(0, 310, 10),
            "row": ("lat", [f"r{i}" for i in range(20)]),
            "height": (("lat", "lon"), rng.integers(0, 99, (20, 31))),
            "station": 7,
        },
        dims,
        name="radiance",
        attrs={"units": "W"},
    )


def of_kind(x, kind):
    return x if kind == "numpy" else x.chunk({d: max(1, n // 2) for d, n in x.sizes.items()})


@pytest.mark.parametrize("kind", ["numpy", "dask"])
@pytest.mark.parametrize("dims", [("time", "band", "lat", "lon"), ("lat", "time", "lon", "band")])
def test_convolution(kind, dims):
    rng = np.random.default_rng(3)
    x, W, b = scan(rng, dims), integers(rng, (2, 3, 3, 5), "f"), integers(rng, 6, "f")
    steps = {"stride": (2, 3), "pad": (1, 2), "dilate": 1, "pad_mode": "edge", "activation": "relu"}
    y = dx.convolution(of_kind(x, kind), W, xr.DataArray(b), dim=("lat", "lon"), channel_dim="band", **steps)
    assert isinstance(y.data, da.Array if kind == "dask" else np.ndarray)
    expected = ops.forward(x.transpose("time", "band", "lat", "lon").values, W, b, **steps)
    assert y.dims == dims
    np.testing.assert_array_equal(y.transpose("time", "band", "lat", "lon").values, expected)
    assert (y.name, y.attrs, y.dtype) == ("radiance", {"units": "W"}, np.float32)
    at = x.isel(lat=slice(0, None, 2), lon=slice(0, None, 3), band=[0, 0, 1, 1, 2, 2])
    xr.testing.assert_identical(y.coords.to_dataset().compute(), at.coords.to_dataset())


def test_coordinates_between_and_beside_elements():
    x = scan(np.random.default_rng(3))
    W = np.ones((1, 1, 2, 4), "f")
    y = dx.convolution(x, W, dim=("lat", "lon"), pad=((2, 0), (0, 0)), stride=(1, 9))
    np.testing.assert_allclose(y.lat, 50 - 0.75 + 0.5 * np.arange(21))
    np.testing.assert_allclose(y.lon, [15, 105, 195, 285])
    assert "row" not in y.coords  # words have nothing between them
    assert y.height.dims == ("lat", "lon")
    h = x.height.values.astype(float)
    between = (h[:-1] + h[1:])[:, 1::9] / 4 + (h[:-1] + h[1:])[:, 2::9] / 4
    np.testing.assert_allclose(y.height[2:].values, between)
    assert y.station == 7
    line = dx.convolution(x, np.ones((1, 1, 2), "f"), dim="time")
    assert line.time.values == np.array("2026-01-02", "M8[ns]")
    assert line.sizes["time"] == 1
    one = dx.convolution(x.isel(lat=[0]), np.ones((1, 1, 2), "f"), dim="lat", pad=1)
    assert "lat" not in one.coords


def test_times_in_seconds_and_indices_of_levels():
    times = np.datetime64("2026-01-01T00:00:00", "s") + np.arange(3)
    x = xr.DataArray(np.ones(3), {"t": ("t", times)}, ("t",))
    y = dx.convolution(x, np.ones((1, 1, 2)), dim="t")
    assert (y.t.values == times[:2] + np.timedelta64(500, "ms")).all()
    levels = xr.DataArray(np.ones((2, 3)), {"a": [0, 1], "b": [0, 1, 2]}, ("a", "b")).stack(c=("a", "b"))
    y = dx.convolution(levels, np.ones((1, 1, 2)), dim="c")
    assert not y.coords
    y = dx.convolution(levels, np.ones((1, 1, 3)), dim="c")
    assert y.indexes["c"].tolist() == [(0, 1), (0, 2), (1, 0), (1, 1)]


def test_a_multiplier_makes_channels():
    rng = np.random.default_rng(3)
    x, W = scan(rng), integers(rng, (4, 1, 3), "f")
    y = dx.convolution(x, W, dim="lon")
    assert y.dims == ("time", "lat", "band", "channel", "lon")
    expected = ops.forward(x.values.reshape(-1, 1, 31), W)
    np.testing.assert_array_equal(y.values, expected.reshape(2, 20, 3, 4, 29))
    assert y.lon.values.tolist() == list(range(10, 300, 10))


@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_functions_take_data_arrays(kind):
    rng = np.random.default_rng(3)
    x, W = scan(rng, ("time", "band", "lat", "lon")), integers(rng, (1, 3, 3, 3), "f")
    y = depthwise.depthwise_convolution_2d(of_kind(x, kind), W, stride=2, pad=1)
    xr.testing.assert_identical(
        y.compute(), dx.convolution(x, W, dim=("lat", "lon"), channel_dim="band", stride=2, pad=1)
    )
    with pytest.raises(ValueError, match=r"x must have 3 axes, \(n, c_I, l\)"):
        depthwise.depthwise_convolution_1d(x, W)


@pytest.mark.parametrize("kind", ["numpy", "dask"])
@pytest.mark.parametrize("dims", [("time", "band", "lat", "lon"), ("lat", "time", "lon", "band")])
def test_filters(kind, dims):
    rng = np.random.default_rng(3)
    x = scan(rng, dims, "u1")
    planes = x.transpose("time", "band", "lat", "lon")
    lazy = of_kind(x, kind)
    weights = integers(rng, (3, 4), "f")

    def check(y, expected, order=("time", "band", "lat", "lon")):
        assert isinstance(y.data, da.Array if kind == "dask" else np.ndarray)
        np.testing.assert_allclose(y.transpose(*order).values, expected, atol=1e-4)
        assert (y.name, y.attrs) == ("radiance", {"units": "W"})
        return y

    for name in "correlate", "convolve":
        ours, theirs = getattr(dx, name), getattr(filters, name)
        call = {"mode": "nearest", "dtype": "i2"}
        y = check(ours(lazy, weights, dim=("lat", "lon"), **call), theirs(planes.values, weights, **call))
        assert y.dims == dims
        xr.testing.assert_identical(y.coords.to_dataset().compute(), x.coords.to_dataset())
        turned = ours(lazy, weights.T, dim=["lon", "lat"], **call)
        np.testing.assert_array_equal(turned.values, y.values)
        bank = integers(rng, (2, 3, 4), "f")
        y = ours(lazy, bank, dim=("lat", "lon"))
        order = "time", "band", "filter", "lat", "lon"
        expected = np.stack([theirs(planes.values, w) for w in bank], 2)
        check(y, expected, order)
        assert y.dims[-3:] == ("filter", "lat", "lon")
        bank = integers(rng, (2, 3, 3, 4), "f")
        y = ours(lazy, bank, dim=("lat", "lon"), channel_dim="band")
        check(y, theirs(planes.values, bank, channel_axis=1))
        assert y.band.values.tolist() == ["red", "red", "green", "green", "blue", "blue"]
        y = check(ours(lazy, [1, 2, 3], dim="time", channel_dim="band"), ours(planes, [1, 2, 3], dim="time").values)
    y = check(
        dx.gaussian(lazy, (1, 2), dim=("lat", "lon"), channel_dim="band"), filters.gaussian(planes.values, (1, 2))
    )
    assert y.dims == dims
    check(
        dx.gaussian(lazy, 1.5, dim="time"),
        filters.gaussian(np.moveaxis(planes.values, 0, -1), (1.5,)).transpose(3, 0, 1, 2),
    )


def test_nothing_is_computed_before_it_is_asked_for():
    def fail(block):
        raise AssertionError(block)

    lazy = xr.DataArray(
        da.ones((1, 2, 20, 30), chunks=9).map_blocks(fail, dtype=float, meta=np.empty((0,) * 4)), dims=list("ncyx")
    )
    dx.convolution(lazy, np.ones((2, 2, 3, 3)), dim=("y", "x"), channel_dim="c")
    dx.correlate(lazy, np.ones((3, 3, 3)), dim=("y", "x"))
    assert dx.gaussian(lazy.rename(None), 2, dim=("y", "x")).name is None


def test_no_dimension_that_counts_images_is_rechunked():
    values = np.arange(4 * 3 * 2 * 8 * 9, dtype="f").reshape(4, 3, 2, 8, 9) % 7
    whole = xr.DataArray(values, dims=("time", "level", "c", "y", "x"))
    for channel_dim, m in (None, 1), (None, 2), ("c", 2):
        W = np.ones((m, 1 if channel_dim is None else 2, 3, 3), "f")
        steps = {"dim": ("y", "x"), "channel_dim": channel_dim, "pad": 1}
        y = dx.convolution(whole.chunk({"time": 2, "level": 1, "c": 1, "y": 5, "x": 9}), W, **steps)
        assert not any("rechunk" in layer for layer in y.data.dask.layers)
        xr.testing.assert_identical(y.compute(), dx.convolution(whole, W, **steps))


def test_refusals():
    x, W = scan(np.random.default_rng(3)), np.ones((1, 1, 3, 3), "f")
    with pytest.raises(TypeError, match="x must be a DataArray, got ndarray"):
        dx.convolution(x.values, W, dim=("lat", "lon"))
    with pytest.raises(ValueError, match="'y' is none of the dimensions"):
        dx.convolution(x, W, dim=("y", "lon"))
    with pytest.raises(ValueError, match="a dimension is named twice"):
        dx.convolution(x, W, dim=("lat", "lon"), channel_dim="lat")
    with pytest.raises(ValueError, match="dim must name one to three dimensions"):
        dx.gaussian(x, 1, dim=())
    with pytest.raises(ValueError, match=r"W must have 3 axes, \(c_M, c_I, k\), for dim \('lat',\)"):
        dx.convolution(x, W, dim="lat")
    with pytest.raises(ValueError, match="W has 1 input channels but x has 3"):
        dx.convolution(x, W, dim=("lat", "lon"), channel_dim="band")
    with pytest.raises(ValueError, match=r"weights \(3,\) do not fit dim"):
        dx.correlate(x, [1, 2, 3], dim=("lat", "lon"))
    with pytest.raises(ValueError, match="channels have filters of their own along two dimensions"):
        dx.correlate(x, np.ones((3, 5)), dim="lat", channel_dim="band")
    with pytest.raises(ValueError, match="sigma must be a number, or one for each of dim"):
        dx.gaussian(x, (1, 2), dim="lat")
    with pytest.raises(TypeError, match=r"depthwise\.xarray has the filters for these"):
        filters.gaussian(x, 1)
    for call in (
        lambda: dx.convolution(x.rename(time="channel"), np.ones((2, 1, 3), "f"), dim="lon"),
        lambda: dx.convolution(x.assign_coords(channel=1), np.ones((0, 1, 3), "f"), dim="lon"),
        lambda: dx.correlate(x.rename(time="filter"), np.ones((2, 3)), dim="lon"),
    ):
        with pytest.raises(ValueError, match=r"x has '(channel|filter)' already"):
            call()
    with pytest.raises(TypeError, match="b must have x's dtype float32, got float64"):
        depthwise.depthwise_convolution_2d(x, np.ones((1, 20, 3, 3), "f"), np.ones(20))
    with pytest.raises(TypeError, match="image must be uint8"):
        dx.gaussian(x.astype("i8"), 1, dim="lat")
