"""Chainer's names: ``depthwise.chainer.links``."""

from .chainer.links import *  # noqa: F403 - its __all__ says which
from .chainer.links import __all__ as __all__
