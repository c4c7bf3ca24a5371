"""The surface of Variable: arithmetic against finite differences, and what is refused."""

import copy
import operator
import pickle

import numpy as np
import pytest

import depthwise
from depthwise import Variable
from depthwise import functions as F  # noqa: N812 - Chainer's users call it so
from depthwise.gradient_check import check_backward, check_double_backward

rng = np.random.default_rng(20)
a, c = rng.uniform(0.5, 2, (3, 4)), rng.uniform(0.5, 2, (4,))

OPERATIONS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "neg": lambda x, y: -x * y,
    "abs": lambda x, y: abs(x - 1) * y,
    "radd": lambda x, y: 2 + x * y,
    "rsub": lambda x, y: 2 - x * y,
    "rdiv": lambda x, y: 2 / (x * y),
    "rpow": lambda x, y: 2.0 ** (x * y),
    "matmul": lambda x, y: x @ (x * y).T,
    "index": lambda x, y: (x * y)[1:, ::2] * 3,
    "fancy": lambda x, y: (x * y)[[0, 2, 2]],
    "reshape": lambda x, y: (x * y * y).reshape(2, -1),
    "transpose": lambda x, y: F.transpose(x * y * y, (1, 0)),
    "sum": lambda x, y: F.sum(x * y, axis=0, keepdims=True),
    "mean": lambda x, y: (x * x * y).mean(axis=1),
    "relu": lambda x, y: F.relu(x - 1.2) * y,
    "pad constant": lambda x, y: F.pad(x * y, ((1, 0), (2, 3)), "constant", constant_values=2) ** 2,
    "pad edge": lambda x, y: F.pad(x * y, (1, 2), "edge") ** 2,
    "pad reflect": lambda x, y: F.pad(x * y, ((7, 1), (0, 2)), "reflect") ** 2,
    "pad symmetric": lambda x, y: F.pad(x * y, ((1, 7),), "symmetric") ** 2,
    "pad wrap": lambda x, y: F.pad(x * y, 5, "wrap") ** 2,
    "broadcast": lambda x, y: F.broadcast_to(y * y, (2, 4)) * x[0],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    f = OPERATIONS[name]
    np.random.seed(1)
    y = f(Variable(a), Variable(c))
    gy = rng.normal(size=y.shape)
    check_backward(f, (a, c), gy, atol=1e-4, rtol=1e-3)
    check_double_backward(f, (a, c), gy, (a, c), atol=1e-3, rtol=1e-2)


def test_relu():
    x = Variable(np.array([-2, -0.0, 3, np.nan], np.float16))
    y = F.relu(x)
    np.testing.assert_array_equal(y.array, np.array([0, 0, 3, np.nan], np.float16))
    assert y.dtype == np.float16
    F.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [0, 0, 1, 0])


@pytest.mark.parametrize("pad_width", [2, (2, 1), [[1], [2]], ((0, 3), (4, 0)), np.array([[0, 0], [9, 8]])])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap"])
def test_pad_is_numpys(mode, pad_width):
    np.testing.assert_array_equal(F.pad(a, pad_width, mode).array, np.pad(a, pad_width, mode))


def test_the_gradient_of_a_reflection_counts_what_is_repeated():
    """Chainer's own leaves what stands beside the array out."""
    x = Variable(np.arange(4, dtype=np.float16))
    F.sum(F.pad(x, (2, 1), "reflect")).backward()
    np.testing.assert_array_equal(x.grad, [1, 2, 3, 1])
    assert x.grad.dtype == np.float16


def test_pads_that_are_refused():
    for mode, keywords in (("mean", {}), ("linear_ramp", {}), (None, {}), ("reflect", {"reflect_type": "odd"})):
        with pytest.raises(ValueError, match="mode must be one of constant, edge, reflect, symmetric, wrap"):
            F.pad(a, 1, mode, **keywords)
    with pytest.raises(ValueError, match="unsupported keyword arguments"):
        F.pad(a, 1, "edge", constant_values=3)
    with pytest.raises(TypeError, match=r"pad_width must be an int or made of ints, got 1.5"):
        F.pad(a, 1.5, "edge")
    with pytest.raises(ValueError, match="pad_width must not be negative"):
        F.pad(a, ((0, 0), (-1, 0)), "edge")
    with pytest.raises(ValueError, match=r"a pair for each of x's 2 axes, got \(1, 2, 3\)"):
        F.pad(a, (1, 2, 3), "edge")


def test_operations_with_arrays_and_numbers():
    v = Variable(np.arange(3, dtype=np.float32))
    array = np.ones(3, np.float32)
    for y in (v + 1, 1 + v, v + array, array + v, v + np.float64(1), np.float64(1) + v, v + np.array(1.0)):
        assert isinstance(y, Variable)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.array, [1, 2, 3])
    np.testing.assert_array_equal((array - v).array, [1, 0, -1])
    np.testing.assert_array_equal((2**v).array, [1, 2, 4])
    assert (+v) is v
    with pytest.raises(TypeError):
        v + "1"
    with pytest.raises(ValueError, match="at least 2 axes"):
        v @ v


@pytest.mark.parametrize("compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
def test_comparison_is_refused(compare):
    with pytest.raises(TypeError, match=r"Variables do not support .* operator. You could use `array` attribute"):
        compare(Variable(np.ones(1)), 1)


def test_truth_and_hash_are_refused():
    with pytest.raises(TypeError, match="Variables cannot be evaluated as Python bool"):
        bool(Variable(np.ones(1)))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Variable(np.ones(1)))


def test_attributes():
    v = Variable(np.arange(6.0).reshape(2, 3), name="v")
    assert (v.shape, v.ndim, v.size, v.dtype, len(v), v.xp) == ((2, 3), 2, 6, np.float64, 2, np)
    assert v.data is v.array
    assert v.T.shape == (3, 2)
    assert v.creator is None
    assert v.rank == 0
    assert (v * 2).rank == 1
    assert (v * 2).creator.label == "Multiply"
    assert repr(Variable(np.array([1.0]))) == "variable([1.])"
    assert repr(Variable(np.array([1.0]), name="q")) == "variable q([1.])"
    assert F.sum(v).item() == 15
    assert [row.shape for row in v] == [(3,), (3,)]
    v.array = np.zeros(2)
    assert v.shape == (2,)


def test_numpy_and_dlpack():
    v = Variable(np.arange(3.0))
    assert np.asarray(v) is v.array
    assert np.array(v) is not v.array
    assert np.asarray(v, np.float32).dtype == np.float32
    assert np.shares_memory(np.from_dlpack(v), v.array)


def test_construction():
    with pytest.raises(TypeError, match="must be a NumPy array, got list"):
        Variable([1.0])
    with pytest.raises(TypeError, match="foo"):
        Variable(np.ones(1), foo=1)
    with pytest.raises(AttributeError, match="no array yet"):
        _ = Variable(None).shape
    assert not Variable(np.ones(1), requires_grad=False).requires_grad
    np.testing.assert_array_equal(Variable(np.ones(2), grad=np.ones(2)).grad, [1, 1])


def test_copies_are_leaves():
    v = Variable(np.arange(3.0), name="v", grad=np.ones(3)) * 1
    v.grad = np.ones(3)
    for twin in (pickle.loads(pickle.dumps(v)), copy.deepcopy(v)):
        np.testing.assert_array_equal(twin.array, v.array)
        np.testing.assert_array_equal(twin.grad, v.grad)
        assert twin.creator is None


def test_unchain():
    x = Variable(np.ones(2))
    h = x * 2
    y = F.sum(h * 3)
    h.unchain()
    y.backward()
    assert x.grad is None
    np.testing.assert_array_equal(h.grad, [3, 3])
    y = F.sum(x * 2)
    y.unchain_backward()
    assert y.creator is None


def test_addgrad():
    x, z = Variable(np.ones(2), grad=np.ones(2)), Variable(np.ones(2), grad=np.full(2, 3.0))
    x.addgrad(z)
    np.testing.assert_array_equal(x.grad, [4, 4])
    assert depthwise.as_variable(x) is x
