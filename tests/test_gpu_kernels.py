"""The GPU's kernels on a CPU, by the same source and the same plans: every way of reading and summing, exactly.

Integers, so that sums are exact in any order; `pytest -m slow` adds some hundred random problems.
"""

import ctypes
import re

import ml_dtypes
import numpy as np
import pytest

import gpu_on_cpu
from depthwise import _core, ops
from depthwise.enums import FORWARD, WEIGHT_GRAD, activation_code
from depthwise.geometry import geometry
from gpu_on_cpu import forward, input_grad, weight_grad

pytestmark = pytest.mark.skipif(not gpu_on_cpu.available(), reason="the kernels are compiled by g++")

F16, BF16, F32, F64 = np.float16, ml_dtypes.bfloat16, np.float32, np.float64


def channels_last(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def integers(rng, shape, dtype, layout=np.ascontiguousarray, most=3):
    return layout(rng.integers(-most, most + 1, shape).astype(dtype))


def check(shape, kernel, m=1, dtype=F32, layout=np.ascontiguousarray, W_dtype=None, **steps):
    """All passes of a problem against the engine's, bit for bit."""
    rng = np.random.default_rng(len(str((shape, kernel, steps))))
    stride, pad, dilate = (steps.get(name, default) for name, default in (("stride", 1), ("pad", 0), ("dilate", 1)))
    steps = {"stride": stride, "pad": pad, "dilate": dilate, "pad_mode": steps.get("pad_mode", "constant")}
    g = geometry(shape, (m, shape[1], *kernel), stride, pad, dilate, pad_mode=steps["pad_mode"])
    x, gy = (integers(rng, s, dtype, layout) for s in (g.x_shape, g.y_shape))
    W = integers(rng, g.W_shape, W_dtype or dtype, most=2)
    b = integers(rng, g.y_shape[1:2], dtype)
    empty = {name: layout(np.full(s, np.nan).astype(dtype)) for name, s in (("y", g.y_shape), ("gx", g.x_shape))}
    np.testing.assert_array_equal(forward(g, x, W, b, y=empty["y"]), ops.forward(x, W, b, **steps))
    np.testing.assert_array_equal(input_grad(g, gy, W, gx=empty["gx"]), ops.input_grad(gy, W, g.x_shape[2:], **steps))
    gb = np.full(g.y_shape[1], np.nan).astype(dtype)
    np.testing.assert_array_equal(weight_grad(g, x, gy, gb=gb), ops.weight_grad(x, gy, kernel, **steps))
    np.testing.assert_array_equal(gb, ops.bias_grad(gy))


PROBLEMS = {
    "vectors of four columns": {"shape": (2, 3, 19, 28), "kernel": (3, 3), "pad": 1},
    "vectors of two columns": {"shape": (2, 3, 14, 14), "kernel": (5, 5), "pad": 2},
    "odd rows": {"shape": (3, 5, 7, 7), "kernel": (3, 3), "pad": 1},
    "7x7": {"shape": (1, 2, 20, 16), "kernel": (7, 7), "pad": 3},
    "stride 2, vectors": {"shape": (2, 2, 12, 16), "kernel": (3, 3), "stride": 2, "pad": 1},
    "stride 3, uneven pads": {"shape": (2, 2, 17, 13), "kernel": (5, 4), "stride": (3, 2), "pad": ((2, 1), (0, 3))},
    "stride larger than the kernel": {"shape": (1, 3, 20, 21), "kernel": (2, 3), "stride": (4, 5)},
    "gradient without tiles": {"shape": (1, 2, 40, 40), "kernel": (3, 3), "stride": 9, "pad": 1},
    "dilated": {"shape": (1, 2, 20, 24), "kernel": (3, 3), "pad": 4, "dilate": 4},
    "dilated and strided": {"shape": (1, 2, 21, 23), "kernel": (3, 2), "stride": 2, "pad": 3, "dilate": (2, 3)},
    "steps without tiles": {"shape": (1, 1, 700, 8), "kernel": (3, 1), "pad": (300, 0), "dilate": (600, 1)},
    "multiplier": {"shape": (2, 3, 9, 12), "kernel": (3, 3), "m": 3, "pad": 1},
    "columns of a long kernel": {"shape": (1, 2, 20, 20), "kernel": (13, 9), "pad": (6, 4)},
    "rows of a very long kernel": {"shape": (1, 1, 41, 5), "kernel": (37, 3), "pad": (18, 1)},
    "stride 2 of a long kernel": {"shape": (1, 2, 20, 24), "kernel": (9, 11), "stride": 2, "pad": 4},
    "sequence, vectors": {"shape": (2, 3, 200), "kernel": (4,), "pad": ((3, 0),)},
    "sequence, odd": {"shape": (2, 3, 301), "kernel": (4,), "pad": ((3, 0),)},
    "sequence, long kernel": {"shape": (1, 2, 131), "kernel": (40,), "pad": 20},
    "volume": {"shape": (1, 2, 5, 6, 8), "kernel": (3, 3, 3), "stride": (2, 1, 1), "pad": 1},
    "volume, dilated depth": {
        "shape": (1, 2, 9, 5, 6),
        "kernel": (3, 1, 3),
        "m": 2,
        "pad": (2, 0, 1),
        "dilate": (2, 1, 1),
    },
    "pixels": {"shape": (2, 40, 9, 10), "kernel": (3, 3), "pad": 1, "layout": channels_last},
    "pixels, 7x7": {"shape": (1, 33, 11, 9), "kernel": (7, 7), "pad": 3, "layout": channels_last},
    "pixels, stride 2": {"shape": (2, 5, 11, 12), "kernel": (5, 5), "stride": 2, "pad": 2, "layout": channels_last},
    "pixels, multiplier": {"shape": (1, 6, 7, 8), "kernel": (3, 3), "m": 2, "pad": 1, "layout": channels_last},
    "pixels, long kernel": {"shape": (1, 3, 15, 14), "kernel": (11, 13), "pad": (5, 6), "layout": channels_last},
    "pixels of a sequence": {"shape": (2, 6, 70), "kernel": (4,), "pad": ((3, 0),), "layout": channels_last},
    "pairs of channels": {"shape": (2, 34, 9, 10), "kernel": (3, 3), "pad": 1, "dtype": BF16, "layout": channels_last},
    "pairs of channels, float16": {
        "shape": (1, 8, 9, 9),
        "kernel": (3, 3),
        "stride": 2,
        "dtype": F16,
        "layout": channels_last,
    },
    "16 bits by channels": {"shape": (1, 8, 9, 9), "kernel": (5, 5), "pad": 2, "dtype": BF16, "layout": channels_last},
    "16 bits, vectors": {"shape": (1, 3, 9, 16), "kernel": (3, 3), "pad": 1, "dtype": BF16},
    "float16, vectors of two": {"shape": (1, 3, 9, 18), "kernel": (5, 5), "pad": 2, "dtype": F16},
    "float64": {"shape": (1, 3, 9, 16), "kernel": (5, 5), "pad": 2, "dtype": F64},
    "float64 by channels": {"shape": (1, 3, 9, 8), "kernel": (7, 7), "pad": 3, "dtype": F64, "layout": channels_last},
    "weights of another dtype": {"shape": (1, 3, 9, 16), "kernel": (3, 3), "pad": 1, "dtype": BF16, "W_dtype": F32},
    "reflect": {"shape": (1, 2, 9, 12), "kernel": (5, 5), "pad": 2, "pad_mode": "reflect"},
    "symmetric, more than the image": {"shape": (1, 2, 3, 4), "kernel": (3, 3), "pad": 7, "pad_mode": "symmetric"},
    "edge by channels": {
        "shape": (1, 5, 9, 8),
        "kernel": (3, 3),
        "pad": 2,
        "pad_mode": "edge",
        "layout": channels_last,
    },
    "wrap, strided volume": {
        "shape": (1, 2, 4, 5, 8),
        "kernel": (3, 3, 3),
        "stride": (1, 2, 1),
        "pad": 2,
        "pad_mode": "wrap",
        "dtype": F16,
    },
    "reflect, cut off": {"shape": (1, 2, 10, 11), "kernel": (2, 2), "stride": 4, "pad": 1, "pad_mode": "reflect"},
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_exact(name):
    check(**PROBLEMS[name])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_random(seed):
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(1, 4))
    taps = {1: [1, 2, 3, 4, 9, 40], 2: [1, 2, 3, 3, 5, 7, 9, 34], 3: [1, 2, 3]}[axes]
    kernel, stride, dilate = (tuple(map(int, rng.choice(v, axes))) for v in (taps, [1, 1, 2, 3], [1, 1, 2, 3]))
    pad = tuple(tuple(map(int, rng.integers(0, k * d, 2))) for k, d in zip(kernel, dilate, strict=True))
    size = {1: lambda: rng.integers(1, 400), 2: lambda: rng.choice([4, 8, 12, 16, 20, 28, 5, 14, 33, 37])}.get(
        axes, lambda: rng.integers(1, 9)
    )
    shape = int(rng.integers(1, 4)), int(rng.choice([1, 2, 3, 6, 34])), *(int(size()) for _ in range(axes))
    steps = {
        "stride": stride,
        "pad": pad,
        "dilate": dilate,
        "pad_mode": str(rng.choice(["constant", "constant", "reflect", "symmetric", "edge", "wrap"])),
    }
    m, dtype = int(rng.choice([1, 1, 2, 3])), [F32, F16, BF16, F64][rng.integers(4)]
    try:
        geometry(shape, (m, shape[1], *kernel), stride, pad, dilate, pad_mode=steps["pad_mode"])
    except ValueError:
        pytest.skip("the kernel does not fit")
    check(shape, kernel, m, dtype, channels_last if rng.integers(2) else np.ascontiguousarray, **steps)


def test_strides_of_any_kind():
    """Arrays that are read where they are: views, repeated rows, and those that no vector fits."""
    rng = np.random.default_rng(0)
    g = geometry((2, 3, 8, 8), (1, 3, 3, 3), 1, 1, 1)
    W = integers(rng, g.W_shape, F32)
    whole = integers(rng, (2, 6, 16, 17), F32)
    rows = np.broadcast_to(integers(rng, (2, 3, 1, 8), F32), g.x_shape)
    for x in (
        whole[:, ::2, ::2, :8],
        whole[:, :3, :8, 1:9],
        whole[:, 3:, :8, ::2][..., :8],
        rows,
        whole[:, :3, 7::-1, :8],
    ):
        np.testing.assert_array_equal(forward(g, x, W), ops.forward(np.ascontiguousarray(x), W, pad=1))


def test_a_bias_of_any_stride():
    rng = np.random.default_rng(4)
    g = geometry((1, 4, 6, 8), (1, 4, 3, 3), 1, 1, 1)
    x, W, b = (integers(rng, s, F32) for s in (g.x_shape, g.W_shape, (8,)))
    for bias in (b[::2], b[3::-1], np.broadcast_to(b[:1], 4)):
        np.testing.assert_array_equal(forward(g, x, W, bias), ops.forward(x, W, np.ascontiguousarray(bias), pad=1))


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("size", [(0, 4), (4, 0), (0, 0)])
def test_empty_axes(size, kind):
    """Whose windows lie in the padding alone."""
    g = geometry((1, 2, *size), (1, 2, 3, 3), 1, 2, 1)
    x, W, y = (np.ones(s, F32) for s in (g.x_shape, g.W_shape, g.y_shape))
    (x, W, y)[(2, 0, 1)[kind]].fill(np.nan)
    gpu_on_cpu.run(kind, g, x, W, None, y)
    assert not (x, W, y)[(2, 0, 1)[kind]].any()


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("stride", [(1, 700), (700, 1), (3, 40)])
def test_long_strides(stride, layout):
    """No tile has so many lines that a compiler would unroll for hours."""
    shape = (1, 2, *(4 * s + 5 for s in stride))
    check(shape, (3, 3), layout=layout, stride=stride, pad=1)
    g = geometry(shape, (1, 2, 3, 3), stride, 1, 1)
    x, W, y = (gpu_on_cpu._place(layout(np.zeros(s, F32))) for s in (g.x_shape, g.W_shape, g.y_shape))
    for kind in (FORWARD, WEIGHT_GRAD):
        _, launches = _core.gpu_steps(kind, g.sizes, x, W, (0, [], 0), y, 0, 132, 0)
        said = dict(re.findall(r"-DDW_(\w+)=(\w+)", launches[0][2]))
        for axis, step in zip(("ROWS", "COLS"), stride, strict=True):
            assert (int(said[axis]) - 1) * step + int(said[f"TAP_{axis}"]) <= 512


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_what_is_not_finite(layout):
    """It reaches the windows that cover it and no others; a tap in the padding multiplies nothing."""
    rng = np.random.default_rng(1)
    g = geometry((1, 4, 10, 12), (1, 4, 3, 3), 1, 1, 1)
    x, gy = (integers(rng, g.x_shape, F32, layout) for _ in range(2))
    W = integers(rng, g.W_shape, F32)
    W[0, 1, 0, 2], W[0, 2, 2, 1] = np.inf, np.nan
    x[0, 3, 4, 5], gy[0, 0, 0, 0], gy[0, 1, 9, 11] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(forward(g, x, W), ops.forward(x, W, pad=1))
    np.testing.assert_array_equal(input_grad(g, gy, W), ops.input_grad(gy, W, (10, 12), pad=1))
    np.testing.assert_array_equal(weight_grad(g, x, gy), ops.weight_grad(x, gy, (3, 3), pad=1))


def test_pairs_that_are_not_finite():
    rng = np.random.default_rng(2)
    g = geometry((1, 4, 6, 6), (1, 4, 3, 3), 1, 1, 1)
    x, gy = (integers(rng, g.x_shape, BF16, channels_last) for _ in range(2))
    W = integers(rng, g.W_shape, BF16)
    W[0, 1, 0, 2], gy[0, 2, 0, 0] = np.inf, np.inf
    y, gW = channels_last(np.empty(g.y_shape, BF16)), np.empty(g.W_shape, BF16)
    np.testing.assert_array_equal(forward(g, x, W, y=y).astype(F32), ops.forward(x, W, pad=1).astype(F32))
    want = ops.weight_grad(x, gy, (3, 3), pad=1).astype(F32)
    np.testing.assert_array_equal(weight_grad(g, x, gy, gW).astype(F32), want)


@pytest.mark.parametrize("dtype", [F16, BF16])
@pytest.mark.parametrize("W_dtype", [F32, F64])
def test_rounding(dtype, W_dtype):
    """Once, to the nearest, from float32 or float64 sums."""
    bits = np.arange(0, 1 << 16, dtype=np.uint16).view(dtype)
    x = bits[np.isfinite(bits.astype(F32))].reshape(1, 1, 1, -1)
    # The last two lie just beside the middle of two neighbours, which a float32 between would forget.
    for scale in (1 + 2**-9, 1 + 2**-12, 1 + 2**-23, 2**-9, 2.0**-14, 1 + 2**-11 + 2**-40, 1 + 2**-8 + 2**-40):
        W = np.full((1, 1, 1, 1), scale, W_dtype)
        g = geometry(x.shape, W.shape, 1, 0, 1)
        with np.errstate(all="ignore"):
            got, want = (a.view(np.uint16) for a in (forward(g, x, W), ops.forward(x, W)))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["silu", "relu", "relu6", "hardswish", "gelu", "gelu_tanh"])
def test_activations(name):
    x = np.linspace(-12, 12, 800, dtype=F32).reshape(1, 1, 20, 40)
    W = np.ones((1, 1, 1, 1), F32)
    y = forward(geometry(x.shape, W.shape, 1, 0, 1), x, W, activation=activation_code(name))
    np.testing.assert_allclose(y, ops.forward(x, W, activation=name), rtol=1e-5, atol=1e-7)


def test_the_same_bits_every_time():
    """And on GPUs of any number of multiprocessors, where sums are not those of a gradient of W."""
    rng = np.random.default_rng(3)
    g = geometry((4, 8, 12, 12), (1, 8, 3, 3), 1, 1, 1)
    x, W, gy = (rng.standard_normal(s).astype(F32) for s in (g.x_shape, g.W_shape, g.y_shape))
    np.testing.assert_array_equal(forward(g, x, W), forward(g, x, W, multiprocessors=132))
    first = weight_grad(g, x, gy)
    np.testing.assert_array_equal(first, weight_grad(g, x, gy))
    np.testing.assert_allclose(first, weight_grad(g, x, gy, multiprocessors=132), rtol=1e-4, atol=1e-4)


def _steps(kind, shape, kernel, **steps):
    g = geometry(shape, (1, shape[1], *kernel), steps.get("stride", 1), steps.get("pad", 0), 1, **steps.get("more", {}))
    dense = [tuple(int(s) for s in np.cumprod((1, *a[:0:-1]))[::-1]) for a in (g.x_shape, g.W_shape, g.y_shape)]
    x, W, y = ((0, list(s), 2) for s in dense)
    return _core.gpu_steps(kind, g.sizes, x, W, (0, [], 0), y, 0, 132, 0)[1]


def test_more_threads_than_a_launch_has():
    """Images are dealt to several launches, which begin where the one before ends."""
    steps = _steps(FORWARD, (3000, 64, 999, 999), (1, 1))
    assert len(steps) > 1
    addresses = [ctypes.c_void_p.from_buffer_copy(parameters).value or 0 for *_, parameters in steps]
    image = 64 * 999 * 999 * 4
    assert all(a % image == 0 for a in addresses)
    assert sorted(addresses) == addresses
    assert sum(blocks * threads for *_, blocks, threads, _ in steps) > 2**31
    assert all(blocks * threads < 2**32 for *_, blocks, threads, _ in steps)


def test_what_no_gpu_takes():
    with pytest.raises(ValueError, match=r"more than 2\*\*30"):
        _steps(FORWARD, (1, 1, 1, 2**31), (1, 3))
    with pytest.raises(ValueError, match="without taps"):
        _steps(FORWARD, (1, 1, 9, 9), (0, 3))
    with pytest.raises(ValueError, match="not made for GPU"):
        _steps(FORWARD, (1, 1, 9, 9), (3, 3), more={"method": "fft"})
    assert _steps(FORWARD, (1, 1, 9, 9), (3, 3), more={"method": "auto"})
    assert _steps(FORWARD, (0, 3, 9, 9), (3, 3)) == []
    assert len(_steps(WEIGHT_GRAD, (0, 3, 9, 9), (3, 3))) == 2  # zeros have to be written


def _with_care():
    test_what_is_not_finite(np.ascontiguousarray)


def _rounded():
    test_rounding(F16, F64)


# What is planted, and the check that has to fail.
FAULTS = [
    (
        "the last tap of a row is dropped",
        "correlate.cuh",
        "b < tap_cols; ++b) {\n        if",
        "b < tap_cols - 1; ++b) {\n        if",
        "odd rows",
    ),
    (
        "rows above the image are read",
        "correlate.cuh",
        "within(row + l, p.read_size[1])",
        "row + l < p.read_size[1]",
        "odd rows",
    ),
    (
        "columns behind the image are read",
        "correlate.cuh",
        "within(col + m, p.read_size[2])",
        "col + m >= 0",
        "odd rows",
    ),
    (
        "a bias is forgotten",
        "correlate.cuh",
        "const Value bias = bias_of(p, at.channel);",
        "const Value bias = Sum(0);",
        "odd rows",
    ),
    ("care is not taken", "correlate.cuh", "if (doubt != Sum(0)) return", "if (false) return", _with_care),
    ("a phase too many", "lattice.cuh", "+ tap * dilate - phase :", "+ tap * dilate :", "stride 3, uneven pads"),
    (
        "the last row is not written",
        "correlate.cuh",
        "within(row0 + r * Rows::step, p",
        "within(row0 + r * Rows::step + 1, p",
        "odd rows",
    ),
    (
        "a vector begins too early",
        "lattice.cuh",
        "first = -shift; first",
        "first = -shift - (shift > 0); first",
        "vectors of four columns",
    ),
    ("a part is left out", "weight_grad.cuh", "part < p.parts;", "part < p.parts - 1;", "odd rows"),
    (
        "a member is left out",
        "weight_grad.cuh",
        "member < p.members; ++member)\n      add",
        "member < p.members - 1; ++member)\n      add",
        "odd rows",
    ),
    ("no care for gradients", "weight_grad.cuh", "if (doubt == Sum(0)) return;", "return;", _with_care),
    (
        "halves change places",
        "elements.cuh",
        "i % 2 ? word & 0xffff0000u : word << 16",
        "i % 2 ? word << 16 : word & 0xffff0000u",
        "16 bits, vectors",
    ),
    ("rounded towards zero", "elements.cuh", "cut) | 1u)", "cut))", _rounded),
    (
        "copies in a border are counted once",
        "fold.cuh",
        "z = next_copy(z + 1, at[0]",
        "z = next_copy(padded[0], at[0]",
        "wrap, strided volume",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[0])
def test_planted_faults_are_found(fault):
    _, *change, finder = fault
    with gpu_on_cpu.fault(*change), pytest.raises(AssertionError):
        check(**PROBLEMS[finder]) if isinstance(finder, str) else finder()
