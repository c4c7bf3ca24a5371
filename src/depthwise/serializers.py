"""Chainer's names: ``depthwise.chainer.serializers``."""

from .chainer.serializers import *  # noqa: F403 - its __all__ says which
from .chainer.serializers import __all__ as __all__
