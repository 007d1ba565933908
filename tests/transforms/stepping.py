"""Wrappers step by step, and beside their peers."""

import jax.numpy as jnp
import numpy as np

from tests.optimizers.trajectories import updates_of


ONE = jnp.array(1.0)


def assert_same_updates(ours, theirs, rtol=1e-12):
    """Over 200 steps, in the largest entry; some updates are zero, so that no norm divides."""
    ours, theirs = updates_of(ours), updates_of(theirs)
    assert np.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * np.abs(theirs).max())


def run(tx, gradients, params=ONE):
    """The updates and the states of eager steps."""
    state, updates, states = tx.init(params), [], []
    for gradient in gradients:
        update, state = tx.update(jnp.asarray(gradient, params.dtype), state, params)
        updates.append(float(update))
        states.append(state)
    return updates, states
