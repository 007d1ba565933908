"""Sophia and SAM, which ask for slopes at other points: against optax and their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.core import GradientTransformationExtraArgs
from jaxopt_course.optimizers import (
    adam,
    hutchinson_estimator_diag_hessian,
    sam,
    scale_by_sophia,
    sgd,
    sophia,
)
from jaxopt_course.transforms import apply_updates, chain, normalize
from tests.optimizers.trajectories import distance, updates_of


def loss(params):
    """Coupled and not quadratic, so that the estimates are noisy and change."""
    w = jnp.concatenate([x.ravel() for x in jax.tree.leaves(params)])
    return jnp.sum(jnp.cosh(w / 3)) + jnp.sum(w) ** 2 / 5


def with_loss(tx, name):
    tx = optax.with_extra_args_support(tx)

    def update(updates, state, params=None, **extra_args):
        return tx.update(updates, state, params, **{name: loss})

    return GradientTransformationExtraArgs(tx.init, update)


@pytest.mark.parametrize("name", ["obj_fn", "value_fn"])
def test_sophia_with_its_estimator_is_that_of_optax(name, standard_promotion):
    """The same random signs: updates equal at every step."""
    arguments = {"gamma": 0.3, "update_interval": 4, "b2": 0.9}
    ours = updates_of(with_loss(sophia(0.01, **arguments), name))
    theirs = updates_of(with_loss(optax.contrib.sophia(0.01, **arguments), "obj_fn"))
    assert distance(ours, theirs) <= 1e-10


@pytest.mark.exhaustive
def test_the_mean_of_many_estimates_is_the_diagonal(key):
    params = jnp.array([0.3, -1.0, 2.0])
    estimate = lambda own: (tx := hutchinson_estimator_diag_hessian(own)).update(
        params, tx.init(params), params, obj_fn=loss
    )[0]
    estimates = jax.vmap(estimate)(jax.random.split(key, 4000))
    # 0.05: off-diagonal entries of 2/5, two a row, over the root of 4000 is 0.009
    np.testing.assert_allclose(estimates.mean(0), jnp.diag(jax.hessian(loss)(params)), atol=0.05)


def test_sophia_prints_its_win_rate(capfd):
    tx = scale_by_sophia(
        hessian_diagonal_fn=optax.identity(), verbose=True, print_win_rate_every_n_steps=2
    )
    params = jnp.ones(4)
    state = tx.init(params)
    for _ in range(2):
        _, state = tx.update(params, state, params)
    jax.effects_barrier()
    assert capfd.readouterr().out == "Sophia optimizer win rate: 0.0\n"


# SAM


def test_sam_is_its_formula():
    """Foret et al., algorithm 1."""
    slope, rate, radius = jax.grad(loss), 0.1, 0.05
    tx = sam(sgd(rate), chain(normalize(), sgd(radius)), opaque_mode=True)
    w = jnp.array([0.3, -1.0, 2.0])
    g = slope(w)
    updates, _ = tx.update(g, tx.init(w), w, value_fn=loss)
    np.testing.assert_allclose(updates, -rate * slope(w + radius * g / jnp.linalg.norm(g)))


def rounds(tx, calls, **extra):
    """Parameters after a number of calls, each with the gradient where the parameters stand."""

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params, **extra)
        return (apply_updates(params, updates), state), None

    params = jnp.array([0.3, -1.0, 2.0])
    carry = (params, tx.init(params))
    return jax.jit(lambda carry: jax.lax.scan(body, carry, length=calls)[0])(carry)[0]


@pytest.mark.parametrize("period", [1, 2, 3])
@pytest.mark.parametrize("reset", [True, False])
def test_opaque_rounds_end_where_visible_ones_do(period, reset):
    both = [
        sam(adam(0.1), chain(normalize(), sgd(0.05, 0.9)), period, reset, opaque_mode=opaque)
        for opaque in (False, True)
    ]
    visible, opaque = rounds(both[0], 5 * period), rounds(both[1], 5, value_fn=loss)
    np.testing.assert_allclose(visible, opaque, rtol=1e-12)


CLIMB = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))


@pytest.mark.parametrize(
    "arguments",
    [
        (optax.sgd(0.1), CLIMB),
        (optax.sgd(0.1, 0.9), optax.adam(0.05), 3),
        (optax.sgd(0.1, 0.9), optax.adam(0.05), 3, False),
    ],
)
def test_visible_sam_is_that_of_optax(arguments, standard_promotion):
    """Not among the pairs of the catalogue, for optax's takes no extra arguments."""
    ours, theirs = (updates_of(f(*arguments)) for f in (sam, optax.contrib.sam))
    assert distance(ours, theirs) <= 1e-12


def test_opaque_sam_is_that_of_optax(standard_promotion):
    grad_fn = lambda params, i: (i + 1) * jax.grad(loss)(params)
    ours, theirs = (
        rounds(f(optax.adam(0.1), CLIMB, 3, opaque_mode=True), 5, grad_fn=grad_fn)
        for f in (sam, optax.contrib.sam)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
