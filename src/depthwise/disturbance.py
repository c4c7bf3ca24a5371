"""Whether other processes disturbed a measurement so much that its figures cannot be believed."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

from . import _core


class Probe(NamedTuple):
    """How fast a loop of multiply-adds was, and the share of the threads' wall time that they had a processor for."""

    rate: float
    processor: float


class Bounds(NamedTuple):
    """What is still believed."""

    processor: float = 0.85  # of the time that the threads ran
    drift: float = 1.25  # of the rate of multiply-adds, from one end of the measurement to the other
    spread: float = 1.25  # of a figure: the median of its rounds by the least
    limit: float = 1.05  # of the machine, as it was measured
    marked: float = 0.1  # of all figures


BOUNDS = Bounds()


def probe(target: int, n_threads: int) -> Probe:
    """A measurement of twenty milliseconds."""
    _core.multiply_add_rate(target, False, n_threads)  # wakes the threads
    wall, processor = time.perf_counter(), time.process_time()
    rate = max(_core.multiply_add_rate(target, False, n_threads) for _ in range(5))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Probe(rate, processor / (wall * n_threads))


def is_doubtful(spread: float, share: float, bounds: Bounds = BOUNDS) -> bool:
    """Whether a figure is to be marked: its rounds disagree, or it is faster than the machine."""
    return spread > bounds.spread or share > bounds.limit


def doubts(probes: Sequence[Probe], figures: Sequence[tuple[float, float]], bounds: Bounds = BOUNDS) -> list[str]:
    """Why the figures cannot be believed, if so.

    Parameters
    ----------
    probes
        From the beginning to the end of the measurement.
    figures
        Of each its spread, the median of its rounds by the least, and its share of the machine's limit.
    bounds
        What is still believed.
    """
    found = []
    processor = statistics.median(p.processor for p in probes)
    if processor < bounds.processor:
        found.append(f"its threads had a processor for only {processor:.0%} of the time")
    drift = probes[-1].rate / probes[0].rate
    if max(drift, 1 / drift) > bounds.drift:
        found.append(f"the machine multiplied at {drift:.0%} of its first speed at the end")
    apart = sum(spread > bounds.spread for spread, _ in figures)
    if apart > bounds.marked * len(figures):
        found.append(f"rounds of {apart} of {len(figures)} figures differ by more than {bounds.spread - 1:.0%}")
    highest = max(share for _, share in figures)
    if highest > bounds.limit:
        found.append(f"{highest:.0%} of the limit cannot be")
    return found


def load() -> str:
    """What the system says of the last minute, where it says so."""
    try:
        return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    except (AttributeError, OSError):
        return "no load average here"
