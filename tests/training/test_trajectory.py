"""Paths of optimizers against closed forms and the recursion written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.minimization import (
    minimize,
    trajectory,
)
from jaxopt_course.optimizers import nesterov, sgd


CURVATURES = jnp.array([1.0, 10.0])


def bowl(params):
    return 0.5 * jnp.sum(CURVATURES * params["x"] ** 2)


def test_descent_shrinks_each_coordinate_by_one_minus_rate_times_curvature():
    path = trajectory(bowl, {"x": jnp.ones(2)}, sgd(0.05), 20)["x"]
    expected = (1 - 0.05 * np.array([1.0, 10.0])) ** np.arange(21)[:, None]
    np.testing.assert_allclose(path, expected, rtol=1e-14)  # rounding of 20 products


def test_gradients_are_taken_where_the_optimizer_looks():
    x, v, points = np.ones(2), np.zeros(2), [np.ones(2)]
    for _ in range(30):
        v = 0.9 * v + np.asarray(CURVATURES) * (x - 0.02 * 0.9 * v)
        x = x - 0.02 * v
        points.append(x)
    path = trajectory(bowl, {"x": jnp.ones(2)}, nesterov(0.02, momentum=0.9), 30)["x"]
    np.testing.assert_allclose(path, points, rtol=1e-10, atol=1e-14)


def test_it_ends_where_minimize_does():
    start = {"x": jnp.array([3.0, -1.0])}
    end = minimize(bowl, start, sgd(0.05), max_steps=25, gtol=0.0)
    path = trajectory(bowl, start, sgd(0.05), 25)
    np.testing.assert_allclose(path["x"][-1], end.params["x"], rtol=1e-14)


def test_rates_are_one_program_and_none_leaves_the_start():
    paths = jax.vmap(lambda rate: trajectory(bowl, {"x": jnp.ones(2)}, sgd(rate), 3)["x"])(
        jnp.array([0.0, 0.1])
    )
    np.testing.assert_array_equal(paths[0], np.ones((4, 2)))
    np.testing.assert_allclose(paths[1, -1, 0], 0.9**3, rtol=1e-14)
    assert trajectory(bowl, {"x": jnp.ones(2)}, sgd(0.1), 0)["x"].shape == (1, 2)


def test_steps_must_be_a_whole_number():
    with pytest.raises(ValueError, match=r"trajectory: `steps` must lie in \[0, inf\), got -1"):
        trajectory(bowl, {"x": jnp.ones(2)}, sgd(0.1), -1)
