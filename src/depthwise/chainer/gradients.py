"""depthwise.grad: gradients of outputs for inputs, handed over and not stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from .backward import ones_like, propagate
from .configuration import using_config
from .graph import Node, check_gradient
from .variable import Variable, as_variable

AnyArray = npt.NDArray[Any]


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
            seed = ones_like(y, loss_scale) if g is None else g
            before = start.get(id(y.node))
            start[id(y.node)] = y.node, (seed if before is None else before[1] + seed)
        found, _ = propagate(start, {id(v.node) for v in inputs}, enable_double_backprop)
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
