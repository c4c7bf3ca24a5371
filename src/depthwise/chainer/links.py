"""The convolutions as layers with parameters of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy.typing as npt

from ..arguments import Ints, Pad, per_axis, spatial_axes
from . import functions
from .initializers import HeNormal, Zero
from .link import Link
from .parameter import InitialValue, Parameter, as_initializer
from .variable import Variable, as_variable

__all__ = ["DepthwiseConvolution1D", "DepthwiseConvolution2D", "DepthwiseConvolution3D"]

AnyArray = npt.NDArray[Any]


class _DepthwiseConvolution(Link):
    """What the layers have in common; each knows its function and its number of spatial axes."""

    _spatial: int
    _function: Any

    W: Parameter
    b: Parameter | None

    def __init__(
        self,
        in_channels: int | None,
        channel_multiplier: int,
        ksize: Ints,
        stride: Ints = 1,
        pad: Pad = 0,
        nobias: bool = False,
        initialW: InitialValue = None,
        initial_bias: InitialValue = None,
    ) -> None:
        super().__init__()
        self.ksize = ksize
        self.stride = stride
        self.pad = pad
        self.channel_multiplier = channel_multiplier
        self.nobias = nobias
        with self.init_scope():
            self.W = Parameter(as_initializer(initialW, HeNormal(1 / math.sqrt(2))))
            self.b = None if nobias else Parameter(as_initializer(initial_bias, Zero()))
        if in_channels is not None:
            self._initialize_params(in_channels)

    def _initialize_params(self, in_channels: int) -> None:
        self.W.initialize((self.channel_multiplier, in_channels, *per_axis("ksize", self.ksize, 0, self._spatial)))
        if self.b is not None:
            self.b.initialize((in_channels * self.channel_multiplier,))

    def forward(self, x: Variable | AnyArray) -> Variable:
        """Apply the layer to x, of shape (n, c_I, h, w) or as the layer's name says."""
        if self.W.array is None:
            shape = as_variable(x).shape
            spatial_axes(self._spatial, x=shape)
            self._initialize_params(shape[1])
        y: Variable = self._function(x, self.W, self.b, self.stride, self.pad)
        return y

    def _check_loaded(self, name: str, shape: tuple[int, ...]) -> None:
        fits = len(shape) == 1
        if name == "W":
            taps = per_axis("ksize", self.ksize, 0, self._spatial)
            fits = len(shape) == 2 + self._spatial and (shape[0], *shape[2:]) == (self.channel_multiplier, *taps)
        if not fits and name in ("W", "b"):
            msg = f"{name} has shape {shape} in the file, which does not fit {self!r}"
            raise ValueError(msg)

    @property
    def printable_specs(self) -> Iterator[tuple[str, Any]]:
        """The arguments that repr shows, with their names."""
        yield "in_channels", None if self.W.array is None else self.W.shape[1]
        for name in ("channel_multiplier", "ksize", "stride", "pad", "nobias"):
            yield name, getattr(self, name)


class DepthwiseConvolution1D(_DepthwiseConvolution):
    """One-dimensional depthwise convolution layer: :class:`DepthwiseConvolution2D` for sequences.

    Parameters
    ----------
    in_channels : int or None
        c_I; None takes it from the first input.
    channel_multiplier : int
        c_M, the filters of each channel.
    ksize : int or tuple of one int
        k.
    stride : int or tuple of one int, default 1
    pad : int, ((before, after),), "same", "valid" or "causal", default 0
    nobias, initialW, initial_bias
        As :class:`DepthwiseConvolution2D` takes them; weights are drawn with a standard deviation of
        ``sqrt(1 / (c_I * k))``, or ``sqrt(1 / k)`` for "depthwise".

    Attributes
    ----------
    W : Parameter of shape (c_M, c_I, k)
    b : Parameter of shape (c_I * c_M,), or None
        Of float32, unless an initializer or ``config.dtype`` says otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.links as L
    >>> layer = L.DepthwiseConvolution1D(None, 1, 4, pad="causal")
    >>> layer(np.zeros((1, 16, 100), np.float32)).shape
    (1, 16, 100)
    """

    _spatial = 1
    _function = staticmethod(functions.depthwise_convolution_1d)


class DepthwiseConvolution2D(_DepthwiseConvolution):
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
        copied into W's shape; a callable fills the array that it is given, and its dtype, if it has one, is W's: see
        :mod:`depthwise.initializers`.
    initial_bias : None, float, ndarray or callable, optional
        0 where not given.

    Attributes
    ----------
    W : Parameter of shape (c_M, c_I, k_H, k_W)
    b : Parameter of shape (c_I * c_M,), or None
        Of float32, unless an initializer or ``config.dtype`` says otherwise.

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

    _spatial = 2
    _function = staticmethod(functions.depthwise_convolution_2d)


class DepthwiseConvolution3D(_DepthwiseConvolution):
    """Three-dimensional depthwise convolution layer: :class:`DepthwiseConvolution2D` for volumes or films.

    Parameters
    ----------
    in_channels : int or None
        c_I; None takes it from the first input.
    channel_multiplier : int
        c_M, the filters of each channel.
    ksize : int or three ints
        (k_D, k_H, k_W).
    stride : int or three ints, default 1
    pad : int, three ints, three pairs, "same" or "valid", default 0
    nobias, initialW, initial_bias
        As :class:`DepthwiseConvolution2D` takes them; weights are drawn with a standard deviation of
        ``sqrt(1 / (c_I * k_D * k_H * k_W))``, or ``sqrt(1 / (k_D * k_H * k_W))`` for "depthwise".

    Attributes
    ----------
    W : Parameter of shape (c_M, c_I, k_D, k_H, k_W)
    b : Parameter of shape (c_I * c_M,), or None
        Of float32, unless an initializer or ``config.dtype`` says otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise.links as L
    >>> layer = L.DepthwiseConvolution3D(None, 1, 3, stride=(1, 2, 2), pad=1)
    >>> layer(np.zeros((1, 4, 5, 8, 8), np.float32)).shape
    (1, 4, 5, 4, 4)
    """

    _spatial = 3
    _function = staticmethod(functions.depthwise_convolution_3d)
