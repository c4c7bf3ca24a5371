"""Ints in, a frozen Geometry out: every error about sizes, strides, pads and dilations is raised here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from operator import index
from typing import Any, SupportsIndex, TypeAlias

from . import _core

IntPair: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
Pad: TypeAlias = IntPair | Sequence[Sequence[SupportsIndex]] | str

_MOST_STEP = 2**31 - 1  # of stride, pad and dilate: their products must fit the engine's 64-bit integers
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


@dataclass(frozen=True)
class Geometry:
    """All sizes of one call, checked, and the engine's own copy of them."""

    batch: int
    channels: int
    multiplier: int
    h: Axis
    w: Axis
    sizes: _core.Sizes

    @cached_property
    def x_shape(self) -> tuple[int, int, int, int]:
        """Shape of x: (n, c_I, h, w)."""
        return self.batch, self.channels, self.h.size, self.w.size

    @cached_property
    def W_shape(self) -> tuple[int, int, int, int]:
        """Shape of W: (c_M, c_I, k_H, k_W)."""
        return self.multiplier, self.channels, self.h.kernel, self.w.kernel

    @cached_property
    def y_shape(self) -> tuple[int, int, int, int]:
        """Shape of y: (n, c_I * c_M, h_O, w_O)."""
        return self.batch, self.channels * self.multiplier, self.h.out, self.w.out


def _int(name: str, value: Any, described: Any) -> int:
    try:
        return index(value)
    except TypeError:
        msg = f"{name} must be an int or a pair of ints, got {described!r}"
        raise TypeError(msg) from None


def _is_int(value: Any) -> bool:
    """Whether a value counts as one int; NumPy's integers do, arrays that have items do not."""
    return type(value) is int or (hasattr(value, "__index__") and not getattr(value, "shape", ()))


def _two(name: str, value: Any) -> tuple[Any, Any]:
    """The two items of a pair that is not an int."""
    if isinstance(value, (str, bytes, dict, set)) or not hasattr(value, "__len__"):
        msg = f"{name} must be an int or a pair of ints, got {value!r}"
        raise TypeError(msg)
    if len(value) != 2:
        msg = f"{name} must be an int or a pair (vertical, horizontal), got {len(value)} values: {value!r}"
        raise ValueError(msg)
    return value[0], value[1]


def pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """(vertical, horizontal) from an int or a pair; NumPy integers are ints."""
    if type(value) is int:
        both = value, value
    elif isinstance(value, tuple) and len(value) == 2:
        both = _int(name, value[0], value), _int(name, value[1], value)
    elif _is_int(value):
        both = (_int(name, value, value),) * 2
    else:
        first, second = _two(name, value)
        both = _int(name, first, value), _int(name, second, value)
    for v in both:
        if v < least:
            msg = f"{name} must be at least {least}, got {value!r}"
            raise ValueError(msg)
        if v > _MOST_STEP:
            msg = f"{name} is too large: {value!r}"
            raise ValueError(msg)
    return both


def _pads(value: Any) -> str | tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)), or "same" or "valid"."""
    if isinstance(value, str):
        if value in ("same", "valid"):
            return value
        msg = f'pad must be an int, a pair, a pair of pairs, "same" or "valid", got {value!r}'
        # "12" for a number is the wrong kind of thing; "full" is an unknown value of the right kind.
        raise (TypeError if value.strip("+- ").isdigit() else ValueError)(msg)
    if not _is_int(value):
        vertical, horizontal = _two("pad", value)
        if hasattr(vertical, "__len__") or hasattr(horizontal, "__len__"):
            if not (hasattr(vertical, "__len__") and hasattr(horizontal, "__len__")):
                msg = f"pad must be ((top, bottom), (left, right)), got {value!r}"
                raise ValueError(msg)
            return pair("pad", tuple(vertical), 0), pair("pad", tuple(horizontal), 0)
    v, h = pair("pad", value, 0)
    return (v, v), (h, h)


def _parsed(stride: Any, pad: Any, dilate: Any) -> tuple[Any, Any, Any]:
    """The three as pairs of ints, `pad` as :func:`_pads` has it; what has been parsed stays as it is."""
    return pair("stride", stride, 1), _pads(pad), pair("dilate", dilate, 1)


def output_length(size: Any, kernel: Any, stride: Any, pad: Any, dilate: Any) -> Any:
    """Outputs along one axis; nothing is checked, so that sizes may be a framework's symbols."""
    return (size + pad[0] + pad[1] - dilate * (kernel - 1) - 1) // stride + 1


def _axis(name: str, size: Any, kernel: int, stride: int, pad: str | tuple[int, int], dilate: int) -> Axis:
    reach = dilate * (kernel - 1) + 1
    known = isinstance(size, int)
    if pad == "valid":
        pad = 0, 0
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


def _axes(x_shape: tuple[Any, ...], W_shape: tuple[int, ...], stride: Any, pad: Any, dilate: Any) -> tuple[Axis, Axis]:
    """Both axes, with every check of the arguments; nothing is asked of a size of x that is not an int."""
    for name, shape, axes in (("W", W_shape, "(c_M, c_I, k_H, k_W)"), ("x", x_shape, "(n, c_I, h, w)")):
        if len(shape) != 4:
            msg = f"{name} must have 4 axes {axes}, got {len(shape)}: shape {shape}"
            raise ValueError(msg)
    if W_shape[1] != x_shape[1]:
        msg = f"W has {W_shape[1]} input channels but x has {x_shape[1]} (x {x_shape}, W {W_shape})"
        raise ValueError(msg)
    stride, pad, dilate = _parsed(stride, pad, dilate)
    pads = (pad, pad) if isinstance(pad, str) else pad
    h, w = (
        _axis(name, x_shape[2 + i], W_shape[2 + i], stride[i], pads[i], dilate[i])
        for i, name in enumerate(("height", "width"))
    )
    y_shape = x_shape[0], W_shape[0] * W_shape[1], h.out, w.out
    for what, shape in (("x", x_shape), ("W", W_shape), ("the output", y_shape)):
        if prod(max(size, 1) for size in shape if isinstance(size, int)) > _MOST_ELEMENTS:
            msg = f"{what} {shape} would have more than 2**59 elements"
            raise ValueError(msg)
    return h, w


def _engine_axis(a: Axis) -> list[int]:
    # A single output never takes a step and a single tap is never spread: nothing then hangs on huge numbers.
    return [a.size, a.kernel, a.stride if a.out > 1 else 1, a.pad[0], a.dilate if a.kernel > 1 else 1, a.out]


@lru_cache(maxsize=4096)
def _geometry(x_shape: tuple[int, ...], W_shape: tuple[int, ...], stride: Any, pad: Any, dilate: Any) -> Geometry:
    h, w = _axes(x_shape, W_shape, stride, pad, dilate)
    batch, channels, multiplier = x_shape[0], x_shape[1], W_shape[0]
    sizes = _core.Sizes(batch, channels, multiplier, [_engine_axis(h), _engine_axis(w)])
    return Geometry(batch, channels, multiplier, h, w, sizes)


def _is_plain(value: Any) -> bool:
    """Whether a value is an int or a pair of ints itself, so that equal ones mean the same."""
    return type(value) is int or (
        type(value) is tuple and len(value) == 2 and type(value[0]) is int and type(value[1]) is int
    )


def geometry(x_shape: tuple[int, ...], W_shape: tuple[int, ...], stride: Any, pad: Any, dilate: Any) -> Geometry:
    """Sizes of a convolution of x (n, c_I, h, w) with W (c_M, c_I, k_H, k_W).

    Raises
    ------
    TypeError
        `stride`, `pad` or `dilate` is not made of ints.
    ValueError
        A shape has another number of axes, the channels differ, a value is out of range, or the output is empty.
    """
    ints = type(stride) is type(pad) is type(dilate) is int  # asked first: a small convolution's time is that of checks
    if not (ints or (_is_plain(stride) and _is_plain(pad) and _is_plain(dilate))):
        stride, pad, dilate = _parsed(stride, pad, dilate)
    return _geometry(x_shape, W_shape, stride, pad, dilate)


def axes(x_shape: tuple[Any, ...], W_shape: tuple[int, ...], stride: Any, pad: Any, dilate: Any) -> tuple[Axis, Axis]:
    """Height and width of :func:`geometry`, where sizes of x may be symbols, of which nothing is asked.

    Raises
    ------
    TypeError, ValueError
        As :func:`geometry`; also where `pad` is "same" and hangs on a symbol.
    """
    if all(isinstance(size, int) for size in x_shape):
        g = geometry(x_shape, W_shape, stride, pad, dilate)
        return g.h, g.w
    return _axes(x_shape, W_shape, stride, pad, dilate)


def input_grad_geometry(
    gy_shape: tuple[int, ...], W_shape: tuple[int, ...], input_size: Any, stride: Any, pad: Any, dilate: Any
) -> Geometry:
    """The forward pass's :func:`geometry`, from what the input gradient is given; whether gy fits is not asked."""
    if len(W_shape) != 4 or len(gy_shape) != 4:
        raise _not_four_axes(("W", W_shape), ("gy", gy_shape))
    size = pair("input_size", input_size, 0)
    return geometry((gy_shape[0], W_shape[1], *size), W_shape, stride, pad, dilate)


def weight_grad_geometry(
    x_shape: tuple[int, ...],
    gy_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any,
    pad: Any,
    dilate: Any,
    multiplier: int,
) -> Geometry:
    """The forward pass's :func:`geometry`, from what the weight gradient is given; whether gy fits is not asked.

    `multiplier` counts where x has no channels, which tell it otherwise.
    """
    if len(x_shape) != 4 or len(gy_shape) != 4:
        raise _not_four_axes(("x", x_shape), ("gy", gy_shape))
    channels, outputs = x_shape[1], gy_shape[1]
    if outputs % channels if channels else outputs:
        msg = f"gy has {outputs} channels, which is no multiple of x's {channels} (x {x_shape}, gy {gy_shape})"
        raise ValueError(msg)
    kernel = pair("kernel_size", kernel_size, 0)
    if channels:
        multiplier = outputs // channels
    return geometry(x_shape, (multiplier, channels, *kernel), stride, pad, dilate)


def _not_four_axes(*named: tuple[str, tuple[int, ...]]) -> ValueError:
    name, shape = next((name, shape) for name, shape in named if len(shape) != 4)
    return ValueError(f"{name} must have 4 axes, got {len(shape)}: shape {shape}")


def output_size(
    input_size: IntPair, kernel_size: IntPair, stride: IntPair = 1, pad: Pad = 0, dilate: IntPair = 1
) -> tuple[int, int]:
    """Height and width of a convolution's output.

    ``(size + pad_before + pad_after - dilate * (kernel - 1) - 1) // stride + 1`` along each axis; with
    ``pad="same"`` it is ``ceil(size / stride)``, as TensorFlow defines it for any stride.

    Parameters
    ----------
    input_size, kernel_size, stride, dilate : int or pair of ints
        (vertical, horizontal).
    pad : int, pair, pair of pairs, "same" or "valid"
        Rows of zeros above and below and columns to the left and right; pairs of pairs are
        ((top, bottom), (left, right)).

    Returns
    -------
    tuple of int
        (out_h, out_w).

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
    """
    height, width = pair("input_size", input_size, 0)
    kernel = pair("kernel_size", kernel_size, 0)
    g = geometry((1, 1, height, width), (1, 1, *kernel), stride, pad, dilate)
    return g.h.out, g.w.out
