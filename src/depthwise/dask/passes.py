"""Passes over Dask's arrays: graphs of blocks, each one call of :mod:`depthwise.ops`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise, product
from math import prod
from threading import Lock
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from ..arguments import Ints, Pad, spatial_axes
from ..arrays import check_array, dtype_code
from ..enums import activation_code
from ..filters.filtering import check_lazy
from ..geometry import Axis, Geometry, Whole, geometry, input_grad_geometry, weight_grad_geometry
from . import blocks, pieces
from .cuts import Cut, Part, cut, folds, input_chunks, output_chunks, reach, whole_chunks, windows

Array = da.Array

# Parts that are added at once: a sum's tree hangs on the chunks alone.
_SUMMED_AT_ONCE = 8


_graphs_lock, _graphs_built, _collected = Lock(), 0, False


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's collector of garbage, which walks a growing graph again and again and finds nothing to free."""
    global _graphs_built, _collected
    with _graphs_lock:  # threads build graphs beside one another, and the last one leaves all as the first has found it
        if not _graphs_built:
            _collected = gc.isenabled()
        _graphs_built += 1
        gc.disable()
    try:
        yield
    finally:
        with _graphs_lock:
            _graphs_built -= 1
            if _collected and not _graphs_built:
                gc.enable()


def forward(
    x: Array,
    W: Any,
    b: Any = None,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    activation: str | None = None,
    method: str = "direct",
) -> Array:
    """:func:`depthwise.ops.forward` of a Dask array, lazily.

    Parameters
    ----------
    x : dask Array of shape (n, c_I, h, w), or (n, c_I, l), or (n, c_I, d, h, w)
        In chunks of any size along any axis, of a dtype that :func:`depthwise.ops.forward` takes.
    W : ndarray or dask Array of shape (c_M, c_I, k_H, k_W), with as many
    b : ndarray or dask Array of shape (c_I * c_M,), optional
    stride, pad, pad_mode, dilate, activation, method
        As :func:`depthwise.ops.forward` takes them.

    Returns
    -------
    dask Array of shape (n, c_I * c_M, h_O, w_O)
        Of x's dtype, and with the bits of :func:`depthwise.ops.forward` of all of x as a C-contiguous array; by
        transforms within the bound. An output belongs to the chunk under its window's centre, so that chunks are about
        x's, divided by the stride. A chunk needs those parts of x's chunks that its windows meet, and nothing is
        rechunked. Equal calls have equal names.

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise.ops.forward`; also where a size is unknown.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> import depthwise.dask
    >>> x = da.ones((1, 3, 1000, 1000), chunks=(1, 3, 300, 300), dtype="float32")
    >>> y = depthwise.dask.forward(x, np.ones((1, 3, 5, 5), "float32"), pad=2, pad_mode="reflect")
    >>> y.chunks[2], float(y[0, 0, 0, 0].compute())
    ((300, 300, 300, 100), 25.0)
    """
    return bordered(x, W, b, stride, pad, pad_mode, dilate, activation, method)


@_uncollected()
def bordered(
    x: Array,
    W: Any,
    b: Any,
    stride: Ints,
    pad: Pad,
    pad_mode: str,
    dilate: Ints,
    activation: str | None,
    method: str,
    cval: float = 0.0,
    channels_last: bool = False,
) -> Array:
    """:func:`forward`, with `cval` beside x where `pad_mode` is "constant", of chunks in this layout."""
    _check(x=x)
    _check_elements("W", W)
    if b is not None:
        _check_elements("b", b)
    g = geometry(x.shape, W.shape, stride, pad, dilate, method=method, pad_mode=pad_mode)
    activation_code(activation)  # or an error
    if b is not None and b.shape != g.y_shape[1:2]:
        msg = f"b must have shape ({g.y_shape[1]},) (x {x.shape}, W {W.shape}), got {b.shape}"
        raise ValueError(msg)
    W, b = _weights(W, x.chunks[1]), _biases(b, g, x.chunks[1])
    outputs = [output_chunks(a, c) for a, c in zip(g.axes, x.chunks[2:], strict=True)]
    chunks = x.chunks[0], tuple(c * g.multiplier for c in x.chunks[1]), *outputs
    steps = _steps(g) | {"activation": activation, "like": _whole(g, bool(cval), channels_last)}
    words = x.name, W.name, None if b is None else b.name, g.axes, steps, g.pad_mode, cval
    name = f"depthwise-forward-{tokenize(*words)}"
    graph, threads = _Graph(name, _edges_of_a_task(g, x.chunks[2:])), blocks.threads_of_tasks()
    cuts = [_cuts(a, c, o, g.pad_mode) for a, c, o in zip(g.axes, x.chunks[2:], outputs, strict=True)]
    for key in product(*map(range, map(len, chunks))):
        n, c, *places = key
        each = tuple(cuts[axis][i] for axis, i in enumerate(places))
        of_x, bias = _source("x", x, n, c), () if b is None else ((b.name, c),)
        shape = tuple(size[i] for size, i in zip(chunks, key, strict=True))
        block = blocks.Forward(threads, of_x, each, shape, steps, cval)
        graph[(name, *key)] = (block, graph.parts(x, of_x, each), _weight_key(W, c), *bias)
    return _array(graph, name, chunks, x.dtype, [x, W] if b is None else [x, W, b])


@_uncollected()
def weight_grad(
    x: Array,
    gy: Array,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    method: str = "direct",
) -> Array:
    """:func:`depthwise.ops.weight_grad` of Dask arrays, lazily.

    Parameters
    ----------
    x : dask Array of shape (n, c_I, h, w), or of one or three spatial axes
    gy : dask Array of shape (n, c_I * c_M, h_O, w_O)
        In chunks of any size along the spatial axes; along the others they are made to fit x's.
    kernel_size, stride, pad, pad_mode, dilate, method
        As :func:`depthwise.ops.weight_grad` takes them.

    Returns
    -------
    dask Array of shape (c_M, c_I, k_H, k_W)
        Of x's dtype, in x's chunks of channels. Parts are summed in float64 by a tree that hangs on the chunks alone,
        so that the result has the same bits for any number of workers.

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise.ops.weight_grad`; also where a size is unknown.

    Examples
    --------
    >>> import dask.array as da
    >>> import depthwise.dask
    >>> x = da.ones((1, 2, 100, 90), chunks=40)
    >>> depthwise.dask.weight_grad(x, x, (3, 3), pad=1)[0, 0].compute()
    array([[8811., 8910., 8811.],
           [8900., 9000., 8900.],
           [8811., 8910., 8811.]])
    """
    _check(x=x, gy=gy)
    g = weight_grad_geometry(x.shape, gy.shape, kernel_size, stride, pad, dilate, 0, method, pad_mode)
    if gy.shape != g.y_shape:
        msg = f"gy must have shape {g.y_shape} (x {x.shape}, kernel size {g.W_shape[2:]}), got {gy.shape}"
        raise ValueError(msg)
    gy = _fitting(gy, x.chunks[0], x.chunks[1], g.multiplier)
    steps = _steps(g)
    name = f"depthwise-weight-grad-{tokenize(x.name, gy.name, g.axes, steps, g.pad_mode)}"
    fit = all(output_chunks(*each) == outs for *each, outs in zip(g.axes, x.chunks[2:], gy.chunks[2:], strict=True))
    graph, threads = _Graph(name, _edges_of_a_task(g, x.chunks[2:], fit)), blocks.threads_of_tasks()
    cuts = [_cuts(a, c, o, g.pad_mode) for a, c, o in zip(g.axes, x.chunks[2:], gy.chunks[2:], strict=True)]
    kernel = g.W_shape[2:]
    sums: list[list[Any]] = [[] for _ in x.chunks[1]]
    for n, c, *places in product(*map(range, map(len, gy.chunks))):
        if any(gy.chunks[2 + axis][i] == 0 for axis, i in enumerate(places)):
            continue
        each = tuple(cuts[axis][i] for axis, i in enumerate(places))
        key = n, c, *places
        of_x, of_gy = _source("x", x, n, c), (_source("gy", gy, n, c), _whole_parts(gy, places))
        block = blocks.WeightGrad(threads, of_x, each, *of_gy, g.multiplier, kernel, steps)
        graph[(f"{name}-part", *key)] = (block, graph.parts(x, of_x, each), (gy.name, *key))
        sums[c].append((f"{name}-part", *key))
    for c, keys in enumerate(sums):
        last = (name, 0, c, *[0] * len(kernel))
        _sum(graph, f"{name}-sum-{c}", keys, last, x.dtype)
    chunks = (g.multiplier,), x.chunks[1], *((k,) for k in kernel)
    return _array(graph, name, chunks, x.dtype, [x, gy])


def bias_grad(gy: Array) -> Array:
    """:func:`depthwise.ops.bias_grad` of a Dask array, lazily.

    Parameters
    ----------
    gy : dask Array of shape (n, c_I * c_M, h_O, w_O), or of one or three spatial axes

    Returns
    -------
    dask Array of shape (c_I * c_M,)
        Of gy's dtype, summed as :func:`weight_grad` sums.

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise.ops.bias_grad`; also where a size is unknown.

    Examples
    --------
    >>> import dask.array as da
    >>> import depthwise.dask
    >>> depthwise.dask.bias_grad(da.ones((2, 3, 40, 50), chunks=25)).compute()
    array([4000., 4000., 4000.])
    """
    _check(gy=gy)
    spatial_axes(gy=gy.shape)
    name = f"depthwise-bias-grad-{tokenize(gy.name)}"
    graph, threads = _Graph(name, _together), blocks.threads_of_tasks()
    sums: list[list[Any]] = [[] for _ in gy.chunks[1]]
    for n, c, *places in product(*map(range, map(len, gy.chunks))):
        key = n, c, *places
        block = blocks.BiasGrad(threads, _source("gy", gy, n, c), _whole_parts(gy, places))
        graph[(f"{name}-part", *key)] = (block, (gy.name, *key))
        sums[c].append((f"{name}-part", *key))
    for c, keys in enumerate(sums):
        _sum(graph, f"{name}-sum-{c}", keys, (name, c), gy.dtype)
    return _array(graph, name, (gy.chunks[1],), gy.dtype, [gy])


@_uncollected()
def input_grad(
    gy: Array,
    W: Any,
    input_size: Ints,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    method: str = "direct",
    chunks: Sequence[int | Sequence[int]] | None = None,
) -> Array:
    """:func:`depthwise.ops.input_grad` of a Dask array, lazily.

    Parameters
    ----------
    gy : dask Array of shape (n, c_I * c_M, h_O, w_O), or of one or three spatial axes
        Its chunks of channels are made to hold whole groups of c_M.
    W : ndarray or dask Array of shape (c_M, c_I, k_H, k_W)
    input_size, stride, pad, pad_mode, dilate, method
        As :func:`depthwise.ops.input_grad` takes them.
    chunks : sequence of a sequence of ints for each spatial axis, or of an int for each, optional
        Of the result: those of x, say. By default those to which gy's chunks belong.

    Returns
    -------
    dask Array of shape (n, c_I, h, w)
        Of gy's dtype, and with the bits of :func:`depthwise.ops.input_grad` of all of gy as a C-contiguous array; by
        transforms within the bound.

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise.ops.input_grad`; also where a size is unknown, or chunks do not add up to the size.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> import depthwise.dask
    >>> gy = da.ones((1, 1, 50, 50), chunks=20)
    >>> gx = depthwise.dask.input_grad(gy, np.ones((1, 1, 3, 3)), (100, 100), stride=2, pad=1)
    >>> gx.chunks[2], gx[0, 0, :3, :3].compute().tolist()
    ((40, 40, 20), [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    """
    _check(gy=gy)
    _check_elements("W", W)
    g = input_grad_geometry(gy.shape, W.shape, input_size, stride, pad, dilate, method, pad_mode)
    if gy.shape != g.y_shape:
        msg = f"gy must have shape {g.y_shape} (input size {g.x_shape[2:]}, W {g.W_shape}), got {gy.shape}"
        raise ValueError(msg)
    if chunks is None:
        spatial = tuple(input_chunks(a, c) for a, c in zip(g.axes, gy.chunks[2:], strict=True))
    else:
        spatial = _checked_chunks(chunks, g.x_shape[2:])
    channels = _channel_chunks(gy.chunks[1], g.channels, g.multiplier)
    gy = _fitting(gy, gy.chunks[0], channels, g.multiplier)
    W = _weights(W, channels)
    steps, pad_mode = _steps(g) | {"like": _whole(g)}, _border(g)
    name = f"depthwise-input-grad-{tokenize(gy.name, W.name, g.axes, spatial, steps, pad_mode)}"
    fit = all(input_chunks(*each) == ins for *each, ins in zip(g.axes, gy.chunks[2:], spatial, strict=True))
    graph, threads = _Graph(name, _edges_of_a_task(g, gy.chunks[2:], fit)), blocks.threads_of_tasks()
    folded = [folds(a, c, o, pad_mode) for a, c, o in zip(g.axes, spatial, gy.chunks[2:], strict=True)]
    for n, c, *places in product(range(len(gy.chunks[0])), range(len(channels)), *(range(len(s)) for s in spatial)):
        each = tuple(folded[axis][i] for axis, i in enumerate(places))
        planes, of_gy = (gy.chunks[0][n], channels[c]), _source("gy", gy, n, c)
        block = blocks.InputGrad(threads, each, of_gy, planes, pad_mode != "constant", steps)
        runs = product(*(fold.runs for fold in each))
        parts = [graph.parts(gy, of_gy, tuple(met for _, met in run)) for run in runs]
        graph[(name, n, c, *places)] = (block, parts, _weight_key(W, c))
    return _array(graph, name, (gy.chunks[0], channels, *spatial), gy.dtype, [gy, W])


def _check(**arrays: Any) -> None:
    for name, a in arrays.items():
        if not isinstance(a, da.Array):
            msg = f"{name} must be a Dask array, got {type(a).__name__}"
            raise TypeError(msg)
        _check_elements(name, a)


def _check_elements(name: str, a: Any) -> None:
    """An error unless the array, NumPy's or Dask's, has known sizes and elements that mean what its memory holds."""
    if isinstance(a, da.Array):
        check_lazy(name, a)
    elif isinstance(a, np.ndarray):
        check_array(name, a)
    else:
        msg = f"{name} must be a NumPy or a Dask array, got {type(a).__name__}"
        raise TypeError(msg)
    dtype_code(name, a.dtype)


def _in_chunks(a: Any, chunks: tuple[tuple[int, ...], ...]) -> Array:
    """NumPy's array as it is now, or Dask's, in these chunks."""
    found: Array = a.rechunk(chunks) if isinstance(a, da.Array) else da.from_array(a.copy(), chunks=chunks)
    return found


def _weights(W: Any, channels: tuple[int, ...]) -> Array:
    """W in chunks of these channels, and whole along all other axes."""
    return _in_chunks(W, ((W.shape[0],), channels, *((k,) for k in W.shape[2:])))


def _biases(b: Any, g: Geometry, channels: tuple[int, ...]) -> Array | None:
    return None if b is None else _in_chunks(b, (tuple(c * g.multiplier for c in channels),))


def _weight_key(W: Array, c: int) -> Any:
    return (W.name, 0, c, *[0] * (W.ndim - 2))


def _steps(g: Geometry) -> dict[str, Any]:
    return {
        "stride": tuple(a.stride for a in g.axes),
        "dilate": tuple(a.dilate for a in g.axes),
        "method": g.method,
    }


def _checked_chunks(chunks: Any, size: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Chunks of the spatial axes as a caller gives them, sizes or one for each."""
    found: tuple[tuple[int, ...], ...] = da.core.normalize_chunks(chunks, size)
    if tuple(map(sum, found)) != size or any(type(c) is not int or c < 0 for each in found for c in each):
        msg = f"chunks {chunks} do not add up to the input size {size}"
        raise ValueError(msg)
    return found


def _source(name: str, a: Array, n: int, c: int) -> pieces.Source:
    return pieces.Source(name, a.dtype, (n, c), (a.chunks[0][n], a.chunks[1][c]))


def _whole_parts(a: Array, places: Sequence[int]) -> tuple[Part, ...]:
    """A chunk's parts that are all of it."""
    return tuple([whole[i] for i, whole in zip(places, map(whole_chunks, a.chunks[2:]), strict=True)])


def _border(g: Geometry) -> str:
    """What lies beside x: "constant", too, where no window leaves it, as the engine sees it."""
    spans = ((windows(a, 0, a.out), a.size) for a in g.axes)
    return g.pad_mode if any(begin < 0 or end > size for (begin, end), size in spans) else "constant"


def _whole(g: Geometry, filled: bool = False, channels_last: bool = False) -> Whole:
    """What blocks are parts of: x, or, where other things than zeros lie beside it, all that windows meet."""
    pads = tuple(a.pad for a in g.axes)
    if _border(g) == "constant" and not filled:
        return Whole(g.x_shape, pads, channels_last)
    size = ((a.out - 1) * a.stride + reach(a) for a in g.axes)
    return Whole((*g.x_shape[:2], *size), 0, channels_last)


def _channel_chunks(outs: Sequence[int], channels: int, multiplier: int) -> tuple[int, ...]:
    """Chunks of channels whose outputs begin where chunks of these outputs do, or a few before."""
    if not channels * multiplier:
        return (channels,)
    bounds = sorted({end // multiplier for end in accumulate(outs, initial=0)} | {sum(outs) // multiplier})
    return tuple(stop - start for start, stop in pairwise(bounds))


def _fitting(gy: Array, batch: tuple[int, ...], channels: tuple[int, ...], multiplier: int) -> Array:
    """Gy in these chunks of images and channels, and its own along the spatial axes."""
    outs = tuple(c * multiplier for c in channels)
    return gy if gy.chunks[:2] == (batch, outs) else gy.rechunk({0: batch, 1: outs})


def _cuts(a: Axis, chunks: tuple[int, ...], outs: Sequence[int], pad_mode: str) -> list[Cut]:
    """What the windows of each chunk of outputs meet."""
    ends = list(accumulate(outs))
    return [cut(chunks, *windows(a, end - size, end), pad_mode) for size, end in zip(outs, ends, strict=True)]


def _together(parts: Sequence[Part]) -> tuple[Any, ...]:
    return ()


def _by_side(parts: Sequence[Part]) -> tuple[Any, ...]:
    """A corner goes with the side of the first axis."""
    axis, part = next((i, part) for i, part in enumerate(parts) if not part.whole)
    return axis, part.start > 0


def _apart(parts: Sequence[Part]) -> tuple[Any, ...]:
    return (*[part.start for part in parts], *[part.stop for part in parts])


def _edges_of_a_task(
    g: Geometry, chunks: Sequence[tuple[int, ...]], fit: bool = True
) -> Callable[[Sequence[Part]], tuple[Any, ...]]:
    """Which edges of a chunk one task cuts out: as many as leave those of all chunks around one below its size.

    A block holds all that a task has given for any block, but each task takes the scheduler up to a millisecond. A
    chunk that is shorter than others, as the last one may be, has no edges that are more than it. Where blocks do not
    `fit` the chunks what a chunk's neighbours need may be all of it.
    """
    if not fit:
        return _apart
    reached = [(reach(a) - 1) / max(*each, 1) for a, each in zip(g.axes, chunks, strict=True)]
    neighbours = 3 ** len(reached) - 1
    if neighbours * (prod(1 + r for r in reached) - 1) <= 1:
        return _together
    return _by_side if neighbours * max(reached) / 2 <= 1 else _apart


class _Graph(dict[Any, Any]):
    """The tasks of a pass."""

    def __init__(self, name: str, edges: Callable[[Sequence[Part]], tuple[Any, ...]]) -> None:
        """With one task for those edges of a chunk for which `edges` gives the same."""
        super().__init__()
        self._name, self._edges = f"{name}-edges", edges
        self._chunks: dict[tuple[int, ...], tuple[tuple[Part, ...], Any]] = {}  # all parts of each, and its key

    def parts(self, x: Array, source: pieces.Source, cuts: tuple[Cut, ...]) -> list[Any]:
        """Keys of what `cuts` cut out of x, the last axis fastest: of whole chunks, or of a chunk's edges."""
        keys: list[Any] = []
        for parts in product(*[each.parts for each in cuts]):
            at = (*source.chunk, *[part.chunk for part in parts])
            known = self._chunks.get(at)
            if known is None:
                known = self._chunks[at] = _whole_parts(x, at[2:]), (x.name, *at)
            whole, chunk = known
            if parts == whole:
                keys.append(chunk)
                continue
            key = (self._name, *at, *self._edges(parts))
            task = self.get(key)
            if task is None:
                task = self[key] = (pieces.Edges(source, whole), chunk)
            task[0].wanted[parts] = None
            keys.append(key)
        return keys


def _sum(graph: dict[Any, Any], name: str, keys: list[Any], last: Any, dtype: Any) -> None:
    """The sum of what these keys stand for, by a tree, as the key `last`."""
    level = 0
    while len(keys) > _SUMMED_AT_ONCE:
        groups = [keys[i : i + _SUMMED_AT_ONCE] for i in range(0, len(keys), _SUMMED_AT_ONCE)]
        keys = [(name, level, i) for i in range(len(groups))]
        graph.update({key: (blocks.total, group) for key, group in zip(keys, groups, strict=True)})
        level += 1
    graph[last] = (blocks.total, keys, dtype)


def _array(graph: dict[Any, Any], name: str, chunks: Any, dtype: Any, sources: list[Any]) -> Array:
    layers = HighLevelGraph.from_collections(name, graph, dependencies=sources)
    return da.Array(layers, name, chunks, dtype=dtype, meta=np.empty((0,) * len(chunks), dtype))
