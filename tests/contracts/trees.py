"""The trees on which every transformation must keep its promises: one a dtype class."""

import jax
import jax.numpy as jnp
import numpy as np


def _filled(dtype):
    values = np.linspace(-1.5, 2.0, 6)
    return {
        "dense": {"kernel": jnp.asarray(values.reshape(2, 3), dtype), "bias": jnp.ones(3, dtype)},
        "gain": [jnp.asarray(0.5, dtype)],
    }


TREES = {
    "bare": jnp.array(0.5, jnp.float32),
    "nested": _filled(jnp.float32),
    "empty": {},
    "none": {"w": jnp.ones((2,), jnp.float32), "frozen": None},
    "mixed": {"a": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones((3,), jnp.float32)},
    "float16": _filled(jnp.float16),
    "complex": {"w": jnp.array([1 + 2j, 0.5 - 1j], jnp.complex64)},
}
if jax.config.jax_enable_x64:
    TREES["float64"] = _filled(jnp.float64)
