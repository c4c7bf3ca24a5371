"""depthwise_convolution_1d, 2d and 3d of each framework's arrays: as of NumPy's."""

import numpy as np
import pytest

import depthwise
from depthwise import Variable, reference
from depthwise import functions as F  # noqa: N812 - Chainer's users call it so
from helpers import assert_same, integers

PROBLEMS = [
    (F.depthwise_convolution_1d, (9,), (4,), {"pad": "causal"}),
    (F.depthwise_convolution_1d, (30,), (3,), {"stride": 2, "pad": ((2, 1),), "dilate": (2,)}),
    (F.depthwise_convolution_2d, (6, 7), (3, 2), {"stride": (1, 2), "pad": "same"}),
    (F.depthwise_convolution_3d, (4, 6, 7), (2, 3, 2), {"stride": (1, 2, 1), "pad": ((1, 0), (1, 1), (0, 2))}),
    (F.depthwise_convolution_3d, (4, 6, 7), (3, 3, 3), {"pad": "same", "dilate": (1, 2, 1)}),
]


def torch_arrays():
    """What makes a tensor of an array, and gives y and the gradients of its sum of squares."""
    torch = pytest.importorskip("torch")

    def results(function, *arrays):
        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        y = function(*tensors)
        assert isinstance(y, torch.Tensor)
        y.square().sum().backward()
        return [a.numpy() for a in (y.detach(), *(t.grad for t in tensors))]

    return torch.tensor, results


def jax_arrays():
    jax = pytest.importorskip("jax")
    pytest.importorskip("depthwise.jax", reason="this build has nothing for JAX", exc_type=ImportError)

    def results(function, *arrays):
        arrays = [jax.numpy.asarray(a) for a in arrays]
        y = function(*arrays)
        assert isinstance(y, jax.Array)
        gradients = jax.grad(lambda *a: (function(*a) ** 2).sum(), argnums=(0, 1, 2))(*arrays)
        return [np.asarray(a) for a in (y, *gradients)]

    return jax.numpy.asarray, results


@pytest.mark.parametrize("framework", [torch_arrays, jax_arrays])
@pytest.mark.parametrize(("function", "size", "kernel", "steps"), PROBLEMS)
def test_values_and_gradients(function, size, kernel, steps, framework):
    _, results = framework()
    rng = np.random.default_rng(23)
    arrays = [integers(rng, s, np.float32, -2, 3) for s in ((2, 3, *size), (2, 3, *kernel), (6,))]
    y, *gradients = results(lambda *a: function(*a, **steps), *arrays)
    expected = reference.forward(*arrays, **steps)
    assert_same(y, expected)
    variables = [Variable(a) for a in arrays]
    F.sum(function(*variables, **steps) ** 2).backward()
    for gradient, variable in zip(gradients, variables, strict=True):
        np.testing.assert_array_equal(gradient, variable.grad)


@pytest.mark.parametrize("framework", [torch_arrays, jax_arrays])
def test_errors_name_the_axes(framework):
    make, _ = framework()
    for function, x_shape, W_shape, steps, message in (
        (F.depthwise_convolution_1d, (1, 2, 5, 5), (1, 2, 3, 3), {}, "W must have 3 axes"),
        (F.depthwise_convolution_1d, (1, 2, 2), (1, 2, 3), {}, "length of the output would be 0"),
        (F.depthwise_convolution_2d, (1, 2, 5), (1, 2, 3), {}, "W must have 4 axes"),
        (F.depthwise_convolution_2d, (1, 2, 5, 5), (1, 2, 3, 3), {"pad": "causal"}, '"same" or "valid"'),
        (F.depthwise_convolution_3d, (1, 2, 2, 5, 5), (1, 2, 3, 3, 3), {}, "depth of the output would be 0"),
        (F.depthwise_convolution_3d, (1, 2, 5, 5), (1, 2, 3, 3), {}, "W must have 5 axes"),
    ):
        x, W = (make(np.ones(s, np.float32)) for s in (x_shape, W_shape))
        with pytest.raises(ValueError, match=message):
            function(x, W, **steps)


def test_the_functions_stand_in_the_root():
    for n in (1, 2, 3):
        name = f"depthwise_convolution_{n}d"
        assert getattr(depthwise, name) is getattr(F, name)
