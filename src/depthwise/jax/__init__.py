"""Depthwise convolution for JAX: on CPUs by this package's engine, on every other platform by XLA.

``conv`` has Chainer's weight layout, ``conv_general_dilated`` the arguments of :func:`jax.lax.conv_general_dilated`.
"""

from .. import _core as _engine

try:
    import jax as _jax  # noqa: F401
except ModuleNotFoundError as e:
    if e.name != "jax":
        raise
    msg = "depthwise.jax needs JAX: pip install 'depthwise[jax]', or in a checkout: python tools/install.py jax"
    raise ModuleNotFoundError(msg, name="jax") from e

if not hasattr(_engine, "xla_handler"):
    msg = (
        "this build of depthwise has nothing for JAX: take a wheel "
        "(pip install --force-reinstall --only-binary depthwise depthwise), or build it again in a checkout: "
        "DEPTHWISE_JAX=1 pip install --force-reinstall --no-deps ."
    )
    raise ImportError(msg)

from .convolution import conv, conv_general_dilated

__all__ = ["conv", "conv_general_dilated"]
