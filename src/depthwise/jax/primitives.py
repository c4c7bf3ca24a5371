"""The three bilinear primitives, each the transpose of the others, and what JAX has to know of them.

``conv(x, W)``, ``input_grad(gy, W)`` and ``weight_grad(x, gy)``; a fourth, ``conv`` with a bias, an activation or both
in the same pass, has the first in its derivative. Weights are (c_M, c_I, kernel ...), of one to three spatial axes.
Callers check their arguments first: x and gy share a dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from . import lowering
from .activations import ACTIVATIONS
from .internals import ad, batching, lower, primitive, varying_axes
from .steps import Steps


def _aval(operands: Sequence[Any], shape: Sequence[Any], dtype: Any, batch: Any, channels: Any, axes: str) -> Any:
    """Type of a result, on the mesh of its operands; only `batch` and `channels` can be sharded."""
    like = operands[operands[0].sharding.mesh.empty]
    spec = PartitionSpec(*({"N": batch, "C": channels}.get(axis) for axis in axes))
    return like.update(
        shape=tuple(shape),
        dtype=dtype,
        weak_type=all(a.weak_type for a in operands),
        sharding=NamedSharding(like.sharding.mesh, spec),
    )


def _spec(a: Any, axis: int) -> Any:
    return a.sharding.spec[axis]


def _conv_aval(x: Any, W: Any, *b: Any, steps: Steps) -> Any:
    shape = steps.y_shape(x.shape, W.shape)
    return _aval((x, W, *b), shape, x.dtype, _spec(x, 0), _spec(x, steps.channel_axis), steps.layout)


def _conv_fused_aval(x: Any, W: Any, *b: Any, steps: Steps, activation: int) -> Any:
    return _conv_aval(x, W, *b, steps=steps)


def _input_grad_aval(gy: Any, W: Any, *, steps: Steps, size: tuple[Any, ...]) -> Any:
    shape = steps.x_shape(gy.shape, W.shape, size)
    return _aval((gy, W), shape, gy.dtype, _spec(gy, 0), _spec(gy, steps.channel_axis), steps.layout)


def _weight_grad_aval(x: Any, gy: Any, *, steps: Steps, kernel: tuple[int, ...], dtype: Any) -> Any:
    axes = "MC" + steps.spatial
    return _aval((x, gy), steps.W_shape(x.shape, kernel), dtype, None, _spec(x, steps.channel_axis), axes)


conv_p = primitive("depthwise_conv", _conv_aval)
conv_fused_p = primitive("depthwise_conv_fused", _conv_fused_aval)
input_grad_p = primitive("depthwise_input_grad", _input_grad_aval)
weight_grad_p = primitive("depthwise_weight_grad", _weight_grad_aval)


def _bind(p: Any, *operands: Any, **parameters: Any) -> Any:
    """Bind with operands that vary over the same axes of a shard_map's mesh, as every primitive wants them."""
    axes = [varying_axes(a) for a in operands]
    all_axes = frozenset().union(*axes)
    operands = tuple(
        lax.pcast(a, tuple(all_axes - own), to="varying") if all_axes - own else a
        for a, own in zip(operands, axes, strict=True)
    )
    return p.bind(*operands, **parameters)


def conv(x: Any, W: Any, *b: Any, steps: Steps, activation: int = 0) -> Any:
    """Y, of x's dtype."""
    if not b and not activation:
        return _bind(conv_p, x, W, steps=steps)
    return _bind(conv_fused_p, x, W, *b, steps=steps, activation=activation)


def input_grad(gy: Any, W: Any, *, steps: Steps, size: Any) -> Any:
    """Gradient for x of this spatial size, of gy's dtype."""
    return _bind(input_grad_p, gy, W, steps=steps, size=tuple(size))


def weight_grad(x: Any, gy: Any, *, steps: Steps, kernel: tuple[int, ...], dtype: Any) -> Any:
    """Gradient for W of this (c_M, kernel ...)."""
    return _bind(weight_grad_p, x, gy, steps=steps, kernel=kernel, dtype=dtype)


def _bias(b: Any, like: Any, steps: Steps) -> Any:
    """B as an array of y's shape and dtype; wide on the way, since its transpose, a sum, is made in the same type."""
    wide = jnp.promote_types(like.dtype, jnp.float32)
    return lax.broadcast_in_dim(b.astype(wide), like.shape, (steps.channel_axis,)).astype(like.dtype)


# Differentiation: the missing operand's side of each bilinear form.
def _size(a: Any, steps: Steps) -> tuple[Any, ...]:
    return steps.sizes(a.aval.shape)[2:]


def _weight_grad_of(W: Any, x: Any, gy: Any, steps: Steps) -> Any:
    multiplier, _, *size = W.aval.shape
    return weight_grad(x, gy, steps=steps, kernel=(multiplier, *size), dtype=W.aval.dtype)


ad.defbilinear(
    conv_p,
    lambda gy, x, W, *, steps: input_grad(gy, W, steps=steps, size=_size(x, steps)),
    lambda gy, x, W, *, steps: _weight_grad_of(W, x, gy, steps),
)
ad.defbilinear(
    input_grad_p,
    lambda ggx, gy, W, *, steps, size: conv(ggx, W, steps=steps),
    lambda ggx, gy, W, *, steps, size: _weight_grad_of(W, ggx, gy, steps),
)
ad.defbilinear(
    weight_grad_p,
    lambda ggW, x, gy, *, steps, kernel, dtype: input_grad(gy, ggW, steps=steps, size=_size(x, steps)),
    lambda ggW, x, gy, *, steps, kernel, dtype: conv(x, ggW, steps=steps),
)


def _conv_fused_jvp(primals: Any, tangents: Any, *, steps: Steps, activation: int) -> tuple[Any, Any]:
    (x, W, *_), (dx, dW, *db) = primals, tangents
    y = conv(*primals, steps=steps, activation=activation)
    terms = []
    if type(dx) is not ad.Zero:
        terms.append(conv(dx, W, steps=steps))
    if type(dW) is not ad.Zero:
        terms.append(conv(x, dW, steps=steps))
    if db and type(db[0]) is not ad.Zero:
        terms.append(_bias(db[0], y, steps))
    dz = sum(terms[1:], terms[0])
    return y, _through(activation, dz, *primals, steps=steps) if activation else dz


def _through(activation: int, dz: Any, *primals: Any, steps: Steps) -> Any:
    """The activation's tangent, from z's. The sums z are made again backward, not kept since the forward pass."""

    def at(dz: Any, *primals: Any) -> Any:
        wide = jnp.promote_types(dz.dtype, jnp.float32)  # what lies between z and the result is rounded once
        z = conv(*primals, steps=steps).astype(wide)
        return jax.jvp(ACTIVATIONS[activation], (z,), (dz.astype(wide),))[1].astype(dz.dtype)

    # The forward pass has no z that this one could be merged with, so that nothing need be done against it.
    return jax.checkpoint(at, prevent_cse=False)(dz, *primals)


ad.primitive_jvps[conv_fused_p] = _conv_fused_jvp


# vmap: its axis, which may be empty, is folded into one that the engine has anyway.
def _one(a: Any, dim: int | None) -> list[Any]:
    """Shape of one example of `a`."""
    return [size for i, size in enumerate(a.shape) if i != dim]


def _fold(a: Any, dim: int | None, n: int, axis: int) -> Any:
    """`a` with its mapped axis, or n copies where it has none, merged in front of `axis`."""
    a = jnp.moveaxis(a, dim, axis) if dim is not None else jnp.repeat(jnp.expand_dims(a, axis), n, axis)
    return a.reshape(*a.shape[:axis], n * a.shape[axis + 1], *a.shape[axis + 2 :])


def _unfold(a: Any, n: int, axis: int, size: Any) -> tuple[Any, int]:
    """`a` with (n, size) in place of `axis`."""
    return a.reshape(*a.shape[:axis], n, size, *a.shape[axis + 1 :]), axis


def _conv_batch(n: int, operands: Any, dims: Any, *, steps: Steps, activation: int = 0) -> Any:
    (x, W, *b), (x_dim, W_dim, *b_dim), axis = operands, dims, steps.channel_axis
    multiplier, channels = _one(W, W_dim)[:2]
    if W_dim is None and set(b_dim) <= {None}:
        return _unfold(conv(_fold(x, x_dim, n, 0), W, *b, steps=steps, activation=activation), n, 0, _one(x, x_dim)[0])
    b = [_fold(a, dim, n, 0) for a, dim in zip(b, b_dim, strict=True)]
    if x_dim is not None:
        y = conv(_fold(x, x_dim, n, axis), _fold(W, W_dim, n, 1), *b, steps=steps, activation=activation)
        return _unfold(y, n, axis, channels * multiplier)
    b = [a.reshape(n, channels, multiplier).swapaxes(0, 1).ravel() for a in b]
    # More filters for each channel: channels are (c_I, n, c_M).
    y = conv(x, _fold(W, W_dim, n, 0), *b, steps=steps, activation=activation)
    y = y.reshape(*y.shape[:axis], channels, n, multiplier, *y.shape[axis + 1 :])
    y = jnp.moveaxis(y, axis + 1, 0)
    return y.reshape(*y.shape[: axis + 1], channels * multiplier, *y.shape[axis + 3 :]), 0


def _input_grad_batch(n: int, operands: Any, dims: Any, *, steps: Steps, size: Any) -> Any:
    (gy, W), (gy_dim, W_dim), axis = operands, dims, steps.channel_axis
    if W_dim is None:
        return _unfold(input_grad(_fold(gy, gy_dim, n, 0), W, steps=steps, size=size), n, 0, _one(gy, gy_dim)[0])
    folded = _fold(gy, gy_dim, n, axis), _fold(W, W_dim, n, 1)
    return _unfold(input_grad(*folded, steps=steps, size=size), n, axis, _one(W, W_dim)[1])


def _weight_grad_batch(n: int, operands: Any, dims: Any, *, steps: Steps, kernel: Any, dtype: Any) -> Any:
    (x, gy), (x_dim, gy_dim), axis = operands, dims, steps.channel_axis
    folded = _fold(x, x_dim, n, axis), _fold(gy, gy_dim, n, axis)
    return _unfold(weight_grad(*folded, steps=steps, kernel=kernel, dtype=dtype), n, 1, _one(x, x_dim)[axis])


def _batch(rule: Any, operands: Any, dims: Any, **parameters: Any) -> Any:
    n = next(a.shape[d] for a, d in zip(operands, dims, strict=True) if d is not None)
    return rule(n, operands, dims, **parameters)


batching.primitive_batchers[conv_p] = partial(_batch, _conv_batch)
batching.primitive_batchers[conv_fused_p] = partial(_batch, _conv_batch)
batching.primitive_batchers[input_grad_p] = partial(_batch, _input_grad_batch)
batching.primitive_batchers[weight_grad_p] = partial(_batch, _weight_grad_batch)


_stock = lax.conv_general_dilated  # kept, so that ours may be put in its place: docs/keras.md


# XLA's own convolution says what each means; platforms without the engine run it.
def _xla_conv(x: Any, W: Any, *b: Any, steps: Steps, activation: int = 0) -> Any:
    multiplier, channels, *size = W.shape
    wide = jnp.promote_types(x.dtype, W.dtype)
    if steps.pad_mode != "constant":
        pads = dict(zip(steps.spatial, steps.pad, strict=True))
        x = jnp.pad(x, [pads.get(axis, (0, 0)) for axis in steps.layout], steps.pad_mode)
        steps = steps._replace(pad=((0, 0),) * len(pads), pad_mode="constant")
    if 0 in W.shape:  # JAX's function takes neither zero groups nor zero taps
        y = jnp.zeros(steps.y_shape(x.shape, W.shape), wide)
    else:
        y = _stock(
            x.astype(wide),
            W.swapaxes(0, 1).reshape(channels * multiplier, 1, *size).astype(wide),
            steps.stride,
            steps.pad,
            rhs_dilation=steps.dilate,
            dimension_numbers=(steps.layout, "OI" + steps.spatial, steps.layout),
            feature_group_count=channels,
        )
    y = y + _bias(b[0], y, steps) if b else y
    return (ACTIVATIONS[activation](y) if activation else y).astype(x.dtype)


def _xla_input_grad(gy: Any, W: Any, *, steps: Steps, size: Any) -> Any:
    x = jax.ShapeDtypeStruct(steps.x_shape(gy.shape, W.shape, size), gy.dtype)
    return jax.linear_transpose(lambda x: _xla_conv(x, W, steps=steps), x)(gy)[0]


def _xla_weight_grad(x: Any, gy: Any, *, steps: Steps, kernel: Any, dtype: Any) -> Any:
    W = jax.ShapeDtypeStruct(steps.W_shape(x.shape, kernel), dtype)
    return jax.linear_transpose(lambda W: _xla_conv(x, W, steps=steps), W)(gy)[0]


for primitive_, ours, xla in (
    (conv_p, lowering.conv, _xla_conv),
    (conv_fused_p, lowering.conv, _xla_conv),
    (input_grad_p, lowering.input_grad, _xla_input_grad),
    (weight_grad_p, lowering.weight_grad, _xla_weight_grad),
):
    lower(primitive_, cpu=ours, cuda=ours, others=xla)
