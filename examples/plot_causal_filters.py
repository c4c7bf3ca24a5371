"""
Causal filters on a chirp
=========================

A filter that works while the sound comes in may read the past alone. ``pad="causal"`` puts all padding before the
signal, so that output t depends on samples up to t. A bank of such filters, one for each band, is one call with a
channel multiplier.
"""

# %%
# Two seconds at 8 kHz: a tone that climbs from 100 to 3500 Hz, a click at one second, and noise.

import matplotlib.pyplot as plt
import numpy as np
from scipy import signal

from depthwise import ops

RATE, TAPS = 8000, 129
t = np.arange(2 * RATE) / RATE
sound = signal.chirp(t, 100, 2, 3500) + np.random.default_rng(0).normal(0, 0.1, t.size)
sound[RATE] += 8
x = sound.astype(np.float32)[None, None]  # (signals, channels, samples)

# %%
# Four band-pass filters by SciPy's design. ``W`` correlates, so a filter's response runs backwards in it: its last tap
# is for the newest sample.

edges = [(150, 800), (900, 1600), (1700, 2400), (2500, 3300)]
responses = np.stack([signal.firwin(TAPS, band, pass_zero=False, fs=RATE) for band in edges])
W = responses[:, None, ::-1].astype(np.float32)  # (multiplier, channels, taps)
bands = ops.forward(x, W, pad="causal")[0]
for band, response in zip(bands, responses, strict=True):
    assert np.abs(band - signal.lfilter(response, 1, sound)).max() < 1e-4

# %%
# Block by block, as sound comes: each block needs the last ``TAPS - 1`` samples before it, and nothing more.

blocks, past = [], np.zeros((1, 1, TAPS - 1), np.float32)
for start in range(0, t.size, 800):
    held = np.concatenate([past, x[..., start : start + 800]], axis=-1)
    blocks.append(ops.forward(held, W))
    past = held[..., -(TAPS - 1) :]
assert np.abs(np.concatenate(blocks, axis=-1)[0] - bands).max() < 1e-6

# %%
# The chirp passes the bands one after another, later by half a filter's length, which is 8 ms. In each band the click
# is seen as the filter's own response, and never before it came.

fig = plt.figure(figsize=(9, 6.4), layout="constrained")
above, below = fig.subplots(2, 1, sharex=True, height_ratios=[1, 1.2])
above.specgram(sound, NFFT=256, Fs=RATE, noverlap=192, vmin=-90, cmap="magma")
above.set(ylabel="Hz", title="the sound")
for low, high in edges:
    above.axhspan(low, high, xmax=0.012, color="tab:cyan")
for i, band in enumerate(bands):
    below.plot(t, 2.6 * i + band, linewidth=0.4, color=f"C{i}")
below.set_yticks([2.6 * i for i in range(4)], [f"{low} to {high} Hz" for low, high in edges])
below.set(xlabel="s", title="its bands, which are marked above on the left", xlim=(0, 2))
plt.show()
