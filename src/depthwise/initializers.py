"""Chainer's names: :mod:`depthwise.chainer.initializers`."""

from .chainer.initializers import *  # noqa: F403
from .chainer.initializers import __all__ as __all__
