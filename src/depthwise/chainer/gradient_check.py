"""Numerical checks of gradients, with Chainer's signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .arithmetic import cast
from .gradients import grad
from .variable import Variable, as_variable

__all__ = ["check_backward", "check_double_backward", "numerical_grad"]

AnyArray = npt.NDArray[Any]


def numerical_grad(
    f: Callable[[], Sequence[AnyArray]],
    inputs: Sequence[AnyArray],
    grad_outputs: Sequence[AnyArray | None],
    eps: float = 1e-3,
    detect_nondifferentiable: bool = False,
    diff_atol: float = 0,
    diff_rtol: float = 1e-2,
    center_outputs: Any = None,
) -> tuple[AnyArray, ...]:
    """Gradients by central differences.

    Parameters
    ----------
    f : callable
        Without arguments; returns arrays computed from `inputs`, which are changed in place between calls.
    inputs : sequence of ndarray
    grad_outputs : sequence of ndarray or None
        Gradients of f's outputs.
    eps : float
        Half the distance between the two points of a difference.
    detect_nondifferentiable : bool, default False
        Raise ValueError where the difference at eps/2 differs by more than `diff_atol` and `diff_rtol` allow.
    center_outputs : ignored
        Accepted for Chainer's sake.

    Returns
    -------
    tuple of ndarray

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise.gradient_check import numerical_grad
    >>> x = np.array([3.0])
    >>> numerical_grad(lambda: (x * x,), (x,), (np.ones(1),))[0].round(6)
    array([6.])
    """

    def along(x: AnyArray, i: tuple[int, ...], step: float) -> float:
        before = x[i]
        ends = []
        for sign in (1, -1):
            x[i] = before + sign * step
            ends.append([np.array(y, np.float64) for y in f()])
        x[i] = before
        return float(
            sum(((p - m) * g).sum() for p, m, g in zip(*ends, grad_outputs, strict=True) if g is not None) / (2 * step)
        )

    gradients = tuple(np.zeros_like(x) for x in inputs)
    for x, gx in zip(inputs, gradients, strict=True):
        for i in np.ndindex(x.shape):
            gx[i] = along(x, i, eps)
            if detect_nondifferentiable:
                finer = along(x, i, eps / 2)
                if abs(finer - gx[i]) > diff_atol + diff_rtol * abs(finer):
                    msg = f"not differentiable at element {i}: differences {gx[i]} and {finer}"
                    raise ValueError(msg)
    return gradients


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def check_backward(
    func: Callable[..., Any],
    x_data: Any,
    y_grad: Any,
    params: Any = (),
    eps: float = 1e-3,
    atol: float = 1e-5,
    rtol: float = 1e-4,
    no_grads: Sequence[bool] | None = None,
    dtype: Any = None,
    detect_nondifferentiable: bool = False,
) -> None:
    """Raise AssertionError where backward and central differences disagree along a random direction.

    Parameters
    ----------
    func : callable
        Takes Variables, returns a Variable or a tuple of them.
    x_data, y_grad : ndarray, or tuple of ndarray or None
        Its inputs, and the gradients of its outputs; a None among `y_grad` stands for zeros.
    params : Variable or tuple of Variable, optional
        What else func depends on.
    eps, atol, rtol : float
        Step of the difference; absolute and relative tolerance.
    no_grads : sequence of bool, optional
        True for inputs whose gradient is not checked.
    dtype : dtype, optional
        Inputs and params are cast to it first.
    detect_nondifferentiable : bool, default False
        As :func:`numerical_grad`.
    """
    inputs = [Variable(np.array(x, dtype)) for x in _as_tuple(x_data)]
    others = list(_as_tuple(params))
    saved = [p.array for p in others]
    for p in others:
        p.array = np.array(p.array, dtype)
    try:
        skip = list(no_grads) if no_grads is not None else [v.dtype.kind != "f" for v in inputs]
        checked = [v for v, s in zip(inputs, skip, strict=True) if not s] + others
        outputs = _as_tuple(func(*inputs))
        seeds: list[Any] = [
            np.zeros_like(y.array) if g is None else np.asarray(g, y.dtype)
            for y, g in zip(outputs, _as_tuple(y_grad), strict=True)
        ]
        found = grad(list(outputs), checked, seeds)
        starts = [v.array for v in checked]
        directions = [np.random.normal(size=v.shape) for v in checked]
        norm = np.sqrt(sum(float((d * d).sum()) for d in directions)) or 1.0
        directions = [d / norm for d in directions]
        distance = np.zeros(())

        def at_distance() -> list[AnyArray]:
            for v, start, d in zip(checked, starts, directions, strict=True):
                v.array = (start + distance * d).astype(start.dtype)
            return [y.array for y in _as_tuple(func(*inputs))]

        (numeric,) = numerical_grad(
            at_distance, (distance,), seeds, eps, detect_nondifferentiable, diff_atol=atol, diff_rtol=max(rtol, 1e-2)
        )
        analytic = sum(
            float((g.array.astype(np.float64) * d).sum())
            for g, d in zip(found, directions, strict=True)
            if g is not None
        )
        np.testing.assert_allclose(analytic, numeric, atol=atol, rtol=rtol)
    finally:
        for p, array in zip(others, saved, strict=True):
            p.array = array


def check_double_backward(
    func: Callable[..., Any],
    x_data: Any,
    y_grad: Any,
    x_grad_grad: Any,
    params: Any = (),
    params_grad_grad: Any = (),
    eps: float = 1e-3,
    atol: float = 1e-4,
    rtol: float = 1e-3,
    no_grads: Sequence[bool] | None = None,
    dtype: Any = None,
    detect_nondifferentiable: bool = False,
) -> None:
    """Raise AssertionError where the gradient of func's gradients is wrong; arguments as :func:`check_backward`.

    Parameters
    ----------
    x_grad_grad, params_grad_grad : ndarray, or tuple of ndarray or None
        Gradients of the gradients of the inputs and of `params`.
    """
    x_data, y_grad = _as_tuple(x_data), _as_tuple(y_grad)
    params = _as_tuple(params)

    def first_gradients(*args: Variable) -> tuple[Variable, ...]:
        xs, gys = args[: len(x_data)], args[len(x_data) :]
        outputs = _as_tuple(func(*xs))
        found = grad(
            list(outputs),
            [*xs, *params],
            [cast(as_variable(g), y.dtype) for y, g in zip(outputs, gys, strict=True)],
            enable_double_backprop=True,
        )
        zeros = [v * 0 for v in (*xs, *params)]
        return tuple(z if g is None else g for z, g in zip(zeros, found, strict=True))

    check_backward(
        first_gradients,
        (*x_data, *y_grad),
        (*_as_tuple(x_grad_grad), *_as_tuple(params_grad_grad)),
        params,
        eps,
        atol,
        rtol,
        None if no_grads is None else [*no_grads, *([False] * len(y_grad))],
        dtype,
        detect_nondifferentiable,
    )
