"""
A network of Flax, stock XLA and depthwise's convolution
========================================================

Trains a network as MobileNetV2 twice from the same weights::

    DEPTHWISE_JAX=1 pip install '.[jax]' flax optax && python examples/flax_mobilenet.py

Images are random, 8 of 128 x 128 pixels. Prints the loss and the time of a step of both, interleaved. The first losses
are equal up to rounding; later ones drift, as they do where the last bit of the images changes: the gradients of a
fresh network hang on it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import depthwise.jax

# widening, channels, blocks, stride: MobileNetV2's table
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class Block(nnx.Module):
    """Inverted residual: widen, depthwise, narrow."""

    def __init__(self, inputs: int, outputs: int, widening: int, stride: int, convolution: Any, rngs: nnx.Rngs):
        wide = widening * inputs
        self.widen = nnx.Conv(inputs, wide, (1, 1), use_bias=False, rngs=rngs)
        self.depthwise = nnx.Conv(
            wide,
            wide,
            (3, 3),
            strides=stride,
            feature_group_count=wide,
            use_bias=False,
            conv_general_dilated=convolution,  # the one change
            rngs=rngs,
        )
        self.narrow = nnx.Conv(wide, outputs, (1, 1), use_bias=False, rngs=rngs)
        self.norms = nnx.List([nnx.BatchNorm(c, rngs=rngs) for c in (wide, wide, outputs)])
        self.has_residual = stride == 1 and inputs == outputs

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu6(self.norms[0](self.widen(x)))
        y = nnx.relu6(self.norms[1](self.depthwise(y)))
        y = self.norms[2](self.narrow(y))
        return x + y if self.has_residual else y


class Network(nnx.Module):
    """Stem, the blocks of STAGES, mean over the pixels, one linear layer."""

    def __init__(self, convolution: Any, rngs: nnx.Rngs, classes: int = 10):
        self.stem = nnx.Conv(3, 32, (3, 3), strides=2, use_bias=False, rngs=rngs)
        blocks, channels = [], 32
        for widening, outputs, count, stride in STAGES:
            for i in range(count):
                blocks.append(Block(channels, outputs, widening, stride if i == 0 else 1, convolution, rngs))
                channels = outputs
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


def trainer(convolution: Any) -> Callable[[jax.Array, jax.Array], float]:
    """A function that takes a step and returns the loss before it."""
    model = Network(convolution, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.01, momentum=0.9), wrt=nnx.Param)

    @nnx.jit
    def step(model: Network, optimizer: nnx.Optimizer, x: jax.Array, labels: jax.Array) -> jax.Array:
        def loss(model: Network) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    return lambda x, labels: float(step(model, optimizer, x, labels))


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((args.batch, args.size, args.size, 3), np.float32))
    labels = jnp.asarray(rng.integers(0, 10, args.batch))
    trainers = trainer(jax.lax.conv_general_dilated), trainer(depthwise.jax.conv_general_dilated)
    print("compiling, and the first step of each")
    losses = [step(x, labels) for step in trainers]
    apart = abs(losses[0] - losses[1]) / losses[0]
    print(f"first loss {losses[0]:.6f} stock, {losses[1]:.6f} depthwise")
    times = []
    for i in range(args.steps):
        marks = [time.perf_counter()]
        for k, step in enumerate(trainers):
            losses[k] = step(x, labels)
            marks.append(time.perf_counter())
        times.append((1e3 * (marks[1] - marks[0]), 1e3 * (marks[2] - marks[1])))
        print(f"step {i + 1}: {times[-1][0]:.0f} ms stock, {times[-1][1]:.0f} ms depthwise; losses {losses}")
    slow, fast = (statistics.median(t) for t in zip(*times, strict=True))
    print(f"a step takes {slow:.0f} ms stock, {fast:.0f} ms depthwise: {slow / fast:.1f} times")
    return apart


if __name__ == "__main__":
    assert main() < 1e-4
