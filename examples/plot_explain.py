"""
What explain() says
===================

A problem can be computed in several ways: on planes or on interleaved channels as they lie, through packed copies, or
by Fourier transforms. :func:`depthwise.explain` says which one is taken, without computing anything, and what each is
estimated to take.
"""

# %%
# Four problems. A shape stands for a float32 array of planes; an array says how its memory lies, too: channels that are
# last in memory are seen through a transpose.

import matplotlib.pyplot as plt
import numpy as np

import depthwise


def interleaved(n, c, h, w):
    """An array (n, c, h, w) whose channels are neighbours in memory."""
    return np.zeros((n, h, w, c), np.float32).transpose(0, 3, 1, 2)


problems = {
    "32 channels of 112 x 112, 3 x 3,\nplanes": ((1, 32, 112, 112), 3),
    "32 channels of 112 x 112, 3 x 3,\ninterleaved": (interleaved(1, 32, 112, 112), 3),
    "64 channels of 56 x 56, 31 x 31,\nplanes": ((1, 64, 56, 56), 31),
    "512 channels of 7 x 7, 3 x 3,\ninterleaved": (interleaved(1, 512, 7, 7), 3),
}
plans = {}
for title, (x, k) in problems.items():
    channels = x[1] if isinstance(x, tuple) else x.shape[1]
    plans[title] = depthwise.explain(x, (1, channels, k, k), pad=k // 2, method="auto")

# %%
# "candidate" is the way that is taken, "cycles" its estimate for one thread, and "others" has the estimates of the
# other ways, or in a few words why a way does not fit.

plan = next(iter(plans.values()))
for key in "kernel", "candidate", "cycles", "others", "input", "threads":
    print(f"{key}: {plan[key]}")

# %%
# The shortest bar is the one that is taken. Estimates are made for the choice: they promise no time. They follow from
# this machine's vectors and caches, so on another the bars, and the choice, may be others.

fig, axes = plt.subplots(2, 2, figsize=(11, 5.4), layout="constrained")
for ax, (title, plan) in zip(axes.flat, plans.items(), strict=True):
    costs = {plan["candidate"]: plan["cycles"]}
    costs |= {name: cost for name, cost in plan["others"].items() if not isinstance(cost, str)}
    assert plan["cycles"] == min(costs.values())
    names = sorted(costs, key=costs.get)
    colours = ["tab:green" if name == plan["candidate"] else "lightgray" for name in names]
    bars = ax.barh(names, [costs[name] / 1e6 for name in names], color=colours)
    ax.bar_label(bars, fmt="%.3g", padding=3)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set_title(title, fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
for ax in axes[1]:
    ax.set_xlabel("million cycles, estimated")
plt.show()
