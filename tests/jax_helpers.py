"""What the tests of depthwise.jax share. A file that imports it is skipped where there is no JAX, or nothing for it."""

from __future__ import annotations

import os
import re
import sys

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import numpy as np
import pytest

from helpers import hidden

jax = pytest.importorskip("jax", reason="depthwise.jax needs JAX")
with hidden((sys.modules["jax._src.dispatch"], "prim_requires_devices_during_lowering")):
    pytest.importorskip("depthwise.jax", reason="this build has nothing for JAX", exc_type=ImportError)

# Behind importorskip, hence E402; for the files of tests, hence F401.
import jax.numpy as jnp  # noqa: E402
from jax import export, lax  # noqa: E402, F401
from jax.test_util import check_grads  # noqa: E402, F401

from depthwise.jax import conv, conv_general_dilated, internals, primitives  # noqa: E402, F401

DTYPES = ["float16", "bfloat16", "float32", "float64"]
# n, c_I, size, c_M, kernel, steps; and in each number of spatial axes one that has something of everything.
FIRST = (2, 3, (9, 11), 1, (3, 3), {"pad": 1})
ALL_OF_IT = {
    1: (2, 5, (12,), 2, (3,), {"stride": 2, "pad": ((3, 1),), "dilate": 2}),
    2: (2, 5, (12, 7), 2, (5, 3), {"stride": 2, "pad": (2, 1), "dilate": (2, 1)}),
    3: (2, 3, (4, 7, 5), 2, (2, 3, 3), {"stride": (1, 2, 1), "pad": ((1, 1), (2, 0), (1, 1)), "dilate": (2, 1, 1)}),
}
THIRD = ALL_OF_IT[2]
CASES = [
    FIRST,
    (1, 16, (14, 14), 1, (3, 3), {"stride": (2, 1), "pad": ((0, 1), (2, 0))}),
    *ALL_OF_IT.values(),
    (1, 1, (8, 8), 3, (4, 2), {"pad": "same", "stride": 2}),
    (0, 4, (6, 6), 1, (3, 3), {}),
    (2, 16, (20,), 1, (4,), {"pad": "causal"}),
    (1, 4, (3, 6, 9), 1, (3, 3, 3), {"pad": "same"}),
]
DIMS = list(ALL_OF_IT)
PLACES = ["second", "last"]  # of the channels


def integers(*shape, dtype="float32", seed=0):
    """Small integers, of which every order of summation makes the same sum."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(jnp.dtype(dtype))


def problem(case, dtype="float32", channels="second", activation=None):
    """(x, W, b) and the function of them."""
    n, c, size, m, kernel, steps = case
    x, options = integers(n, c, *size, dtype=dtype), {"layout": layout(len(size), channels), "activation": activation}
    arrays = in_layout(x, channels), integers(m, c, *kernel, dtype=dtype, seed=1), integers(c * m, dtype=dtype, seed=2)
    return arrays, lambda x, W, b=None: conv(x, W, b, **options, **steps)


def layout(dims, channels):
    """The name of a layout with the channels second or last."""
    spatial = "DHW"[3 - dims :]
    return f"NC{spatial}" if channels == "second" else f"N{spatial}C"


def in_layout(a, channels):
    return a if channels == "second" else np.ascontiguousarray(np.moveaxis(a, 1, -1))


def planar(a, channels):
    return np.asarray(a) if channels == "second" else np.moveaxis(np.asarray(a), -1, 1)


def assert_exact(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(
        np.asarray(actual).astype(np.float64), expected.astype(actual.dtype).astype(np.float64)
    )


def primitives_in(f, *args):
    return set(re.findall(r"depthwise_\w+|conv_general_dilated", str(jax.make_jaxpr(f)(*args))))


def primitives_steps(f, x, W):
    (equation,) = [e for e in jax.make_jaxpr(f)(x, W).eqns if e.primitive is primitives.conv_p]
    return equation.params["steps"]


WITHOUT_ELEMENTS = [  # x, W; each axis that may be empty
    ((1, 0, 5, 6), (2, 0, 3, 2)),
    ((2, 0, 5, 6), (0, 0, 3, 2)),
    ((0, 2, 5, 6), (2, 2, 3, 2)),
    ((1, 2, 5, 6), (0, 2, 3, 2)),
    ((1, 2, 5, 6), (2, 2, 0, 2)),
    ((1, 2, 5, 6), (2, 2, 3, 0)),
    ((1, 2, 0, 6), (2, 2, 2, 2)),
    ((1, 0, 5), (2, 0, 3)),
    ((1, 2, 5), (2, 2, 0)),
    ((0, 2, 3, 5, 6), (2, 2, 2, 3, 2)),
    ((1, 2, 3, 0, 6), (2, 2, 0, 2, 2)),
]


def without_elements(shapes, channels):
    """(x, W, b) and all that follows from them."""
    x, W = (integers(*s, seed=i) for i, s in enumerate(shapes))

    def everything(x, W, b):
        y, back = jax.vjp(lambda *a: conv(*a, pad=1, layout=layout(W.ndim - 2, channels)), x, W, b)
        return y, back(y)

    return (in_layout(x, channels), W, integers(x.shape[1] * W.shape[0], seed=2)), everything
