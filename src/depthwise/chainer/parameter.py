"""Parameter: a Variable that a link holds, and that may have to wait for its shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import check_array
from .graph import Node
from .initializers import Constant, DepthwiseNormal, Initializer, NaN, generate_array
from .variable import Variable

__all__ = ["Parameter"]

AnyArray = npt.NDArray[Any]
InitialValue = None | str | float | AnyArray | Callable[[AnyArray], None]


def as_initializer(value: InitialValue, default: Initializer) -> Callable[[AnyArray], None]:
    """The initializer that a link's argument stands for."""
    if value is None:
        return default
    if isinstance(value, str):
        if value == "chainer":
            return default
        if value == "depthwise":
            return DepthwiseNormal()
        msg = f'an initial value by name is "chainer" or "depthwise", got {value!r}'
        raise ValueError(msg)
    if callable(value):
        return value
    if not isinstance(value, np.ndarray | np.generic | int | float | list | tuple):
        msg = f"an initial value is a number, an array, a name or a callable, got {type(value).__name__}"
        raise TypeError(msg)
    if isinstance(value, np.ndarray):
        check_array("an initial value", value)
    return Constant(value)


class Parameter(Variable):
    """A Variable that a link registers, with a rule for its first value: ``chainer.Parameter``.

    Parameters
    ----------
    initializer : number, ndarray or callable, optional
        NaN where not given. The dtype of a callable that has one is the parameter's, else it is ``config.dtype``.
    shape : int or tuple of ints, optional
        Without it an array is taken as it is, and any other value waits for :meth:`initialize`.
    name : str, optional

    Attributes
    ----------
    initializer : callable
    update_rule : None or what an optimizer keeps here

    Notes
    -----
    A copy made by :func:`copy.copy`, as links are shared, is a parameter of its own whose array is always this one's.

    Examples
    --------
    >>> import depthwise
    >>> p = depthwise.Parameter(1.5)
    >>> p.is_initialized
    False
    >>> p.initialize((2,))
    >>> p
    variable([1.5, 1.5])
    """

    def __init__(self, initializer: Any = None, shape: Any = None, name: str | None = None) -> None:
        self._shared: list[AnyArray | None] = [None]
        self.initializer = as_initializer(initializer, NaN())
        self.update_rule: Any = None
        super().__init__(None, name=name)
        if shape is not None:
            self.initialize(shape)
        elif isinstance(initializer, np.ndarray):
            self.array = initializer

    # In a list, which copies share: what one of them is given, all have.

    @property
    def _array(self) -> AnyArray | None:
        return self._shared[0]

    @_array.setter
    def _array(self, value: AnyArray | None) -> None:
        self._shared[0] = value

    @property
    def is_initialized(self) -> bool:
        """Whether it has an array."""
        return self._array is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements, also of those that it will have."""
        dtype = getattr(self.initializer, "dtype", None) if self._array is None else self._array.dtype
        if dtype is None:
            msg = "this Parameter has no array yet, and its initializer no dtype"
            raise AttributeError(msg)
        return np.dtype(dtype)

    def initialize(self, shape: Any) -> None:
        """Give it a new array of a shape, drawn or filled by its initializer, and no gradient."""
        self._array = generate_array(self.initializer, shape)
        self._grad = None

    def copydata(self, var: Variable) -> None:
        """Copy another Variable's elements; of the two, one that has no array is initialised first."""
        if var.array is None:
            if self._array is None:
                return
            if isinstance(var, Parameter):
                var.initialize(self.shape)
        elif self._array is None:
            self.initialize(var.shape)
        if var.shape != self.shape:
            msg = f"a parameter of shape {self.shape} cannot take the elements of one of shape {var.shape}"
            raise ValueError(msg)
        np.copyto(self.array, var.array, casting="same_kind")

    def update(self) -> None:
        """Call the update rule, if it has one."""
        if self.update_rule is not None:
            self.update_rule.update(self)

    def __copy__(self) -> Parameter:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, node=Node(twin, self.requires_grad))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        own = {name: self.__dict__[name] for name in ("_shared", "initializer", "update_rule")}
        return {"own": own, **super().__getstate__()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["own"])
        super().__setstate__({name: value for name, value in state.items() if name != "own"})
