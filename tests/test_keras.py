"""Keras 3 on PyTorch and on JAX: the documented line sends its depthwise layers to the engine, with Keras's results."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

if find_spec("keras") is None:  # to import it here would choose a backend
    pytest.skip("Keras is not installed: it is no extra", allow_module_level=True)

# The backend is chosen once for a process, so that each test is one of its own.
COMMON = """
import numpy as np, keras
rng = np.random.default_rng(0)
def layers(layout):
    for axes, cls in ((1, keras.layers.DepthwiseConv1D), (2, keras.layers.DepthwiseConv2D)):
        for options in (
            dict(kernel_size=3),
            dict(kernel_size=3, padding="same", depth_multiplier=2),
            dict(kernel_size=5, strides=2, padding="same", use_bias=False),
            dict(kernel_size=3, dilation_rate=2, padding="same"),
        ):
            size = (2, *(9, 8)[:axes], 4) if layout == "channels_last" else (2, 4, *(9, 8)[:axes])
            layer = cls(data_format=layout, **options)
            layer.build(size)
            yield layer, rng.normal(size=size).astype("float32")
def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
"""

TORCH = """
import torch, depthwise.torch
from torch.overrides import TorchFunctionMode
from depthwise.torch import rerouting
calls = []
def counted(function):
    def count(*args, **kwargs):
        y = function(*args, **kwargs)
        calls.append(y is not None)
        return y
    return count
for name, function in rerouting._OURS.items():
    rerouting._OURS[name] = counted(function)
def passes(layer, x):
    x = torch.tensor(x, requires_grad=True)
    y = layer(x)
    weights = [w.value for w in layer.trainable_weights]
    return [a.detach().numpy() for a in (y, *torch.autograd.grad((y * y).sum(), [x, *weights]))]
for layout in ("channels_last", "channels_first"):
    for layer, x in layers(layout):
        stock, before = passes(layer, x), len(calls)
        with depthwise.torch.accelerated():
            ours = passes(layer, x)
        assert calls[before:] == [True], calls[before:]
        for a, b in zip(ours, stock, strict=True):
            close(a, b)
model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.DepthwiseConv2D(3, padding="same"),
                          keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])
model.compile("sgd", "mse")
before = len(calls)
with depthwise.torch.accelerated():
    model.fit(np.ones((4, 8, 8, 4), "float32"), np.ones((4, 1), "float32"), verbose=0)
assert any(calls[before:])
"""

JAX = """
import jax, jax.numpy as jnp, depthwise.jax
def passes(layer, x):
    def loss(x, weights):
        y, _ = layer.stateless_call(weights, [], x)
        return (y * y).sum(), y
    weights = [w.value for w in layer.trainable_weights]
    program = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True)).lower(jnp.asarray(x), weights).compile()
    (_, y), (gx, gw) = program(jnp.asarray(x), weights)
    return program.as_text(), [np.asarray(a) for a in (y, gx, *gw)]
stock = jax.lax.conv_general_dilated
for layout in ("channels_last", "channels_first"):
    for layer, x in layers(layout):
        jax.lax.conv_general_dilated = stock
        program, expected = passes(layer, x)
        assert 'custom_call_target="depthwise' not in program, program
        jax.lax.conv_general_dilated = depthwise.jax.conv_general_dilated
        program, ours = passes(layer, x)
        assert program.count('custom_call_target="depthwise') >= 3, program  # y and both gradients
        for a, b in zip(ours, expected, strict=True):
            close(a, b)
dense = keras.layers.Conv2D(5, 3)  # what is not depthwise is still JAX's
assert dense(np.ones((1, 8, 8, 4), "float32")).shape == (1, 6, 6, 5)
model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.DepthwiseConv2D(3, padding="same"),
                          keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((4, 8, 8, 4), "float32"), np.ones((4, 1), "float32"), verbose=0)
"""


def run(backend, code):
    env = dict(os.environ, KERAS_BACKEND=backend)
    done = subprocess.run([sys.executable, "-c", COMMON + code], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_layers_on_torch():
    pytest.importorskip("torch")
    run("torch", TORCH)


def test_layers_on_jax():
    pytest.importorskip("jax")
    pytest.importorskip("depthwise.jax", reason="this build has nothing for JAX", exc_type=ImportError)
    run("jax", JAX)
