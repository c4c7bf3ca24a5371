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
    # Where the halves are whole pages, memcpy takes twenty times as long on some CPUs (AMD's Zen 3): it writes just
    # behind what it reads, but for the number of the page. Halves 2048 bytes longer are no such case.
    return max(_core.copy_rate(size, n_threads) for size in (n_bytes, n_bytes + 4096))


def least_seconds(flop: float, n_bytes: int, target: int, float64: bool, n_threads: int) -> tuple[float, str]:
    """Seconds that the work takes at least, and what bounds it: its FLOP or its bytes, whichever takes longer."""
    arithmetic, memory = flop / multiply_add_rate(target, float64, n_threads), n_bytes / copy_rate(n_bytes, n_threads)
    return max((arithmetic, "arithmetic"), (memory, "memory"))
