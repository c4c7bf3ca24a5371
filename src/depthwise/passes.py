"""The passes of a Geometry over NumPy arrays; `ops` and the graph have checked that they are arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from .arrays import (
    BFLOAT16,
    AnyArray,
    bits,
    check_array,
    check_out,
    dtype_code,
    empty,
    empty_like,
    fits,
    fitting,
    image_to_write,
    native,
    written,
)
from .enums import DTYPES, FORWARD, INPUT_GRAD, METHODS, PAD_MODES, WEIGHT_GRAD
from .geometry import Geometry
from .runtime import active_target, get_num_threads


def sums_dtype(*arrays: Any) -> np.dtype[Any]:
    """The type in which what these arrays are multiplied to is summed."""
    return np.dtype(np.float64 if any(native(a.dtype) == np.float64 for a in arrays) else np.float32)


def check_bias(g: Geometry, x: Any, W: Any, b: Any) -> None:
    """ValueError unless b has an element for each channel of the output."""
    if b.shape != g.y_shape[1:2]:
        msg = f"b must have shape ({g.y_shape[1]},) (x {x.shape}, W {W.shape}), got {b.shape}"
        raise ValueError(msg)


def check_bias_dtype(x: Any, b: Any) -> None:
    """TypeError unless b, where there is one, has x's dtype, as Chainer asks for."""
    if b is not None and getattr(b, "dtype", x.dtype) != x.dtype:
        msg = f"b must have x's dtype {x.dtype}, got {b.dtype}"
        raise TypeError(msg)


def check_gy(g: Geometry, gy: AnyArray, of: str) -> None:
    """ValueError unless gy has the output's shape."""
    if gy.shape != g.y_shape:
        msg = f"gy must have shape {g.y_shape} ({of}), got {gy.shape}"
        raise ValueError(msg)


def forward(
    g: Geometry,
    x: AnyArray,
    W: AnyArray,
    b: AnyArray | None = None,
    out: AnyArray | None = None,
    *,
    activation: int = 0,
    kept: _core.SpectraKeeper | None = None,
) -> AnyArray:
    """The output, as :func:`depthwise.ops.forward`."""
    x_code, W_code, b_code = dtype_code("x", x.dtype), dtype_code("W", W.dtype), 0
    if b is not None:
        b_code = dtype_code("b", b.dtype)
        check_bias(g, x, W, b)
    if out is not None:
        check_out(out, g.y_shape, x.dtype, ("x", x), ("W", W), ("b", b))
    y = image_to_write(out, g.y_shape, x, x_code)
    _run(FORWARD, g.sizes, x, W, b, y, (x_code, W_code, b_code, x_code), activation, kept)
    return written(y, out, x.dtype)


def input_grad(g: Geometry, gy: AnyArray, W: AnyArray, out: AnyArray | None = None) -> AnyArray:
    """The gradient for x, as :func:`depthwise.ops.input_grad`."""
    gy_code, W_code = dtype_code("gy", gy.dtype), dtype_code("W", W.dtype)
    check_gy(g, gy, f"input size {g.x_shape[2:]}, W {W.shape}")
    dtype = gy.dtype
    if out is not None:
        if isinstance(out, np.ndarray) and native(out.dtype) == sums_dtype(gy, W):
            dtype = out.dtype
        check_out(out, g.x_shape, dtype, ("gy", gy), ("W", W))
    gx_code = dtype_code("out", dtype)
    gx = image_to_write(out, g.x_shape, gy, gx_code, dtype)
    _run(INPUT_GRAD, g.sizes, gx, W, None, gy, (gx_code, W_code, 0, gy_code))
    return written(gx, out, dtype)


def weight_grad(
    g: Geometry, x: AnyArray, gy: AnyArray, out: AnyArray | None = None, bias_out: AnyArray | None = None
) -> AnyArray:
    """The gradient for W, as :func:`depthwise.ops.weight_grad`."""
    x_code, gy_code = dtype_code("x", x.dtype), dtype_code("gy", gy.dtype)
    check_gy(g, gy, f"x {x.shape}, kernel size {g.W_shape[2:]}")
    inputs = ("x", x), ("gy", gy)
    gW, gW_code = _weights_to_write(out, g.W_shape, x.dtype, *inputs)
    gb, gb_code = None, 0
    if bias_out is not None:
        gb, gb_code = _weights_to_write(bias_out, g.y_shape[1:2], x.dtype, *inputs, ("out", out), name="bias_out")
    _run(WEIGHT_GRAD, g.sizes, x, gW, gb, gy, (x_code, gW_code, gb_code, gy_code))
    if gb is not None:
        written(gb, bias_out, gb.dtype)
    return written(gW, out, x.dtype)


def bias_grad(gy: AnyArray, out: AnyArray | None = None) -> AnyArray:
    """The gradient for b, as :func:`depthwise.ops.bias_grad`."""
    code = dtype_code("gy", gy.dtype)
    n, c, *size = gy.shape
    gb, gb_code = _weights_to_write(out, (c,), gy.dtype, ("gy", gy))
    # The weight gradient of a kernel without taps, which has a bias all the same.
    sizes = _core.Sizes(n, c, 1, [[s, 0, 1, 0, 1, s] for s in size], METHODS["direct"], PAD_MODES["constant"])
    no_taps = np.empty((1, c, *[0] * len(size)), np.float32)
    _run(WEIGHT_GRAD, sizes, gy, no_taps, gb, gy, (code, DTYPES["float32"], gb_code, code))
    return written(gb, out, gy.dtype)


def activation_grad(activation: int, gy: AnyArray, z: AnyArray, out: AnyArray | None = None) -> AnyArray:
    """`gy` times the derivative of an activation at `z`, as :func:`depthwise.ops.activation_grad`."""
    gy_code, z_code = dtype_code("gy", gy.dtype), dtype_code("z", z.dtype)
    if gy.shape != z.shape:
        msg = f"gy must have z's shape {z.shape}, got {gy.shape}"
        raise ValueError(msg)
    if gy.ndim > 5:
        msg = f"gy must have at most 5 axes, got {gy.ndim}: shape {gy.shape}"
        raise ValueError(msg)
    if out is not None:
        check_out(out, gy.shape, gy.dtype, ("gy", gy), ("z", z))
    gz = out if out is not None and fits(out, gy_code) else empty_like(gy, native(gy.dtype))
    z_bits, gy_bits = (fitting(bits(a, code), code) for a, code in ((z, z_code), (gy, gy_code)))
    target, threads = active_target(), get_num_threads()
    _core.activation_grad(activation, z_bits, z_code, gy_bits, gy_code, bits(gz, gy_code), gy_code, target, threads)
    return written(gz, out, gy.dtype)


def _weights_to_write(
    out: AnyArray | None,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *inputs: tuple[str, AnyArray | None],
    name: str = "out",
) -> tuple[AnyArray, int]:
    """`out` where the engine can write it, else a new array of its dtype, or of this one; and the dtype's code."""
    if out is None:
        return empty(shape, native(dtype)), dtype_code(name, dtype)
    check_array(name, out)
    code = dtype_code(name, out.dtype)
    check_out(out, shape, out.dtype, *inputs, name=name)
    return (out if fits(out, code) else empty(shape, native(out.dtype))), code


def _run(
    kind: int,
    sizes: _core.Sizes,
    x: AnyArray,
    W: AnyArray,
    b: AnyArray | None,
    y: AnyArray,
    codes: tuple[int, int, int, int],
    activation: int = 0,
    kept: _core.SpectraKeeper | None = None,
) -> None:
    """Run the engine; the array that `kind` computes is already one that it can write."""
    x_code, W_code, b_code, y_code = codes
    if BFLOAT16 in codes:
        x, W, y = bits(x, x_code), bits(W, W_code), bits(y, y_code)
        b = None if b is None else bits(b, b_code)
    target, threads = active_target(), get_num_threads()
    try:
        _core.run(kind, sizes, x, x_code, W, W_code, b, b_code, y, y_code, target, threads, activation, kept)
    except _core.Refused:  # copies of what is read; what is written has to be taken as it is
        if kind != INPUT_GRAD:
            x = fitting(x, x_code)
        if kind != WEIGHT_GRAD:
            W, b = fitting(W, W_code), None if b is None else fitting(b, b_code)
        if kind != FORWARD:
            y = fitting(y, y_code)
        _core.run(kind, sizes, x, x_code, W, W_code, b, b_code, y, y_code, target, threads, activation, kept)
