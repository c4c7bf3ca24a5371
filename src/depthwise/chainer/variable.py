"""Variable: an array with a gradient and a place in the graph, and its operators."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import check_array
from ..cupy.arrays import is_cupy
from . import arithmetic
from .backward import backward
from .graph import Function, Node, check_gradient

AnyArray = npt.NDArray[Any]


def _refusing(operator: str) -> Callable[[Any, object], bool]:
    def compare(self: Any, other: object) -> bool:
        msg = f"Variables do not support {operator} operator. You could use `array` attribute instead."
        raise TypeError(msg)

    return compare


def is_array(a: object) -> bool:
    """Whether this is an array of NumPy or of CuPy."""
    return isinstance(a, np.ndarray) or is_cupy(a)


def check_data(name: str, a: Any) -> AnyArray:
    """An array that means what its memory holds, for a Variable; TypeError for anything else."""
    if is_cupy(a):
        return a  # type: ignore[no-any-return]
    if not isinstance(a, np.generic):
        check_array(name, a)
    return np.asarray(a)


class Variable:
    """An array that remembers how it was computed.

    Parameters
    ----------
    data : ndarray, optional
        Its array, which is not copied.
    name : str, optional
        Shown by repr.
    grad : ndarray, optional
        Its initial gradient.
    requires_grad : bool, default True
        Whether backward computes a gradient for it.

    Notes
    -----
    Arithmetic (``+ - * / ** @``, unary ``-`` and ``abs``) and indexing broadcast as NumPy's and are differentiable to
    any order. Comparisons and truth values are refused: compare ``v.array``.

    Examples
    --------
    >>> import numpy as np, depthwise
    >>> x = depthwise.Variable(np.array([1.0, 2.0, 3.0]))
    >>> ((x * x).mean()).backward()
    >>> x.grad
    array([0.66666667, 1.33333333, 2.        ])
    """

    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None  # ndarray + Variable is Variable.__radd__

    def __init__(
        self, data: Any = None, *, name: str | None = None, grad: Any = None, requires_grad: bool = True
    ) -> None:
        self._array: AnyArray | None = None if data is None else check_data("data of a Variable", data)
        self._grad: Variable | None = None
        self.name = name
        self.node = Node(self, requires_grad)
        if grad is not None:
            self.grad = grad

    def _new(self, array: AnyArray, requires_grad: bool = False) -> Variable:
        """A Variable beside this one: how a Function makes its result without knowing the class."""
        return Variable(array, requires_grad=requires_grad)

    # --- the array

    def _data(self) -> AnyArray:
        if self._array is None:
            msg = "this Variable has no array yet"
            raise AttributeError(msg)
        return self._array

    @property
    def array(self) -> AnyArray:
        """Its array, or None before it is initialised."""
        return self._array  # type: ignore[return-value]

    @array.setter
    def array(self, value: AnyArray) -> None:
        self._array = check_data("array of a Variable", value)

    data = array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._data().shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._data().ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._data().size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self._data().dtype

    @property
    def xp(self) -> Any:
        """The array module, numpy or cupy, as the array is of one or the other."""
        return sys.modules["cupy"] if is_cupy(self._array) else np

    def __len__(self) -> int:
        return len(self._data())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        a = self._data()
        if is_cupy(a):
            msg = "this Variable's array is on a GPU: take its array.get()"
            raise TypeError(msg)
        if dtype is not None and np.dtype(dtype) != a.dtype:
            if copy is False:
                msg = f"a Variable of {a.dtype} cannot be an array of {np.dtype(dtype)} without a copy"
                raise ValueError(msg)
            return a.astype(dtype)
        return a.copy() if copy else a

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._data().__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._data().__dlpack_device__()

    def item(self) -> Any:
        """Its only element, as a Python number."""
        return self._data().item()

    def __repr__(self) -> str:
        head = "variable" if self.name is None else f"variable {self.name}"
        array = self._array.get() if is_cupy(self._array) else self._array  # type: ignore[union-attr]
        return f"{head}({'None' if array is None else np.array2string(array, separator=', ')})"

    def __getstate__(self) -> dict[str, Any]:
        # A copy is a leaf, as Chainer's is: the graph stays behind.
        grad = None if self._grad is None else self._grad._array
        return {"data": self._array, "name": self.name, "requires_grad": self.requires_grad, "grad": grad}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Variable.__init__(self, **state)

    # --- the graph

    @property
    def requires_grad(self) -> bool:
        """Whether backward computes a gradient for it."""
        return self.node.requires_grad

    @property
    def creator(self) -> Function | None:
        """The operation that made it, or None."""
        return self.node.creator

    @property
    def creator_node(self) -> Function | None:
        """As `creator`."""
        return self.node.creator

    @property
    def rank(self) -> int:
        """Length of the longest path of operations that led here."""
        return self.node.rank

    @property
    def grad(self) -> AnyArray | None:
        """Its gradient's array, or None."""
        return None if self._grad is None else self._grad._array

    @grad.setter
    def grad(self, value: AnyArray | None) -> None:
        self.grad_var = None if value is None else Variable(value, requires_grad=False)

    @property
    def grad_var(self) -> Variable | None:
        """Its gradient as a Variable, which has a graph of its own under ``enable_double_backprop``."""
        return self._grad

    @grad_var.setter
    def grad_var(self, value: Variable | None) -> None:
        if value is not None and self._array is not None:
            check_gradient(value, self.shape, self.dtype)
            if is_cupy(value._array) != is_cupy(self._array):
                msg = f"grad must be an array of {self.xp.__name__}, as data is, got {type(value._array).__name__}"
                raise TypeError(msg)
        self._grad = value

    def cleargrad(self) -> None:
        """Forget the gradient."""
        self._grad = None

    def addgrad(self, var: Variable) -> None:
        """Add another Variable's gradient to its own."""
        if var._grad is not None:
            self.grad_var = var._grad if self._grad is None else self._grad + var._grad

    def unchain(self) -> None:
        """Forget the operation that made it."""
        self.node.creator = None
        self.node.rank = 0

    def unchain_backward(self) -> None:
        """Forget every operation that led here."""
        nodes = [self.node]
        while nodes:
            node = nodes.pop()
            creator, node.creator = node.creator, None
            if creator is not None:
                nodes.extend(creator._inputs)

    def backward(
        self, retain_grad: bool = False, enable_double_backprop: bool = False, loss_scale: float | None = None
    ) -> None:
        """Compute the gradients of all Variables that led here, and add them to those of the leaves.

        Parameters
        ----------
        retain_grad : bool, default False
            Keep the gradients of intermediate Variables too.
        enable_double_backprop : bool, default False
            Record how gradients are computed, so that they can be differentiated.
        loss_scale : float, optional
            Multiplies the gradient of 1 from which a scalar starts.

        Raises
        ------
        ValueError
            It has several elements and no gradient to start from.
        """
        backward(self, retain_grad, enable_double_backprop, loss_scale)

    # --- operations

    def _operand(self, other: Any) -> Variable:
        """The other operand: a number takes the Variable's dtype, as in Chainer."""
        if isinstance(other, Variable):
            return other
        if isinstance(other, int | float | np.number) or (isinstance(other, np.ndarray) and other.ndim == 0):
            with self._array.device if is_cupy(self._array) else nullcontext():  # type: ignore[union-attr]
                return self._new(self.xp.asarray(other, self.dtype))
        return as_variable(other)

    def _apply(self, function: Function, other: Any, swapped: bool = False) -> Any:
        if not _is_operand(other):
            return NotImplemented
        operand = self._operand(other)
        return function(operand, self) if swapped else function(self, operand)

    def __add__(self, other: Any) -> Any:
        return self._apply(arithmetic.Add(), other)

    def __mul__(self, other: Any) -> Any:
        return self._apply(arithmetic.Multiply(), other)

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other: Any) -> Any:
        return self + -self._operand(other) if _is_operand(other) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        return self._apply(arithmetic.Divide(), other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._apply(arithmetic.Divide(), other, swapped=True)

    def __pow__(self, other: Any) -> Any:
        return self._apply(arithmetic.Power(), other)

    def __rpow__(self, other: Any) -> Any:
        return self._apply(arithmetic.Power(), other, swapped=True)

    def __matmul__(self, other: Any) -> Any:
        return self._apply(arithmetic.MatMul(), other)

    def __rmatmul__(self, other: Any) -> Any:
        return self._apply(arithmetic.MatMul(), other, swapped=True)

    def __neg__(self) -> Variable:
        return arithmetic.Multiply()(self, self._operand(-1))

    def __pos__(self) -> Variable:
        return self

    def __abs__(self) -> Variable:
        return arithmetic.Absolute()(self)

    def __getitem__(self, key: Any) -> Variable:
        return arithmetic.GetItem(key)(self)

    def __iter__(self) -> Iterator[Variable]:
        return (self[i] for i in range(len(self)))

    @property
    def T(self) -> Variable:
        """The axes in reverse order."""
        return self.transpose()

    def transpose(self, *axes: Any) -> Variable:
        """The axes in another order, reversed where none is given."""
        if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list)):
            (axes,) = axes
        return arithmetic.Transpose(tuple(axes) if axes else None)(self)

    def reshape(self, *shape: Any) -> Variable:
        """The same elements in another shape."""
        if len(shape) == 1 and isinstance(shape[0], tuple | list):
            (shape,) = shape
        return arithmetic.Reshape(tuple(shape))(self)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Variable:
        """Mean of the elements over `axis`, or over all axes."""
        axes = arithmetic.axes_of(self, axis)
        count = math.prod(self.shape[a] for a in axes)
        mean: Variable = arithmetic.Sum(axes, keepdims)(self) * (1 / count if count else math.nan)
        return mean

    __eq__ = _refusing("==")
    __ne__ = _refusing("!=")
    __lt__, __le__, __gt__, __ge__ = _refusing("<"), _refusing("<="), _refusing(">"), _refusing(">=")

    def __bool__(self) -> bool:
        msg = "Variables cannot be evaluated as Python bool. You could use `array` attribute instead."
        raise TypeError(msg)


def _is_operand(other: Any) -> bool:
    return isinstance(other, Variable | np.ndarray | np.generic | int | float) or is_cupy(other)


def as_variable(obj: Any) -> Variable:
    """`obj` if it is a Variable, else one around it that requires no gradient."""
    return obj if isinstance(obj, Variable) else Variable(obj, requires_grad=False)


def as_array(obj: Any) -> Any:
    """The array of a Variable; anything else as it is."""
    return obj.array if isinstance(obj, Variable) else obj
