"""Filters for people with images: SciPy's names and borders, integer pixels, channels last or planes."""

from .functions import convolve, correlate, gaussian
from .kernels import gabor_bank

__all__ = ["convolve", "correlate", "gabor_bank", "gaussian"]
