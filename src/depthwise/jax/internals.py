"""What this adapter needs of JAX beyond its public functions: the one file to look at where a new version moves it.

``jax.extend`` and ``jax.interpreters`` are for authors of primitives, and nothing stands in for them.
``custom_partitioning`` is experimental, and what it needs beside it, ``prim_requires_devices_during_lowering``, has no
public name. Without either, arrays over several devices are gathered before the engine has them: slower, not wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.core import max_dim
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla

try:
    from jax._src.dispatch import prim_requires_devices_during_lowering
    from jax.experimental.custom_partitioning import custom_partitioning

    SPLITS = True
except ImportError:
    SPLITS = False

__all__ = ["SPLITS", "ad", "batching", "custom_partitioning", "lower", "max_dim", "primitive", "varying_axes"]


def primitive(name: str, aval: Callable[..., Any]) -> Any:
    """A primitive whose results have the types that `aval` gives."""
    p = Primitive(name)
    p.def_impl(partial(xla.apply_primitive, p))
    p.def_abstract_eval(aval)
    return p


def lower(p: Any, *, others: Callable[..., Any], **platforms: Callable[..., Any]) -> None:
    """Have a primitive compiled as these functions of JAX's arrays, by the platforms' names."""
    mlir.register_lowering(p, mlir.lower_fun(others, multiple_results=False))
    for platform, compute in platforms.items():
        mlir.register_lowering(p, mlir.lower_fun(compute, multiple_results=False), platform=platform)
    if SPLITS:
        prim_requires_devices_during_lowering.add(p)  # they lower to what is split over devices


def varying_axes(a: Any) -> frozenset[Any]:
    """The axes of a shard_map's mesh that an operand varies over."""
    return jax.typeof(a).manual_axis_type.varying
