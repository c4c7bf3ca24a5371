"""From outputs back to inputs: the walk through the graph, and Variable.backward, which asks for all of it."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .configuration import using_config
from .graph import Function, Node

if TYPE_CHECKING:
    from .variable import Variable


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
        seed = ones_like(y, loss_scale)
        if retain_grad:
            y._grad = seed
    if not retain_grad and y.creator is not None:
        y._grad = None
    if y.creator is None:
        return
    leaves, inner = propagate({id(y.node): (y.node, seed)}, None, enable_double_backprop)
    with using_config("enable_backprop", enable_double_backprop):
        for node, g in leaves:
            v = node.variable()
            if v is not None:
                v.grad_var = g if v._grad is None else v._grad + g
    for node, g in inner:
        v = node.variable()
        if v is not None:
            v._grad = g if retain_grad else None


def ones_like(v: Variable, loss_scale: float | None) -> Variable:
    """What a gradient starts from where none is given: ones, or the scale of the loss."""
    ones = np.ones_like(v._data())
    return v._new(ones if loss_scale is None else (ones * loss_scale).astype(ones.dtype))


_Gradients: TypeAlias = "list[tuple[Node, Variable]]"


def propagate(
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
