"""
Checking the gradients of a 7 x 7 layer
=======================================

A layer as in ConvNeXt: 7 x 7 taps for each channel, with a bias. A gradient is right if it says how much the loss
changes along any direction. Differences of two losses tell so, too, within an error that first falls and then grows
with a smaller step.
"""

# %%
# The loss is the mean of the squared output's square, so that it has derivatives of several orders. All is float64.

import matplotlib.pyplot as plt
import numpy as np

import depthwise
import depthwise.functions as F  # noqa: N812

rng = np.random.default_rng(0)
arrays = {
    "x": rng.normal(size=(2, 8, 14, 14)),
    "W": rng.normal(size=(1, 8, 7, 7)) / 7,
    "b": rng.normal(size=8),
}


def loss(x, W, b):
    """A number for the three arrays or Variables."""
    y = F.depthwise_convolution_2d(x, W, b, pad=3)
    return F.mean(y * y * y * y)


# %%
# Gradients by backpropagation, and second derivatives: ``enable_double_backprop`` keeps the graph of the gradients.

variables = {name: depthwise.Variable(array) for name, array in arrays.items()}
gradients = depthwise.grad([loss(**variables)], list(variables.values()), enable_double_backprop=True)
directions = {name: rng.normal(size=array.shape) for name, array in arrays.items()}
slopes = {}
for name, gradient in zip(arrays, gradients, strict=True):
    along = F.sum(gradient * directions[name])
    (second,) = depthwise.grad([along], [variables[name]])
    slopes[name] = float(along.array), float((second.array * directions[name]).sum())

# %%
# Central differences along one direction at a time, with steps from 0.1 down to 1e-8.

steps = np.logspace(-8, -1, 29)
errors = {}
for name, (first, second) in slopes.items():
    here = loss(**arrays).item()
    ends = [
        [loss(**(arrays | {name: arrays[name] + s * step * directions[name]})).item() for s in (1, -1)]
        for step in steps
    ]
    errors[name, "first"] = [abs((p - m) / (2 * h) / first - 1) for h, (p, m) in zip(steps, ends, strict=True)]
    errors[name, "second"] = [
        abs((p - 2 * here + m) / h**2 / second - 1) for h, (p, m) in zip(steps, ends, strict=True)
    ]
    best = min(errors[name, "first"]), min(errors[name, "second"])
    print(f"{name}: first derivative within {best[0]:.0e}, second within {best[1]:.0e}")
    assert best[0] < 1e-8
    assert best[1] < 1e-5

# %%
# From the right the errors fall with the square of the step, as those of central differences do. From the left they are
# rounding: the first derivative's grow as the step shrinks, the second's as its square does.

fig, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
for ax, order in zip(axes, ("first", "second"), strict=True):
    for name in arrays:
        ax.loglog(steps, errors[name, order], "o-", markersize=3, label=f"for {name}")
    ax.loglog(steps[16:], steps[16:] ** 2, "k:", label="the step's square")
    ax.set(title=f"{order} derivative", xlabel="step", ylim=(1e-13, 1e2))
    ax.legend()
    ax.grid(alpha=0.3)
axes[0].set_ylabel("relative difference")
plt.show()
