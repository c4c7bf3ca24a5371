"""Every row of Chainer's error table, and what it does not have: TypeError or ValueError in the caller's words."""

import contextlib
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import depthwise
from depthwise import Variable, ops
from depthwise.functions import depthwise_convolution_1d as conv1
from depthwise.functions import depthwise_convolution_2d as conv
from depthwise.functions import depthwise_convolution_3d as conv3

x = np.zeros((2, 3, 4, 7), np.float32)
W = np.zeros((2, 3, 3, 3), np.float32)
b = np.zeros(6, np.float32)


def array(shape, dtype=np.float32):
    return np.zeros(shape, dtype)


REJECTED = {
    "W ndim 3": ((x, array((3, 3, 3))), {}, ValueError, "W must have 4 axes (c_M, c_I, k_H, k_W), got 3"),
    "W ndim 0": ((x, array(())), {}, ValueError, "W must have 4 axes"),
    "W ndim 5": ((x, array((1, 2, 3, 3, 3))), {}, ValueError, "for each image, but for 1 images and not 2"),
    "W ndim 6": ((x, array((1, 1, 2, 3, 3, 3))), {}, ValueError, "W must have 4 axes"),
    "W list": ((x, [[1.0]]), {}, TypeError, "W must be a NumPy array or a Variable, got list"),
    "W None": ((x, None), {}, TypeError, "got NoneType"),
    "x ndim 0": ((array(()), W), {}, ValueError, "x must have 4 axes (n, c_I, h, w), got 0"),
    "x ndim 1": ((array(3), W), {}, ValueError, "x must have 4 axes"),
    "x ndim 2": ((array((3, 3)), W), {}, ValueError, "x must have 4 axes"),
    "x ndim 3": ((array((3, 3, 3)), W), {}, ValueError, "x must have 4 axes"),
    "x ndim 5": ((array((1, 1, 3, 3, 3)), W), {}, ValueError, "x must have 4 axes"),
    "channels": (
        (array((2, 4, 8, 8)), array((1, 3, 3, 3))),
        {},
        ValueError,
        "W has 3 input channels but x has 4 (x (2, 4, 8, 8), W (1, 3, 3, 3))",
    ),
    "W as (c_I, c_M)": ((x, array((3, 2, 3, 3))), {}, ValueError, "W has 2 input channels but x has 3"),
    "b length 5": ((x, W, array(5)), {}, ValueError, "b must have shape (6,)"),
    "b length 1": ((x, W, array(1)), {}, ValueError, "got (1,)"),
    "b length c_I": ((x, W, array(3)), {}, ValueError, "got (3,)"),
    "b ndim 2": ((x, W, array((6, 1))), {}, ValueError, "got (6, 1)"),
    "b ndim 0": ((x, W, array(())), {}, ValueError, "got ()"),
    "b dtype": ((x, W, array(6, np.float64)), {}, TypeError, "b must have x's dtype float32, got float64"),
    **{
        f"x {t}": ((x.astype(t), W), {}, TypeError, "x must be float16, bfloat16, float32 or float64")
        for t in ("int32", "uint8", "bool", "complex64", "object", "longdouble")
    },
    "W int": ((x, W.astype(int)), {}, TypeError, "W must be float16, bfloat16, float32 or float64, got int64"),
    "x list": (([1.0], W), {}, TypeError, "x must be a NumPy array or a Variable, got list"),
    "x scalar": ((1.0, W), {}, TypeError, "x must be a NumPy array or a Variable, got float"),
    "b list": ((x, W, [0.0] * 6), {}, TypeError, "b must be a NumPy array or a Variable, got list"),
    "x None": ((None, W), {}, TypeError, "got NoneType"),
    "x Variable(None)": ((Variable(None), W), {}, TypeError, "x is a Variable without an array"),
    "kernel too high": ((array((2, 3, 2, 7)), W), {}, ValueError, "height of the output would be 0"),
    "h 0": ((array((2, 3, 0, 7)), W), {}, ValueError, "height of the output would be -2"),
    "kernel too wide": ((array((2, 3, 4, 2)), W), {}, ValueError, "width of the output would be 0"),
    "empty image, same": ((array((1, 3, 0, 4)), W), {"pad": "same"}, ValueError, "height of the output would be 0"),
    "stride 0": ((x, W), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
    "stride -1": ((x, W), {"stride": -1}, ValueError, "stride must be at least 1, got -1"),
    "stride None": ((x, W), {"stride": None}, TypeError, "stride must be an int or a pair of ints, got None"),
    "stride '12'": ((x, W), {"stride": "12"}, TypeError, "stride must be an int or a pair of ints, got '12'"),
    "stride 2.0": ((x, W), {"stride": 2.0}, TypeError, "stride must be an int or a pair of ints, got 2.0"),
    "stride (1, 2.0)": ((x, W), {"stride": (1, 2.0)}, TypeError, "got (1, 2.0)"),
    "pad 2.0": ((x, W), {"pad": 2.0}, TypeError, "pad must be an int or a pair of ints"),
    "stride (2,)": ((x, W), {"stride": (2,)}, ValueError, "got 1 values: (2,)"),
    "stride of 3": ((x, W), {"stride": (1, 2, 3)}, ValueError, "got 3 values"),
    "pad of 3": ((x, W), {"pad": (1, 2, 3)}, ValueError, "got 3 values"),
    "pad of 1": ((x, W), {"pad": (1,)}, ValueError, "got 1 values"),
    "stride 'same'": ((x, W), {"stride": "same"}, TypeError, "stride must be an int"),
    "pad 'full'": ((x, W), {"pad": "full"}, ValueError, '"same" or "valid", got \'full\''),
    "pad '12'": ((x, W), {"pad": "12"}, TypeError, "got '12'"),
    "pad None": ((x, W), {"pad": None}, TypeError, "pad must be"),
    "pad -1": ((array((2, 3, 9, 9)), W), {"pad": -1}, ValueError, "pad must be at least 0, got -1"),
    "pad -1, no output": ((x, W), {"pad": -1}, ValueError, "pad must be at least 0, got -1"),
    "pad ((1, 2), 3)": ((x, W), {"pad": ((1, 2), 3)}, ValueError, "pad must be ((top, bottom), (left, right))"),
    "pad ((1, 2), (3,))": ((x, W), {"pad": ((1, 2), (3,))}, ValueError, "got 1 values"),
    "pad ((1, -2), (3, 3))": ((x, W), {"pad": ((1, -2), (3, 3))}, ValueError, "at least 0"),
    "dilate 0": ((x, W), {"dilate": 0}, ValueError, "dilate must be at least 1, got 0"),
    "dilate 1.5": ((x, W), {"dilate": 1.5}, TypeError, "dilate must be an int"),
    "dilate too far": ((x, W), {"dilate": 9}, ValueError, "a kernel of 3 (dilate 9: 19 wide) does not fit"),
    "stride 2**40": ((x, W), {"stride": 2**40}, ValueError, "stride is too large"),
    "pad 2**62": ((x, W), {"pad": 2**62}, ValueError, "pad is too large"),
    "output too large": ((x, W), {"pad": 2**31 - 1}, ValueError, "more than 2**59 elements"),
}


@pytest.mark.parametrize("row", REJECTED)
def test_rejected(row):
    args, steps, error, message = REJECTED[row]
    with pytest.raises(error, match=re.escape(message)):
        conv(*args, **steps)


@pytest.mark.parametrize(
    ("kwargs", "shape"),
    [
        ({"stride": True}, (2, 6, 2, 5)),
        ({"stride": [2, 1]}, (2, 6, 1, 5)),
        ({"stride": np.array([1, 2])}, (2, 6, 2, 3)),
        ({"stride": np.int64(2)}, (2, 6, 1, 3)),
        ({"pad": (np.int32(1), np.uint8(0))}, (2, 6, 4, 5)),
        ({"dilate": np.int16(1)}, (2, 6, 2, 5)),
        ({"pad": 10}, (2, 6, 22, 25)),
        ({"stride": 99}, (2, 6, 1, 1)),
        ({"stride": 2**31 - 1}, (2, 6, 1, 1)),
        ({"pad": "same"}, (2, 6, 4, 7)),
        ({"pad": "same", "stride": (3, 2)}, (2, 6, 2, 4)),
        ({"pad": "valid"}, (2, 6, 2, 5)),
        ({"pad": ((1, 0), (0, 2))}, (2, 6, 3, 7)),
        ({"dilate": (1, 3)}, (2, 6, 2, 1)),
    ],
)
def test_accepted_though_odd(kwargs, shape):
    assert conv(x, W, b, **kwargs).shape == shape


@pytest.mark.parametrize(
    ("x_shape", "W_shape", "pad", "shape"),
    [
        ((0, 3, 4, 7), (2, 3, 3, 3), 0, (0, 6, 2, 5)),
        ((2, 3, 4, 7), (0, 3, 3, 3), 0, (2, 0, 2, 5)),
        ((2, 0, 4, 7), (2, 0, 3, 3), 0, (2, 0, 2, 5)),
        ((2, 3, 4, 7), (1, 3, 0, 1), 0, (2, 3, 5, 7)),
        ((2, 3, 0, 7), (1, 3, 1, 1), (1, 0), (2, 3, 2, 7)),
        ((0, 3, 7), (2, 3, 3), 0, (0, 6, 5)),
        ((2, 3, 7), (0, 3, 3), 0, (2, 0, 5)),
        ((2, 3, 7), (1, 3, 0), 0, (2, 3, 8)),
        ((2, 3, 0), (1, 3, 1), 1, (2, 3, 2)),
        ((0, 3, 4, 5, 7), (2, 3, 3, 3, 3), 0, (0, 6, 2, 3, 5)),
        ((2, 0, 4, 5, 7), (2, 0, 3, 3, 3), 0, (2, 0, 2, 3, 5)),
        ((2, 3, 4, 5, 7), (1, 3, 0, 1, 1), 0, (2, 3, 5, 5, 7)),
        ((2, 3, 0, 5, 7), (1, 3, 1, 1, 1), (1, 0, 0), (2, 3, 2, 5, 7)),
        ((2, 3, 0, 5, 7), (1, 3, 1, 3, 3), 1, (2, 3, 2, 5, 7)),
    ],
)
def test_empty_sizes(x_shape, W_shape, pad, shape):
    xs, Ws = Variable(np.ones(x_shape, np.float32)), Variable(np.ones(W_shape, np.float32))
    bias = Variable(np.arange(shape[1], dtype=np.float32))
    y = {3: conv1, 4: conv, 5: conv3}[len(x_shape)](xs, Ws, bias, pad=pad)
    assert y.shape == shape
    y.grad = np.ones(shape, np.float32)
    y.backward()
    assert (xs.grad.shape, Ws.grad.shape, bias.grad.shape) == (x_shape, W_shape, (shape[1],))
    for gb in (bias.grad, ops.bias_grad(y.array * 0 + 1)):
        np.testing.assert_array_equal(gb, np.full(shape[1], shape[0] * np.prod(shape[2:])))
    if x_shape[0] == 0:
        assert not Ws.grad.any()
    if 0 in W_shape[2:] or 0 in x_shape[2:]:
        np.testing.assert_array_equal(y.array, np.broadcast_to(bias.array.reshape(-1, *[1] * len(shape[2:])), shape))


def good_out():
    return np.zeros((2, 6, 2, 5), np.float32)


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ([1.0], TypeError, "out must be a NumPy array, got list"),
        (array((2, 6, 2, 5), np.float64), TypeError, "out must have dtype float32, got float64"),
        (array((2, 6, 2, 4)), ValueError, "out must have shape (2, 6, 2, 5), got (2, 6, 2, 4)"),
        (np.broadcast_to(np.float32(0), (2, 6, 2, 5)), ValueError, "out is read-only"),
        (np.lib.stride_tricks.as_strided(good_out(), (2, 6, 2, 5), (240, 4, 4, 4)), ValueError, "share memory"),
    ],
)
def test_wrong_out(out, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ops.forward(x, W, out=out)


def test_overlapping_out():
    memory = np.zeros(1000, np.float32)
    a = memory[:168].reshape(2, 3, 4, 7)
    with pytest.raises(ValueError, match="out overlaps x"):
        ops.forward(a, W, out=memory[100:220].reshape(2, 6, 2, 5))
    k = memory[:54].reshape(2, 3, 3, 3)
    with pytest.raises(ValueError, match="out overlaps W"):
        ops.forward(x, k, out=memory[50:170].reshape(2, 6, 2, 5))
    interleaved = np.zeros((2, 6, 2, 5, 2), np.float32)
    ops.forward(np.ascontiguousarray(x), W, out=interleaved[..., 1])


def bias_out(out, of_gy=False):
    gy = array((1, 2, 3, 4))
    ops.weight_grad(array((1, 1, 3, 4)), gy, (1, 1), bias_out=gy[0, 0, 0, :2] if of_gy else out)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.input_grad(array((2, 6, 2, 4)), W, (4, 7)), ValueError, "gy must have shape (2, 6, 2, 5)"),
        (lambda: ops.input_grad(array((2, 6)), W, (4, 7)), ValueError, "gy must have 4 axes"),
        (lambda: ops.input_grad(array((2, 6, 2, 5)), W, (4, 7.0)), TypeError, "input_size must be"),
        (lambda: ops.input_grad([1], W, (4, 7)), TypeError, "gy must be a NumPy array"),
        (lambda: ops.input_grad(array((2, 6, 2, 5), int), W, (4, 7)), TypeError, "gy must be float16"),
        (lambda: ops.weight_grad(x, array((2, 5, 2, 5)), (3, 3)), ValueError, "no multiple of x's 3"),
        (lambda: ops.weight_grad(x, array((2, 6, 2, 4)), (3, 3)), ValueError, "gy must have shape (2, 6, 2, 5)"),
        (lambda: ops.weight_grad(x, array((2, 6, 2, 5)), (3, -3)), ValueError, "kernel_size must be at least 0"),
        (lambda: ops.weight_grad(x, array(3), (3, 3)), ValueError, "gy must have 4 axes"),
        (lambda: ops.bias_grad(array(3)), ValueError, "gy must have 3 to 5 axes, got 1: shape (3,)"),
        (lambda: ops.bias_grad(array((1, 2, 3, 4)), out=array(3)), ValueError, "out must have shape (2,)"),
        (lambda: bias_out(array(3)), ValueError, "bias_out must have shape (2,), got (3,)"),
        (lambda: bias_out([0, 0]), TypeError, "bias_out must be a NumPy array"),
        (lambda: bias_out(np.zeros(2, int)), TypeError, "bias_out must be float16"),
        (lambda: bias_out(np.broadcast_to(np.float32(0), 2)), ValueError, "bias_out is read-only"),
        (lambda: bias_out(None, of_gy=True), ValueError, "bias_out overlaps gy"),
        (lambda: depthwise.output_size((4, -1), 3), ValueError, "input_size must be at least 0"),
        (lambda: depthwise.explain((1, 2, 3, 4), (1, 2, 3, 3), kind="sideways"), ValueError, "kind must be one of"),
        (lambda: depthwise.set_num_threads(0), ValueError, "in 1..4096"),
        (lambda: depthwise.set_num_threads("2"), TypeError, "must be an int"),
        (lambda: depthwise.use_target("mmx"), ValueError, "'mmx' is not a compiled target"),
        (lambda: depthwise.use_target(3), TypeError, "target must be a str"),
    ],
)
def test_other_surfaces(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


SMALL = st.integers(-2, 6)
LISTS = st.lists(SMALL, min_size=1, max_size=3)
STEPS = st.one_of(
    SMALL, st.tuples(SMALL, SMALL), LISTS, st.sampled_from([2**31 - 1, 2**31, 2**62, 2**63, 2**64, -(2**63)])
)
ODD = [np.float32(1), np.array([1, 2]), np.array(3), slice(3), Ellipsis, {}, {1, 2}, object()]
KINDS = [st.none(), st.floats(), st.text(max_size=3), st.binary(max_size=2), st.complex_numbers(), st.booleans()]
ACTIVATIONS = st.sampled_from([None, "silu", "swish", "relu", "relu6", "hardswish", "gelu", "gelu_tanh"])
JUNK = st.one_of(*KINDS, st.lists(SMALL, max_size=3), st.sampled_from(ODD))
PAIRS = st.tuples(SMALL, SMALL)
WORDS = st.sampled_from(["same", "valid", "causal"])
PADS = st.one_of(SMALL, PAIRS, st.tuples(PAIRS, PAIRS), st.lists(PAIRS, min_size=1, max_size=3), WORDS)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 5]), min_size=3, max_size=5).map(tuple)
FITTING = (2, 3, 9), (1, 3, 3), (2, 3, 5, 5, 5), (1, 3, 3, 3, 3)
ARRAYS = st.builds(
    lambda shape, dtype: np.ones(shape, dtype),
    st.one_of(SHAPES, st.sampled_from([(2, 3, 5, 5), (1, 3, 3, 3), *FITTING, (3,)])),
    st.sampled_from(["f4", "f4", "f4", "f8", "f2", ">f4", "i4", "c8", "O", "M8[s]", "S3", "V4"]),
)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_nothing_but_type_and_value_errors(data):
    """Whatever is given for any argument of any function."""

    def draw(usual):
        return data.draw(st.one_of(usual, usual, usual, JUNK))

    call = data.draw(
        st.sampled_from(
            [conv, conv1, conv3, ops.forward, ops.input_grad, ops.weight_grad, ops.bias_grad, depthwise.explain]
        )
    )
    convolves = call in (conv, conv1, conv3)
    steps = {"stride": draw(STEPS), "pad": draw(PADS), "dilate": draw(STEPS)}
    if call is ops.bias_grad:
        args, steps = [draw(ARRAYS)], {}
    elif call in (ops.input_grad, ops.weight_grad):
        args = [draw(ARRAYS), draw(ARRAYS), draw(PADS)]
    else:
        args = [draw(ARRAYS), draw(ARRAYS)]
    if (convolves or call is ops.forward) and data.draw(st.booleans()):
        args.append(draw(ARRAYS))
    if not convolves and call is not depthwise.explain and data.draw(st.booleans()):
        steps["out"] = draw(ARRAYS)
    if call is ops.forward and data.draw(st.booleans()):
        steps["activation"] = draw(ACTIVATIONS)
    with contextlib.suppress(TypeError, ValueError):
        call(*args, **steps)


def test_a_float_is_refused_after_an_equal_int_was_taken():
    step = (1, 2)
    gy = ops.forward(x, W, stride=step)
    ops.input_grad(gy, W, (4, 7), stride=step)
    ops.weight_grad(x, gy, (3, 3), stride=step)
    for call in (
        lambda: ops.forward(x, W, stride=(1, 2.0)),
        lambda: ops.forward(x, W, stride=step, pad=((0, 0), (0, 0.0))),
        lambda: ops.input_grad(gy, W, (4, 7.0), stride=step),
        lambda: ops.weight_grad(x, gy, (3, 3.0), stride=step),
    ):
        with pytest.raises(TypeError):
            call()
