"""How the first values of parameters are drawn or filled, by Chainer's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .configuration import config

__all__ = [
    "Constant",
    "DepthwiseNormal",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LeCunNormal",
    "LeCunUniform",
    "NaN",
    "Normal",
    "One",
    "Uniform",
    "Zero",
    "generate_array",
]

AnyArray = npt.NDArray[Any]


class Initializer:
    """A callable that fills the array that it is given.

    Parameters
    ----------
    dtype : dtype, optional
        The type of the arrays that are made for it; where it has none, ``config.dtype``, which is float32.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.links as L
    >>> from depthwise import initializers
    >>> L.DepthwiseConvolution2D(3, 2, 3, initialW=initializers.Normal(1, np.float16)).W.dtype
    dtype('float16')
    """

    def __init__(self, dtype: Any = None) -> None:
        self.dtype = dtype

    def __call__(self, array: AnyArray) -> None:
        """Fill `array`."""
        if self.dtype is not None and array.dtype != self.dtype:
            msg = f"{type(self).__name__} of {np.dtype(self.dtype)} was given an array of {array.dtype}"
            raise TypeError(msg)
        array[...] = self.values(array.shape)

    def values(self, shape: tuple[int, ...]) -> Any:
        """What fills an array of this shape."""
        raise NotImplementedError


class Constant(Initializer):
    """One value, or an array that broadcasts."""

    def __init__(self, fill_value: Any, dtype: Any = None) -> None:
        super().__init__(dtype)
        self.fill_value = fill_value

    def values(self, shape: tuple[int, ...]) -> Any:  # noqa: D102
        return self.fill_value


class Zero(Constant):
    """Zeros."""

    def __init__(self, dtype: Any = None) -> None:
        super().__init__(0.0, dtype)


class One(Constant):
    """Ones."""

    def __init__(self, dtype: Any = None) -> None:
        super().__init__(1.0, dtype)


class NaN(Constant):
    """NaN."""

    def __init__(self, dtype: Any = None) -> None:
        super().__init__(math.nan, dtype)


class Normal(Initializer):
    """Normal distribution of standard deviation `scale`, from `rng` or NumPy's global generator."""

    def __init__(self, scale: float = 0.05, dtype: Any = None, *, rng: Any = None) -> None:
        super().__init__(dtype)
        self.scale, self.rng = scale, rng

    def scale_for(self, shape: tuple[int, ...]) -> float:
        """Standard deviation in an array of this shape."""
        return self.scale

    def values(self, shape: tuple[int, ...]) -> Any:  # noqa: D102
        return (self.rng or np.random).normal(0.0, self.scale_for(shape), shape)


class Uniform(Normal):
    """Uniform distribution in [-scale, scale], from `rng` or NumPy's global generator."""

    def values(self, shape: tuple[int, ...]) -> Any:  # noqa: D102
        bound = self.scale_for(shape)
        return (self.rng or np.random).uniform(-bound, bound, shape)


class _ByFan(Normal):
    """Scaled by ``sqrt(gain / fan)``, where `fan` counts inputs of an output, or outputs of an input, or both."""

    gain: float

    def __init__(self, scale: float = 1.0, dtype: Any = None, *, rng: Any = None) -> None:
        super().__init__(scale, dtype, rng=rng)

    def fan(self, outputs: int, inputs: int, taps: int) -> int:
        """Chainer's fan_in unless a subclass says otherwise."""
        return inputs * taps

    def scale_for(self, shape: tuple[int, ...]) -> float:
        if len(shape) < 2:
            msg = f"{type(self).__name__} needs an array of at least 2 axes, got shape {shape}"
            raise ValueError(msg)
        return self.scale * math.sqrt(self.gain / max(self.fan(shape[0], shape[1], math.prod(shape[2:])), 1))


class _ByBothFans(_ByFan):
    def fan(self, outputs: int, inputs: int, taps: int) -> int:
        return (inputs + outputs) * taps


class LeCunNormal(_ByFan):
    """Normal distribution of standard deviation ``scale * sqrt(1 / fan_in)``."""

    gain = 1.0


class DepthwiseNormal(_ByFan):
    """Normal distribution of standard deviation ``scale * sqrt(1 / taps)``: a depthwise filter sees one channel."""

    gain = 1.0

    def fan(self, outputs: int, inputs: int, taps: int) -> int:  # noqa: D102
        return taps


class GlorotNormal(_ByBothFans):
    """Normal distribution of standard deviation ``scale * sqrt(2 / (fan_in + fan_out))``."""

    gain = 2.0


class HeNormal(_ByFan):
    """Normal distribution of standard deviation ``scale * sqrt(2 / fan)``, fan being fan_in or fan_out."""

    gain = 2.0

    def __init__(self, scale: float = 1.0, dtype: Any = None, fan_option: str = "fan_in", *, rng: Any = None) -> None:
        if fan_option not in ("fan_in", "fan_out"):
            msg = f'fan_option must be "fan_in" or "fan_out", got {fan_option!r}'
            raise ValueError(msg)
        super().__init__(scale, dtype, rng=rng)
        self.fan_option = fan_option

    def fan(self, outputs: int, inputs: int, taps: int) -> int:  # noqa: D102
        return (inputs if self.fan_option == "fan_in" else outputs) * taps


class LeCunUniform(_ByFan, Uniform):
    """Uniform distribution in plus and minus ``scale * sqrt(3 / fan_in)``."""

    gain = 3.0


class GlorotUniform(_ByBothFans, Uniform):
    """Uniform distribution in plus and minus ``scale * sqrt(6 / (fan_in + fan_out))``."""

    gain = 6.0


class HeUniform(_ByFan, Uniform):
    """Uniform distribution in plus and minus ``scale * sqrt(6 / fan_in)``."""

    gain = 6.0


def generate_array(initializer: Callable[[AnyArray], None], shape: Any, xp: Any = np, dtype: Any = None) -> AnyArray:
    """An array that an initializer has filled: ``chainer.initializers.generate_array``.

    Parameters
    ----------
    initializer : callable
        Fills the array that it is given.
    shape : int or tuple of ints
    xp : module, optional
        numpy.
    dtype : dtype, optional
        Where it is not given, the initializer's, or else ``config.dtype``.

    Examples
    --------
    >>> import numpy as np
    >>> from depthwise import initializers
    >>> initializers.generate_array(initializers.One(), (2,), np)
    array([1., 1.], dtype=float32)
    """
    own = getattr(initializer, "dtype", None)
    if dtype is not None and own is not None and np.dtype(dtype) != np.dtype(own):
        msg = f"dtype {np.dtype(dtype)} was asked of an initializer of {np.dtype(own)}"
        raise ValueError(msg)
    array = np.empty(shape, next(d for d in (dtype, own, config.dtype) if d is not None))
    initializer(array)
    return array
