"""ISTA, FISTA and proximal Adam against scikit-learn's coordinate descent, in double precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import data, optimizers, transforms
from jaxopt_course.regularizers import prox_elastic_net, prox_l1
from jaxopt_course.transforms import apply_updates, chain, proximal


RAW = data.diabetes()
X, Y = (np.asarray(x, np.float64) for x in (RAW.inputs, RAW.targets))
X, Y = (X - X.mean(0)) / X.std(0), (Y.ravel() - Y.mean()) / Y.std()
GRAM, MOMENT = X.T @ X / len(Y), X.T @ Y / len(Y)
RATE = float(1 / np.linalg.eigvalsh(GRAM)[-1])
STEPS = 8000
L1, L2 = np.array([[0.05, 0.0], [0.003, 0.0], [0.05, 0.1], [0.01, 0.02]]).T


@functools.cache
def solutions():
    """What scikit-learn finds: half the mean squared error, alpha and l1_ratio as l1 and l2."""
    linear = pytest.importorskip("sklearn.linear_model")
    settings = {"fit_intercept": False, "tol": 1e-15, "max_iter": 10**6}

    def solution(l1, l2):
        if l2 == 0:
            return linear.Lasso(alpha=l1, **settings).fit(X, Y).coef_
        ratio = l1 / (l1 + l2)
        return linear.ElasticNet(alpha=l1 + l2, l1_ratio=ratio, **settings).fit(X, Y).coef_

    return np.stack([solution(*pair) for pair in zip(L1, L2, strict=True)])


def objective(w, l1, l2):
    return w @ GRAM @ w / 2 - MOMENT @ w + l1 * jnp.sum(jnp.abs(w)) + l2 / 2 * jnp.sum(w**2)


def path(tx, steps=STEPS, moment=MOMENT):
    """The params along a training on the quadratic loss; gradients where the method wants them."""

    def body(carry, _):
        w, state = carry
        grads = GRAM @ transforms.lookahead_params(state, w) - moment
        updates, state = tx.update(grads, state, w)
        w = apply_updates(w, updates)
        return (w, state), w

    start = jnp.zeros(len(MOMENT))
    return jax.lax.scan(body, (start, tx.init(start)), length=steps)[1]


METHODS = {
    "ista": functools.partial(optimizers.ista, learning_rate=RATE),
    "fista": functools.partial(optimizers.fista, learning_rate=RATE),
    "proximal_adam": functools.partial(optimizers.proximal_adam, learning_rate=0.01),
}


@functools.cache
def run(name):
    """For each problem the last params, and how far the objective is above the end at each step."""

    def of_problem(l1, l2):
        operator = functools.partial(prox_elastic_net, l1=l1, l2=l2)
        points = path(METHODS[name](operator))
        values = jax.vmap(lambda w: objective(w, l1, l2))(points)
        return points[-1], values - objective(points[-1], l1, l2)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(of_problem))(jnp.asarray(L1), jnp.asarray(L2)))


@pytest.mark.parametrize("name", METHODS)
def test_the_minimum_of_lasso_and_elastic_net_is_reached(name):
    """Course 2, L1 + L2: the sub-differential condition, and scikit-learn's solution."""
    w, _ = run(name)
    slopes = w @ GRAM - MOMENT + L2[:, None] * w
    l1 = L1[:, None]
    violation = np.where(
        w != 0, np.abs(slopes + l1 * np.sign(w)), np.maximum(np.abs(slopes) - l1, 0)
    )
    assert violation.max() <= 1e-8
    np.testing.assert_allclose(w, solutions(), atol=1e-8)
    np.testing.assert_array_equal(w == 0, solutions() == 0)  # zeros are exact


def test_fista_needs_fewer_steps_than_ista():
    """To within 1e-6 of the minimum; the least penalized problem is the worst conditioned."""
    ista, fista = (np.argmax(run(name)[1] <= 1e-6, axis=1) for name in ("ista", "fista"))
    assert (fista < ista).all()
    assert fista[1] * 5 < ista[1]


def test_fista_traces_the_points_of_the_paper():
    """Beck and Teboulle's recursion in NumPy."""
    strength = 0.05
    w, before, k = np.zeros(10), np.zeros(10), 1.0
    y, points = w, []
    for _ in range(30):
        before, w = w, y - RATE * (GRAM @ y - MOMENT)
        w = np.sign(w) * np.maximum(np.abs(w) - RATE * strength, 0)
        k, last = (1 + np.sqrt(1 + 4 * k**2)) / 2, k
        y = w + (last - 1) / k * (w - before)
        points.append(w)
    operator = functools.partial(prox_l1, strength=strength)
    ours = jax.jit(lambda: path(optimizers.fista(operator, RATE), 30))()
    np.testing.assert_allclose(ours, points, atol=1e-13)
    np.testing.assert_array_equal(ours == 0, np.array(points) == 0)


def test_the_euclidean_metric_behind_adam_solves_another_problem():
    """A strength below 1 hardly acts on steps of size one; a strength above 1 kills them all."""
    behind = lambda strength: chain(
        optimizers.adam(1e-3), proximal(functools.partial(prox_l1, strength=strength), 1e-3)
    )
    mild, strong = jax.jit(lambda: (path(behind(0.05)), path(behind(2.0), 100, 100 * MOMENT)))()
    least_squares, lasso = np.linalg.solve(GRAM, MOMENT), solutions()[0]
    assert np.abs(mild[-1] - least_squares).max() < 0.01  # as if there were no penalty
    assert np.abs(lasso - least_squares).max() > 0.4
    assert np.sum(100 * np.abs(MOMENT) > 2.0) >= 9  # at zero, the slope of all but one is steeper
    np.testing.assert_array_equal(strong[-1], 0.0)


def test_the_metric_one_is_plain_proximal_descent():
    operator = functools.partial(prox_l1, strength=0.05)
    tx = transforms.scaled_proximal(optax.identity(), lambda _: jnp.ones(10), operator, RATE)
    ours, plain = jax.jit(lambda: (path(tx, 50), path(optimizers.ista(operator, RATE), 50)))()
    np.testing.assert_allclose(ours, plain, atol=1e-15)


def test_biases_are_trained_by_plain_adam():
    params = {"w": jnp.array([2.0, 0.1]), "b": jnp.array([0.1])}
    grads = {"w": jnp.array([1.0, 0.5]), "b": jnp.array([1.0])}
    strong = functools.partial(prox_l1, strength=1e3)
    tx, plain = optimizers.proximal_adam(strong, 0.01), optimizers.adam(0.01)
    updates, _ = tx.update(grads, tx.init(params), params)
    theirs, _ = plain.update(grads, plain.init(params))
    np.testing.assert_array_equal(apply_updates(params, updates)["w"], 0.0)
    np.testing.assert_array_equal(updates["b"], theirs["b"])


def test_the_threshold_of_proximal_adam_is_that_of_its_step():
    """One step from rest: v_hat = g^2, so that D = 1 / (|g| + eps)."""
    w, g = jnp.array([0.5, 0.5]), jnp.array([0.1, 10.0])
    operator = functools.partial(prox_l1, strength=2.0)
    tx = optimizers.proximal_adam(operator, 0.01, eps=1e-3)
    updates, _ = tx.update(g, tx.init(w), w)
    metric = 1 / (np.abs(g) + 1e-3)
    np.testing.assert_allclose(updates, -0.01 * metric * (g + 2.0), rtol=1e-12)
