"""NumPy's arrays as PyTorch's tensors."""

from __future__ import annotations

from typing import Any

import numpy as np


def tensor(a: Any) -> Any:
    """The same memory and strides, which say which memory format it is."""
    import torch

    if a.dtype.name == "bfloat16":  # not NumPy's own
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(a)
