"""What the engine would do with a problem, asked without doing it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from . import _core
from .arrays import check_array, dtype_code, new_strides
from .enums import PASSES
from .geometry import geometry
from .roofline import least_seconds
from .runtime import active_target, get_num_threads


def explain(
    x: Any,
    W: Any,
    *,
    stride: Any = 1,
    pad: Any = 0,
    pad_mode: str = "constant",
    dilate: Any = 1,
    kind: str = "forward",
    method: str = "direct",
    measure: bool = False,
) -> dict[str, Any]:
    """What the engine would do with a problem: target, kernel, memory access, threads, FLOP, bytes, and their limit.

    Parameters
    ----------
    x : ndarray or Variable of shape (n, c_I, h, w), or of one or three spatial axes, or a shape
        A shape stands for a float32 array in planar memory.
    W : ndarray or Variable of shape (c_M, c_I, k_H, k_W), with as many, or a shape
    stride, pad, pad_mode, dilate
        As given to :func:`depthwise.ops.forward`. Where a window meets padding other than zeros, what is told is the
        problem of the outputs whose windows do not, or of all of them on a padded copy where those are the fewer.
    kind : {"forward", "input_grad", "weight_grad"}
        The pass; y, gy and gx are taken to have x's dtype and memory layout.
    method : {"direct", "fft", "auto"}
        As given to :func:`depthwise.ops.forward`.
    measure : bool
        Also measure what this machine can do, which takes a tenth of a second once for each size of arrays.

    Returns
    -------
    dict
        Numbers are int or float, two of a kind a tuple, the rest is words. Of every problem:

        - "target": one of :func:`depthwise.targets`
        - "kernel": its file in csrc/kernels
        - "candidate": the way that was chosen; "cycles": what it is estimated to take on one thread; "others": the
          cycles of each way that was not chosen, or why it does not fit. They are for the choice: no time is promised.
        - "sums": their type, "float32" or "float64"
        - "units of work": parts that threads take in turns; "threads": how many work on them
        - "scratch bytes a thread": memory that is needed beside the arrays
        - "flop": taps in the padding not counted; "bytes": each array once

        Of direct sums also:

        - "input" and "output", of a weight gradient "x" and "gy": how each is read or written, and why
        - "columns at a time": how wide the strips are in which rows are worked through

        Of Fourier transforms also:

        - "transforms": the height and width of each; "tiles": how many of them an image takes, down and across
        - "lanes": what lies side by side in a vector, "tiles" or "channels"

        Of a weight gradient also "parts summed apart": how many sums are added up at the end.

        With `measure` also "limit", the seconds that this machine needs at least, with all the threads that a call may
        use: the FLOP at its rate of multiply-adds or the bytes at that of copying so many, the longer of the two, and
        "bound by", which of them: "arithmetic" or "memory".

    Notes
    -----
    How memory is walked hangs on the sizes of this machine's caches, as ``python -m depthwise info`` prints them. The
    environment variable ``DEPTHWISE_CACHES`` forces others, the nearest first: ``DEPTHWISE_CACHES=32K,1M,32M``. No bit
    of a result hangs on them.

    Examples
    --------
    >>> import depthwise
    >>> plan = depthwise.explain((1, 32, 112, 112), (1, 32, 3, 3), pad=1)
    >>> plan["kernel"], plan["input"], round(plan["flop"] / 1e6, 1)
    ('correlate_planar', 'in place', 7.1)
    >>> plan["others"]["planar, converted"]
    'no dense planes of another dtype'
    """
    if kind not in PASSES:
        msg = f"kind must be one of {', '.join(PASSES)}, got {kind!r}"
        raise ValueError(msg)
    target, threads = active_target(), get_num_threads()
    a, w = _described("x", x), _described("W", W)
    code, W_code = dtype_code("x", a.dtype), dtype_code("W", w.dtype)
    g = geometry(a.shape, w.shape, stride, pad, dilate, method=method, pad_mode=pad_mode)
    x_strides = new_strides(a.shape, False) if isinstance(x, tuple) else [s // a.itemsize for s in a.strides]
    y_strides = new_strides(g.y_shape, _core.channels_last(x_strides, a.shape))
    plan, candidates, threads_used, flop, n_bytes = _core.describe(
        PASSES[kind], g.sizes, x_strides, code, W_code, y_strides, code, target, threads
    )
    facts: dict[str, Any] = {"target": _core.targets()[target][0]}
    facts |= {name: _read(value) for name, value in plan}
    costs: dict[str, Any] = {name: misfit or round(cycles) for name, cycles, misfit in candidates}
    facts |= {"cycles": costs.pop(facts["candidate"]), "others": costs}
    facts |= {"threads": threads_used, "flop": int(flop), "bytes": int(n_bytes)}
    if measure:
        float64 = facts["sums"] == "float64"
        facts["limit"], facts["bound by"] = least_seconds(flop, int(n_bytes), target, float64, threads)
    return facts


def _read(text: str) -> int | tuple[int, ...] | str:
    """What the engine has told in words: a number, numbers such as "12 x 18", or words."""
    try:
        numbers = tuple(map(int, text.split(" x ")))
    except ValueError:
        return text
    return numbers if len(numbers) > 1 else numbers[0]


def _described(name: str, a: Any) -> npt.NDArray[Any]:
    """An array, or a Variable's, or one that has no memory but this shape."""
    if isinstance(a, tuple):
        return np.broadcast_to(np.float32(0), a)
    a = getattr(a, "array", a)
    check_array(name, a)
    return cast("npt.NDArray[Any]", a)
