"""Chainer's names: ``depthwise.chainer.functions``."""

from .chainer.functions import *  # noqa: F403 - its __all__ says which
from .chainer.functions import __all__ as __all__
