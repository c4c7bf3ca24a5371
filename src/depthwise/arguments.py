"""Strides, pads and sizes as callers give them in, an int for each spatial axis out, or an error in their words."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, NamedTuple, SupportsIndex, TypeAlias

Ints: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
Pad: TypeAlias = Ints | Sequence[Sequence[SupportsIndex]] | str

_MOST_STEP = 2**31 - 1  # of stride, pad and dilate: their products must fit the engine's 64-bit integers


class Words(NamedTuple):
    """How messages speak of a number of spatial axes."""

    axes: tuple[str, ...]
    shapes: dict[str, str]
    ints: str
    order: str  # what a sequence of ints has in it,
    pad_order: str  # where that is padding,
    side_order: str  # and where it is the padding of one axis
    sides: str
    pad: str


WORDS = {
    1: Words(
        ("length",),
        {"W": "(c_M, c_I, k)", "x": "(n, c_I, l)"},
        "an int or a tuple of one int",
        "an int or a tuple (length,)",
        "an int, a tuple (length,) or a tuple ((before, after),)",
        "an int or a pair (before, after)",
        "((before, after),)",
        'an int, a tuple of one int, a tuple of one pair, "same", "valid" or "causal"',
    ),
    2: Words(
        ("height", "width"),
        {"W": "(c_M, c_I, k_H, k_W)", "x": "(n, c_I, h, w)"},
        "an int or a pair of ints",
        "an int or a pair (vertical, horizontal)",
        "an int or a pair (vertical, horizontal)",
        "an int or a pair (vertical, horizontal)",
        "((top, bottom), (left, right))",
        'an int, a pair, a pair of pairs, "same" or "valid"',
    ),
    3: Words(
        ("depth", "height", "width"),
        {"W": "(c_M, c_I, k_D, k_H, k_W)", "x": "(n, c_I, d, h, w)"},
        "an int or three ints",
        "an int or three (depth, height, width)",
        "an int, three ints (depth, height, width) or three pairs (before, after)",
        "an int or a pair (before, after)",
        "((front, back), (top, bottom), (left, right))",
        'an int, three ints, three pairs, "same" or "valid"',
    ),
}


def spatial_axes(expected: int | None = None, **shapes: tuple[Any, ...]) -> int:
    """How many spatial axes the arrays of these names and shapes have in common, which may have to be as expected.

    Raises
    ------
    ValueError
        Their numbers of axes differ, or it is none of 3, 4 and 5.
    """
    most = max(map(len, shapes.values())) - 2
    count = most if expected is None else expected
    for name, shape in shapes.items():
        if count not in WORDS and len(shape) == most + 2:
            msg = f"{name} must have 3 to 5 axes, got {len(shape)}: shape {shape}"
            raise ValueError(msg)
        if count in WORDS and len(shape) != count + 2:
            form = WORDS[count].shapes.get(name, "")
            msg = f"{name} must have {count + 2} axes{' ' * bool(form)}{form}, got {len(shape)}: shape {shape}"
            raise ValueError(msg)
    return count


def is_int(value: Any) -> bool:
    """Whether a value counts as one int; NumPy's integers do, arrays that have items do not."""
    return type(value) is int or (hasattr(value, "__index__") and not getattr(value, "shape", ()))


def _items(name: str, value: Any, count: int, ints: str, order: str) -> tuple[Any, ...]:
    """The items of a sequence of so many."""
    if isinstance(value, (str, bytes, dict, set)) or not hasattr(value, "__len__"):
        msg = f"{name} must be {ints}, got {value!r}"
        raise TypeError(msg)
    if len(value) != count:
        msg = f"{name} must be {order}, got {len(value)} values: {value!r}"
        raise ValueError(msg)
    return tuple(value[i] for i in range(count))


def _each(name: str, value: Any, least: int, count: int, ints: str, order: str) -> tuple[int, ...]:
    """So many ints, from one or a sequence."""
    items = (value,) * count if is_int(value) else _items(name, value, count, ints, order)
    try:
        each = tuple(map(index, items))
    except TypeError:
        msg = f"{name} must be {ints}, got {value!r}"
        raise TypeError(msg) from None
    for v in each:
        if v < least:
            msg = f"{name} must be at least {least}, got {value!r}"
            raise ValueError(msg)
        if v > _MOST_STEP:
            msg = f"{name} is too large: {value!r}"
            raise ValueError(msg)
    return each


def per_axis(name: str, value: Any, least: int, count: int) -> tuple[int, ...]:
    """An int for each of `count` spatial axes, from one or a sequence; NumPy integers are ints."""
    return _each(name, value, least, count, WORDS[count].ints, WORDS[count].order)


def _pads(value: Any, count: int) -> str | tuple[tuple[int, ...], ...]:
    """(before, after) of each axis, or "same", "valid" or "causal"."""
    words = WORDS[count]
    if isinstance(value, str):
        if value in ("same", "valid") or (value == "causal" and count == 1):
            return value
        msg = f"pad must be {words.pad}, got {value!r}"
        # "12" for a number is the wrong kind of thing; "full" is an unknown value of the right kind.
        raise (TypeError if value.strip("+- ").isdigit() else ValueError)(msg)
    if not is_int(value):
        items = _items("pad", value, count, words.ints, words.pad_order)
        are_sides = [hasattr(item, "__len__") for item in items]
        if any(are_sides):
            if not all(are_sides):
                msg = f"pad must be {words.sides}, got {value!r}"
                raise ValueError(msg)
            return tuple(
                _each("pad", tuple(side), 0, 2, "an int or a pair of ints", words.side_order) for side in items
            )
    return tuple((p, p) for p in per_axis("pad", value, 0, count))


def parsed(stride: Any, pad: Any, dilate: Any, count: int) -> tuple[Any, Any, Any]:
    """The three as ints of each axis, `pad` as :func:`_pads` has it; what has been parsed stays as it is."""
    return per_axis("stride", stride, 1, count), _pads(pad, count), per_axis("dilate", dilate, 1, count)
