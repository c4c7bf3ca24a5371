"""DepthwiseConvolution2D as a layer with parameters of its own, and how these are first drawn."""

from __future__ import annotations

import copy as _copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..geometry import IntPair, Pad, pair
from .functions import depthwise_convolution_2d
from .variable import Variable, as_variable

__all__ = ["DepthwiseConvolution2D"]

AnyArray = npt.NDArray[Any]
Initializer = None | str | float | AnyArray | Callable[[AnyArray], None]


def _initialized(value: Initializer, shape: tuple[int, ...], default: float | None) -> AnyArray:
    """A float32 array drawn or filled as `value` says; `default` None draws as Chainer does."""
    array = np.empty(shape, np.float32)
    if isinstance(value, str) and value not in ("chainer", "depthwise"):
        msg = f'an initial value by name is "chainer" or "depthwise", got {value!r}'
        raise ValueError(msg)
    if isinstance(value, str) or (value is None and default is None):
        fan_in = int(np.prod(shape[2:] if value == "depthwise" else shape[1:]))
        array[...] = np.random.normal(0.0, (1 / max(fan_in, 1)) ** 0.5, shape)
    elif callable(value):
        value(array)
    else:
        array[...] = default if value is None else value
    return array


class DepthwiseConvolution2D:
    """Depthwise convolution layer: ``chainer.links.DepthwiseConvolution2D``.

    Parameters
    ----------
    in_channels : int or None
        c_I; None takes it from the first input.
    channel_multiplier : int
        c_M, the filters of each channel.
    ksize : int or pair of ints
        (k_H, k_W).
    stride : int or pair of ints, default 1
    pad : int, pair, pair of pairs, "same" or "valid", default 0
    nobias : bool, default False
        Have no bias: `b` is None.
    initialW : None, "chainer", "depthwise", float, ndarray or callable, optional
        None and "chainer" draw from a normal distribution of standard deviation ``sqrt(1 / (c_I * k_H * k_W))``, as
        Chainer does, from NumPy's global generator. That fan counts channels that a depthwise filter never sees:
        "depthwise" draws with ``sqrt(1 / (k_H * k_W))``, which keeps the variance of the input. An array or number is
        copied into W's shape; a callable fills the array that it is given.
    initial_bias : None, float, ndarray or callable, optional
        0 where not given.

    Attributes
    ----------
    W : Variable of shape (c_M, c_I, k_H, k_W), float32
    b : Variable of shape (c_I * c_M,), float32, or None

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.links as L
    >>> layer = L.DepthwiseConvolution2D(None, 2, 3, pad=1)
    >>> layer(np.zeros((1, 4, 8, 8), np.float32)).shape
    (1, 8, 8, 8)
    >>> layer
    DepthwiseConvolution2D(in_channels=4, channel_multiplier=2, ksize=3, stride=1, pad=1, nobias=False)
    """

    W: Variable
    b: Variable | None

    def __init__(
        self,
        in_channels: int | None,
        channel_multiplier: int,
        ksize: IntPair,
        stride: IntPair = 1,
        pad: Pad = 0,
        nobias: bool = False,
        initialW: Initializer = None,
        initial_bias: Initializer = None,
    ) -> None:
        self.ksize = ksize
        self.stride = stride
        self.pad = pad
        self.channel_multiplier = channel_multiplier
        self.nobias = nobias
        self._initial_weight, self._initial_bias = initialW, initial_bias
        self.W = Variable(None, name="W")
        self.b = None if nobias else Variable(None, name="b")
        if in_channels is not None:
            self._initialize(in_channels)

    def _initialize(self, in_channels: int) -> None:
        shape = (self.channel_multiplier, in_channels, *pair("ksize", self.ksize, 0))
        self.W.array = _initialized(self._initial_weight, shape, None)
        if self.b is not None:
            self.b.array = _initialized(self._initial_bias, (in_channels * self.channel_multiplier,), 0.0)

    def __call__(self, x: Variable | AnyArray) -> Variable:
        """Apply the layer to x of shape (n, c_I, h, w)."""
        if self.W.array is None:
            shape = as_variable(x).shape
            if len(shape) != 4:
                msg = f"x must have 4 axes (n, c_I, h, w), got {len(shape)}: shape {shape}"
                raise ValueError(msg)
            self._initialize(shape[1])
        return depthwise_convolution_2d(x, self.W, self.b, self.stride, self.pad)

    forward = __call__

    def namedparams(self) -> Iterator[tuple[str, Variable]]:
        """("/W", W) and, with a bias, ("/b", b)."""
        for name, v in (("/W", self.W), ("/b", self.b)):
            if v is not None:
                yield name, v

    def params(self) -> Iterator[Variable]:
        """W and, with a bias, b."""
        return (v for _, v in self.namedparams())

    def count_params(self) -> int:
        """Number of elements of the parameters."""
        return sum(v.size for v in self.params())

    def cleargrads(self) -> None:
        """Forget the gradients of the parameters."""
        for v in self.params():
            v.cleargrad()

    def copy(self, mode: str = "share") -> DepthwiseConvolution2D:
        """A copy whose parameters share their arrays ("share"), have copies of them ("copy"), or are new ("init")."""
        if mode not in ("share", "copy", "init"):
            msg = f'mode must be "share", "copy" or "init", got {mode!r}'
            raise ValueError(msg)
        twin = _copy.copy(self)
        for name, v in self.namedparams():
            array = v.array if mode != "copy" or v.array is None else v.array.copy()
            setattr(twin, name[1:], Variable(array, name=v.name))
        if mode == "init" and self.W.array is not None:
            twin._initialize(self.W.shape[1])
        return twin

    def __repr__(self) -> str:
        in_channels = None if self.W.array is None else self.W.shape[1]
        return (
            f"{type(self).__name__}(in_channels={in_channels}, channel_multiplier={self.channel_multiplier}, "
            f"ksize={self.ksize!r}, stride={self.stride!r}, pad={self.pad!r}, nobias={self.nobias})"
        )
