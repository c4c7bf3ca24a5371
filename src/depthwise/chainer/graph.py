"""The graph: a node for each Variable, and between nodes the operation that computed one from others.

Nothing here knows the class Variable, which is made of these operations: its instances make each other.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..arrays import native
from .configuration import config

if TYPE_CHECKING:
    from .variable import Variable

AnyArray = npt.NDArray[Any]


class Node:
    """A variable's place in the graph. It outlives its Variable, and holds neither its array nor its gradient."""

    __slots__ = ("__weakref__", "creator", "dtype", "name", "rank", "requires_grad", "shape", "variable")

    def __init__(self, variable: Variable, requires_grad: bool) -> None:
        self.variable = weakref.ref(variable)
        self.requires_grad = requires_grad
        self.creator: Function | None = None
        self.rank = 0


class Function:
    """One differentiable operation: arrays in, one array out, and Variables in its backward.

    A subclass gives `forward` and `backward`, and names in `retains` the inputs whose arrays backward reads.
    """

    retains: tuple[int, ...] = ()
    _inputs: tuple[Node, ...] = ()
    _kept: tuple[AnyArray, ...] = ()
    rank = 0

    @property
    def label(self) -> str:
        """The operation's name."""
        return type(self).__name__

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The graph nodes of the inputs."""
        return self._inputs

    def forward(self, *arrays: AnyArray) -> AnyArray:
        """Compute the output's array."""
        raise NotImplementedError

    def backward(self, gy: Variable, needs: tuple[bool, ...], *retained: Variable) -> Sequence[Variable | None]:
        """Gradients for the inputs, where needed, from the output's."""
        raise NotImplementedError

    def __call__(self, *inputs: Variable) -> Variable:
        """Compute, and record the operation unless recording is off."""
        y = inputs[0]._new(self.forward(*(v._data() for v in inputs)), any(v.requires_grad for v in inputs))
        if config.enable_backprop:
            self._inputs = tuple(v.node for v in inputs)
            self._kept = tuple(inputs[i]._data() for i in self.retains)
            self.rank = max((n.rank for n in self._inputs), default=0)
            y.node.creator = self
            y.node.rank = self.rank + 1
        return y

    def gradients(self, gy: Variable) -> Sequence[Variable | None]:
        """What `backward` gives, from the arrays that were kept."""
        retained = []
        for i, array in zip(self.retains, self._kept, strict=True):
            node = self._inputs[i]
            v = node.variable()
            if v is None or v._array is not array:  # it is gone, or has been given another array since
                revived = gy._new(array, node.requires_grad)
                if v is None:
                    node.variable = weakref.ref(revived)
                revived.node = node
                v = revived
            retained.append(v)
        return self.backward(gy, tuple(n.requires_grad for n in self._inputs), *retained)


def check_gradient(g: Variable, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise where g cannot be the gradient of an array of this shape and dtype."""
    if g.shape != shape:
        msg = f"Shape of data and grad mismatch\ngrad: {g.shape} != data: {shape}"
        raise ValueError(msg)
    if native(g.dtype) != native(dtype):
        msg = f"Dtype of data and grad mismatch\ngrad: {g.dtype} != data: {dtype}"
        raise TypeError(msg)
