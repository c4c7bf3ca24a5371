"""Ints in, a frozen Geometry out: every error about sizes that do not fit each other is raised here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from math import prod
from operator import index
from typing import Any, NamedTuple

from . import _core
from .arguments import WORDS, Ints, Pad, is_int, parsed, per_axis, spatial_axes
from .enums import method_code, pad_mode_code

_MOST_ELEMENTS = 2**59  # of an array: its bytes must fit a signed 64-bit integer


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution; all sizes in elements, of which `size` and `out` may be symbols."""

    size: int
    kernel: int
    stride: int
    pad: tuple[int, int]
    dilate: int
    out: int


class Whole(NamedTuple):
    """What an array is a part of: `like` of :func:`depthwise.ops.forward` and :func:`depthwise.ops.input_grad`.

    Parameters
    ----------
    shape : tuple of int
        (n, c_I, h, w), or of one or three spatial axes: the shape of all of x.
    pad : int, sequence of ints, sequence of pairs, "same", "valid" or "causal"
        The padding of all of x.
    channels_last : bool
        Whether it has its channels closest in memory, instead of its rows.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise
    >>> from depthwise import ops
    >>> x, W = np.random.rand(1, 3, 50, 40), np.random.rand(1, 3, 5, 5)
    >>> whole = depthwise.Whole(x.shape, pad=2)
    >>> top = ops.forward(x[:, :, :22], W, pad=((2, 0), (2, 2)), like=whole)
    >>> np.array_equal(top, ops.forward(x, W, pad=2)[:, :, :20])
    True
    """

    shape: tuple[int, ...]
    pad: Pad = 0
    channels_last: bool = False


@dataclass(frozen=True)
class Geometry:
    """All sizes of one call, checked, and the engine's own copy of them."""

    batch: int
    channels: int
    multiplier: int
    axes: tuple[Axis, ...]
    method: str
    pad_mode: str
    sizes: _core.Sizes

    @cached_property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x: (n, c_I, h, w), or (n, c_I, l), or (n, c_I, d, h, w)."""
        return self.batch, self.channels, *(a.size for a in self.axes)

    @cached_property
    def W_shape(self) -> tuple[int, ...]:
        """Shape of W: (c_M, c_I, k_H, k_W), or (c_M, c_I, k), or (c_M, c_I, k_D, k_H, k_W)."""
        return self.multiplier, self.channels, *(a.kernel for a in self.axes)

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of y: (n, c_I * c_M, h_O, w_O), or (n, c_I * c_M, l_O), or (n, c_I * c_M, d_O, h_O, w_O)."""
        return self.batch, self.channels * self.multiplier, *(a.out for a in self.axes)


def output_length(size: Any, kernel: Any, stride: Any, pad: Any, dilate: Any) -> Any:
    """Outputs along one axis; nothing is checked, so that sizes may be a framework's symbols."""
    return (size + pad[0] + pad[1] - dilate * (kernel - 1) - 1) // stride + 1


def _axis(name: str, size: Any, kernel: int, stride: int, pad: str | tuple[int, int], dilate: int) -> Axis:
    reach = dilate * (kernel - 1) + 1
    known = isinstance(size, int)
    if pad == "valid":
        pad = 0, 0
    elif pad == "causal":
        pad = max(reach - 1, 0), 0
    elif pad == "same":
        if not known and stride > 1:
            msg = f'pad="same" with stride {stride} needs a known size, got {name} {size}'
            raise ValueError(msg)
        total = max((-(-size // stride) - 1) * stride + reach - size, 0) if known else max(reach - 1, 0)
        pad = total // 2, total - total // 2
    assert not isinstance(pad, str)
    out = output_length(size, kernel, stride, pad, dilate)
    if known and out <= 0:
        spread = f" (dilate {dilate}: {reach} wide)" if dilate > 1 else ""
        msg = (
            f"{name} of the output would be {out}: a kernel of {kernel}{spread} does not fit into an input of {size} "
            f"padded by {pad[0]} and {pad[1]}"
        )
        raise ValueError(msg)
    if (size if known else 0) + pad[0] + pad[1] + reach > 2**40:
        msg = f"{name} is too large: input {size}, pad {pad}, kernel {kernel}, dilate {dilate}"
        raise ValueError(msg)
    return Axis(size, kernel, stride, pad, dilate, out)


def _axes(
    x_shape: tuple[Any, ...], W_shape: tuple[int, ...], stride: Any, pad: Any, dilate: Any, spatial: int | None
) -> tuple[Axis, ...]:
    """All axes, with every check of the arguments; nothing is asked of a size of x that is not an int."""
    count = spatial_axes(spatial, W=W_shape, x=x_shape)
    if W_shape[1] != x_shape[1]:
        msg = f"W has {W_shape[1]} input channels but x has {x_shape[1]} (x {x_shape}, W {W_shape})"
        raise ValueError(msg)
    strides, pads, dilates = parsed(stride, pad, dilate, count)
    if isinstance(pads, str):
        pads = (pads,) * count
    each = zip(WORDS[count].axes, x_shape[2:], W_shape[2:], strides, pads, dilates, strict=True)
    axes = tuple(_axis(*facts) for facts in each)
    y_shape = x_shape[0], W_shape[0] * W_shape[1], *(a.out for a in axes)
    for what, shape in (("x", x_shape), ("W", W_shape), ("the output", y_shape)):
        if prod(max(size, 1) for size in shape if isinstance(size, int)) > _MOST_ELEMENTS:
            msg = f"{what} {shape} would have more than 2**59 elements"
            raise ValueError(msg)
    return axes


def check_padding(x_shape: tuple[Any, ...], axes: tuple[Axis, ...], pad_mode: Any) -> None:
    """ValueError where there is nothing to pad by, TypeError or ValueError where there is no such mode."""
    pad_mode_code(pad_mode)
    if pad_mode != "constant" and any(isinstance(a.size, int) and not a.size and any(a.pad) for a in axes):
        msg = f'x {x_shape} has an axis without elements, which only pad_mode="constant" can pad, got {pad_mode!r}'
        raise ValueError(msg)
    sizes = *x_shape[:2], *(a.size + sum(a.pad) if isinstance(a.size, int) else 1 for a in axes)
    if pad_mode != "constant" and prod(max(size, 1) for size in sizes if isinstance(size, int)) > _MOST_ELEMENTS:
        msg = f"x {x_shape} with its padding would have more than 2**59 elements, which pad_mode={pad_mode!r} copies"
        raise ValueError(msg)


def _engine_axis(a: Axis, whole: Axis) -> list[int]:
    # A single output never takes a step and a single tap is never spread: nothing then hangs on huge numbers.
    return [
        a.size,
        a.kernel,
        a.stride if max(a.out, whole.out) > 1 else 1,
        a.pad[0],
        a.dilate if a.kernel > 1 else 1,
        a.out,
    ]


def _whole(
    like: Any, part: tuple[int, ...], W_shape: tuple[int, ...], stride: Any, dilate: Any, pad_mode: str
) -> Geometry:
    """Sizes of what x is a part of."""
    if not isinstance(like, Whole):
        msg = f"like must be a depthwise.Whole, got {type(like).__name__}"
        raise TypeError(msg)
    if pad_mode != "constant":
        msg = f'a part has pad_mode "constant", what lies beside it being its own, got {pad_mode!r}'
        raise ValueError(msg)
    shape = tuple(index(size) for size in like.shape)
    if len(shape) != len(part) or any(of < size for of, size in zip(shape[:2], part[:2], strict=True)):
        msg = f"x {part} is no part of an array of shape {shape}"
        raise ValueError(msg)
    return geometry(shape, (W_shape[0], shape[1], *W_shape[2:]), stride, like.pad, dilate)


@lru_cache(maxsize=4096)
def _geometry(
    x_shape: tuple[int, ...],
    W_shape: tuple[int, ...],
    stride: Any,
    pad: Any,
    dilate: Any,
    spatial: int | None,
    method: str,
    pad_mode: str,
    whole: Geometry | None,
    channels_last: bool,
) -> Geometry:
    axes = _axes(x_shape, W_shape, stride, pad, dilate, spatial)
    check_padding(x_shape, axes, pad_mode)
    batch, channels, multiplier = x_shape[0], x_shape[1], W_shape[0]
    codes = method_code(method), pad_mode_code(pad_mode)
    each = [_engine_axis(*a) for a in zip(axes, whole.axes if whole else axes, strict=True)]
    sizes = _core.Sizes(batch, channels, multiplier, each, *codes, whole.sizes if whole else None, channels_last)
    return Geometry(batch, channels, multiplier, axes, method, pad_mode, sizes)


def geometry(
    x_shape: tuple[int, ...],
    W_shape: tuple[int, ...],
    stride: Any,
    pad: Any,
    dilate: Any,
    spatial: int | None = None,
    method: str = "direct",
    pad_mode: str = "constant",
    like: Whole | None = None,
) -> Geometry:
    """Sizes of a convolution of x (n, c_I, h, w) with W (c_M, c_I, k_H, k_W), or of fewer or more spatial axes.

    Parameters
    ----------
    x_shape, W_shape
        Their length says how many spatial axes there are: one, two or three.
    stride, pad, dilate
        As given to :func:`depthwise.ops.forward`.
    spatial
        The only number of spatial axes that is allowed.
    method
        How the engine is to form the sums.
    pad_mode
        What lies beside x.
    like
        What x is a part of.

    Raises
    ------
    TypeError
        `stride`, `pad` or `dilate` is not made of ints.
    ValueError
        A shape has another number of axes, the channels differ, a value is out of range, or the output is empty.
    """
    if not _core.is_plain((stride, pad, dilate, method, pad_mode)):
        method_code(method)  # or an error
        pad_mode_code(pad_mode)
        stride, pad, dilate = parsed(stride, pad, dilate, spatial_axes(spatial, W=W_shape, x=x_shape))
    of = (
        (None, False)
        if like is None
        else (_whole(like, x_shape, W_shape, stride, dilate, pad_mode), bool(like.channels_last))
    )
    return _geometry(x_shape, W_shape, stride, pad, dilate, spatial, method, pad_mode, *of)


def axes(
    x_shape: tuple[Any, ...],
    W_shape: tuple[int, ...],
    stride: Any,
    pad: Any,
    dilate: Any,
    spatial: int | None = None,
) -> tuple[Axis, ...]:
    """The axes of :func:`geometry`, where sizes of x may be symbols, of which nothing is asked.

    Raises
    ------
    TypeError, ValueError
        As :func:`geometry`; also where `pad` is "same" and hangs on a symbol.
    """
    if all(isinstance(size, int) for size in x_shape):
        return geometry(x_shape, W_shape, stride, pad, dilate, spatial).axes
    return _axes(x_shape, W_shape, stride, pad, dilate, spatial)


def _known(function: Callable[..., Geometry]) -> Callable[..., Geometry]:
    """The same, asked once for arguments that are plain: checks of a small array would take longer than its sums."""
    asked_before = lru_cache(maxsize=4096)(function)

    @wraps(function)
    def answer(*args: Any) -> Geometry:
        return (asked_before if _core.is_plain(args) else function)(*args)

    return answer


@_known
def input_grad_geometry(
    gy_shape: tuple[int, ...],
    W_shape: tuple[int, ...],
    input_size: Any,
    stride: Any,
    pad: Any,
    dilate: Any,
    method: str = "direct",
    pad_mode: str = "constant",
    like: Whole | None = None,
) -> Geometry:
    """The forward pass's :func:`geometry`, from what the input gradient is given; whether gy fits is not asked."""
    size = per_axis("input_size", input_size, 0, spatial_axes(W=W_shape, gy=gy_shape))
    x_shape = gy_shape[0], W_shape[1], *size
    return geometry(x_shape, W_shape, stride, pad, dilate, method=method, pad_mode=pad_mode, like=like)


@_known
def weight_grad_geometry(
    x_shape: tuple[int, ...],
    gy_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any,
    pad: Any,
    dilate: Any,
    multiplier: int,
    method: str = "direct",
    pad_mode: str = "constant",
) -> Geometry:
    """The forward pass's :func:`geometry`, from what the weight gradient is given; whether gy fits is not asked.

    `multiplier` counts where x has no channels, which tell it otherwise.
    """
    count = spatial_axes(x=x_shape, gy=gy_shape)
    channels, outputs = x_shape[1], gy_shape[1]
    if outputs % channels if channels else outputs:
        msg = f"gy has {outputs} channels, which is no multiple of x's {channels} (x {x_shape}, gy {gy_shape})"
        raise ValueError(msg)
    kernel = per_axis("kernel_size", kernel_size, 0, count)
    if channels:
        multiplier = outputs // channels
    W_shape = multiplier, channels, *kernel
    return geometry(x_shape, W_shape, stride, pad, dilate, method=method, pad_mode=pad_mode)


def output_size(
    input_size: Ints, kernel_size: Ints, stride: Ints = 1, pad: Pad = 0, dilate: Ints = 1
) -> tuple[int, ...]:
    """Height and width of a convolution's output; or its length, or its depth, height and width.

    ``(size + pad_before + pad_after - dilate * (kernel - 1) - 1) // stride + 1`` along each axis; with
    ``pad="same"`` it is ``ceil(size / stride)``, as TensorFlow defines it for any stride.

    Parameters
    ----------
    input_size, kernel_size, stride, dilate : int or sequence of ints
        (vertical, horizontal), or (length,), or (depth, height, width): a sequence as `input_size`, or else as
        `kernel_size`, says how many axes there are. Two ints are for two axes.
    pad : int, sequence of ints, sequence of pairs, "same", "valid" or "causal"
        Zeros before and after each axis; pairs of pairs are ((top, bottom), (left, right)). "causal" is for one axis.

    Returns
    -------
    tuple of int
        (out_h, out_w), or (out_l,), or (out_d, out_h, out_w).

    Raises
    ------
    TypeError, ValueError
        As :func:`depthwise.depthwise_convolution_2d`.

    Examples
    --------
    >>> import depthwise
    >>> depthwise.output_size((112, 112), 3, stride=2, pad=1)
    (56, 56)
    >>> depthwise.output_size((5, 9), (3, 2), pad=((1, 0), (0, 0)))
    (4, 8)
    >>> depthwise.output_size((16000,), 4, pad="causal")
    (16000,)
    """
    sequences: Any = (v for v in (input_size, kernel_size) if not is_int(v) and hasattr(v, "__len__"))
    count = next((len(v) for v in sequences if len(v) in WORDS), 2)
    size, kernel = per_axis("input_size", input_size, 0, count), per_axis("kernel_size", kernel_size, 0, count)
    return tuple(a.out for a in geometry((1, 1, *size), (1, 1, *kernel), stride, pad, dilate).axes)
