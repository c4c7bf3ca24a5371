"""Weights that are used again and again, with what the engine can work out beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core

__all__ = ["PreparedWeight"]


class PreparedWeight:
    """What :func:`depthwise.ops.prepare` gives; :func:`depthwise.ops.forward` takes it in W's place.

    Attributes
    ----------
    array : ndarray
        A copy of W, which cannot be written.
    """

    def __init__(self, W: npt.NDArray[Any]) -> None:
        self.array = np.array(W)
        self.array.flags.writeable = False
        self._kept = _core.SpectraKeeper()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of W."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of W."""
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the copy and of all that is kept beside it."""
        return self.array.nbytes + self._kept.bytes()

    def __reduce__(self) -> Any:
        return PreparedWeight, (self.array,)

    def __repr__(self) -> str:
        return f"PreparedWeight(shape={self.shape}, dtype={self.dtype}, nbytes={self.nbytes})"
