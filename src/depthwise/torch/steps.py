"""Sizes, strides, paddings and dilations as PyTorch's convolutions take them, into what the operators take."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from . import operators

_INTS = int, torch.SymInt  # tuples and no unions: the compiler of PyTorch 2.6 knows none
_MOST = 2**31 - 1  # of a step, for the engine


def per_axis(v: Any, axes: int, least: int) -> list[Any] | None:
    """Sizes of each axis as PyTorch reads them, or None where it may think otherwise."""
    each = [v] * axes if isinstance(v, _INTS) else list(v) if isinstance(v, (tuple, list)) else []
    if len(each) == 1:
        each *= axes
    known = all(isinstance(i, _INTS) and not isinstance(i, bool) for i in each)
    fits = known and len(each) == axes and all(least <= i <= _MOST for i in each)
    return each if fits else None


def _padding(padding: Any, kernel: Sequence[int], stride: list[Any], dilation: list[Any]) -> list[Any] | None:
    """(before, after) of each axis in one list, or None."""
    axes = len(kernel)
    if isinstance(padding, str):
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        if padding == "valid":
            return [0] * (2 * axes)
        if padding == "same" and stride == [1] * axes:
            return [side for t in totals for side in (t // 2, t - t // 2)]
        return [*totals, 0] if padding == "causal" and axes == 1 else None
    pads = per_axis(padding, axes, 0)
    return None if pads is None else [side for p in pads for side in (p, p)]


def find_sides(axes: int, weight: Any, stride: Any, padding: Any, dilation: Any) -> list[Any] | None:
    """(before, after) of each axis in one list, or None where PyTorch has no such padding."""
    strides, dilations = per_axis(stride, axes, 1), per_axis(dilation, axes, 1)
    if strides is None or dilations is None or not isinstance(weight, torch.Tensor) or weight.dim() != axes + 2:
        return None
    return _padding(padding, weight.shape[2:], strides, dilations)


def _fit(axes: int, shape: Any, weight_shape: Any, groups: int) -> bool:
    """Whether shapes of so many axes are those of a depthwise convolution of something."""
    of_axes = len(shape) == len(weight_shape) == axes + 2
    return of_axes and 0 not in shape and 0 not in weight_shape and shape[1] == groups


def _take(shape: Any, outs: int, kernel: Sequence[int], steps: tuple[Any, Any, Any]) -> bool:
    """Whether the engine takes a problem whose sizes are sensible; sizes that are symbols are not asked."""
    if torch.compiler.is_compiling() or any(isinstance(i, torch.SymInt) for i in (*shape, *itertools.chain(*steps))):
        return True
    try:
        operators.sizes(tuple(shape), outs, tuple(kernel), *map(tuple, steps))
    except ValueError:  # too large for it
        return False
    return True


def _find_steps(axes: int, shape: Any, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Stride, padding and dilation for the operator, or None where PyTorch's convolution has to answer."""
    if not _fit(axes, shape, weight_shape, groups):
        return None
    outs, ones, *kernel = weight_shape
    strides, dilations = per_axis(stride, axes, 1), per_axis(dilation, axes, 1)
    if ones != 1 or outs % groups or strides is None or dilations is None:
        return None
    pads = _padding(padding, kernel, strides, dilations)
    if pads is None:
        return None
    # Each alone: a comparison of two sizes would bind a program that is compiled or exported for every batch.
    if any(size < 1 for size in operators.output_shape(shape, weight_shape, strides, pads, dilations)[2:]):
        return None
    steps = strides, pads, dilations
    return steps if _take(shape, outs, kernel, steps) else None


def _find_transposed(
    axes: int,
    shape: Any,
    weight_shape: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: int,
) -> Any:
    """The shape of the convolution's input whose gradient this is, and the convolution's steps; or None."""
    if not _fit(axes, shape, weight_shape, groups) or weight_shape[0] != groups:
        return None
    kernel = weight_shape[2:]
    each = [per_axis(v, axes, least) for v, least in ((stride, 1), (padding, 0), (output_padding, 0), (dilation, 1))]
    if any(v is None for v in each):
        return None
    facts: Any = list(zip(shape[2:], kernel, *each, strict=True))
    size = [(n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, extra, d in facts]
    # PyTorch takes an output padding of a stride and more where it is below the dilation; no input has such a gradient.
    if any(s < 1 for s in size) or any(extra >= s for _, _, s, _, extra, _ in facts):
        return None
    strides, pads, _, dilations = each
    channels = weight_shape[0] * weight_shape[1]
    of_input = [shape[0], channels, *size]
    steps = strides, [side for p in pads or () for side in (p, p)], dilations
    return (of_input, steps) if _take(of_input, channels, kernel, steps) else None  # type: ignore[arg-type]


def _cached(find: Callable[..., Any]) -> Callable[..., Any]:
    """`find`, which keeps what it found."""

    # Not None: (1, True) is the key that (1, 1) is.
    @lru_cache(maxsize=4096, typed=True)
    def known(*sizes: Any) -> Any:
        found = find(*sizes)
        if found is None:
            raise TypeError
        return found

    def cached(*sizes: Any) -> Any:
        if not torch.compiler.is_compiling():
            try:
                return known(*sizes)
            except TypeError:  # lists, sizes that are symbols, or None
                pass
        return find(*sizes)

    return cached


find_steps, find_transposed = _cached(_find_steps), _cached(_find_transposed)
