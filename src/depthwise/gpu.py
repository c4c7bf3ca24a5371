"""GPU arrays of any library to the engine's CUDA kernels, which are compiled when they are first needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from glob import glob
from importlib.util import find_spec
from typing import Any

from . import _core

# (address, strides in elements, dtype's code), as the engine takes an array.
Place = tuple[int, tuple[int, ...], int]
NOTHING: Place = (0, (), 0)


def nvrtc_paths(spec: Any = None) -> list[str]:
    """Where CUDA's run-time compiler may be: what PyPI's packages hold, the newest first."""
    spec = spec or find_spec("nvidia")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    paths = [path for folder in folders for path in glob(f"{folder}/*/lib/libnvrtc.so.*")]
    numbered = [(int(last), path) for path in paths if (last := path.rpartition(".")[2]).isdigit()]
    return [path for _, path in sorted(numbered, reverse=True)]


@cache
def find_nvrtc() -> None:
    """Tell the engine where to look, which it does when the first kernel is to be compiled."""
    _core.gpu_look_for_nvrtc(nvrtc_paths())


def run(
    kind: int,
    sizes: _core.Sizes,
    x: Place,
    W: Place,
    b: Place,
    y: Place,
    activation: int,
    device: int,
    stream: int,
    allocate: Callable[[int], int],
) -> None:
    """Start a pass on a device's stream.

    Parameters
    ----------
    kind, sizes, activation
        As ``_core.run`` takes them.
    x, W, b, y
        The arrays, in the device's memory.
    device, stream
        The number of the one, the address of the other.
    allocate
        From bytes to the address of as much of the device's memory, which is not written by others before the stream
        has done what is started here.

    Raises
    ------
    RuntimeError
        There is no driver, no NVRTC, or none for this GPU; or a kernel cannot be started. It says what to install.
    ValueError
        The problem is none that a GPU takes.
    """
    find_nvrtc()
    _core.gpu_run(kind, sizes, x, W, b, y, activation, device, stream, allocate)
