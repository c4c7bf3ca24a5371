"""Chainer's names: ``depthwise.chainer.gradient_check``."""

from .chainer.gradient_check import *  # noqa: F403 - its __all__ says which
from .chainer.gradient_check import __all__ as __all__
