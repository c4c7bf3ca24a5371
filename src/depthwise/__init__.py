"""Depthwise convolution for Python's arrays in one to three dimensions, at the speed of the machine."""

from . import _core, chainer, functions, gradient_check, initializers, links, ops, reference, serializers
from .chainer import (
    Chain,
    ChainList,
    Link,
    Parameter,
    Sequential,
    Variable,
    as_variable,
    config,
    force_backprop_mode,
    grad,
    no_backprop_mode,
    using_config,
)
from .functions import depthwise_convolution_1d, depthwise_convolution_2d, depthwise_convolution_3d
from .geometry import Whole, output_size
from .plan import explain
from .runtime import (
    empty_cache,
    get_cache_limit,
    get_num_threads,
    set_cache_limit,
    set_num_threads,
    targets,
    threads,
    use_target,
)

__version__: str = _core.version

__all__ = [
    "Chain",
    "ChainList",
    "Link",
    "Parameter",
    "Sequential",
    "Variable",
    "Whole",
    "as_variable",
    "chainer",
    "config",
    "depthwise_convolution_1d",
    "depthwise_convolution_2d",
    "depthwise_convolution_3d",
    "empty_cache",
    "explain",
    "force_backprop_mode",
    "functions",
    "get_cache_limit",
    "get_num_threads",
    "grad",
    "gradient_check",
    "initializers",
    "links",
    "no_backprop_mode",
    "ops",
    "output_size",
    "reference",
    "serializers",
    "set_cache_limit",
    "set_num_threads",
    "targets",
    "threads",
    "use_target",
    "using_config",
]
