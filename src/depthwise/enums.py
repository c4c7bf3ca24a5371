"""The engine's enums Pass, DType and Activation: its functions take their numbers."""

from typing import Any

from ._core import activations as _activations
from ._core import dtypes as DTYPES  # noqa: N812 - constants here
from ._core import methods as METHODS  # noqa: N812 - constants here
from ._core import pad_modes as PAD_MODES  # noqa: N812 - constants here
from ._core import passes as PASSES  # noqa: N812 - constants here

FORWARD, INPUT_GRAD, WEIGHT_GRAD = (PASSES[name] for name in ("forward", "input_grad", "weight_grad"))
ACTIVATIONS = {name: code for name, code in _activations.items() if name != "none"}

_CODES: dict[Any, int] = {None: 0, **ACTIVATIONS, "swish": ACTIVATIONS["silu"]}


def activation_code(activation: Any) -> int:
    """The engine's number of an argument of this name."""
    if activation is None or isinstance(activation, str):
        code = _CODES.get(activation)
        if code is not None:
            return code
    names = ", ".join(f'"{name}"' for name in ACTIVATIONS)
    msg = f'activation must be None, {names} or "swish", got {activation!r}'
    raise (ValueError if isinstance(activation, str) else TypeError)(msg)


def method_code(method: Any) -> int:
    """The engine's number of an argument of this name."""
    code = METHODS.get(method) if isinstance(method, str) else None
    if code is None:
        msg = f'method must be "direct", "fft" or "auto", got {method!r}'
        raise (ValueError if isinstance(method, str) else TypeError)(msg)
    return code


def pad_mode_code(pad_mode: Any) -> int:
    """The engine's number of an argument of this name."""
    code = PAD_MODES.get(pad_mode) if isinstance(pad_mode, str) else None
    if code is None:
        *names, last = (f'"{name}"' for name in PAD_MODES)
        msg = f"pad_mode must be {', '.join(names)} or {last}, got {pad_mode!r}"
        raise (ValueError if isinstance(pad_mode, str) else TypeError)(msg)
    return code


__all__ = [
    "ACTIVATIONS",
    "DTYPES",
    "FORWARD",
    "INPUT_GRAD",
    "METHODS",
    "PAD_MODES",
    "PASSES",
    "WEIGHT_GRAD",
    "activation_code",
    "method_code",
    "pad_mode_code",
]
