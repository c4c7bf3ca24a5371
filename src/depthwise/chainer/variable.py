"""Variable and its define-by-run graph: Function nodes, backward, grad, and the modes that switch recording off."""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]

__all__ = ["Function", "Variable", "as_variable", "force_backprop_mode", "grad", "no_backprop_mode"]

_recording: ContextVar[bool] = ContextVar("depthwise_recording", default=True)


@contextmanager
def _recording_is(value: bool) -> Iterator[None]:
    token = _recording.set(value)
    try:
        yield
    finally:
        _recording.reset(token)


def no_backprop_mode() -> Any:
    """Context in which no graph is recorded: results have no creator and nothing is kept for backward.

    Examples
    --------
    >>> import numpy as np, depthwise
    >>> x = depthwise.Variable(np.ones(3, np.float32))
    >>> with depthwise.no_backprop_mode():
    ...     y = x + x
    >>> y.creator is None
    True
    """
    return _recording_is(False)


def force_backprop_mode() -> Any:
    """Context in which graphs are recorded, also inside :func:`no_backprop_mode`."""
    return _recording_is(True)


class _Node:
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
    _inputs: tuple[_Node, ...] = ()
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
        y = Variable(self.forward(*(v._data() for v in inputs)), requires_grad=any(v.requires_grad for v in inputs))
        if _recording.get():
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
            retained.append(v if v is not None and v._array is array else _revived(node, array))
        return self.backward(gy, tuple(n.requires_grad for n in self._inputs), *retained)


def _revived(node: _Node, array: AnyArray) -> Variable:
    """A Variable for a node whose own is gone, or has been given another array since."""
    v = Variable(array, requires_grad=node.requires_grad)
    if node.variable() is None:
        node.variable = weakref.ref(v)
    v.node = node
    return v


def _refusing(operator: str) -> Callable[[Any, object], bool]:
    def compare(self: Any, other: object) -> bool:
        msg = f"Variables do not support {operator} operator. You could use `array` attribute instead."
        raise TypeError(msg)

    return compare


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
        if data is not None and not isinstance(data, np.ndarray | np.generic):
            msg = f"data of a Variable must be a NumPy array, got {type(data).__name__}"
            raise TypeError(msg)
        self._array: AnyArray | None = None if data is None else np.asarray(data)
        self._grad: Variable | None = None
        self.name = name
        self.node = _Node(self, requires_grad)
        if grad is not None:
            self.grad = grad

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
        if not isinstance(value, np.ndarray | np.generic):
            msg = f"array of a Variable must be a NumPy array, got {type(value).__name__}"
            raise TypeError(msg)
        self._array = np.asarray(value)

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
        """The array module: numpy."""
        return np

    def __len__(self) -> int:
        return len(self._data())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        a = self._data()
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
        return f"{head}({'None' if self._array is None else np.array2string(self._array, separator=', ')})"

    def __str__(self) -> str:
        return repr(self)

    def __getstate__(self) -> dict[str, Any]:
        # A copy is a leaf, as Chainer's is: the graph stays behind.
        grad = None if self._grad is None else self._grad._array
        return {"array": self._array, "name": self.name, "requires_grad": self.requires_grad, "grad": grad}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(  # type: ignore[misc]
            state["array"], name=state["name"], grad=state["grad"], requires_grad=state["requires_grad"]
        )

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
            _check_gradient(value, self.shape, self.dtype)
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
        seed = self._grad
        if seed is None:
            if self.size != 1:
                msg = (
                    f"backward from a Variable of shape {self.shape} needs a gradient to start from: set y.grad to an "
                    "array of that shape, or reduce it to a scalar first, for instance with depthwise.functions.sum(y)"
                )
                raise ValueError(msg)
            seed = _ones(self, loss_scale)
            if retain_grad:
                self._grad = seed
        if not retain_grad and self.creator is not None:
            self._grad = None
        if self.creator is None:
            return
        leaves, inner = _backpropagate({id(self.node): (self.node, seed)}, None, enable_double_backprop)
        with _recording_is(enable_double_backprop):
            for node, g in leaves:
                v = node.variable()
                if v is not None:
                    v.grad_var = g if v._grad is None else v._grad + g
        for node, g in inner:
            v = node.variable()
            if v is not None:
                v._grad = g if retain_grad else None

    # --- operations; the differentiable ones are given to the class by arithmetic.py

    if TYPE_CHECKING:

        @property
        def T(self) -> Variable: ...  # noqa: D102
        def __add__(self, other: Any) -> Variable: ...
        def __radd__(self, other: Any) -> Variable: ...
        def __sub__(self, other: Any) -> Variable: ...
        def __rsub__(self, other: Any) -> Variable: ...
        def __mul__(self, other: Any) -> Variable: ...
        def __rmul__(self, other: Any) -> Variable: ...
        def __truediv__(self, other: Any) -> Variable: ...
        def __rtruediv__(self, other: Any) -> Variable: ...
        def __pow__(self, other: Any) -> Variable: ...
        def __rpow__(self, other: Any) -> Variable: ...
        def __matmul__(self, other: Any) -> Variable: ...
        def __rmatmul__(self, other: Any) -> Variable: ...
        def __neg__(self) -> Variable: ...
        def __pos__(self) -> Variable: ...
        def __abs__(self) -> Variable: ...
        def __getitem__(self, key: Any) -> Variable: ...
        def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Variable: ...  # noqa: D102
        def reshape(self, *shape: Any) -> Variable: ...  # noqa: D102
        def transpose(self, *axes: Any) -> Variable: ...  # noqa: D102

    __eq__ = _refusing("==")
    __ne__ = _refusing("!=")
    __lt__, __le__, __gt__, __ge__ = _refusing("<"), _refusing("<="), _refusing(">"), _refusing(">=")

    def __bool__(self) -> bool:
        msg = "Variables cannot be evaluated as Python bool. You could use `array` attribute instead."
        raise TypeError(msg)

    def __iter__(self) -> Iterator[Variable]:
        return (self[i] for i in range(len(self)))


def _check_gradient(g: Variable, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if g.shape != shape:
        msg = f"Shape of data and grad mismatch\ngrad: {g.shape} != data: {shape}"
        raise ValueError(msg)
    if g.dtype != dtype:
        msg = f"Dtype of data and grad mismatch\ngrad: {g.dtype} != data: {dtype}"
        raise TypeError(msg)


def as_variable(obj: Any) -> Variable:
    """`obj` if it is a Variable, else one around it that requires no gradient."""
    return obj if isinstance(obj, Variable) else Variable(obj, requires_grad=False)


def _ones(v: Variable, loss_scale: float | None) -> Variable:
    ones = np.ones_like(v._data())
    return Variable(ones if loss_scale is None else (ones * loss_scale).astype(ones.dtype), requires_grad=False)


_Gradients = list[tuple[_Node, Variable]]


def _backpropagate(
    start: dict[int, tuple[_Node, Variable]], wanted: set[int] | None, record: bool
) -> tuple[_Gradients, _Gradients]:
    """Gradients of the leaves and of the nodes between, from those of the start.

    With `wanted`, only paths to those nodes are walked, and only they are returned, as leaves.
    """
    pending = dict(start)
    order = itertools.count()
    heap: list[tuple[int, int, Function, _Node]] = []
    useful = None if wanted is None else _leading_to(wanted, [n for n, _ in start.values()])
    seen: set[int] = set()
    leaves: _Gradients = []
    inner: _Gradients = []

    def push(node: _Node) -> None:
        if node.creator is not None and id(node) not in seen and (useful is None or id(node) in useful):
            seen.add(id(node))
            heapq.heappush(heap, (-node.rank, next(order), node.creator, node))

    for node, _ in start.values():
        push(node)
    finished: dict[int, tuple[_Node, Variable]] = {}
    with _recording_is(record):
        while heap:
            _, _, function, node = heapq.heappop(heap)
            _, gy = pending.pop(id(node))
            finished[id(node)] = node, gy
            for source, g in zip(function._inputs, function.gradients(gy), strict=True):
                if g is None or not source.requires_grad or (useful is not None and id(source) not in useful):
                    continue
                before = pending.get(id(source))
                pending[id(source)] = source, (g if before is None else before[1] + g)
                push(source)
    if wanted is not None:
        everything = finished | pending
        return [everything[i] for i in everything if i in wanted], []
    leaves.extend(pair for pair in pending.values() if pair[0].creator is None)
    inner.extend(finished.values())
    return leaves, inner


def _leading_to(wanted: set[int], ends: list[_Node]) -> set[int]:
    """Ids of the nodes from `ends` back from which a wanted node is reached, themselves included."""
    found: set[int] = set()
    entered: set[int] = set()
    stack: list[tuple[_Node, bool]] = [(n, False) for n in ends]
    while stack:
        node, done = stack.pop()
        sources = () if node.creator is None else node.creator._inputs
        if done:
            if id(node) in wanted or any(id(s) in found for s in sources):
                found.add(id(node))
        elif id(node) not in entered:
            entered.add(id(node))
            stack.append((node, True))
            stack.extend((s, False) for s in sources)
    return found


def grad(
    outputs: Sequence[Variable],
    inputs: Sequence[Variable],
    grad_outputs: Sequence[Variable | AnyArray | None] | None = None,
    grad_inputs: Sequence[Variable | AnyArray | None] | None = None,
    set_grad: bool = False,
    retain_grad: bool = False,
    enable_double_backprop: bool = False,
    loss_scale: float | None = None,
) -> list[Variable | None]:
    """Gradients of `outputs` for `inputs`, without touching the gradients that Variables hold.

    Parameters
    ----------
    outputs, inputs : list or tuple of Variable
    grad_outputs : list or tuple of Variable, ndarray or None, optional
        Gradients of the outputs; ones where missing.
    grad_inputs : list or tuple of Variable, ndarray or None, optional
        Gradients to which those of the inputs are added.
    set_grad : bool, default False
        Also store the gradients in the inputs.
    retain_grad : bool, default False
        Accepted for Chainer's sake: gradients of Variables between outputs and inputs are not stored.
    enable_double_backprop : bool, default False
        Record how the gradients are computed, so that they can be differentiated.
    loss_scale : float, optional
        Multiplies the ones that stand for missing `grad_outputs`.

    Returns
    -------
    list of Variable or None
        None for an input that the outputs do not depend on.

    Examples
    --------
    >>> import numpy as np, depthwise
    >>> x = depthwise.Variable(np.array([2.0]))
    >>> (gx,) = depthwise.grad([x * x * x], [x], enable_double_backprop=True)
    >>> depthwise.grad([gx], [x])[0].array
    array([12.])
    """
    for name, value in (("outputs", outputs), ("inputs", inputs)):
        if not isinstance(value, list | tuple) or not all(isinstance(v, Variable) for v in value):
            msg = f"{name} must be a list or a tuple of Variables, got {type(value).__name__}"
            raise TypeError(msg)
    seeds = _variables("grad_outputs", grad_outputs, outputs)
    extra = _variables("grad_inputs", grad_inputs, inputs)
    with _recording_is(enable_double_backprop):
        start: dict[int, tuple[_Node, Variable]] = {}
        for y, g in zip(outputs, seeds, strict=True):
            seed = _ones(y, loss_scale) if g is None else g
            before = start.get(id(y.node))
            start[id(y.node)] = y.node, (seed if before is None else before[1] + seed)
        found, _ = _backpropagate(start, {id(v.node) for v in inputs}, enable_double_backprop)
        by_node = {id(node): g for node, g in found}
        results: list[Variable | None] = []
        for x, more in zip(inputs, extra, strict=True):
            gx = by_node.get(id(x.node))
            if more is not None:
                gx = more if gx is None else gx + more
            results.append(gx)
    if set_grad:
        for x, g in zip(inputs, results, strict=True):
            x.grad_var = g
    return results


def _variables(
    name: str, values: Sequence[Variable | AnyArray | None] | None, of: Sequence[Variable]
) -> list[Variable | None]:
    if values is None:
        return [None] * len(of)
    if not isinstance(values, list | tuple):
        msg = f"{name} must be a list or a tuple, got {type(values).__name__}"
        raise TypeError(msg)
    if len(values) != len(of):
        msg = f"{name} has {len(values)} items for {len(of)} Variables"
        raise ValueError(msg)
    variables = [None if g is None else as_variable(g) for g in values]
    for g, v in zip(variables, of, strict=True):
        if g is not None:
            _check_gradient(g, v.shape, v.dtype)
    return variables
