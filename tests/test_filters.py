"""Filters for images: SciPy's results on SciPy's borders, and OpenCV's."""

import warnings

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import depthwise
from depthwise import filters, ops
from depthwise.filters import bands
from helpers import integers

ndimage = pytest.importorskip("scipy.ndimage", reason="what the filters are compared with")

PIXELS = ["u1", "i1", "u2", "i2", "f2", "f4", "f8"]
MODES = sorted(bands.MODES)
PAIRS = [(filters.correlate, ndimage.correlate), (filters.convolve, ndimage.convolve)]
slow = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(params=[1 << 20, 600], ids=["whole", "bands"])
def _bands(request, monkeypatch):
    """Images in one band, and in as many as there can be."""
    monkeypatch.setattr(bands, "_BAND_BYTES", request.param)


def same(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)


def pixels(rng, shape, dtype):
    return rng.integers(0, 100, shape).astype(dtype)


@slow
@given(
    axes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=3),
    mode=st.sampled_from(MODES),
    dtype=st.sampled_from(PIXELS),
    cval=st.integers(-3, 3),
    data=st.data(),
)
def test_scipys_filters(axes, mode, dtype, cval, data):
    size, kernel = zip(*axes, strict=True)
    origin = [data.draw(st.integers(-(k // 2), (k - 1) // 2)) for k in kernel]
    rng = np.random.default_rng(sum(size))
    image, weights = pixels(rng, size, dtype), integers(rng, kernel, "f")
    for ours, theirs in PAIRS:
        expected = theirs(image.astype(float), weights.astype(float), mode=mode, cval=cval, origin=origin)
        result = ours(image, weights, mode=mode, cval=cval, origin=origin)
        assert result.dtype == (np.float64 if dtype == "f8" else np.float32)
        same(result, expected)


@pytest.mark.usefixtures("_bands")
@pytest.mark.parametrize("dtype", PIXELS)
@pytest.mark.parametrize("mode", MODES)
def test_bands(mode, dtype):
    rng = np.random.default_rng(3)
    image = pixels(rng, (61, 13), dtype)
    for kernel in (3, 3), (6, 1), (1, 5), (40, 3), (70, 2):
        weights = integers(rng, kernel, "f")
        for ours, theirs in PAIRS:
            expected = theirs(image.astype(float), weights.astype(float), mode=mode, cval=7)
            same(ours(image, weights, mode=mode, cval=7, method="direct"), expected)


@pytest.mark.usefixtures("_bands")
@pytest.mark.parametrize("method", ["direct", "fft", "auto"])
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_channels_planes_and_banks(dtype, method):
    rng = np.random.default_rng(3)
    image, kernel = pixels(rng, (2, 24, 19, 3), dtype), (7, 9)
    each = integers(rng, (2, 3, *kernel), "f")

    def expected(channel, weights):
        planes = image[..., channel].astype(float)
        return np.stack([ndimage.correlate(plane, weights.astype(float)) for plane in planes])

    near = {"atol": 0.02} if method != "direct" else {"atol": 0}
    call = {"method": method, "channel_axis": -1}
    shared = np.stack([expected(c, each[0, 0]) for c in range(3)], -1)
    np.testing.assert_allclose(filters.correlate(image, each[0, 0], **call), shared, **near)
    own = np.stack([expected(c, each[0, c]) for c in range(3)], -1)
    np.testing.assert_allclose(filters.correlate(image, each[0], **call), own, **near)
    bank = np.stack([expected(c, each[m, c]) for c in range(3) for m in range(2)], -1)
    np.testing.assert_allclose(filters.correlate(image, each, **call), bank, **near)
    first = filters.correlate(np.moveaxis(image, -1, 1), each, method=method, channel_axis=1)
    np.testing.assert_allclose(first, np.moveaxis(bank, -1, 1), **near)
    # Without channels: planes, each with all filters of a bank where there is but one axis to spare.
    planes = np.ascontiguousarray(np.moveaxis(image, -1, 1))
    np.testing.assert_allclose(filters.correlate(planes, each[0, 0], method=method), np.moveaxis(shared, -1, 1), **near)
    one = filters.correlate(planes[0, 0], each[:, 0], method=method)
    np.testing.assert_allclose(one, bank[0, :, :, :2].transpose(2, 0, 1), **near)


@pytest.mark.usefixtures("_bands")
def test_results_of_any_dtype_are_rounded_and_kept_in_range():
    rng = np.random.default_rng(3)
    image = pixels(rng, (40, 31), "u1")
    weights = np.array([[0.5, 0, -4], [0, 2.0, 0], [0, 0.25, 1.5]])
    exact = ndimage.correlate(image.astype(float), weights)
    for dtype in "u1", "i1", "u2", "i2":
        limits = np.iinfo(dtype)
        expected = np.clip(np.rint(exact), limits.min, limits.max)
        assert expected.min() == limits.min or dtype == "i2"
        same(filters.correlate(image, weights, dtype=dtype), expected.astype(dtype))
        out = np.zeros((31, 80), dtype).T[::2]
        assert filters.correlate(image, weights, out=out) is out
        same(out, expected.astype(dtype))
    same(filters.correlate(image, weights, dtype="f2"), exact.astype("f2"))
    same(filters.correlate(image, weights, dtype="f8"), exact)
    # Half a pixel goes to the even one.
    same(filters.correlate(np.array([1, 3, 5], "u1"), [0.5], dtype="u1"), np.array([0, 2, 2], "u1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = filters.correlate(np.array([np.nan, np.inf, -np.inf], "f"), [1.0], dtype="u1", method="direct")
    same(nothing, np.array([0, 255, 0], "u1"))


def test_opencvs_filters():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is compared where it is installed")
    rng = np.random.default_rng(3)
    borders = {
        "reflect": cv2.BORDER_REFLECT,
        "mirror": cv2.BORDER_REFLECT_101,
        "nearest": cv2.BORDER_REPLICATE,
        "constant": cv2.BORDER_CONSTANT,
    }
    for shape in (40, 31), (40, 31, 3):
        image, channels = pixels(rng, shape, "u1"), -1 if len(shape) > 2 else None
        for mode, border in borders.items():
            for kernel in (3, 3), (4, 5), (15, 15):
                weights = rng.normal(size=kernel).astype("f")
                expected = cv2.filter2D(image, cv2.CV_32F, weights, borderType=border)
                result = filters.correlate(image, weights, mode=mode, channel_axis=channels)
                np.testing.assert_allclose(result, expected, atol=0.02)
            expected = cv2.GaussianBlur(image.astype("f"), (13, 13), 1.5, borderType=border)
            blurred = filters.gaussian(image, (1.5, 1.5), mode=mode, channel_axis=channels)
            np.testing.assert_allclose(blurred, expected, atol=0.01)


@pytest.mark.usefixtures("_bands")
@pytest.mark.parametrize("mode", MODES)
def test_gaussian(mode):
    rng = np.random.default_rng(3)
    call = {"mode": mode, "cval": 5, "truncate": 3.0}
    for shape, sigma in ((30,), 2.0), ((30, 21), (0.0, 1.3)), ((30, 21), (4.0, 0.6)), ((9, 8, 7), 1.0):
        image = rng.normal(size=shape).astype("f")
        expected = ndimage.gaussian_filter(image.astype(float), sigma, **call)
        np.testing.assert_allclose(filters.gaussian(image, sigma, **call), expected, atol=1e-5)
        wide = filters.gaussian(image.astype(float), sigma, **call)
        np.testing.assert_allclose(wide, expected, atol=1e-12)
    image = pixels(rng, (3, 30, 21, 4), "u1")
    expected = ndimage.gaussian_filter(image.astype(float), (0, 1.5, 2.5, 0), **call)
    result = filters.gaussian(image, (1.5, 2.5), channel_axis=-1, **call)
    np.testing.assert_allclose(result, expected, atol=1e-3)
    same(
        filters.gaussian(image, (1.5, 2.5), channel_axis=-1, dtype="u1", **call),
        np.rint(result.astype("f")).astype("u1"),
    )


def test_a_sigma_larger_than_the_image():
    """Each axis is padded for its own pass alone: padded at once this image would take 56 GB."""
    image = np.random.default_rng(3).normal(size=(8, 9, 7)).astype("f")
    expected = ndimage.gaussian_filter(image.astype(float), 300.0)
    np.testing.assert_allclose(filters.gaussian(image, 300.0), expected, atol=1e-5)


def test_gaussian_of_the_dtype_of_out():
    image = np.random.default_rng(3).normal(50, 20, (20, 31)).astype("f")
    exact = ndimage.gaussian_filter(image.astype(float), 1.5)
    wide = np.empty((20, 31))
    filters.gaussian(image, 1.5, out=wide)
    np.testing.assert_allclose(wide, exact, rtol=1e-12)
    for dtype in "u1", "f2":
        turned = np.zeros((31, 20), dtype).T
        assert filters.gaussian(image, 1.5, out=turned) is turned
        same(turned, filters.gaussian(image, 1.5, dtype=dtype))


def test_other_byte_orders():
    rng = np.random.default_rng(3)
    image = rng.normal(size=(9, 8))
    expected = filters.correlate(image, np.ones((3, 3)))
    swapped = filters.correlate(image.astype(">f8"), np.ones((3, 3)))
    assert swapped.dtype == np.float64
    same(swapped, expected)
    narrow = image.astype("f")
    wide = filters.correlate(narrow, np.ones((3, 3)), dtype=">f8")
    same(wide.astype(float), filters.correlate(narrow.astype(float), np.ones((3, 3))))
    small = pixels(rng, (9, 8), ">u2")
    same(filters.correlate(small, np.ones((3, 3))), filters.correlate(small.astype("u2"), np.ones((3, 3))))


def test_weights_of_any_number():
    image = np.arange(5, dtype="u1")
    for weights in [1, 2, 1], np.array([1, 2, 1], "i8"), np.array([1, 2, 1], ml_dtypes.bfloat16), (True, 2.0, 1):
        same(filters.correlate(image, weights), np.array([1, 4, 8, 12, 15], "f"))


def test_gabor_bank():
    bank = filters.gabor_bank([0.25, 0.1], orientations=4)
    assert bank.shape == (16, 35, 35)
    waves = bank[::2] + 1j * bank[1::2]
    np.testing.assert_allclose(np.abs(waves).sum((1, 2)), 1, atol=1e-6)
    np.testing.assert_allclose(waves.sum((1, 2)), 0, atol=1e-6)
    y, x = np.mgrid[:64, :64]
    for i, frequency in enumerate([0.25, 0.1]):
        for j in range(4):
            angle = np.pi * j / 4
            grating = np.cos(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)))
            responses = filters.correlate(grating, bank)[:, 20:44, 20:44]
            strength = np.hypot(responses[::2], responses[1::2]).mean((1, 2))
            assert strength.argmax() == 4 * i + j


def test_memory_and_threads():
    """The same bits for any number of threads, and from memory of any strides."""
    rng = np.random.default_rng(3)
    image = rng.normal(size=(300, 257, 3)).astype("f")
    weights = rng.normal(size=(5, 7)).astype("f")
    with depthwise.threads(1):
        expected = filters.correlate(image, weights, channel_axis=2), filters.gaussian(image, (2, 2), channel_axis=2)
    turned = np.asfortranarray(image)[::-1][::-1]
    for threads in 2, 3:
        with depthwise.threads(threads):
            for array in image, turned:
                same(filters.correlate(array, weights, channel_axis=2), expected[0])
                same(filters.gaussian(array, (2, 2), channel_axis=2), expected[1])
    whole = ops.forward(image[None, None, ..., 0], weights[None, None], pad=(2, 3), pad_mode="symmetric")[0, 0]
    np.testing.assert_allclose(expected[0][..., 0], whole, atol=1e-5)


def test_refusals():
    image, weights = np.zeros((8, 9), "f"), np.ones((3, 3))
    overlapping = np.lib.stride_tricks.as_strided(np.zeros(9, "f"), (8, 9), (0, 4))
    refused = [
        (TypeError, "image must be a NumPy array", ([[1, 2]], weights), {}),
        (TypeError, "image must be uint8, int8", (image.astype("i8"), weights), {}),
        (TypeError, "image must be uint8, int8", (image.astype("c8"), weights), {}),
        (TypeError, "dtype must be uint8, int8", (image, weights), {"dtype": "i8"}),
        (ValueError, "mode must be one of", (image, weights), {"mode": "symmetric"}),
        (TypeError, "mode must be one of", (image, weights), {"mode": None}),
        (ValueError, "origin 2 is outside", (image, weights), {"origin": 2}),
        (ValueError, "origin .* is outside", (image, weights), {"origin": (0, 0, 0)}),
        (ValueError, "have too many axes", (image, np.ones((2, 2, 3, 3))), {}),
        (ValueError, "weights .* are no filter", (image, np.ones((0, 3))), {}),
        (ValueError, "weights .* are no filter", (image, np.ones((3, 3), complex)), {}),
        (ValueError, "weights must have an axis", (image, 3.0), {}),
        (ValueError, "filters of 4 channels, the image has 9", (image, np.ones((4, 1, 1))), {"channel_axis": -1}),
        (ValueError, "channel_axis 2 is none", (image, weights), {"channel_axis": 2}),
        (ValueError, "fewer than 2 spatial axes", (image, weights), {"channel_axis": 0}),
        (ValueError, "method must be", (image, weights), {"method": "fast"}),
        (ValueError, "out must have shape", (image, weights), {"out": np.zeros((9, 8), "f")}),
        (ValueError, "out overlaps image", (image, weights), {"out": image}),
        (ValueError, "out is read-only", (image, weights), {"out": np.broadcast_to(np.float32(0), (8, 9))}),
        (ValueError, "elements of out share memory", (image, weights), {"out": overlapping}),
        (ValueError, "without elements", (np.zeros((0, 9), "f"), weights), {}),
        (TypeError, "origin must be an int", (image, weights), {"origin": 0.9}),
        (TypeError, "cval must be a number", (image, weights), {"cval": None}),
        (ValueError, "image must have an axis", (np.zeros((), "f"), weights), {}),
    ]
    for function in filters.correlate, filters.convolve:
        for error, message, args, options in refused:
            if "filters of 4" in message:
                args = np.zeros((8, 9, 9), "f"), np.ones((4, 3, 3))
            with pytest.raises(error, match=message):
                function(*args, **options)
    assert filters.correlate(np.zeros((0, 9), "f"), weights, mode="constant").shape == (0, 9)
    assert filters.correlate(np.zeros((0, 8, 9), "u1"), weights).shape == (0, 8, 9)
    negative = "must be finite and not negative"
    for sigma, message in (-1, negative), (np.nan, negative), ((1, 1, 1), "one to three axes"):
        with pytest.raises(ValueError, match=message):
            filters.gaussian(image, sigma)
    with pytest.raises(ValueError, match="truncate must be positive"):
        filters.gaussian(image, 1, truncate=0)
    assert (filters.gaussian(np.ones((3, 3), "f"), 1e-200) == 1).all()
    none, flat = {"frequencies": [0.1], "orientations": 0}, {"frequencies": 0.1, "bandwidth": 0}
    short, long = {"frequencies": 0.5, "truncate": 0.1}, {"frequencies": 0.5, "truncate": np.inf}
    for options in {"frequencies": 0.6}, none, flat, short, long, {"frequencies": 0.5, "bandwidth": 2000.0}:
        with pytest.raises(ValueError, match="must"):
            filters.gabor_bank(**options)
