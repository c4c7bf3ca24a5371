"""The engine's passes over CUDA tensors, on PyTorch's current stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _core, gpu

# ROCm's tensors say that they are CUDA's.
IS_BUILT = torch.version.cuda is not None


def is_cuda(a: Tensor) -> bool:
    """Whether a tensor lies in the memory of a GPU that runs CUDA."""
    return IS_BUILT and a.is_cuda


def run(kind: int, sizes: _core.Sizes, *arrays: Any, activation: int, like: Tensor) -> None:
    """Start a pass on the device and the current stream that `like` has."""
    device: Any = like.device
    held: list[Tensor] = []  # until the launch: the allocator then knows in which order the stream uses it

    def allocate(size: int) -> int:
        held.append(torch.empty(size, dtype=torch.uint8, device=device))
        return held[0].data_ptr()

    stream = torch.cuda.current_stream(device).cuda_stream
    x, W, b, y = arrays
    gpu.run(kind, sizes, x, W, b, y, activation, device.index, stream, allocate)
