"""The roofline: what this machine can do at most, measured once; the yardstick of `explain`, `bench` and the demo."""

from __future__ import annotations

from functools import cache

from . import _core


@cache
def multiply_add_rate(target: int, float64: bool, n_threads: int) -> float:
    """FLOP per second of independent multiply-adds in registers; `target` as `runtime.active_target` has it."""
    # The best of some: threads that slept or a processor that clocked low make the first slower by half.
    return max(_core.multiply_add_rate(target, float64, n_threads) for _ in range(5))


@cache
def copy_rate(n_bytes: int, n_threads: int) -> float:
    """Bytes per second, read and written, of copies from one half of so many bytes to the other."""
    return _core.copy_rate(n_bytes, n_threads)


def least_seconds(flop: float, n_bytes: int, target: int, float64: bool, n_threads: int) -> tuple[float, str]:
    """Seconds that the work takes at least, and what bounds it: its FLOP or its bytes, whichever takes longer."""
    arithmetic, memory = flop / multiply_add_rate(target, float64, n_threads), n_bytes / copy_rate(n_bytes, n_threads)
    return max((arithmetic, "arithmetic"), (memory, "memory"))
