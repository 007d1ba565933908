"""Averages of the last parameters, beside NumPy's means of the whole trajectory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers
from jaxopt_course.transforms import (
    MultiSteps,
    apply_updates,
    chain,
    ema_params,
    evaluation_params,
    latest_average,
    packed,
    partition,
    tail_average,
)


STEPS = 23
GRADS = np.random.default_rng(3).normal(size=(STEPS, 2, 3))


def trajectory(tx, params=None):
    """The parameters, and those to evaluate, after each step."""

    def step(carry, grads):
        params, state = carry
        updates, state = tx.update({"w": grads}, state, params)
        params = apply_updates(params, updates)
        return (params, state), (params["w"], evaluation_params(state, params)["w"])

    params = {"w": jnp.ones((2, 3))} if params is None else params
    return jax.lax.scan(step, (params, tx.init(params)), jnp.asarray(GRADS))[1]


INNER = optimizers.sgd(0.3, 0.5)


@pytest.mark.parametrize(("start", "every"), [(0, 1), (4, 1), (7, 5), (2.5, 2.5), (50, 1)])
def test_tail_average_is_the_mean_of_the_tail(start, every):
    run = jax.jit(lambda *times: trajectory(tail_average(INNER, *times)))
    params, means = run(start, every)
    first, gap = int(np.ceil(start)), int(np.ceil(every))
    for t in range(1, STEPS + 1):
        tail = [params[s - 1] for s in range(first + gap, t + 1, gap)]
        wanted = np.mean(tail, axis=0) if tail else params[t - 1]
        np.testing.assert_allclose(means[t - 1], wanted, rtol=1e-12, err_msg=t)


@pytest.mark.parametrize("decay", [0.0, 0.8])
def test_tail_average_with_a_decay_is_the_debiased_running_mean_from_then_on(decay):
    params, means = trajectory(tail_average(INNER, start=6, decay=decay))
    _, whole = trajectory(ema_params(INNER, decay))
    total = weight = 0.0
    for t in range(6, STEPS):
        total = decay * total + (1 - decay) * np.asarray(params[t])
        weight = decay * weight + (1 - decay)
        np.testing.assert_allclose(means[t], total / weight, rtol=1e-12)
    _, from_start = trajectory(tail_average(INNER, decay=decay))
    np.testing.assert_allclose(from_start, whole, rtol=1e-12)


@pytest.mark.parametrize(("window", "every"), [(1, 1), (3, 1), (4, 3), (50, 1)])
def test_latest_average_is_the_mean_of_the_latest(window, every):
    params, means = trajectory(latest_average(INNER, window, every))
    for t in range(1, STEPS + 1):
        entered = [params[s - 1] for s in range(every, t + 1, every)][-window:]
        wanted = np.mean(entered, axis=0) if entered else params[t - 1]
        np.testing.assert_allclose(means[t - 1], wanted, rtol=1e-12, err_msg=t)


def test_the_mean_of_all_steps_is_better_than_the_last_point():
    """With noisy gradients of |w|^2 / 2 the mean of the tail has a smaller error."""
    noise = np.random.default_rng(0).normal(size=(2000, 5))
    tx = tail_average(optimizers.sgd(0.5), start=200)

    def step(carry, noise):
        w, state = carry
        updates, state = tx.update(w + noise, state, w)
        return (w + updates, state), w

    w = jnp.ones(5)
    (last, state), _ = jax.lax.scan(step, (w, tx.init(w)), jnp.asarray(noise))
    mean = evaluation_params(state, last)
    # The stationary variance is 1/3; that of the mean of n = 1800 correlated points is 1 / n.
    assert float(jnp.sum(mean**2)) < 0.05 < float(jnp.sum(last**2))


AVERAGES = {
    "latest": lambda inner: latest_average(inner, 2),
    "tail": lambda inner: tail_average(inner, 1),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_steps_that_do_not_move_the_parameters_are_not_counted(name):
    wrap = AVERAGES[name]
    inside, outside = wrap(MultiSteps(INNER, 2)), MultiSteps(wrap(INNER), 2)
    (_, a), (_, b) = trajectory(inside), trajectory(outside)
    np.testing.assert_array_equal(a, b)
    mean_of = lambda f: np.asarray(f)[5]  # after three applied steps, of which the last two count
    params, means = trajectory(inside)
    np.testing.assert_allclose(mean_of(means), np.mean([params[3], params[5]], axis=0), rtol=1e-12)


@pytest.mark.parametrize("name", AVERAGES)
def test_groups_and_packed_parameters_have_their_averages(name):
    wrap = AVERAGES[name]
    tx = partition({"mean": wrap(INNER), "plain": optimizers.sgd(0.1)}, {"w": "mean", "b": "plain"})
    params = {"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3)}
    state, points = tx.init(params), []
    for g in GRADS[:4]:
        grads = {"w": jnp.asarray(g, jnp.bfloat16), "b": jnp.asarray(g[0])}
        updates, state = tx.update(grads, state, params)
        params = apply_updates(params, updates)
        points.append(np.asarray(params["w"], float))
    found = evaluation_params(state, params)
    assert found["b"] is params["b"]
    assert found["w"].dtype == jnp.bfloat16
    wanted = np.mean(points[2:] if name == "latest" else points[1:], axis=0)
    np.testing.assert_allclose(np.asarray(found["w"], float), wanted, rtol=2**-8)  # of bfloat16
    (_, plain), (_, joined) = trajectory(wrap(INNER)), trajectory(packed(wrap(INNER)))
    np.testing.assert_allclose(plain, joined, rtol=1e-12)


def test_bad_arguments_are_named(as_users_run_it):
    with pytest.raises(ValueError, match=r"tail_average: `start` must lie in \[0, inf\), got -1"):
        tail_average(INNER, -1)
    with pytest.raises(ValueError, match=r"tail_average: `decay` must lie in \[0, 1\), got 1.0"):
        tail_average(INNER, decay=1.0)
    with pytest.raises(ValueError, match=r"latest_average: `every` must lie in \[1, inf\), got 0"):
        latest_average(INNER, 2, 0)
    with pytest.raises(TypeError, match="latest_average: `window` must be an int"):
        latest_average(INNER, 2.0)
    with pytest.raises(ValueError, match="tail_average reads the parameters"):
        chain(tail_average(INNER)).update(jnp.ones(2), chain(tail_average(INNER)).init(jnp.ones(2)))
