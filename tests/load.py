"""Many callers at once, processes inside processes, a hundred thousand calls, and signals.

python tests/load.py [--seconds 60] [--calls 100000]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np

import depthwise
from depthwise import ops
from helpers import LAYOUTS

PROBLEMS = [  # n, channels, size, kernel, stride, layout, dtype
    (1, 8, 9, 3, 1, 0, "float32"),
    (2, 40, 28, 5, 1, 1, "float32"),
    (1, 64, 56, 3, 2, 0, "float32"),
    (4, 24, 30, 7, 1, 2, "float64"),
    (1, 96, 60, 7, 1, 1, "float16"),
    (8, 32, 112, 3, 1, 0, "float32"),
]


def arrays(problem):
    n, c, size, k, stride, layout, dtype = problem
    rng = np.random.default_rng(size)
    x = LAYOUTS[layout](rng.normal(size=(n, c, size, size)).astype(dtype))
    W = rng.normal(size=(1, c, k, k)).astype(dtype)
    return x, W, {"stride": stride, "pad": k // 2}


def results(problem):
    """The bytes of all passes."""
    x, W, steps = arrays(problem)
    y = ops.forward(x, W, **steps)
    gb = np.empty(y.shape[1], y.dtype)
    gW = ops.weight_grad(x, y, W.shape[2:], bias_out=gb, **steps)
    return b"".join(a.tobytes() for a in (y, ops.input_grad(y, W, x.shape[2:], **steps), gW, gb))


def at_once(seconds, callers=8):
    """Callers in threads, each with its own problem and number of threads; returns how many calls were right."""
    expected = [results(p) for p in PROBLEMS]
    end, counts, errors = time.monotonic() + seconds, [0] * callers, []

    def call(i):
        choice = random.Random(i)
        with depthwise.threads(1 + i % 3):
            while time.monotonic() < end and not errors:
                k = choice.randrange(len(PROBLEMS))
                if results(PROBLEMS[k]) != expected[k]:
                    errors.append(PROBLEMS[k])
                counts[i] += 1

    threads = [threading.Thread(target=call, args=(i,)) for i in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, f"another result of {errors[0]} beside other callers"
    return sum(counts)


def in_pools():
    """The same bits in threads, forked children and new processes."""
    expected = [results(p) for p in PROBLEMS]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(results, PROBLEMS)) == expected
    for method in ("fork", "spawn"):
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
            assert list(pool.map(results, PROBLEMS, timeout=120)) == expected


def resident_bytes():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def growth(calls):
    """Bytes that the process gains over so many calls of all kinds, errors among them."""
    small = [arrays(p) for p in PROBLEMS[:2]]

    def some(count):
        for i in range(count):
            x, W, steps = small[i % 2]
            v = depthwise.Variable(x[:, :, :9, :9])
            y = depthwise.depthwise_convolution_2d(v, W, **steps)
            if i % 8 == 0:
                y.grad = np.ones_like(y.array)
                y.backward()
            try:
                ops.forward(x, W[:, :3])
            except ValueError:
                continue

    some(2000)
    before = resident_bytes()
    some(calls)
    return resident_bytes() - before


INTERRUPTED = """
import signal, numpy as np
from depthwise import ops
signal.signal(signal.SIGINT, signal.default_int_handler)  # what was started in the background ignores it
x, W = np.ones((4, 64, 256, 256), np.float32), np.ones((1, 64, 21, 21), np.float32)
print("ready", flush=True)
try:
    while True:
        ops.forward(x, W)
except KeyboardInterrupt:
    assert ops.forward(x[:, :, :30, :30], W)[0, 0, 0, 0] == 441
    print("sane", flush=True)
"""


def interrupted():
    """Ctrl-C during a long call: KeyboardInterrupt after it, and the next call works."""
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=60)[0] == "sane\n"
        assert child.returncode == 0
    finally:
        child.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--calls", type=int, default=100_000)
    args = parser.parse_args()
    print(f"eight callers for {args.seconds:.0f} s ...", flush=True)
    print(f"  {at_once(args.seconds)} sets of results, all equal")
    print("pools of threads, forked and spawned processes ...", flush=True)
    in_pools()
    print(f"  equal\n{args.calls} calls ...", flush=True)
    print(f"  {growth(args.calls) / 1024:.0f} KiB gained")
    print("an interrupt ...", flush=True)
    interrupted()
    print("  sane")


if __name__ == "__main__":
    main()
