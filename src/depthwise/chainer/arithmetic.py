"""The differentiable operations that a loss around a convolution needs.

Each backward is written with these same operations, so that every order of derivative exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .graph import Function

if TYPE_CHECKING:
    from .variable import Variable

AnyArray = npt.NDArray[Any]
Gradients: TypeAlias = "Sequence[Variable | None]"


class Reshape(Function):
    """x.reshape(shape)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        (x,) = arrays
        self.before = x.shape
        return x.reshape(self.shape)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (Reshape(self.before)(gy),)


class Transpose(Function):
    """x.transpose(axes)."""

    def __init__(self, axes: tuple[int, ...] | None) -> None:
        self.axes = axes

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return arrays[0].transpose(self.axes)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        inverse = None if self.axes is None else tuple(int(i) for i in np.argsort([a % gy.ndim for a in self.axes]))
        return (Transpose(inverse)(gy),)


def as_ndarray(a: Any) -> AnyArray:
    """An array of what NumPy computes, which may be a scalar; CuPy's are arrays."""
    return np.asarray(a) if isinstance(a, np.generic) else a


class BroadcastTo(Function):
    """x repeated along axes of size 1 and new leading ones."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        (x,) = arrays
        self.before = x.shape
        return np.broadcast_to(x, self.shape)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (sum_to(gy, self.before),)


class Sum(Function):
    """x summed over axes."""

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        (x,) = arrays
        self.before = x.shape
        return as_ndarray(x.sum(axis=self.axes, keepdims=self.keepdims, dtype=x.dtype))

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        kept = tuple(1 if i in self.axes else n for i, n in enumerate(self.before))
        return (BroadcastTo(self.before)(Reshape(kept)(gy)),)


class Cast(Function):
    """x.astype(dtype)."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        self.before = arrays[0].dtype
        return arrays[0].astype(self.dtype)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (cast(gy, self.before),)


class GetItem(Function):
    """x[key]."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        self.before = arrays[0].shape
        return as_ndarray(arrays[0][self.key])

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (Scatter(self.key, self.before)(gy),)


class Scatter(Function):
    """Zeros of a shape to which g is added at a key: the adjoint of GetItem."""

    def __init__(self, key: Any, shape: tuple[int, ...]) -> None:
        self.key, self.shape = key, shape

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        gx = np.zeros_like(arrays[0], shape=self.shape)
        np.add.at(gx, self.key, arrays[0])
        return gx

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (GetItem(self.key)(gy),)


class _Elementwise(Function):
    """An operation of one or two operands that broadcast against each other."""

    def _back(self, i: int, g: Variable) -> Variable:
        """A gradient in the shape and dtype of operand i."""
        return cast(sum_to(g, self.shapes[i]), self.dtypes[i])

    def forward(self, *arrays: AnyArray) -> AnyArray:
        self.shapes = [a.shape for a in arrays]
        self.dtypes = [a.dtype for a in arrays]
        return as_ndarray(self.compute(*arrays))

    def compute(self, *arrays: AnyArray) -> AnyArray:
        raise NotImplementedError


class Add(_Elementwise):
    """a + b."""

    def compute(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return np.add(*arrays)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return [self._back(i, gy) if need else None for i, need in enumerate(needs)]


class Multiply(_Elementwise):
    """a * b."""

    retains = (0, 1)

    def compute(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return np.multiply(*arrays)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        a, b = retained
        return (self._back(0, gy * b) if needs[0] else None, self._back(1, gy * a) if needs[1] else None)


class Divide(_Elementwise):
    """a / b."""

    retains = (0, 1)

    def compute(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return np.true_divide(*arrays)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        a, b = retained
        return (self._back(0, gy / b) if needs[0] else None, self._back(1, -gy * a / b / b) if needs[1] else None)


class Power(_Elementwise):
    """a ** b."""

    retains = (0, 1)

    def compute(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return np.power(*arrays)

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        a, b = retained
        return (
            self._back(0, gy * b * a ** (b - 1)) if needs[0] else None,
            self._back(1, gy * Log()(a) * a**b) if needs[1] else None,
        )


class Log(_Elementwise):
    """Natural logarithm."""

    retains = (0,)

    def compute(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return np.log(arrays[0])

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (gy / retained[0],)


class Absolute(_Elementwise):
    """abs(a)."""

    retains = (0,)

    def compute(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        return np.abs(arrays[0])

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (gy * np.sign(retained[0].array),)


class ReLU(_Elementwise):
    """The larger of a and 0."""

    retains = (0,)

    def compute(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        larger: AnyArray = np.maximum(arrays[0], arrays[0].dtype.type(0))
        return larger

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        return (gy * (retained[0].array > 0).astype(gy.dtype),)


class MatMul(Function):
    """a @ b, for operands of two axes or more, whose leading axes broadcast."""

    retains = (0, 1)

    def forward(self, *arrays: AnyArray) -> AnyArray:  # noqa: D102
        a, b = arrays
        if a.ndim < 2 or b.ndim < 2:
            msg = f"operands of @ must have at least 2 axes, got shapes {a.shape} and {b.shape}"
            raise ValueError(msg)
        product: AnyArray = np.matmul(a, b)
        return product

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Gradients:  # noqa: D102
        a, b = retained
        return (
            cast(sum_to(gy @ _swapped(b), a.shape), a.dtype) if needs[0] else None,
            cast(sum_to(_swapped(a) @ gy, b.shape), b.dtype) if needs[1] else None,
        )


def _swapped(v: Variable) -> Variable:
    return Transpose((*range(v.ndim - 2), v.ndim - 1, v.ndim - 2))(v)


def cast(v: Variable, dtype: Any) -> Variable:
    """`v` in another dtype."""
    return v if v.dtype == dtype else Cast(dtype)(v)


def sum_to(v: Variable, shape: tuple[int, ...]) -> Variable:
    """`v` summed over the axes along which `shape` was broadcast to its shape."""
    if v.shape == shape:
        return v
    extra = v.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and v.shape[i + extra] != 1)
    return Reshape(shape)(Sum(axes, True)(v))


def axes_of(v: Variable, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The axes that `axis` names, counted from the first."""
    if axis is None:
        return tuple(range(v.ndim))
    axes = []
    for a in axis if isinstance(axis, tuple) else (axis,):
        if not -v.ndim <= a < v.ndim:
            msg = f"axis {a} is out of bounds for shape {v.shape}"
            raise ValueError(msg)
        axes.append(a % v.ndim)
    if len(set(axes)) != len(axes):
        msg = f"repeated axis in {axis}"
        raise ValueError(msg)
    return tuple(axes)
