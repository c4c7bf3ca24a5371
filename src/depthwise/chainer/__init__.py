"""Depthwise convolution for code that was written with Chainer: NumPy arrays and a graph of Variables."""

from . import functions, gradient_check, links, serializers
from .backward import grad
from .configuration import config, force_backprop_mode, global_config, no_backprop_mode, using_config
from .variable import Variable, as_variable

__all__ = [
    "Variable",
    "as_variable",
    "config",
    "force_backprop_mode",
    "functions",
    "global_config",
    "grad",
    "gradient_check",
    "links",
    "no_backprop_mode",
    "serializers",
    "using_config",
]
