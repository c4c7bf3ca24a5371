"""JAX's own function of each activation that the engine applies; derivatives and other platforms go by it."""

from functools import partial

import jax

from ..enums import ACTIVATIONS as CODES

_FUNCTIONS = {
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "hardswish": jax.nn.hard_swish,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
}
ACTIVATIONS = {code: _FUNCTIONS[name] for name, code in CODES.items()}
