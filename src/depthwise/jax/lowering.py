"""The primitives on a CPU: calls of the engine through XLA's foreign function interface, shard by shard.

Arrays sharded along the batch or the channels stay so, since each channel of each image is computed alone; a weight
gradient is then added up over the shards of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import gcd
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from .. import _core
from ..enums import FORWARD, INPUT_GRAD, WEIGHT_GRAD
from ..runtime import active_target
from . import internals
from .steps import Steps

_HANDLER = "depthwise"
active_target()  # the handler asks for the active target, so there has to be one
jax.ffi.register_ffi_target(_HANDLER, _core.xla_handler(), platform="cpu")


def conv(x: Any, W: Any, *b: Any, steps: Steps) -> Any:
    """Y of x and W, and b where it is given."""
    return _run(FORWARD, (x, W, *b), steps.y_shape(x.shape, W.shape), x.dtype, steps)


def input_grad(gy: Any, W: Any, *, steps: Steps, size: Any) -> Any:
    """Gx of gy and W."""
    return _run(INPUT_GRAD, (gy, W), steps.x_shape(gy.shape, W.shape, size), gy.dtype, steps)


def weight_grad(x: Any, gy: Any, *, steps: Steps, kernel: Any, dtype: Any) -> Any:
    """GW of x and gy."""
    return _run(WEIGHT_GRAD, (x, gy), steps.W_shape(x.shape, kernel), dtype, steps)


def _run(kind: int, operands: Sequence[Any], shape: Sequence[Any], dtype: Any, steps: Steps) -> Any:
    known = all(isinstance(size, int) for a in operands for size in a.shape)  # no symbols of an export
    if not (known and internals.SPLITS):
        return _call(kind, operands, shape, dtype, steps)
    multiplier, channels = (shape if kind == WEIGHT_GRAD else operands[1].shape)[:2]
    factors = _factors(kind, len(operands), channels, multiplier, steps.layout)
    return _by_shards(kind, factors, tuple(shape), jnp.dtype(dtype), steps)(*operands)


def _call(kind: int, operands: Sequence[Any], shape: Sequence[Any], dtype: Any, steps: Steps) -> Any:
    """The engine on whole arrays, or on one shard of each."""
    call = jax.ffi.ffi_call(_HANDLER, jax.ShapeDtypeStruct(tuple(shape), dtype))
    return call(
        *operands,
        kind=np.int64(kind),
        channels_last=steps.layout == "NHWC",
        stride=np.array(steps.stride, np.int64),
        pad=np.array([steps.pad[0][0], steps.pad[1][0]], np.int64),
        dilate=np.array(steps.dilate, np.int64),
    )


# What each axis of an array runs over: of the operands, and last of the result. Shardy wants a factor of size one to
# stand alone.
Factors = tuple[tuple[str, ...], ...]


def _factors(kind: int, operands: int, channels: int, multiplier: int, layout: str) -> Factors:
    outs = "c" if multiplier == 1 else "m" if channels == 1 else "(c m)"
    image, output = ("n", "c", "h", "w"), ("n", outs, "i", "j")
    if layout == "NHWC":
        image, output = ("n", "h", "w", "c"), ("n", "i", "j", outs)
    weight = ("m", "c", "p", "q")
    if kind == FORWARD:
        return image, weight, *[(outs,)] * (operands - 2), output
    return (output, weight, image) if kind == INPUT_GRAD else (image, output, weight)


@lru_cache(maxsize=4096)
def _by_shards(kind: int, factors: Factors, shape: tuple[int, ...], dtype: Any, steps: Steps) -> Callable[..., Any]:
    """The call, with what XLA's partitioner needs to split it."""

    def partition(mesh: Any, arguments: Any, result: Any) -> Any:
        arrays = list(zip(factors, (*arguments, result), strict=True))
        found = {"n": _axes_of("n", arrays, mesh), "c": _axes_of("c", arrays, mesh)}
        specs = [PartitionSpec(*(found.get(factor.strip("()")[0]) for factor in f)) for f in factors]
        *inputs, output = (NamedSharding(mesh, spec) for spec in specs)
        local_shape = output.shard_shape(shape)
        if kind != WEIGHT_GRAD or found["n"] is None:
            return mesh, lambda *a: _call(kind, a, local_shape, dtype, steps), output, tuple(inputs)
        wide = dtype if dtype.itemsize > 4 else np.dtype(np.float32)

        def summed(*a: Any) -> Any:
            return lax.psum(_call(kind, a, local_shape, wide, steps), found["n"]).astype(dtype)

        return mesh, summed, output, tuple(inputs)

    # The partitioner reads the number of operands off the signature.
    if len(factors) == 3:
        split = internals.custom_partitioning(lambda a, b: _call(kind, (a, b), shape, dtype, steps))
    else:
        split = internals.custom_partitioning(lambda a, b, c: _call(kind, (a, b, c), shape, dtype, steps))

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
        sums = tuple(name for name in free if kind == WEIGHT_GRAD and name == "n")
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
        for name, axes, size in zip(factors, (*a.sharding.spec, *[None] * 4), a.shape, strict=False):
            if name == factor and axes is not None:
                names = (axes,) if isinstance(axes, str) else axes
                return axes if size % int(np.prod([mesh.shape[n] for n in names])) == 0 else None
    return None
