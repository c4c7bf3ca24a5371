"""
Large kernels: directly, or by Fourier transforms
=================================================

Direct sums take the longer the more taps a filter has. Products of spectra take about the same for any filter of the
same transform. ``method="auto"`` takes whichever is estimated to take less.
"""

# %%
# Sixteen channels of 128 x 128 pixels, and filters from 3 x 3 to 41 x 41 taps. Each time is the least of three.

import time

import matplotlib.pyplot as plt
import numpy as np

import depthwise
from depthwise import ops

rng = np.random.default_rng(0)
x = rng.normal(size=(1, 16, 128, 128)).astype(np.float32)
sizes = [3, 5, 7, 9, 11, 13, 15, 19, 23, 27, 31, 35, 41]
times = {"direct": [], "fft": [], "auto": []}
apart, chosen = [], []
for k in sizes:
    W = rng.normal(size=(1, 16, k, k)).astype(np.float32) / k
    results = {}
    for method, each in times.items():
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            results[method] = ops.forward(x, W, pad=k // 2, method=method)
            seconds.append(time.perf_counter() - start)
        each.append(1e3 * min(seconds))
    apart.append(float(np.abs(results["direct"] - results["fft"]).max() / np.abs(results["direct"]).max()))
    plan = depthwise.explain(x.shape, W.shape, pad=k // 2, method="auto")
    chosen.append("fft" if plan["candidate"] == "Fourier transforms" else "direct")
    assert (results["auto"] == results[chosen[-1]]).all()

# %%
# Both methods sum in float32. They differ in the last digits, relative to the largest values nearby.

print(f"the results are at most {max(apart):.0e} of the largest value apart")
assert max(apart) < 1e-5

# %%
# "auto" changes from one curve to the other about where they cross. Times, and the crossing, are this machine's, and
# vary with what else it does.

fig, ax = plt.subplots(figsize=(8, 4.4), layout="constrained")
for (method, each), style in zip(times.items(), ("o-", "s-", "--"), strict=True):
    ax.plot(sizes, each, style, label=f'method="{method}"', color="black" if method == "auto" else None, markersize=4)
change = chosen.index("fft") if "fft" in chosen else len(sizes) - 1
ax.axvline((sizes[change - 1] + sizes[change]) / 2, color="gray", linewidth=0.8)
ax.annotate(' "auto" takes transforms', ((sizes[change - 1] + sizes[change]) / 2, 0.97 * max(times["direct"])))
ax.set(xlabel="taps a side", ylabel="ms", title="16 channels of 128 x 128 pixels", ylim=(0, None))
ax.legend(loc="center right")
ax.grid(alpha=0.3)
plt.show()
