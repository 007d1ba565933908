"""The same random gradients through two optimizers: how far apart are their updates?"""

import jax
import jax.numpy as jnp
import numpy as np


STEPS = 200
SHAPES = {"dense": {"kernel": (4, 3), "bias": (3,)}, "gain": ()}


def random_tree(seed, leading=()):
    rng = np.random.default_rng(seed)
    is_shape = lambda x: isinstance(x, tuple)
    draw = lambda shape: (
        rng.normal(size=(*leading, *shape)) * np.exp(rng.normal(size=leading + shape))
    )
    return jax.tree.map(draw, SHAPES, is_leaf=is_shape)


PARAMS = random_tree(0)
GRADIENTS = random_tree(1, (STEPS,))


def updates_of(tx, dtype=np.float64):
    """The updates of 200 steps, from the same params and gradients for everyone."""
    cast = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)

    def body(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        return (jax.tree.map(jnp.add, params, updates), state), updates

    params = cast(PARAMS)
    _, updates = jax.jit(lambda p, g: jax.lax.scan(body, (p, tx.init(p)), g))(
        params, cast(GRADIENTS)
    )
    return flat(updates)


def flat(tree):
    """f64[steps, entries]."""
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1)


def distance(ours, theirs):
    """The largest relative distance of the updates over the steps, in the L2 norm."""
    gap = np.linalg.norm(ours - theirs, axis=1)
    return float(np.max(gap / np.linalg.norm(theirs, axis=1)))
