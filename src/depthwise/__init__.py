"""Depthwise 2-D convolution for Python's arrays."""

from . import ops
from .geometry import output_size
from .runtime import get_num_threads, set_num_threads, targets, threads, use_target
