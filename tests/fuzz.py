"""Random problems against the definition, exactly: shapes, dtypes, layouts, strides of memory, threads and targets.

    python tests/fuzz.py --cases 100000 --seed 1

Inputs are small integers, so that every order of summation gives the same sum. Each case has a random generator of its
own: a failure names its number, and `--only NUMBER` runs it again.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

import depthwise
from depthwise import ops, reference
from depthwise.enums import PAD_MODES
from helpers import DTYPES, LAYOUTS, assert_near, assert_same, axis_of_any_steps, integers, sides_of, with_border


def broadcast(a):
    """A stride of 0 along one axis: every row, column, image or channel is the same."""
    axis = int(np.argmax(a.shape))
    return np.broadcast_to(a.take([0], axis), a.shape)


def gaps(a):
    """Rows and planes with NaN between them, starting off every alignment."""
    n, c, *around, w = a.shape
    memory = np.full((n, c, *(size + 1 for size in around), w + 3), np.nan, a.dtype)
    inside = (..., *[slice(1, None)] * len(around), slice(3, None))
    memory[inside] = a
    return memory[inside]


def columns_first(a):
    """The last axis the furthest of the spatial ones: columns contiguous."""
    order = 0, 1, *reversed(range(2, a.ndim))
    return np.ascontiguousarray(a.transpose(order)).transpose(order)


INPUTS = [*LAYOUTS, LAYOUTS[0], LAYOUTS[1], broadcast, gaps, columns_first]


class Framed:
    """An output inside a larger array of NaN, of which only the output may change."""

    def __init__(self, rng, shape, dtype):
        layout = INPUTS[rng.integers(len(LAYOUTS))]
        marks = np.ones([n + 2 for n in shape], bool)
        marks[tuple(slice(1, -1) for _ in shape)] = False
        order = rng.permutation(len(shape)) if layout is LAYOUTS[2] else np.arange(len(shape))
        if layout is LAYOUTS[1]:
            order = np.array([0, *range(2, len(shape)), 1])
        memory = np.full([n + 2 for n in np.array(shape)[order]], np.nan, dtype)
        self.memory = memory.transpose(np.argsort(order))
        self.frame = marks
        self.out = self.memory[tuple(slice(1, -1) for _ in shape)]

    def check(self):
        assert np.isnan(self.memory[self.frame]).all(), "something was written beside out"


def axis(rng, most, taps=8):
    while True:
        kernel, stride, dilate = int(rng.integers(1, taps + 1)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
        if rng.random() < 0.6:
            dilate = 1
        pads = tuple(int(p) for p in rng.integers(0, kernel + 1, 2))
        size = int(rng.integers(1, most))
        if size + sum(pads) >= dilate * (kernel - 1) + 1:
            return size, kernel, stride, dilate, pads


# The spatial axes of problems, how often each number of them comes, and the most that each axis has of pixels and taps.
SHARES = {1: 0.3, 2: 0.45, 3: 0.25}
LARGEST = {1: [(400, 40)], 2: [(24, 8), (48, 8)], 3: [(8, 4), (10, 4), (30, 5)]}


def axes_of(rng, large):
    """The spatial axes of one problem: (size, kernel, stride, dilate, (before, after)) of each."""
    count = int(rng.choice(list(SHARES), p=list(SHARES.values())))
    if rng.random() < 0.1:
        most, taps = {1: ([200], 31), 2: ([20, 80], 31), 3: ([6, 8, 20], 5)}[count]
        return [axis_of_any_steps(rng, pixels, taps) for pixels in most]
    *around, (pixels, taps) = LARGEST[count]
    return [*(axis(rng, *each) for each in around), axis(rng, 3 * pixels if large else pixels, taps)]


def case(rng):
    """One problem, all passes; returns what it was."""
    large = rng.random() < 0.02
    size, kernel, stride, dilate, pad = zip(*axes_of(rng, large), strict=True)
    steps = {"stride": stride, "dilate": dilate, "pad": pad}
    n, c, m = int(rng.integers(1, 4)), int(rng.integers(1, 130 if large else 24)), int(rng.choice([1, 1, 1, 2, 3]))
    x_type, W_type, gy_type = (DTYPES[i] for i in rng.choice(4, 3, p=[0.15, 0.15, 0.5, 0.2]))
    if rng.random() < 0.7:
        W_type = gy_type = x_type
    x = INPUTS[rng.integers(len(INPUTS))](integers(rng, (n, c, *size), x_type))
    W = INPUTS[rng.integers(len(INPUTS))](integers(rng, (m, c, *kernel), W_type, -2, 3))
    b = integers(rng, (c * m,), gy_type) if rng.random() < 0.5 else None
    out = depthwise.output_size(size, kernel, **steps)
    gy = INPUTS[rng.integers(len(INPUTS))](integers(rng, (n, c * m, *out), gy_type, -2, 3))
    target = str(rng.choice(depthwise.targets()))
    n_threads = int(rng.integers(1, 4))
    what = f"x {x.dtype}{x.shape}{x.strides} W {W.dtype}{W.shape}{W.strides} gy {gy.dtype}{gy.strides} {steps} "
    widest = max(d * (k - 1) + 1 for k, d in zip(kernel, dilate, strict=True))
    method = str(rng.choice(["direct", "direct", "auto", "fft" if len(size) < 3 and widest <= 256 else "auto"]))
    sides = sides_of(size, kernel, stride, pad, dilate)
    copied = n * c * np.prod([s + sum(p) for s, p in zip(size, sides, strict=True)], dtype=float)
    mode = str(rng.choice(list(PAD_MODES))) if rng.random() < 0.4 and copied < 1e6 and 0 not in size else "constant"
    what += f"bias {b is not None} {method} {mode} {target} {n_threads} threads"
    try:
        with depthwise.use_target(target), depthwise.threads(n_threads):
            check(rng, x, W, b, gy, size, kernel, steps, method, mode)
    except Exception as error:
        msg = f"{what}: {error}"
        raise AssertionError(msg) from error
    return what


def check(rng, x, W, b, gy, size, kernel, steps, method, mode):
    same, ours = (assert_same if method == "direct" else assert_near), steps | {"method": method, "pad_mode": mode}
    before = [a.tobytes() for a in (x, W, gy)]
    expected_y, expected_gx, expected_gW, _ = with_border(x, W, gy, b, kernel, mode, **steps)
    y, gx = Framed(rng, (x.shape[0], W.shape[0] * x.shape[1], *gy.shape[2:]), x.dtype), Framed(rng, x.shape, gy.dtype)
    gW, gb = Framed(rng, W.shape, DTYPES[rng.integers(4)]), np.empty(gy.shape[1], DTYPES[rng.integers(4)])
    framed = rng.random() < 0.5
    activation = rng.choice([None, None, None, "relu", "relu6"])
    if activation is not None:
        expected_y = np.clip(expected_y, 0, {"relu": None, "relu6": 6}[activation])
    same(ops.forward(x, W, b, activation=activation, out=y.out if framed else None, **ours), expected_y)
    same(ops.input_grad(gy, W, size, out=gx.out if framed else None, **ours), expected_gx)
    bias_out = gb if rng.random() < 0.5 else None
    same(ops.weight_grad(x, gy, kernel, out=gW.out if framed else None, bias_out=bias_out, **ours), expected_gW)
    assert_same(ops.bias_grad(gy, out=gb), reference.bias_grad(gy))
    if framed:
        for result in (y, gx, gW):
            result.check()
    assert before == [a.tobytes() for a in (x, W, gy)], "an input was written"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run the case with this number")
    args = parser.parse_args(argv)
    if args.only is not None:
        print(case(np.random.default_rng([args.seed, args.only])))
        return 0
    start = shown = time.monotonic()
    for i in range(args.cases):
        try:
            case(np.random.default_rng([args.seed, i]))
        except AssertionError as error:
            print(f"\ncase {i} of seed {args.seed}: {error}", file=sys.stderr)
            return 1
        if time.monotonic() - shown > 1:
            shown = time.monotonic()
            rate = (i + 1) / (shown - start)
            print(f"\r{i + 1} of {args.cases} cases, {(args.cases - i) / rate:.0f} s to go ", end="", flush=True)
    print(f"\r{args.cases} cases of seed {args.seed}, no mismatch, {time.monotonic() - start:.0f} s" + " " * 20)
    return 0


if __name__ == "__main__":
    sys.exit(main())
