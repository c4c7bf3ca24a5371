"""Where what stands beside an image comes from: the one rule of padding modes outside the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[Any]


def mirrored(places: Places, size: int, pad_mode: str) -> Places:
    """The elements that stand at places of an axis of so many, as numpy.pad has them; `pad_mode` is not "constant".

    Old versions of numpy.pad are wrong where padding goes round an axis several times.
    """
    if pad_mode == "edge":
        return np.clip(places, 0, size - 1)
    if pad_mode == "wrap":
        return np.mod(places, size)
    # The border itself counts twice, or once.
    period = 2 * size if pad_mode == "symmetric" else max(1, 2 * size - 2)
    places = np.mod(places, period)
    turned: Places = np.minimum(places, period - places - (pad_mode == "symmetric"))
    return turned
