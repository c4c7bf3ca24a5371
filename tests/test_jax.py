"""depthwise.jax beside the reference and XLA's own convolution: values, arguments, errors, threads."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import depthwise
from depthwise import _core, reference
from helpers import combinations, in_turn
from jax_helpers import (
    ALL_OF_IT,
    CASES,
    DIMS,
    DTYPES,
    PLACES,
    assert_exact,
    conv,
    integers,
    jax,
    jnp,
    planar,
    primitives,
    primitives_in,
    primitives_steps,
    problem,
)


@pytest.mark.parametrize(("case", "dtype", "channels"), combinations(CASES, DTYPES, PLACES), ids=str)
def test_values_and_gradients_are_exact(case, dtype, channels, target):
    with jax.enable_x64(True):
        (x, W, b), f = problem(case, dtype, channels)
        y, back = jax.vjp(jax.jit(f), x, W, b)
        assert y.dtype == x.dtype
        gy = integers(*y.shape, dtype=dtype, seed=3)
        gx, gW, gb = back(gy)
    steps, flat, g = case[-1], planar(x, channels), planar(gy, channels)
    assert_exact(planar(y, channels), reference.forward(flat, W, b, **steps))
    assert_exact(planar(gx, channels), reference.input_grad(g, W, flat.shape[2:], **steps))
    assert_exact(gW, reference.weight_grad(flat, g, W.shape[2:], **steps))
    assert_exact(gb, reference.bias_grad(g))


def test_operands_of_several_dtypes():
    x, W, b = integers(1, 2, 6, 6, dtype="bfloat16"), integers(1, 2, 3, 3), integers(2, dtype="float16")
    y, back = jax.vjp(conv, jnp.asarray(x), jnp.asarray(W), jnp.asarray(b))
    assert [a.dtype for a in (y, *back(jnp.ones_like(y)))] == ["bfloat16", "bfloat16", "float32", "float16"]
    assert_exact(y, reference.forward(x, W, b))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_of_16_bits_are_summed_in_32(dtype):
    x, W, b = (jnp.zeros(s, dtype) for s in ((1, 2, 250, 250), (1, 2, 1, 1), (2,)))
    y, back = jax.vjp(jax.jit(conv), x + 1, W, b)
    _, gW, gb = back(jnp.full_like(y, 1 / 64))
    expected = np.full(2, 250 * 250 / 64).astype(y.dtype)  # in bfloat16 itself the sum would stop at 256
    np.testing.assert_array_equal(gb, expected)
    np.testing.assert_array_equal(gW.ravel(), expected)


@pytest.mark.parametrize(("case", "channels"), in_turn([c for c in CASES if c[0]], PLACES), ids=str)
def test_what_other_platforms_compute(case, channels):
    (x, W, b), f = problem(case, channels=channels)
    y, back = jax.vjp(f, x, W, b)
    steps = primitives_steps(f, x, W)
    gx, gW, _ = back(y)
    np.testing.assert_array_equal(primitives._xla_conv(x, W, b, steps=steps), y)
    size = steps.sizes(x.shape)[2:]
    np.testing.assert_array_equal(primitives._xla_input_grad(y, W, steps=steps, size=size), gx)
    parameters = {"kernel": (W.shape[0], *W.shape[2:]), "dtype": W.dtype}
    np.testing.assert_array_equal(primitives._xla_weight_grad(jnp.asarray(x), y, steps=steps, **parameters), gW)


def test_steps_may_be_numbers_and_arrays_of_any_kind():
    x, W = integers(1, 2, 8, 9), integers(1, 2, 3, 3, seed=1)
    expected = conv(x, W, stride=2, pad=1, dilate=(1, 2))
    steps = {"stride": jnp.int32(2), "pad": np.array([1, 1]), "dilate": np.array([1, 2])}
    np.testing.assert_array_equal(conv(x, W, **steps), expected)
    np.testing.assert_array_equal(jax.jit(lambda x: conv(x, W, **steps))(x), expected)
    with pytest.raises(TypeError, match="stride must be an int"):
        jax.jit(lambda x, stride: conv(x, W, stride=stride))(x, 2)


@pytest.mark.parametrize("stride", [10, 2**31 - 1])
def test_huge_strides(stride):
    """Of nine windows the middle one alone meets the image, so one of each kind of gradient is of ones."""
    x = W = jnp.ones((1, 1, 3, 3))
    y, back = jax.vjp(jax.jit(lambda x, W: conv(x, W, pad=stride, stride=stride)), x, W)
    np.testing.assert_array_equal(y[0, 0], [[0, 0, 0], [0, 9, 0], [0, 0, 0]])
    jax.tree.map(np.testing.assert_array_equal, back(jnp.ones_like(y)), (x, W))


@pytest.mark.parametrize(("pad", "stride"), [(100, 30), (10**8, 3 * 10**7)])
def test_huge_pads(pad, stride):
    """No window meets the image."""
    x = W = jnp.ones((1, 1, 3, 3))

    def everything(x, W):
        y, back = jax.vjp(lambda x, W: conv(x, W, pad=pad, stride=stride), x, W)
        return y, *back(y + 1)

    assert primitives_in(everything, x, W) == {"depthwise_conv", "depthwise_input_grad", "depthwise_weight_grad"}
    text = jax.jit(everything).lower(x, W).as_text()
    assert "stablehlo.convolution" not in text
    assert text.count(f"pad = dense<{pad}> : tensor<2xi64>") == text.count("@depthwise") == 3
    expected = (np.zeros(s, np.float32) for s in ((1, 1, 7, 7), x.shape, W.shape))
    jax.tree.map(np.testing.assert_array_equal, everything(x, W), tuple(expected))


@pytest.mark.parametrize("dims", DIMS)
def test_the_functions_for_any_array_take_and_give_jax_arrays(dims):
    function = getattr(depthwise.functions, f"depthwise_convolution_{dims}d")
    (x, W, b), _ = problem(ALL_OF_IT[dims])
    y = function(jnp.asarray(x), jnp.asarray(W), jnp.asarray(b), 1, 1)
    assert isinstance(y, jax.Array)
    assert_exact(y, reference.forward(x, W, b, pad=1))
    traced = jax.jit(lambda x: function(x, jnp.asarray(W), pad=1))
    assert_exact(traced(x), reference.forward(x, W, pad=1))
    with pytest.raises(TypeError, match="W must be a JAX array, as x is, got ndarray"):
        function(jnp.asarray(x), W)
    with pytest.raises(TypeError, match="b must have x's dtype float32, got float16"):
        function(jnp.asarray(x), jnp.asarray(W), jnp.asarray(b, jnp.float16))
    with pytest.raises(ValueError, match=f"must have {2 + dims} axes"):
        function(jnp.asarray(x)[None], jnp.asarray(W)[None])


X, KERNEL = np.ones((2, 4, 8, 8), np.float32), np.ones((1, 4, 3, 3), np.float32)
LINE, TAPS = X[..., 0], KERNEL[..., 0]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X, KERNEL[:, :3]), {}, ValueError, r"W has 3 input channels but x has 4 \(x \(2, 4, 8, 8\)"),
        ((X, KERNEL), {"layout": "NHWC"}, ValueError, r"W has 4 input channels but x has 8 \(x \(2, 4, 8, 8\)"),
        ((X[0], KERNEL), {}, ValueError, "x must have 4 axes"),
        ((X[0], KERNEL), {"layout": "NHWC"}, ValueError, "x must have 4 axes"),
        ((X, KERNEL[0]), {}, ValueError, "W must have 4 axes"),
        ((X, KERNEL, np.ones(3, np.float32)), {}, ValueError, r"b must have shape \(4,\)"),
        ((X.astype(int), KERNEL), {}, TypeError, "x must be float16, bfloat16, float32 or float64, got int64"),
        (([1.0], KERNEL), {}, TypeError, "x must be an array, got list"),
        ((X, None), {}, TypeError, "W must be an array, got NoneType"),
        ((X, KERNEL), {"layout": "CHWN"}, ValueError, "layout must be one of NCW, NWC, NCHW, NHWC, NCDHW, NDHWC"),
        ((X, KERNEL), {"layout": 4}, ValueError, "layout must be one of NCW, NWC, NCHW, NHWC, NCDHW, NDHWC"),
        ((LINE, TAPS), {"layout": "NHWC"}, ValueError, "must have 4 axes"),
        ((X, KERNEL), {"layout": "NWC"}, ValueError, "must have 3 axes"),
        ((X[None], KERNEL), {}, ValueError, "W must have 5 axes"),
        ((X[None, None], KERNEL[None, None]), {}, ValueError, "must have 3 to 5 axes"),
        ((LINE[0], TAPS[0]), {}, ValueError, "must have 3 to 5 axes"),
        ((LINE, TAPS), {"dilate": 5}, ValueError, "length of the output would be"),
        ((LINE, TAPS), {"stride": (1, 1)}, ValueError, r"stride must be an int or a tuple \(length,\)"),
        ((LINE, TAPS[:, :3]), {"layout": "NWC"}, ValueError, r"W has 3 input channels but x has 8 \(x \(2, 4, 8\)"),
        ((X, KERNEL), {"pad": "causal"}, ValueError, "pad must be"),
        ((X, KERNEL), {"activation": "tanh"}, ValueError, "activation must be None, \"silu\", .* got 'tanh'"),
        ((X, KERNEL), {"activation": jax.nn.silu}, TypeError, 'activation must be None, "silu", .* got'),
        ((X, KERNEL), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ((X, KERNEL), {"pad": "full"}, ValueError, "pad must be"),
        ((X, KERNEL), {"dilate": 5}, ValueError, "height of the output would be"),
        ((X, KERNEL), {"dilate": 1.5}, TypeError, "dilate must be an int"),
    ],
)
def test_rejected(arguments, options, error, message):
    with pytest.raises(error, match=message):
        conv(*arguments, **options)
    with pytest.raises(error, match=message):  # where it is traced
        jax.jit(lambda: conv(*arguments, **options))()


def test_a_build_without_handlers_says_what_to_do(monkeypatch):
    import depthwise.jax as package

    monkeypatch.delattr(_core, "xla_handler")
    with pytest.raises(ImportError, match="DEPTHWISE_JAX=1 pip install"):
        importlib.reload(package)


def test_same_bits_on_one_cpu_and_on_all():
    code = """
import os, sys, numpy as np
if sys.argv[1] == "1":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax
from depthwise.jax import conv
r = np.random.default_rng(0)
x, W = r.standard_normal((4, 80, 64, 64), np.float32), r.standard_normal((1, 80, 5, 5), np.float32)
x[:, ::3] *= 1e-38  # denormal products too
y, back = jax.jit(lambda x, W: jax.vjp(lambda x, W: conv(x, W, pad=2), x, W))(x, W)
import hashlib
print(hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in (y, *back(y)))).hexdigest())
"""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    ends = [
        subprocess.run([sys.executable, "-c", code, n], env=environment, capture_output=True, text=True, check=True)
        for n in ("1", "all", "all")
    ]
    assert len({end.stdout for end in ends}) == 1


HUGE_PAGES = """
import jax
from depthwise.jax import conv
y = conv(jax.numpy.ones((1, 48, 512, 512)), jax.numpy.ones((1, 48, 3, 3)), pad=1)
place, inside = y.unsafe_buffer_pointer() + y.nbytes // 2, False
for line in open("/proc/self/smaps"):
    name, *values = line.split()
    if not name.endswith(":"):
        first, last = (int(end, 16) for end in name.split("-"))
        inside = first <= place < last
    elif inside and name == "VmFlags:":
        print("hg" in values)
"""


@pytest.mark.skipif(not os.path.exists("/sys/kernel/mm/transparent_hugepage"), reason="this system has no huge pages")
@pytest.mark.parametrize(("switch", "asked"), [("1", "True"), ("0", "False")])
def test_huge_pages_are_asked_for_where_the_user_says_so(switch, asked):
    """The memory is XLA's."""
    environment = {**os.environ, "DEPTHWISE_JAX_HUGE_PAGES": switch}
    child = [sys.executable, "-c", HUGE_PAGES]
    end = subprocess.run(child, env=environment, capture_output=True, text=True, check=True)
    assert end.stdout.strip() == asked


def test_no_helper_is_left_behind():
    """A result that is returned while one of XLA's threads still writes it is wrong, or the process ends."""
    (x, W, _), f = problem((1, 96, (56, 56), 1, (7, 7), {"pad": 3}))
    g = jax.jit(f)
    expected = np.asarray(g(x, W)).copy()
    assert all(np.array_equal(g(x, W), expected) for _ in range(1500))


def test_many_callers_at_once():
    problems = [problem(case) for case in CASES]
    jitted = [(jax.jit(lambda *a, f=f: jax.vjp(f, *a)[1](f(*a))), arrays) for arrays, f in problems]
    expected = [g(*arrays) for g, arrays in jitted]

    def calls(i):
        g, arrays = jitted[i % len(jitted)]
        return [jax.block_until_ready(g(*arrays)) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        for i, results in enumerate(pool.map(calls, range(40))):
            for result in results:
                jax.tree.map(np.testing.assert_array_equal, result, expected[i % len(expected)])
