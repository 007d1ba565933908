"""ScheduleFree+ against its formula in NumPy, and against Schedule-Free without Polyak's step."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import (
    adam,
    schedule_free,
    schedule_free_eval_params,
    schedule_free_plus,
)
from tests.optimizers.trajectories import FIRST, MATRICES, distance, updates_of


def losses(params, grads):
    """A loss that depends on the point: its values are all that the Polyak step sees."""
    return {"value": 3 + sum(jnp.sum(x**2) for x in jax.tree.leaves(params))}


def by_hand(b, b_max, anneal, after, r, power, q, least, decay, rate, longest):
    """The author's order of operations, with x, y and z as variables of their own."""
    names, steps = list(FIRST), len(MATRICES["w"])
    x, y, z = ({n: FIRST[n].copy() for n in names} for _ in range(3))
    m, v = ({n: np.zeros_like(FIRST[n]) for n in names} for _ in range(2))
    norm, weights, largest, updates = 0.0, 0.0, 0.0, []
    for k in range(steps):
        g = {n: MATRICES[n][k] for n in names}
        progress = min(k / anneal, 1.0)
        share = 1 - math.exp(math.log(1 - b) * (1 - progress) + math.log(1 - b_max) * progress)
        inner = share * sum(np.sum(g[n] * (z[n] - x[n])) for n in names)
        size = sum(np.abs(g[n]).sum() for n in names) * math.sqrt(math.pi / 2)
        norm = q * norm + (1 - q) * size
        loss = 3 + sum(np.sum(y[n] ** 2) for n in names)
        gap = max(0.0, loss - least + inner)
        length = min(rate(k) * gap / (norm / (1 - q ** (k + 1))), longest)
        largest, own = max(length, largest), 1.0
        if k >= after:
            weight = (k + 1) ** r * largest**power
            weights += weight
            own = weight / weights
        update = {}
        for n in names:
            z[n] = z[n] - length**2 * decay * y[n]
            m[n] = 0.8 * m[n] + 0.2 * g[n]
            v[n] = 0.95 * v[n] + 0.05 * g[n] ** 2
            root = np.sqrt(v[n] / (1 - 0.95 ** (k + 1))) + 1e-3
            z[n] = z[n] - length * m[n] / (1 - 0.8 ** (k + 1)) / root
            x[n] = (1 - own) * x[n] + own * z[n]
            new = share * x[n] + (1 - share) * z[n]
            update[n], y[n] = new - y[n], new
        updates.append(np.concatenate([update[n].ravel() for n in sorted(names)]))
    return np.stack(updates)


@pytest.mark.parametrize("longest", [math.inf, 0.15])
def test_it_is_its_formula(longest):
    rate = lambda k: 0.5 * jnp.minimum((jnp.asarray(k, float) + 1) / 7, 1.0)
    options = {
        "sf_b1": 0.7,
        "sf_b1_max": 0.95,
        "anneal_steps": 30,
        "average_after": 5,
        "weight_power": 1.5,
        "weight_lr_power": 1.7,
        "polyak_decay": 0.6,
        "f_min": 0.5,
        "max_learning_rate": longest,
    }
    ours = updates_of(
        schedule_free_plus(rate, 0.8, 0.95, 1e-3, 2.0, **options), FIRST, MATRICES, losses
    )
    numbers = (0.7, 0.95, 30, 5, 1.5, 1.7, 0.6, 0.5, 2.0, lambda k: 0.5 * min((k + 1) / 7, 1.0))
    assert distance(ours, by_hand(*numbers, longest)) <= 1e-9


def test_without_the_polyak_step_it_is_schedule_free_around_adam():
    ours = schedule_free_plus(0.1, 0.8, 0.95, 1e-3, sf_b1=0.7, weight_lr_power=1.5, polyak=False)
    theirs = schedule_free(adam(0.1, 0.8, 0.95, 1e-3), 0.1, 0.7, 1.5)
    assert distance(updates_of(ours), updates_of(theirs)) <= 1e-11


@pytest.mark.parametrize("scale", [1e-2, 1e2])
def test_no_scale_of_a_problem_needs_a_rate(scale):
    """Here |w / scale - solution|_1; Adam's rate would be proportional to the scale."""
    tx, start = schedule_free_plus(b1=0.5), jnp.zeros(3)
    loss = lambda w: jnp.sum(jnp.abs(w / scale - jnp.array([3.0, -2.0, 1.0])))

    def body(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params, value=value)
        return (params + updates, state), None

    run = jax.jit(lambda w: jax.lax.scan(body, (w, tx.init(w)), length=500)[0])
    params, state = run(start)
    assert loss(schedule_free_eval_params(state, params)) <= 1e-6 * loss(start)


def test_masked_leaves_do_not_decay():
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    tx = schedule_free_plus(0.1, weight_decay=2.0, mask={"a": True, "b": False}, polyak=False)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zeros, tx.init(params), params)
    np.testing.assert_allclose(updates["a"], -0.02, rtol=1e-9)
    np.testing.assert_array_equal(updates["b"], 0.0)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ({"sf_b1": 1.0}, r"`sf_b1` must lie in \(0, 1\)"),
        ({"weight_decay": -1.0}, r"`weight_decay` must lie in \[0, inf\)"),
        ({"max_learning_rate": 0.0}, r"`max_learning_rate` must lie in \(0, inf\]"),
        ({"polyak_decay": 1.0}, r"`polyak_decay` must lie in \[0, 1\)"),
    ],
)
def test_what_is_wrong_is_said(numbers, sentence, as_users_run_it):
    with pytest.raises(ValueError, match=sentence):
        schedule_free_plus(**numbers)


def test_it_asks_for_the_loss(as_users_run_it):
    tx = schedule_free_plus()
    with pytest.raises(TypeError, match="schedule_free_plus reads the loss"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))
