"""The causal convolution as its definition says, one output after another, and arguments for it."""

from __future__ import annotations

from torch_helpers import DTYPES, F, torch  # noqa: F401 - for the files of tests

LAYOUTS = ["n c l", "n l c"]
WIDTHS = range(1, 9)


def reference(x, weight, bias=None, seq_idx=None, initial_states=None, activation=None):
    """In float64: every output on its own, made of the products whose input is of its sequence."""
    x, weight = x.double(), weight.double()
    (batch, dim, length), width = x.shape, weight.shape[1]
    past = torch.zeros(batch, dim, width - 1) if initial_states is None else initial_states
    y = torch.zeros_like(x)
    for n in range(batch):
        for t in range(length):
            if seq_idx is not None and seq_idx[n, t] < 0:
                continue
            total = torch.zeros(dim).double() if bias is None else bias.double()
            for tap in range(width):
                s = t - (width - 1) + tap
                if s < 0:
                    total = total + weight[:, tap] * past[n, :, s + width - 1].double() if width > 1 else total
                elif seq_idx is None or bool((seq_idx[n, s : t + 1] == seq_idx[n, t]).all()):
                    total = total + weight[:, tap] * x[n, :, s]
            y[n, :, t] = F.silu(total) if activation else total
    return y


def lay(x, layout):
    """The same elements, neighbours in time or channels beside each other in memory."""
    return x.contiguous() if layout == "n c l" else x.transpose(1, 2).contiguous().transpose(1, 2)


def whole_numbers(*shape, dtype, layout="n c l", generator=None):
    """Small ones, of which sums are exact in every dtype."""
    a = torch.randint(-3, 4, shape, generator=generator).to(dtype)
    return lay(a, layout) if len(shape) == 3 else a


def numbers(*shape, dtype, layout="n c l"):
    a = torch.randn(shape).to(dtype)
    return lay(a, layout) if len(shape) == 3 else a
