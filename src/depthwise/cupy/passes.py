"""The passes of :mod:`depthwise.ops` over CuPy's arrays, and those of a Geometry that the graph calls."""

from __future__ import annotations

from typing import Any

from .. import gpu
from ..arguments import Ints, Pad
from ..arrays import AnyArray
from ..enums import FORWARD, INPUT_GRAD, WEIGHT_GRAD, activation_code
from ..geometry import Geometry, geometry, input_grad_geometry, weight_grad_geometry
from ..passes import check_bias, check_gy
from .arrays import check_cupy, empty_like, place


def forward(
    x: Any,
    W: Any,
    b: Any = None,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    activation: str | None = None,
    method: str = "direct",
) -> Any:
    """:func:`depthwise.ops.forward` of CuPy's arrays.

    Parameters
    ----------
    x : cupy.ndarray of shape (n, c_I, h, w), (n, c_I, l) or (n, c_I, d, h, w)
        float16, bfloat16, float32 or float64, of any strides.
    W : cupy.ndarray of shape (c_M, c_I, k_H, k_W), or of as many kernel axes as x has spatial ones
        On x's GPU, as all others are.
    b : cupy.ndarray of shape (c_I * c_M,), optional
    stride, pad, pad_mode, dilate, activation
        As :func:`depthwise.ops.forward` takes them.
    method : {"direct", "auto"}, default "direct"
        There are no transforms on a GPU: "auto" is "direct" there.

    Returns
    -------
    cupy.ndarray of shape (n, c_I * c_M, h_O, w_O), or as many axes as x
        Of x's dtype and memory layout; sums are kept in float32, or float64 where x or W is float64. The current
        stream has it when it is done.

    Raises
    ------
    TypeError
        An argument is not CuPy's, or of another dtype.
    ValueError
        As :func:`depthwise.ops.forward`; also where arrays are on different GPUs.
    RuntimeError
        There is no driver, no NVRTC or too old a GPU: it says what to install.

    Examples
    --------
    >>> import cupy  # doctest: +SKIP
    >>> from depthwise import cupy as ops  # doctest: +SKIP
    >>> ops.forward(cupy.ones((1, 2, 4, 4)), cupy.ones((1, 2, 3, 3))).shape  # doctest: +SKIP
    (1, 2, 2, 2)
    """
    check_cupy(x, x=x, W=W, b=b)
    g = geometry(x.shape, W.shape, stride, pad, dilate, method=method, pad_mode=pad_mode)
    return forward_of(g, x, W, b, activation=activation_code(activation))


def input_grad(
    gy: Any,
    W: Any,
    input_size: Ints,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    method: str = "direct",
) -> Any:
    """:func:`depthwise.ops.input_grad` of CuPy's arrays; errors as :func:`forward`'s.

    Parameters
    ----------
    gy : cupy.ndarray of shape (n, c_I * c_M, h_O, w_O), or of one or three spatial axes
    W : cupy.ndarray of shape (c_M, c_I, k_H, k_W)
    input_size : int or sequence of ints
        (h, w): the size of x.
    stride, pad, pad_mode, dilate, method
        The forward pass's.

    Returns
    -------
    cupy.ndarray of shape (n, c_I, h, w)
        Of gy's dtype and memory layout.
    """
    check_cupy(gy, gy=gy, W=W)
    return input_grad_of(
        input_grad_geometry(gy.shape, W.shape, input_size, stride, pad, dilate, method, pad_mode), gy, W
    )


def weight_grad(
    x: Any,
    gy: Any,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    pad: Pad = 0,
    pad_mode: str = "constant",
    dilate: Ints = 1,
    method: str = "direct",
) -> Any:
    """:func:`depthwise.ops.weight_grad` of CuPy's arrays; the same bits every time; errors as :func:`forward`'s.

    Parameters
    ----------
    x : cupy.ndarray of shape (n, c_I, h, w), or of one or three spatial axes
    gy : cupy.ndarray of shape (n, c_I * c_M, h_O, w_O)
    kernel_size : int or sequence of ints
        (k_H, k_W).
    stride, pad, pad_mode, dilate, method
        The forward pass's.

    Returns
    -------
    cupy.ndarray of shape (c_M, c_I, k_H, k_W)
        Of x's dtype.
    """
    check_cupy(x, x=x, gy=gy)
    g = weight_grad_geometry(x.shape, gy.shape, kernel_size, stride, pad, dilate, 1, method, pad_mode)
    return weight_grad_of(g, x, gy, x.dtype)


def bias_grad(gy: Any) -> AnyArray:
    """:func:`depthwise.ops.bias_grad` of a CuPy array (n, c, ...): its sums over all axes but the channels', (c,)."""
    check_cupy(gy, gy=gy)
    wide = gy.dtype if gy.dtype.itemsize > 4 else "float32"
    gb: AnyArray = gy.sum(axis=(0, *range(2, gy.ndim)), dtype=wide).astype(gy.dtype)
    return gb


def forward_of(g: Geometry, x: AnyArray, W: AnyArray, b: AnyArray | None = None, *, activation: int = 0) -> AnyArray:
    """The output of a Geometry; TypeError or ValueError where the arrays are of several libraries or GPUs."""
    check_cupy(x, x=x, W=W, b=b)
    if b is not None:
        check_bias(g, x, W, b)
    y: AnyArray = empty_like(x, g.y_shape, x.dtype)
    _run(FORWARD, g, x, W, b, y, activation)
    return y


def input_grad_of(g: Geometry, gy: AnyArray, W: AnyArray) -> AnyArray:
    """The gradient for x; errors as :func:`forward_of`'s."""
    check_cupy(gy, gy=gy, W=W)
    check_gy(g, gy, f"input size {g.x_shape[2:]}, W {W.shape}")
    gx: AnyArray = empty_like(gy, g.x_shape, gy.dtype)
    _run(INPUT_GRAD, g, gx, W, None, gy)
    return gx


def weight_grad_of(g: Geometry, x: Any, gy: AnyArray, dtype: Any) -> AnyArray:
    """The gradient for W in a dtype; errors as :func:`forward_of`'s."""
    import cupy

    check_cupy(x, x=x, gy=gy)
    check_gy(g, gy, f"x {x.shape}, kernel size {g.W_shape[2:]}")
    with x.device:
        gW: AnyArray = cupy.empty(g.W_shape, dtype)
    _run(WEIGHT_GRAD, g, x, gW, None, gy)
    return gW


def _run(kind: int, g: Geometry, x: Any, W: Any, b: Any, y: Any, activation: int = 0) -> None:
    import cupy

    held: list[Any] = []  # until the launch: CuPy's pool then gives it to this stream alone

    def allocate(size: int) -> int:
        held.append(cupy.empty(size, "uint8"))
        return int(held[0].data.ptr)

    with x.device:
        stream = cupy.cuda.get_current_stream().ptr
        bias = gpu.NOTHING if b is None else place(b)
        gpu.run(kind, g.sizes, place(x), place(W), bias, place(y), activation, x.device.id, stream, allocate)
