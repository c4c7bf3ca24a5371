"""Arrays with named dimensions: xarray's DataArrays in, DataArrays out, lazily where they hold Dask's arrays."""

from .convolution import convolution
from .filters import convolve, correlate, gaussian

__all__ = ["convolution", "convolve", "correlate", "gaussian"]
