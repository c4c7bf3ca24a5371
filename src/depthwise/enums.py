"""The engine's enums Pass and DType: its functions take their numbers."""

from ._core import dtypes as DTYPES  # noqa: N812 - constants here
from ._core import passes as PASSES  # noqa: N812 - constants here

FORWARD, INPUT_GRAD, WEIGHT_GRAD = (PASSES[name] for name in ("forward", "input_grad", "weight_grad"))

__all__ = ["DTYPES", "FORWARD", "INPUT_GRAD", "PASSES", "WEIGHT_GRAD"]
