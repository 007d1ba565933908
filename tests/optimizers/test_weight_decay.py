"""The option ``weight_decay``: w <- w - a_t (u_t + d_t w), whatever the optimizer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers
from jaxopt_course.transforms import apply_updates
from tests.optimizers.trajectories import FIRST, MATRICES, rates


OPTIMIZERS = {
    "adabelief": optimizers.adabelief,
    "adagrad": optimizers.adagrad,
    "adopt": optimizers.adopt,
    "amsgrad": optimizers.amsgrad,
    "radam": functools.partial(optimizers.radam, b2=0.9),
    "rmsprop": optimizers.rmsprop,
    "rmsprop, momentum": functools.partial(optimizers.rmsprop, momentum=0.8, nesterov=True),
    "sgd": optimizers.sgd,
    "sgd, momentum": functools.partial(optimizers.sgd, momentum=0.8),
    "sm3": optimizers.sm3,
    "yogi": optimizers.yogi,
}
STEPS = 12


def decays(t):
    return 0.2 / (1 + jnp.asarray(t, float))


def walk(tx):
    """Updates and parameters along gradients that do not depend on the parameters."""

    def step(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        return (apply_updates(params, updates), state), (updates, params)

    first = jax.tree.map(jnp.asarray, FIRST)
    grads = jax.tree.map(lambda g: jnp.asarray(g[:STEPS]), MATRICES)
    return jax.lax.scan(step, (first, tx.init(first)), grads)[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_decay_is_decoupled_and_times_the_learning_rate(name):
    """The update is that without a decay, less a_t d_t w: no moment and no velocity has seen it."""
    build = functools.partial(OPTIMIZERS[name], rates)
    plain, _ = walk(build())
    updates, params = walk(build(weight_decay=decays, mask={"w": True, "b": False}))
    t = np.arange(STEPS)
    factor = np.asarray(rates(t) * decays(t))[:, None, None]
    np.testing.assert_allclose(
        updates["w"], plain["w"] - factor * np.asarray(params["w"]), rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(updates["b"], plain["b"], rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_a_decay_the_state_is_as_it_was(name):
    """One state for the gradients and one for the learning rate, and that of RMSProp's momentum."""
    state = OPTIMIZERS[name](0.1).init(jnp.zeros(2))
    assert len(state) == 3 if name.startswith("rmsprop") else len(state) == 2
    with pytest.raises(ValueError, match="`mask` needs a `weight_decay`, got"):
        OPTIMIZERS[name](0.1, mask={"w": True})
    with pytest.raises(ValueError, match=r"`weight_decay` must lie in \[0, inf\), got -0.1"):
        OPTIMIZERS[name](0.1, weight_decay=-0.1)


def test_a_mask_of_prodigy():
    """Leaves outside of it move as without a decay; the estimate does not depend on it."""
    mask = {"w": True, "b": False}
    build = functools.partial(optimizers.prodigy, estim_lr0=1e-3)
    whole, some, none = (
        walk(build(**given))[0]
        for given in ({"weight_decay": 0.1}, {"weight_decay": 0.1, "mask": mask}, {})
    )
    # Only the first update has the same parameters in all three.
    first = lambda updates, leaf: np.asarray(updates[leaf][0])
    np.testing.assert_array_equal(first(some, "w"), first(whole, "w"))
    np.testing.assert_array_equal(first(some, "b"), first(none, "b"))
    assert not np.allclose(first(some, "w"), first(none, "w"), rtol=1e-4)


def test_sgd_with_a_decay_is_sgdw_at_a_constant_rate():
    found, _ = walk(optimizers.sgd(0.05, 0.8, weight_decay=0.3))
    wanted, _ = walk(optimizers.sgdw(0.05, 0.8, weight_decay=0.3))
    for leaf in found:
        np.testing.assert_allclose(found[leaf], wanted[leaf], rtol=1e-12)
