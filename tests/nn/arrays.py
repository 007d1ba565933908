"""Numbers without jax.random, which compiles anew for every shape."""

import jax
import jax.numpy as jnp
import numpy as np


def normal(*shape, dtype="float64", seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def variables_of(model, x, **arguments):
    """The variables of ``model``, neither zeros nor ones, as a training would leave them."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, **arguments))
    fill = {
        "kernel": lambda s: rng.normal(size=s) / np.sqrt(np.prod(s[:-1])),
        "bias": lambda s: 0.3 * rng.normal(size=s),
        "scale": lambda s: 1 + 0.3 * rng.normal(size=s),
        "mean": lambda s: rng.normal(size=s),
        "var": lambda s: rng.uniform(0.5, 2, size=s),
    }
    return jax.tree.map_with_path(
        lambda path, leaf: jnp.asarray(fill[path[-1].key](leaf.shape), leaf.dtype), shapes
    )
