"""The primitives on a CPU and on CUDA: calls of the engine through XLA's foreign function interface, shard by shard.

Arrays sharded along the batch or the channels stay so, since each channel of each image is computed alone; a weight
gradient is then added up over the shards of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from .. import _core, gpu
from ..enums import FORWARD, INPUT_GRAD, METHODS, PAD_MODES, WEIGHT_GRAD
from ..runtime import active_target
from . import internals
from .steps import Steps

_HANDLER = "depthwise"
active_target()  # the handler asks for the active target, so there has to be one
jax.ffi.register_ffi_target(_HANDLER, _core.xla_handler(), platform="cpu")
jax.ffi.register_ffi_target(_HANDLER, _core.xla_gpu_handler(), platform="CUDA")
gpu.find_nvrtc()  # for that handler, which no code of Python need be run before


class _Job(NamedTuple):
    """What the engine is asked for, beside the sizes."""

    kind: int
    steps: Steps
    activation: int = 0


def conv(x: Any, W: Any, *b: Any, steps: Steps, activation: int = 0) -> Any:
    """Y of x and W, and b where it is given; the activation, if any, in the same pass."""
    return _run(_Job(FORWARD, steps, activation), (x, W, *b), steps.y_shape(x.shape, W.shape), x.dtype)


def input_grad(gy: Any, W: Any, *, steps: Steps, size: Any) -> Any:
    """Gx of gy and W."""
    return _run(_Job(INPUT_GRAD, steps), (gy, W), steps.x_shape(gy.shape, W.shape, size), gy.dtype)


def weight_grad(x: Any, gy: Any, *, steps: Steps, kernel: Any, dtype: Any) -> Any:
    """GW of x and gy."""
    return _run(_Job(WEIGHT_GRAD, steps), (x, gy), steps.W_shape(x.shape, kernel), dtype)


def _run(job: _Job, operands: Sequence[Any], shape: Sequence[Any], dtype: Any) -> Any:
    known = all(isinstance(size, int) for a in operands for size in a.shape)  # no symbols of an export
    if not (known and internals.SPLITS):
        return _call(job, operands, shape, dtype)
    multiplier, channels = (shape if job.kind == WEIGHT_GRAD else operands[1].shape)[:2]
    factors = _factors(job, len(operands), channels, multiplier)
    return _by_shards(job, factors, tuple(shape), jnp.dtype(dtype))(*operands)


def _call(job: _Job, operands: Sequence[Any], shape: Sequence[Any], dtype: Any) -> Any:
    """The engine on whole arrays, or on one shard of each."""
    call = jax.ffi.ffi_call(_HANDLER, jax.ShapeDtypeStruct(tuple(shape), dtype))
    steps = job.steps
    return call(
        *operands,
        kind=np.int64(job.kind),
        channels_last=steps.channel_axis != 1,
        activation=np.int64(job.activation),
        method=np.int64(METHODS[steps.method]),
        pad_mode=np.int64(PAD_MODES[steps.pad_mode]),
        stride=np.array(steps.stride, np.int64),
        pad=np.array([before for before, _ in steps.pad], np.int64),
        dilate=np.array(steps.dilate, np.int64),
    )


# What each axis of an array runs over: of the operands, and last of the result. Shardy wants a factor of size one to
# stand alone.
Factors = tuple[tuple[str, ...], ...]


def _factors(job: _Job, operands: int, channels: int, multiplier: int) -> Factors:
    outs = "c" if multiplier == 1 else "m" if channels == 1 else "(c m)"
    dims = len(job.steps.stride)
    inner, outer, taps = tuple("dhw"[:dims]), tuple("ijl"[:dims]), tuple("pqr"[:dims])
    image, output, weight = ("n", "c", *inner), ("n", outs, *outer), ("m", "c", *taps)
    if job.steps.channel_axis != 1:
        image, output = ("n", *inner, "c"), ("n", *outer, outs)
    if job.kind == FORWARD:
        return image, weight, *[(outs,)] * (operands - 2), output
    return (output, weight, image) if job.kind == INPUT_GRAD else (image, output, weight)


@lru_cache(maxsize=4096)
def _by_shards(job: _Job, factors: Factors, shape: tuple[int, ...], dtype: Any) -> Callable[..., Any]:
    """The call, with what XLA's partitioner needs to split it."""

    def partition(mesh: Any, arguments: Any, result: Any) -> Any:
        arrays = list(zip(factors, (*arguments, result), strict=True))
        found = {"n": _axes_of("n", arrays, mesh), "c": _axes_of("c", arrays, mesh)}
        specs = [PartitionSpec(*(found.get(factor.strip("()")[0]) for factor in f)) for f in factors]
        *inputs, output = (NamedSharding(mesh, spec) for spec in specs)
        local_shape = output.shard_shape(shape)
        if job.kind != WEIGHT_GRAD or found["n"] is None:
            return mesh, lambda *a: _call(job, a, local_shape, dtype), output, tuple(inputs)
        wide = dtype if dtype.itemsize > 4 else np.dtype(np.float32)

        def summed(*a: Any) -> Any:
            return lax.psum(_call(job, a, local_shape, wide), found["n"]).astype(dtype)

        return mesh, summed, output, tuple(inputs)

    # The partitioner reads the number of operands off the signature.
    if len(factors) == 3:
        split = internals.custom_partitioning(lambda a, b: _call(job, (a, b), shape, dtype))
    else:
        split = internals.custom_partitioning(lambda a, b, c: _call(job, (a, b, c), shape, dtype))

    def rule(mesh: Any, operand_types: Sequence[Any], result_types: Sequence[Any]) -> Any:
        sizes = {
            name: size
            for f, array in zip(factors, (*operand_types, *result_types), strict=True)
            for name, size in zip(f, array.shape, strict=True)
        }
        free = [name for name in "nc" if name in sizes and _splits_evenly(sizes[name], mesh)]
        outs = "(c m)" if "c" in free else "k"  # a factor of its own, so that no part of an axis is found to split c
        *inputs, output = (" ".join(f).replace("(c m)", outs) for f in factors)
        names = dict.fromkeys(name for name in " ".join((*inputs, output)) if name.isalpha())
        sums = tuple(name for name in free if job.kind == WEIGHT_GRAD and name == "n")
        kept = tuple(name for name in names if name not in free)
        return f"{', '.join(inputs)} -> {output}", {"reduction_factors": sums, "need_replication_factors": kept}

    split.def_partition(partition, sharding_rule=rule)
    return split


def _splits_evenly(size: int, mesh: Any) -> bool:
    """False where Shardy would split by a part of one of the mesh's axes, which JAX cannot read back."""
    return all(gcd(size, n) in (1, n) for n in mesh.shape.values())


def _axes_of(factor: str, arrays: Any, mesh: Any) -> Any:
    """Axes of the mesh that split this factor in the first array where any do; None where they split it unevenly."""
    for factors, a in arrays:
        for name, axes, size in zip(factors, (*a.sharding.spec, *[None] * a.ndim), a.shape, strict=False):
            if name == factor and axes is not None:
                names = (axes,) if isinstance(axes, str) else axes
                return axes if size % int(np.prod([mesh.shape[n] for n in names])) == 0 else None
    return None
