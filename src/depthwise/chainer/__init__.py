"""Depthwise convolution for code that was written with Chainer: NumPy arrays and a graph of Variables.

``import depthwise.chainer as chainer`` stands in for ``import chainer``.
"""

from . import functions, gradient_check, initializers, links, serializers
from .chains import Chain, ChainList, Sequential
from .configuration import config, force_backprop_mode, global_config, no_backprop_mode, using_config
from .gradients import grad
from .initializers import Initializer
from .link import Link
from .parameter import Parameter
from .variable import Variable, as_array, as_variable

__all__ = [
    "Chain",
    "ChainList",
    "Initializer",
    "Link",
    "Parameter",
    "Sequential",
    "Variable",
    "as_array",
    "as_variable",
    "config",
    "force_backprop_mode",
    "functions",
    "global_config",
    "grad",
    "gradient_check",
    "initializers",
    "links",
    "no_backprop_mode",
    "serializers",
    "using_config",
]
