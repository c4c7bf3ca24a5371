"""One and three spatial axes: what is refused, in words that name the axes, and what is taken."""

import re

import numpy as np
import pytest

import depthwise
from depthwise import ops
from depthwise.functions import depthwise_convolution_1d as conv1
from depthwise.functions import depthwise_convolution_2d as conv
from depthwise.functions import depthwise_convolution_3d as conv3


def array(shape, dtype=np.float32):
    return np.zeros(shape, dtype)


x, W = array((2, 3, 4, 7)), array((2, 3, 3, 3))
x1, W1 = array((2, 3, 9)), array((2, 3, 3))
x3, W3 = array((2, 3, 4, 5, 6)), array((2, 3, 3, 3, 3))
REJECTED = {
    "1: W ndim 5": (conv1, (x1, W3), {}, ValueError, "W must have 3 axes (c_M, c_I, k), got 5"),
    "1: W ndim 2": (conv1, (x1, array((3, 3))), {}, ValueError, "W must have 3 axes"),
    "1: x ndim 2": (conv1, (array((3, 9)), W1), {}, ValueError, "x must have 3 axes (n, c_I, l), got 2"),
    "1: both of two dimensions": (conv1, (x, W), {}, ValueError, "W must have 3 axes"),
    "1: channels": (conv1, (array((2, 4, 9)), W1), {}, ValueError, "W has 3 input channels but x has 4 (x (2, 4, 9)"),
    "1: b": (conv1, (x1, W1, array(5)), {}, ValueError, "b must have shape (6,)"),
    "1: kernel too long": (conv1, (array((2, 3, 2)), W1), {}, ValueError, "length of the output"),
    "1: dilate too far": (conv1, (x1, W1), {"dilate": 9}, ValueError, "a kernel of 3 (dilate 9: 19 wide) does not fit"),
    "1: stride None": (conv1, (x1, W1), {"stride": None}, TypeError, "must be an int or a tuple of one int, got None"),
    "1: stride (1, 1)": (conv1, (x1, W1), {"stride": (1, 1)}, ValueError, "must be an int or a tuple (length,), got 2"),
    "1: stride (0,)": (conv1, (x1, W1), {"stride": (0,)}, ValueError, "stride must be at least 1, got (0,)"),
    "1: pad (2, 0)": (
        conv1,
        (x1, W1),
        {"pad": (2, 0)},
        ValueError,
        "pad must be an int, a tuple (length,) or a tuple ((before, after),), got 2 values: (2, 0)",
    ),
    "1: pad ((1, 2, 3),)": (conv1, (x1, W1), {"pad": ((1, 2, 3),)}, ValueError, "a pair (before, after), got 3 values"),
    "1: pad ((1, -2),)": (conv1, (x1, W1), {"pad": ((1, -2),)}, ValueError, "pad must be at least 0, got (1, -2)"),
    "1: pad 'full'": (conv1, (x1, W1), {"pad": "full"}, ValueError, '"same", "valid" or "causal", got'),
    "1: pad '12'": (conv1, (x1, W1), {"pad": "12"}, TypeError, "got '12'"),
    "1: empty, causal": (conv1, (array((2, 3, 0)), W1), {"pad": "causal"}, ValueError, "length of the output"),
    "2: pad 'causal'": (
        conv,
        (x, W),
        {"pad": "causal"},
        ValueError,
        'pad must be an int, a pair, a pair of pairs, "same" or "valid", got \'causal\'',
    ),
    "2: both of one dimension": (conv, (x1, W1), {}, ValueError, "W must have 4 axes (c_M, c_I, k_H, k_W), got 3"),
    "2: both of three dimensions": (conv, (x3, W3), {}, ValueError, "W must have 4 axes (c_M, c_I, k_H, k_W), got 5"),
    "3: W ndim 4": (conv3, (x3, W), {}, ValueError, "W must have 5 axes (c_M, c_I, k_D, k_H, k_W), got 4"),
    "3: x ndim 4": (conv3, (x, W3), {}, ValueError, "x must have 5 axes (n, c_I, d, h, w), got 4"),
    "3: x ndim 6": (conv3, (array((1,) * 6), array((1,) * 6)), {}, ValueError, "W must have 5 axes"),
    "3: depth": (conv3, (array((2, 3, 2, 9, 9)), W3), {}, ValueError, "depth of the output would be 0"),
    "3: height": (conv3, (array((2, 3, 9, 2, 9)), W3), {}, ValueError, "height of the output would be 0"),
    "3: width": (conv3, (array((2, 3, 9, 9, 2)), W3), {}, ValueError, "width of the output would be 0"),
    "3: stride 1.5": (conv3, (x3, W3), {"stride": 1.5}, TypeError, "stride must be an int or three ints, got 1.5"),
    "3: stride (1, 2)": (
        conv3,
        (x3, W3),
        {"stride": (1, 2)},
        ValueError,
        "stride must be an int or three (depth, height, width), got 2 values: (1, 2)",
    ),
    "3: dilate (1, 0, 1)": (conv3, (x3, W3), {"dilate": (1, 0, 1)}, ValueError, "dilate must be at least 1"),
    "3: pad of 2": (conv3, (x3, W3), {"pad": (1, 2)}, ValueError, "three pairs (before, after), got 2 values"),
    "3: pad, a pair and ints": (
        conv3,
        (x3, W3),
        {"pad": ((1, 2), 3, 4)},
        ValueError,
        "pad must be ((front, back), (top, bottom), (left, right)), got ((1, 2), 3, 4)",
    ),
    "3: pad 'causal'": (
        conv3,
        (x3, W3),
        {"pad": "causal"},
        ValueError,
        'pad must be an int, three ints, three pairs, "same" or "valid", got \'causal\'',
    ),
    "3: too large": (conv3, (x3, W3), {"pad": 2**31 - 1}, ValueError, "more than 2**59 elements"),
    "ops: x ndim 4, W ndim 3": (ops.forward, (x, W1), {}, ValueError, "W must have 4 axes (c_M, c_I, k_H, k_W), got 3"),
    "ops: W ndim 4 of other images": (
        ops.forward,
        (array((4, 3, 9)), W),
        {},
        ValueError,
        "for each image, but for 2 images",
    ),
    "ops: x ndim 5, W ndim 4": (ops.forward, (x3, W), {}, ValueError, "W must have 5 axes"),
    "ops: ndim 2": (ops.forward, (array((3, 3)), array((3, 3))), {}, ValueError, "W must have 3 to 5 axes, got 2"),
    "ops: ndim 6": (ops.forward, (array((1,) * 6), W), {}, ValueError, "x must have 3 to 5 axes, got 6"),
    "ops: gy ndim 4": (ops.input_grad, (array((2, 6, 2, 5)), W1, (4, 7)), {}, ValueError, "W must have 4 axes"),
    "ops: input_size": (
        ops.input_grad,
        (array((2, 6, 7)), W1, (4, 7)),
        {},
        ValueError,
        "input_size must be an int or a tuple (length,), got 2 values",
    ),
    "ops: kernel_size": (
        ops.weight_grad,
        (x3, array((2, 6, 2, 3, 4)), (3, 3)),
        {},
        ValueError,
        "kernel_size must be an int or three (depth, height, width), got 2 values",
    ),
    "ops: gy's shape": (ops.input_grad, (array((2, 6, 8)), W1, 9), {}, ValueError, "gy must have shape (2, 6, 7)"),
    "ops: gy ndim 6": (ops.bias_grad, (array((1,) * 6),), {}, ValueError, "gy must have 3 to 5 axes, got 6"),
    "ops: activation of another name": (
        ops.forward,
        (x1, W1),
        {"activation": "mish"},
        ValueError,
        "or \"swish\", got 'mish'",
    ),
    "ops: activation None by name": (ops.forward, (x1, W1), {"activation": "none"}, ValueError, "got 'none'"),
    "ops: activation 1": (ops.forward, (x1, W1), {"activation": 1}, TypeError, 'activation must be None, "silu"'),
    "output_size of four": (depthwise.output_size, ((4, 4, 4, 4), 3), {}, ValueError, "got 4 values"),
    "output_size of three and two": (
        depthwise.output_size,
        ((4, 4, 4), (3, 3)),
        {},
        ValueError,
        "kernel_size must be an int or three",
    ),
}


@pytest.mark.parametrize("row", REJECTED)
def test_rejected(row):
    function, args, steps, error, message = REJECTED[row]
    with pytest.raises(error, match=re.escape(message)):
        function(*args, **steps)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "shape"),
    [
        (conv1, (x1, W1), {"stride": [2]}, (2, 6, 4)),
        (conv1, (x1, W1), {"stride": np.array([2])}, (2, 6, 4)),
        (conv1, (x1, W1), {"stride": np.int8(2), "pad": (1,)}, (2, 6, 5)),
        (conv1, (x1, W1), {"pad": ((2, 0),)}, (2, 6, 9)),
        (conv1, (x1, W1), {"pad": [[0, 1]]}, (2, 6, 8)),
        (conv1, (x1, W1), {"pad": "causal", "dilate": 20}, (2, 6, 9)),
        (conv1, (x1, W1), {"pad": "causal", "stride": (4,)}, (2, 6, 3)),
        (conv1, (x1, W1), {"pad": "same", "stride": 2}, (2, 6, 5)),
        (conv1, (x1, W1), {"pad": "valid"}, (2, 6, 7)),
        (conv3, (x3, W3), {"stride": [1, 2, 3]}, (2, 6, 2, 2, 2)),
        (conv3, (x3, W3), {"pad": (0, 1, 2)}, (2, 6, 2, 5, 8)),
        (conv3, (x3, W3), {"pad": ((1, 0), (0, 2), (0, 0))}, (2, 6, 3, 5, 4)),
        (conv3, (x3, W3), {"pad": "same", "stride": (3, 2, 1)}, (2, 6, 2, 3, 6)),
        (conv3, (x3, W3), {"dilate": np.array([1, 2, 1])}, (2, 6, 2, 1, 4)),
    ],
)
def test_accepted(function, args, kwargs, shape):
    assert function(*args, **kwargs).shape == shape
    size, kernel = args[0].shape[2:], args[1].shape[2:]
    assert depthwise.output_size(size, kernel, **kwargs) == shape[2:]
    assert depthwise.output_size(size, kernel[0], **kwargs) == shape[2:]


def test_two_ints_are_sizes_of_two_axes():
    assert depthwise.output_size(9, 3) == (7, 7)
    assert depthwise.output_size(9, (3,)) == (7,)
    assert depthwise.output_size(9, (3, 3, 3)) == (7, 7, 7)


@pytest.mark.parametrize(
    ("x_shape", "W_shape", "pad", "products"),
    [
        ((1, 2, 9), (1, 2, 4), "causal", 2 * (1 + 2 + 3 + 6 * 4)),
        ((3, 2, 9), (2, 2, 4), 0, 12 * 6 * 4),
        ((1, 1, 3, 4, 5), (1, 1, 3, 3, 3), 1, 7 * 10 * 13),
        ((1, 1, 3, 4, 5), (1, 1, 2, 1, 1), ((1, 0), (0, 0), (0, 0)), 5 * 20),
    ],
)
def test_explain_counts_what_is_not_padding(x_shape, W_shape, pad, products):
    for kind in ("forward", "input_grad", "weight_grad"):
        assert depthwise.explain(x_shape, W_shape, pad=pad, kind=kind)["flop"] == 2 * products


@pytest.mark.parametrize("taps", [4, 9, 31, 49, 128])
def test_a_line_has_the_bits_of_its_pieces(target, taps):
    """Sums begin with the bias and meet the taps in their order, however many vectors are summed together."""
    rng = np.random.default_rng(taps)
    x, W = rng.normal(size=(1, 9, 1500)).astype("f"), rng.normal(size=(1, 9, taps)).astype("f")
    b = rng.normal(size=9).astype("f")
    whole = ops.forward(x, W, b)
    for begin, columns in (0, 1), (3, 20), (200, 300), (whole.shape[2] - 9, 9):
        piece = ops.forward(np.ascontiguousarray(x[:, :, begin : begin + columns + taps - 1]), W, b)
        assert piece.tobytes() == whole[:, :, begin : begin + columns].tobytes()


@pytest.mark.parametrize(("size", "kernel"), [((3000,), (4,)), ((700,), (31,)), ((6, 20, 40), (3, 3, 3))])
def test_same_bits_for_any_number_of_threads(target, size, kernel):
    rng = np.random.default_rng(24)
    x, W = rng.normal(size=(2, 37, *size)).astype("f"), rng.normal(size=(1, 37, *kernel)).astype("f")
    results = []
    for n in (1, 2, 5):
        with depthwise.threads(n):
            y = ops.forward(x, W, pad="same")
            gx, gW = ops.input_grad(y, W, size, pad="same"), ops.weight_grad(x, y, kernel, pad="same")
            results.append([a.tobytes() for a in (y, gx, gW, ops.bias_grad(y))])
    assert results[0] == results[1] == results[2]
