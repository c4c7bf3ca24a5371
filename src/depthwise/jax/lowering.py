"""The primitives on a CPU: calls of the engine through XLA's foreign function interface, shard by shard.

Arrays sharded along the batch or the channels stay so, since each channel of each image is computed alone; a weight
gradient is then added up over the shards of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from .. import _core
from ..ops import FORWARD, INPUT_GRAD, WEIGHT_GRAD
from ..runtime import active_target

_HANDLER = "depthwise"
active_target()  # the handler asks for the active target, so there has to be one
jax.ffi.register_ffi_target(_HANDLER, _core.xla_handler(), platform="cpu")

# Factors of each array's axes: of images and outputs in the order of their layout, of weights, of the bias.
_IMAGE = {"NCHW": ("n", "c", "h", "w"), "NHWC": ("n", "h", "w", "c")}
_OUTPUT = {"NCHW": ("n", "(c m)", "i", "j"), "NHWC": ("n", "i", "j", "(c m)")}
_WEIGHT, _BIAS = ("m", "c", "p", "q"), ("(c m)",)


def conv(x: Any, W: Any, *b: Any, steps: Any) -> Any:
    """Y of x and W, and b where it is given."""
    n, c, *size = steps.sizes(x.shape)
    shape = steps.shape(n, c * W.shape[0], steps.output_size(size, W.shape[2:]))
    return _run(FORWARD, (x, W, *b), shape, x.dtype, steps)


def input_grad(gy: Any, W: Any, *, steps: Any, size: Any) -> Any:
    """Gx of gy and W."""
    return _run(INPUT_GRAD, (gy, W), steps.shape(gy.shape[0], W.shape[1], size), gy.dtype, steps)


def weight_grad(x: Any, gy: Any, *, steps: Any, size: Any, dtype: Any) -> Any:
    """GW of x and gy."""
    channels = x.shape[steps.channel_axis]
    multiplier = gy.shape[steps.channel_axis] // channels if channels else 1
    return _run(WEIGHT_GRAD, (x, gy), (multiplier, channels, *size), dtype, steps)


def _run(kind: int, operands: Sequence[Any], shape: Sequence[Any], dtype: Any, steps: Any) -> Any:
    if not all(isinstance(size, int) for a in operands for size in a.shape):  # shapes of an export are symbols
        return _call(kind, operands, shape, dtype, steps)
    return _by_shards(kind, len(operands), tuple(shape), jnp.dtype(dtype), steps)(*operands)


def _call(kind: int, operands: Sequence[Any], shape: Sequence[Any], dtype: Any, steps: Any) -> Any:
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


def _factors(kind: int, operands: int, layout: str) -> list[tuple[str, ...]]:
    """Factors of the operands, and last of the result."""
    image, output = _IMAGE[layout], _OUTPUT[layout]
    if kind == FORWARD:
        return [image, _WEIGHT, *[_BIAS] * (operands - 2), output]
    return [output, _WEIGHT, image] if kind == INPUT_GRAD else [image, output, _WEIGHT]


@lru_cache(maxsize=4096)
def _by_shards(kind: int, operands: int, shape: tuple[int, ...], dtype: Any, steps: Any) -> Callable[..., Any]:
    """The call, with what XLA's partitioner needs to split it."""
    factors = _factors(kind, operands, steps.layout)

    def partition(mesh: Any, arguments: Any, result: Any) -> Any:
        places = [(f, a) for f, a in zip(factors, (*arguments, result), strict=True)]
        found = {name: _axes_of(name, places, mesh) for name in "nc"}
        specs = [PartitionSpec(*(found.get(factor.strip("()")[0]) for factor in f)) for f in factors]
        shardings = [NamedSharding(mesh, spec) for spec in specs]
        *_, out = shardings
        local_shape = out.shard_shape(shape)
        if kind != WEIGHT_GRAD or found["n"] is None:
            return mesh, lambda *a: _call(kind, a, local_shape, dtype, steps), out, tuple(shardings[:-1])
        wide = dtype if dtype.itemsize > 4 else np.dtype(np.float32)

        def summed(*a: Any) -> Any:
            return lax.psum(_call(kind, a, local_shape, wide, steps), found["n"]).astype(dtype)

        return mesh, summed, out, tuple(shardings[:-1])

    # The partitioner reads the number of operands off the signature.
    if operands == 2:
        split = custom_partitioning(lambda a, b: _call(kind, (a, b), shape, dtype, steps))
    else:
        split = custom_partitioning(lambda a, b, c: _call(kind, (a, b, c), shape, dtype, steps))
    *inputs, output = (" ".join(f) for f in factors)
    split.def_partition(
        partition,
        sharding_rule=f"{', '.join(inputs)} -> {output}",
        reduction_factors=("n",) if kind == WEIGHT_GRAD else (),
        need_replication_factors=tuple("hwijpqm"),
    )
    return split


def _axes_of(factor: str, places: Any, mesh: Any) -> Any:
    """Axes of the mesh along which the first array that is sharded along this factor is; None where uneven."""
    for factors, a in places:
        spec = (*a.sharding.spec, None, None, None, None)
        for name, axes, size in zip(factors, spec, a.shape, strict=False):
            if name == factor and axes is not None:
                names = (axes,) if isinstance(axes, str) else axes
                shards = int(np.prod([mesh.shape[n] for n in names]))
                return axes if size % shards == 0 else None
    return None
