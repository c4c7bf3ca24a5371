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


class Block:
    """A task: all that is known when the graph is built, called with arrays.

    Dask looks for keys in the arguments of a task, however deep, and so the rest is out of its sight.
    """

    def __call__(self, *args: Any) -> AnyArray:
        """With one thread of the engine, or as many as Dask's configuration says: tasks run beside one another."""
        with threads(int(dask.config.get("depthwise.threads", 1))):
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
            return ops.forward(x, W, b, **self.steps)
        return ops.forward(x, W, b, pad=pads, **self.steps)


@dataclass(frozen=True)
class WeightGrad(Block):
    """One block's part of the gradient for W, in float64."""

    source: Source
    cuts: tuple[Cut, ...]
    gy_source: Source
    gy_parts: tuple[Part, ...]
    kernel: tuple[int, ...]
    steps: dict[str, Any]

    def compute(self, parts: list[Any], gy: AnyArray) -> AnyArray:  # noqa: D102
        x, gy = joined(parts, self.source, self.cuts), checked(gy, self.gy_source, self.gy_parts)
        m = gy.shape[1] // x.shape[1] if x.shape[1] else 0
        out = np.empty((m, x.shape[1], *self.kernel))
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
    """Outputs, what they add to, and of how many places: neighbours, or the same in reverse."""

    cuts: tuple[Cut, ...]
    target: tuple[slice, ...]
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
            return self._of_run(self.runs[0], parts[0], W, dtype)
        sums = np.zeros(self.shape, np.promote_types(np.result_type(dtype, W.dtype), np.float32))
        for run, its_parts in zip(self.runs, parts, strict=True):
            sums[(slice(None), slice(None), *run.target)] += self._of_run(run, its_parts, W, sums.dtype)
        return sums.astype(dtype)

    def _of_run(self, run: Run, parts: list[Any], W: AnyArray, gy_dtype: Any) -> AnyArray:
        gy = joined(parts, self.source, run.cuts).astype(gy_dtype, copy=False)
        return ops.input_grad(gy, W, run.size, pad=tuple(cut.pad for cut in run.cuts), **self.steps)
