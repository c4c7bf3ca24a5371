"""Chainer's names: ``depthwise.chainer.initializers``."""

from .chainer.initializers import *  # noqa: F403 - its __all__ says which
from .chainer.initializers import __all__ as __all__
