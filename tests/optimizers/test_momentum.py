"""The course's momentum conventions, and both forms of Nesterov's method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import ema_sgd, heavy_ball, nesterov, sgd
from jaxopt_course.schedules import exponential_decay
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    ema,
    lookahead_params,
    scale_by_learning_rate,
    trace,
)
from tests.optimizers.trajectories import (
    GRADS,
    PARAMS,
    STEPS,
    distance,
    flat,
    of_torch,
    torch_updates,
    updates_of,
)


RATES = 0.1 * 0.9 ** (np.arange(STEPS) / 10)
falling = exponential_decay(0.1, 10, 0.9)


def by_hand(step, velocity=0.0):
    """The updates of ``step(velocity, grads, rate) -> (velocity, update)``, in plain NumPy."""
    updates = []
    for grads, rate in zip(GRADS, RATES, strict=True):
        velocity, update = step(velocity, grads, rate)
        updates.append(update)
    return np.stack(updates)


def outside(v, g, a):
    v = g + 0.9 * v
    return v, -a * v


def inside(v, g, a):
    v = 0.9 * v + a * g
    return v, -v


def mean(v, g, a):
    v = 0.9 * v + 0.1 * g
    return v, -a * v


def mean_of_steps(v, g, a):
    v = 0.9 * v + 0.1 * a * g
    return v, -v


@pytest.mark.parametrize(
    ("tx", "formula"),
    [
        (sgd(falling, 0.9), outside),
        (heavy_ball(falling, 0.9), inside),
        (ema_sgd(falling, 0.9), mean),
        (chain(scale_by_learning_rate(falling), ema(0.9, debias=False)), mean_of_steps),
    ],
)
def test_each_convention_is_its_formula(tx, formula):
    """Course, section 1: momentum with the rate inside, outside, and as a running mean."""
    assert distance(updates_of(tx), by_hand(formula)) <= 1e-12


def test_inside_and_outside_differ_once_the_rate_changes():
    assert distance(updates_of(heavy_ball(0.1)), updates_of(sgd(0.1, 0.9))) <= 1e-12
    assert distance(updates_of(heavy_ball(falling)), updates_of(sgd(falling, 0.9))) > 1e-2


def test_a_running_mean_is_momentum_at_a_smaller_rate():
    """With rate a it equals momentum with rate a (1 - d), from a velocity of 0."""
    assert distance(updates_of(ema_sgd(0.1, 0.9)), updates_of(sgd(0.01, 0.9))) <= 1e-12


def test_the_weights_of_the_running_mean_are_those_of_the_course():
    """v_t = 0.1 g_t + 0.09 g_{t-1} + 0.081 g_{t-2} + ..."""
    tx = ema_sgd(1.0, 0.9)
    impulse = jnp.zeros(5).at[0].set(1.0)
    _, updates = jax.lax.scan(
        lambda state, g: tx.update(g, state)[::-1], tx.init(jnp.zeros(())), impulse
    )
    np.testing.assert_allclose(-updates, [0.1, 0.09, 0.081, 0.0729, 0.06561], rtol=1e-12)


def quadratic_gradient(params):
    """Of an uneven bowl, as a linear function of the parameters."""
    return jax.tree.map(lambda p: 2.0 * p + 0.3, params)


def points_of(tx, look):
    """The parameters, and the points where gradients were taken, over 50 steps."""

    def body(carry, _):
        params, state = carry
        point = look(state, params)
        updates, state = tx.update(quadratic_gradient(point), state, params)
        return (jax.tree.map(jnp.add, params, updates), state), point

    params = jax.tree.map(jnp.asarray, PARAMS)
    _, points = jax.lax.scan(body, (params, tx.init(params)), length=50)
    return flat(points)


def test_the_literal_form_looks_where_the_usual_form_stands():
    """Nesterov: the look-ahead points of the literal form are the usual form's parameters."""
    literal = points_of(nesterov(0.1, 0.9), lookahead_params)
    usual = points_of(sgd(0.1, 0.9, nesterov=True), lambda state, params: params)
    assert distance(literal, usual) <= 1e-12


def test_that_holds_for_a_changing_rate_when_it_stands_inside():
    literal = points_of(nesterov(falling, 0.9), lookahead_params)
    inside = chain(scale_by_learning_rate(falling), trace(0.9, nesterov=True))
    assert distance(literal, points_of(inside, lambda state, params: params)) <= 1e-12


def test_an_optimizer_that_does_not_look_ahead_stands_where_it_looks():
    tx = sgd(0.1, 0.9)
    assert lookahead_params(tx.init(PARAMS), PARAMS) is PARAMS


def test_two_velocities_cannot_both_be_looked_along():
    tx = chain(nesterov(0.1), nesterov(0.1))
    with pytest.raises(ValueError, match="must look ahead once for each parameter"):
        lookahead_params(tx.init(PARAMS), PARAMS)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="sgd: `nesterov` needs a `momentum`"):
        sgd(0.1, nesterov=True)


@pytest.mark.parametrize("nesterov", [False, True])
def test_torch_agrees_on_momentum(nesterov):
    theirs = torch_updates(of_torch("SGD", lr=0.1, momentum=0.9, nesterov=nesterov))
    # 1e-10: differences of points lose the digits that the points have more than the updates
    assert distance(updates_of(sgd(0.1, 0.9, nesterov)), theirs) <= 1e-10


def test_torch_agrees_on_coupled_decay():
    """R's ``SGD(weight_decay=)`` is the coupled form: before the momentum."""
    theirs = torch_updates(of_torch("SGD", lr=0.1, momentum=0.9, weight_decay=0.01))
    assert distance(updates_of(chain(add_decayed_weights(0.01), sgd(0.1, 0.9))), theirs) <= 1e-10


def test_dampening_is_another_method():
    """torch's first velocity is the whole first gradient: it fades, the running mean lacks it."""
    theirs = torch_updates(of_torch("SGD", lr=0.1, momentum=0.9, dampening=0.1))
    mine = updates_of(sgd(0.09, 0.9))  # (1 - dampening) outside the sum, but not for g_1
    assert distance(mine, theirs) > 1e-3
    extra = -0.1 * 0.1 * np.outer(0.9 ** np.arange(STEPS), GRADS[0])
    assert distance(mine + extra, theirs) <= 1e-10
