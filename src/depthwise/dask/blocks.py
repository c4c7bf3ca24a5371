"""What a worker does for one block: NumPy arrays in, one out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import dask
import numpy as np
import numpy.typing as npt

from .. import ops
from ..runtime import threads
from .cuts import Cut, Part
from .pieces import Source, checked, dense, joined

AnyArray = npt.NDArray[Any]


def threads_of_tasks(default: int = 1) -> int:
    """Threads of the engine that Dask's configuration gives a task: one, since tasks run beside one another."""
    count = dask.config.get("depthwise.threads", default)
    if type(count) is not int or count < 1:
        msg = f'the configuration\'s "depthwise.threads" must be an int of at least 1, got {count!r}'
        raise ValueError(msg)
    return count


@dataclass(frozen=True)
class Block:
    """A task: all that is known when the graph is built, called with arrays.

    Dask looks for keys in the arguments of a task, however deep, and so the rest is out of its sight.
    """

    threads: int  # as configured when the graph was built, unless a worker is configured otherwise

    def __call__(self, *args: Any) -> AnyArray:
        """With the engine's threads that a task is given."""
        with threads(threads_of_tasks(self.threads)):
            return self.compute(*args)

    def compute(self, *args: Any) -> AnyArray:
        """What the task gives."""
        raise NotImplementedError


@dataclass(frozen=True)
class Forward(Block):
    """One block of the output, of the parts of x that its windows meet, W and perhaps b."""

    source: Source
    cuts: tuple[Cut, ...]
    steps: dict[str, Any]
    cval: float

    def compute(self, parts: list[Any], W: AnyArray, b: AnyArray | None = None) -> AnyArray:  # noqa: D102
        channels_last = self.steps["like"].channels_last
        x, pads = joined(parts, self.source, self.cuts, channels_last), tuple(cut.pad for cut in self.cuts)
        if self.cval:
            x = dense(np.pad(x, [(0, 0), (0, 0), *pads], constant_values=self.cval), channels_last)
            pads = tuple((0, 0) for _ in pads)
        return ops.forward(x, W, b, pad=pads, **self.steps).astype(self.source.dtype, copy=False)


@dataclass(frozen=True)
class WeightGrad(Block):
    """One block's part of the gradient for W, in float64."""

    source: Source
    cuts: tuple[Cut, ...]
    gy_source: Source
    gy_parts: tuple[Part, ...]
    multiplier: int
    kernel: tuple[int, ...]
    steps: dict[str, Any]

    def compute(self, parts: list[Any], gy: AnyArray) -> AnyArray:  # noqa: D102
        x, gy = joined(parts, self.source, self.cuts), checked(gy, self.gy_source, self.gy_parts)
        out = np.empty((self.multiplier, x.shape[1], *self.kernel))
        if not out.size:
            return out
        return ops.weight_grad(x, gy, self.kernel, pad=tuple(cut.pad for cut in self.cuts), out=out, **self.steps)


@dataclass(frozen=True)
class BiasGrad(Block):
    """One block's part of the gradient for b, in float64."""

    source: Source
    parts: tuple[Part, ...]

    def compute(self, gy: AnyArray) -> AnyArray:  # noqa: D102
        return ops.bias_grad(checked(gy, self.source, self.parts), out=np.empty(gy.shape[1]))


def total(parts: list[AnyArray], dtype: Any = None) -> AnyArray:
    """The sum of some parts in their order, rounded where a dtype is asked for."""
    sums = parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])
    return sums if dtype is None else sums.astype(dtype)


class Run(NamedTuple):
    """Outputs, the elements of a block that they are added to, and the places whose gradient they are."""

    cuts: tuple[Cut, ...]
    target: tuple[slice | tuple[int, ...], ...]
    size: tuple[int, ...]


@dataclass(frozen=True)
class InputGrad(Block):
    """One block of the gradient for x: of each run of places what the outputs that meet them add, where it belongs."""

    runs: list[Run]
    source: Source
    shape: tuple[int, ...]
    steps: dict[str, Any]

    def compute(self, parts: list[list[Any]], W: AnyArray) -> AnyArray:  # noqa: D102
        dtype = self.source.dtype
        if len(self.runs) == 1 and self.runs[0].size == self.shape[2:]:
            return self._of_run(self.runs[0], parts[0], W, dtype).astype(dtype, copy=False)
        sums = np.zeros(self.shape, np.promote_types(np.result_type(dtype, W.dtype), np.float32))
        for run, its_parts in zip(self.runs, parts, strict=True):
            gradient = self._of_run(run, its_parts, W, sums.dtype)
            if all(isinstance(at, slice) for at in run.target):
                sums[(slice(None), slice(None), *run.target)] += gradient
                continue
            sizes = zip(run.target, self.shape[2:], strict=True)
            places = np.ix_(*(range(*at.indices(size)) if isinstance(at, slice) else at for at, size in sizes))
            at: Any = (slice(None), slice(None), *places)
            np.add.at(sums, at, gradient)  # several places may be one element
        return sums.astype(dtype)

    def _of_run(self, run: Run, parts: list[Any], W: AnyArray, gy_dtype: Any) -> AnyArray:
        gy = joined(parts, self.source, run.cuts).astype(gy_dtype, copy=False)
        return ops.input_grad(gy, W, run.size, pad=tuple(cut.pad for cut in run.cuts), **self.steps)
