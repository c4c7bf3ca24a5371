"""Tries the installed package as a user would first: python tools/try_wheel.py numpy | torch | "before torch" | jax.

Every result is compared with the plain definition in `depthwise.reference`, and it must be the compiled engine's.
"""

import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np

SHAPE, KERNEL = (2, 6, 19, 23), (1, 6, 3, 3)


def arrays(dtype="float32"):
    rng = np.random.default_rng(0)
    return rng.standard_normal(SHAPE).astype(dtype), rng.standard_normal(KERNEL).astype(dtype)


def is_close(got, expected):
    error = np.abs(np.asarray(got, np.float64) - expected).max() / np.abs(expected).max()
    assert error < 1e-3, f"wrong by {error:.1e}"


def expected(x, W):
    from depthwise import reference

    return np.asarray(reference.forward(x, W, pad=1), np.float64)


def numpy():
    import depthwise
    from depthwise import ops, reference

    is_installed = Path(depthwise.__file__).resolve().is_relative_to(Path(sysconfig.get_path("platlib")).resolve())
    assert is_installed, f"this is not the installed package: {depthwise.__file__}"
    for dtype in ("float16", "float32", "float64"):
        x, W = arrays(dtype)
        gy = np.ones_like(x)
        for target in depthwise.targets():
            with depthwise.use_target(target):
                is_close(ops.forward(x, W, pad=1), expected(x, W))
                is_close(ops.input_grad(gy, W, SHAPE[2:], pad=1), reference.input_grad(gy, W, SHAPE[2:], pad=1))
                is_close(ops.weight_grad(x, gy, (3, 3), pad=1), reference.weight_grad(x, gy, (3, 3), pad=1))
    for missing in ("torch", "jax", "dask"):
        try:
            __import__(missing)
        except ImportError:
            continue
        raise AssertionError(f"{missing} is here, and should not be")
    subprocess.run([sys.executable, "-m", "depthwise", "info"], check=True)


def torch():
    import torch

    import depthwise.torch

    torch_answers(torch, depthwise.torch)


def before_torch():
    import depthwise.torch  # isort: skip
    import torch  # isort: skip

    torch_answers(torch, depthwise.torch)


def torch_answers(torch, ours):
    from depthwise import _core

    assert _core.has_openmp() or sys.platform != "linux", "PyTorch's threads were not found"
    x, W = arrays()
    t, w = torch.from_numpy(x).requires_grad_(), torch.from_numpy(W).transpose(0, 1).contiguous().requires_grad_()
    y = ours.conv2d(t, w, padding=1)
    is_close(y.detach().numpy(), expected(x, W))
    theirs = torch.nn.functional.conv2d(t, w, padding=1, groups=6)
    for ours_grad, theirs_grad in zip(
        torch.autograd.grad(y.square().sum(), (t, w)), torch.autograd.grad(theirs.square().sum(), (t, w)), strict=True
    ):
        is_close(ours_grad.numpy(), theirs_grad.numpy().astype(np.float64))


def jax():
    import jax as framework

    from depthwise.jax import conv

    x, W = arrays()
    w = framework.numpy.asarray(W)
    is_close(conv(x, w, pad=1), expected(x, W))
    gradient = framework.jit(framework.grad(lambda w: conv(x, w, pad=1).sum()))(w)
    from depthwise import reference

    is_close(gradient, reference.weight_grad(x, np.ones_like(x), (3, 3), pad=1))


if __name__ == "__main__":
    start = time.perf_counter()
    {"numpy": numpy, "torch": torch, "before torch": before_torch, "jax": jax}[sys.argv[1]]()
    print(f"{sys.argv[1]}: all as it should be, in {time.perf_counter() - start:.1f} s")
