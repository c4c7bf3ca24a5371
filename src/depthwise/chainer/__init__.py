"""Depthwise convolution for code that was written with Chainer: NumPy arrays and a graph of Variables."""

from . import functions, gradient_check, links, serializers
from .variable import Variable, as_variable, force_backprop_mode, grad, no_backprop_mode

__all__ = [
    "Variable",
    "as_variable",
    "force_backprop_mode",
    "functions",
    "grad",
    "gradient_check",
    "links",
    "no_backprop_mode",
    "serializers",
]
