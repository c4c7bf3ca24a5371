"""Chainer's names: :mod:`depthwise.chainer.functions`."""

from .chainer.functions import *  # noqa: F403
from .chainer.functions import __all__ as __all__
