"""First values: spreads by shape, dtypes, generators, and what is refused."""

import math

import numpy as np
import pytest

from depthwise import initializers

SHAPE = (40, 30, 5, 3)
FAN_IN, FAN_OUT, TAPS = 30 * 15, 40 * 15, 15

# standard deviations as Chainer's documents give them; a uniform distribution's is its bound / sqrt(3)
SPREADS = {
    initializers.Normal(0.3): 0.3,
    initializers.LeCunNormal(): math.sqrt(1 / FAN_IN),
    initializers.GlorotNormal(): math.sqrt(2 / (FAN_IN + FAN_OUT)),
    initializers.HeNormal(2.0): 2 * math.sqrt(2 / FAN_IN),
    initializers.HeNormal(fan_option="fan_out"): math.sqrt(2 / FAN_OUT),
    initializers.DepthwiseNormal(): math.sqrt(1 / TAPS),
    initializers.Uniform(0.3): 0.3 / math.sqrt(3),
    initializers.LeCunUniform(): math.sqrt(1 / FAN_IN),
    initializers.GlorotUniform(): math.sqrt(2 / (FAN_IN + FAN_OUT)),
    initializers.HeUniform(): math.sqrt(2 / FAN_IN),
}


@pytest.mark.parametrize("initializer", SPREADS, ids=lambda i: type(i).__name__)
def test_spreads(initializer):
    np.random.seed(6)
    array = initializers.generate_array(initializer, SHAPE, np)
    assert (array.shape, array.dtype) == (SHAPE, np.float32)
    assert array.std() == pytest.approx(SPREADS[initializer], rel=0.02)
    assert abs(array.mean()) < 0.02 * array.std()
    uniform = isinstance(initializer, initializers.Uniform)
    assert (np.abs(array).max() <= SPREADS[initializer] * math.sqrt(3) * 1.0001) == uniform


def test_values():
    for initializer, value in (
        (initializers.Zero(), 0),
        (initializers.One(), 1),
        (initializers.Constant([2, 3]), [2, 3]),
    ):
        np.testing.assert_array_equal(initializers.generate_array(initializer, (2,)), np.broadcast_to(value, 2))
    assert np.isnan(initializers.generate_array(initializers.NaN(), 2)).all()


def test_generators():
    for kind in (initializers.Normal, initializers.HeUniform):
        one, two = (initializers.generate_array(kind(rng=np.random.RandomState(3)), SHAPE) for _ in range(2))
        np.testing.assert_array_equal(one, two)
        assert kind(rng=np.random.default_rng(3)).rng is not None


def test_dtypes():
    assert initializers.generate_array(initializers.Normal(dtype="e"), 2).dtype == np.float16
    assert initializers.generate_array(initializers.Normal(), 2, dtype="d").dtype == np.float64
    assert initializers.generate_array(lambda a: a.fill(3), 2).dtype == np.float32
    with pytest.raises(ValueError, match="dtype float64 was asked of an initializer of float16"):
        initializers.generate_array(initializers.Normal(dtype="e"), 2, dtype="d")
    with pytest.raises(TypeError, match="Normal of float16 was given an array of float32"):
        initializers.Normal(dtype=np.float16)(np.zeros(2, np.float32))


def test_refused():
    with pytest.raises(ValueError, match=r"HeNormal needs an array of at least 2 axes, got shape \(3,\)"):
        initializers.HeNormal()(np.zeros(3))
    with pytest.raises(ValueError, match='fan_option must be "fan_in" or "fan_out"'):
        initializers.HeNormal(fan_option="fan")
    with pytest.raises(NotImplementedError):
        initializers.Initializer()(np.zeros(3))
