"""Chainer's names: :mod:`depthwise.chainer.serializers`."""

from .chainer.serializers import *  # noqa: F403
from .chainer.serializers import __all__ as __all__
