"""Depthwise convolution for JAX: on CPUs by this package's engine, on every other platform by XLA.

``conv`` has Chainer's weight layout, ``conv_general_dilated`` the arguments of :func:`jax.lax.conv_general_dilated`.
"""

from .. import _core as _engine

try:
    import jax as _jax  # noqa: F401
except ModuleNotFoundError as e:
    if e.name != "jax":
        raise
    msg = "depthwise.jax needs JAX: DEPTHWISE_JAX=1 pip install '.[jax]', in a checkout of depthwise"
    raise ModuleNotFoundError(msg, name="jax") from e

if not hasattr(_engine, "xla_handler"):
    msg = (
        "this build of depthwise has nothing for JAX; in a checkout, build it again: "
        "DEPTHWISE_JAX=1 pip install --force-reinstall --no-deps ."
    )
    raise ImportError(msg)

from .convolution import conv, conv_general_dilated

__all__ = ["conv", "conv_general_dilated"]
