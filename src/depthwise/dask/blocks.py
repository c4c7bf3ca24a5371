"""What a worker does for one block: NumPy arrays in, one out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import dask
import numpy as np
import numpy.typing as npt

from .. import ops
from ..arrays import empty_image, native
from ..passes import sums_dtype
from ..runtime import threads
from .cuts import Cut, Fold, Part
from .pieces import Pieces, Source, checked, dense
from .regions import regions

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
    shape: tuple[int, ...]
    steps: dict[str, Any]
    cval: float

    def compute(self, parts: list[Any], W: AnyArray, b: AnyArray | None = None) -> AnyArray:  # noqa: D102
        pieces, channels_last = Pieces(parts, self.source, self.cuts), self.steps["like"].channels_last
        reach = tuple(d * (k - 1) + 1 for d, k in zip(self.steps["dilate"], W.shape[2:], strict=True))
        y = empty_image(self.shape, native(self.source.dtype), channels_last)
        for region in regions(self.cuts, self.steps["stride"], reach, zeros=not self.cval):
            x, pads = pieces.joined(channels_last, [span.taken for span in region]), tuple(span.pad for span in region)
            if self.cval and any(map(any, pads)):
                x = dense(np.pad(x, [(0, 0), (0, 0), *pads], constant_values=self.cval), channels_last)
                pads = tuple((0, 0) for _ in pads)
            out = y[(slice(None), slice(None), *(span.outs for span in region))]
            ops.forward(x, W, b, pad=pads, out=out, **self.steps)
        return y.astype(self.source.dtype, copy=False)


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
        x, gy = Pieces(parts, self.source, self.cuts).joined(), checked(gy, self.gy_source, self.gy_parts)
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


@dataclass(frozen=True)
class InputGrad(Block):
    """One block of the gradient for x: that of all its places, of which those beside x are added to those they mirror.

    One axis after the other, and place by place, as the engine does (csrc/border_copy.hpp).
    """

    folds: tuple[Fold, ...]
    source: Source
    planes: tuple[int, int]
    rounded_last: bool  # whether places beside x are added to others, here or in another block
    steps: dict[str, Any]

    def compute(self, parts: list[list[Any]], W: AnyArray) -> AnyArray:  # noqa: D102
        dtype = sums_dtype(self.source, W) if self.rounded_last else native(self.source.dtype)
        sums = np.zeros((*self.planes, *(fold.size for fold in self.folds)), dtype)
        runs = product(*(fold.runs for fold in self.folds))
        for run, its_parts in zip(runs, parts, strict=True):
            self._write(sums, run, its_parts, W)
        for axis, fold in enumerate(self.folds, 2):
            lanes = np.moveaxis(sums, axis, 0)
            for place, element in fold.added:
                lanes[element] += lanes[place]
            sums = np.moveaxis(lanes[fold.own], 0, axis)
        return sums.astype(self.source.dtype, order="C", copy=False)

    def _write(self, sums: AnyArray, run: tuple[tuple[slice, Cut], ...], parts: list[Any], W: AnyArray) -> None:
        """The gradient of a run of places; a copy of gy lives no longer."""
        places, cuts = zip(*run, strict=True)
        out = sums[(slice(None), slice(None), *places)]
        pad = tuple(cut.pad for cut in cuts)
        ops.input_grad(Pieces(parts, self.source, cuts).joined(), W, out.shape[2:], pad=pad, out=out, **self.steps)
