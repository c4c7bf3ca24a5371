"""From outputs back to inputs: the walk through the graph, and the two ways to ask for it, backward and grad."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .configuration import using_config
from .graph import Function, Node, check_gradient
from .variable import Variable, as_variable

AnyArray = npt.NDArray[Any]


def backward(y: Variable, retain_grad: bool, enable_double_backprop: bool, loss_scale: float | None) -> None:
    """:meth:`Variable.backward`."""
    seed = y._grad
    if seed is None:
        if y.size != 1:
            msg = (
                f"backward from a Variable of shape {y.shape} needs a gradient to start from: set y.grad to an "
                "array of that shape, or reduce it to a scalar first, for instance with depthwise.functions.sum(y)"
            )
            raise ValueError(msg)
        seed = _ones(y, loss_scale)
        if retain_grad:
            y._grad = seed
    if not retain_grad and y.creator is not None:
        y._grad = None
    if y.creator is None:
        return
    leaves, inner = _backpropagate({id(y.node): (y.node, seed)}, None, enable_double_backprop)
    with using_config("enable_backprop", enable_double_backprop):
        for node, g in leaves:
            v = node.variable()
            if v is not None:
                v.grad_var = g if v._grad is None else v._grad + g
    for node, g in inner:
        v = node.variable()
        if v is not None:
            v._grad = g if retain_grad else None


def _ones(v: Variable, loss_scale: float | None) -> Variable:
    ones = np.ones_like(v._data())
    return Variable(ones if loss_scale is None else (ones * loss_scale).astype(ones.dtype), requires_grad=False)


_Gradients = list[tuple[Node, Variable]]


def _backpropagate(
    start: dict[int, tuple[Node, Variable]], wanted: set[int] | None, record: bool
) -> tuple[_Gradients, _Gradients]:
    """Gradients of the leaves and of the nodes between, from those of the start.

    With `wanted`, only paths to those nodes are walked, and only they are returned, as leaves.
    """
    pending = dict(start)
    order = itertools.count()
    heap: list[tuple[int, int, Function, Node]] = []
    useful = None if wanted is None else _leading_to(wanted, [n for n, _ in start.values()])
    seen: set[int] = set()
    leaves: _Gradients = []
    inner: _Gradients = []

    def push(node: Node) -> None:
        if node.creator is not None and id(node) not in seen and (useful is None or id(node) in useful):
            seen.add(id(node))
            heapq.heappush(heap, (-node.rank, next(order), node.creator, node))

    for node, _ in start.values():
        push(node)
    finished: dict[int, tuple[Node, Variable]] = {}
    with using_config("enable_backprop", record):
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


def _leading_to(wanted: set[int], ends: list[Node]) -> set[int]:
    """Ids of the nodes from `ends` back from which a wanted node is reached, themselves included."""
    found: set[int] = set()
    entered: set[int] = set()
    stack: list[tuple[Node, bool]] = [(n, False) for n in ends]
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
    with using_config("enable_backprop", enable_double_backprop):
        start: dict[int, tuple[Node, Variable]] = {}
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
            check_gradient(g, v.shape, v.dtype)
    return variables
