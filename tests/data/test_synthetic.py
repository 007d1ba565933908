import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.data import (
    fit_scaler,
    ill_conditioned_quadratic,
    linear_regression,
    scale_features,
    spirals,
    teacher,
    two_moons,
)
from tests.tiers import everyday_first


DRAWN = {
    "two_moons": lambda key, noise: two_moons(key, 21, noise),
    "spirals": lambda key, noise: spirals(key, 21, 1.5, noise, classes=3),
    "teacher": lambda key, noise: teacher(key, 21, 5, 3, noise),
    "linear_regression": lambda key, noise: linear_regression(key, 21, 5, 30.0, noise),
}

# Compiled once: operation by operation the tests below would take ten times as long.
COMPILED = {name: jax.jit(draw) for name, draw in DRAWN.items()}
REGRESSION = jax.jit(lambda key, number: linear_regression(key, 200, 6, number))
QUADRATIC = jax.jit(lambda key, number: ill_conditioned_quadratic(key, 7, number))


@pytest.mark.parametrize("name", DRAWN)
def test_the_key_decides(key, name):
    draw = COMPILED[name]
    chex.assert_trees_all_equal(draw(key, 0.1), draw(jax.random.key(0), 0.1))
    assert (draw(key, 0.1)[0] != draw(jax.random.key(1), 0.1)[0]).all()


@pytest.mark.parametrize("name", everyday_first(1, DRAWN))
def test_noise_is_data(key, name):
    levels = jnp.array([0.0, 0.1, 1.0])
    batched = jax.jit(jax.vmap(DRAWN[name], (None, 0)))(key, levels)
    alone = COMPILED[name](key, 1.0)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[2], batched), alone, rtol=1e-12)
    noisy = 0 if batched[1].dtype == jnp.int32 else 1
    clean, little, much = batched[noisy]
    # The same draw at every level, times the level.
    chex.assert_trees_all_close(much - clean, 10 * (little - clean), rtol=1e-10, atol=1e-12)
    assert 0.5 < float(jnp.std(much - clean)) < 1.5


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_bad_noise_is_refused(key, draw):
    with pytest.raises(ValueError, match=r": `noise` must lie in \[0, inf\), got -1"):
        draw(key, -1.0)


def test_moons_are_balanced_half_circles(key):
    points, labels = jax.tree.map(np.asarray, COMPILED["two_moons"](key, 0.0))
    assert np.bincount(labels).tolist() == [11, 10]
    from_centre = points - np.where(labels[:, None] == 0, 0, [[1.0, 0.5]])
    np.testing.assert_allclose(np.linalg.norm(from_centre, axis=-1), 1, rtol=1e-12)
    assert (np.where(labels == 0, 1, -1) * from_centre[:, 1] >= 0).all()


def test_spirals_are_balanced_arms_that_turn_as_often_as_asked(key):
    draw = jax.jit(lambda k: spirals(k, 300, turns=2.0, noise=0.0, classes=3))
    points, labels = jax.tree.map(np.asarray, draw(key))
    assert np.bincount(labels).tolist() == [100] * 3
    radius = np.linalg.norm(points, axis=-1)
    assert 0 <= float(radius.min()) < 0.05
    assert 0.95 < float(radius.max()) <= 1
    turns = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) - 2 * radius - labels / 3
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)


def test_turns_are_data(key):
    turns = jnp.array([0.5, -2.0])
    draw = lambda t: spirals(key, 8, t)[0]
    batched = jax.jit(jax.vmap(draw))(turns)
    chex.assert_trees_all_close(batched, jax.lax.map(draw, turns), atol=1e-12)


def test_the_teacher_is_not_linear(key):
    draw = jax.jit(lambda k: teacher(k, 2000, features=3, width=2, noise=0.0))
    inputs, targets = jax.tree.map(np.asarray, draw(key))
    assert inputs.shape == (2000, 3)
    assert targets.shape == (2000, 1)
    assert 0.05 < targets.std() < 2
    # The best affine map leaves something over.
    affine = np.concatenate([inputs, np.ones((2000, 1))], axis=1)
    residual = targets - affine @ np.linalg.lstsq(affine, targets)[0]
    assert residual.std() > 0.01


@pytest.mark.parametrize("number", [1.0, 100.0, 1e6])
def test_the_covariance_has_the_condition_number_and_scaling_cures_it(key, number):
    inputs, _ = REGRESSION(key, number)
    covariance = np.cov(np.asarray(inputs).T, bias=True)
    expected = number ** np.linspace(0, 1, 6)
    # Relative to the largest entry: rounding of products of that size.
    np.testing.assert_allclose(covariance, np.diag(expected), atol=1e-12 * number)
    scaled = scale_features(fit_scaler(inputs), inputs)
    np.testing.assert_allclose(np.cov(np.asarray(scaled).T, bias=True), np.eye(6), atol=1e-9)


def test_linear_targets_are_linear(key):
    draw = jax.jit(lambda noise: linear_regression(key, 2000, 4, 1e3, noise))
    inputs, clean = draw(0.0)
    _, noisy = draw(0.5)
    _, residual, *_ = np.linalg.lstsq(np.asarray(inputs), np.asarray(clean))
    assert residual < 1e-20
    # The deviation of a deviation from 2000 draws is 0.5 / sqrt(4000) = 0.008.
    assert abs(float(jnp.std(noisy - clean)) - 0.5) < 0.04


@pytest.mark.parametrize("number", [1.0, 100.0, 1e8])
def test_the_quadratic_has_the_stated_spectrum_and_minimum(key, number):
    matrix, vector, minimum = QUADRATIC(key, number)
    chex.assert_trees_all_equal(matrix, matrix.T)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(matrix), number ** np.linspace(0, 1, 7), rtol=1e-13 * number + 1e-12
    )
    np.testing.assert_allclose(matrix @ minimum, vector, atol=1e-13 * number)


def test_the_condition_number_is_data(key):
    numbers = jnp.array([1.0, 50.0])
    batched = jax.jit(jax.vmap(QUADRATIC, (None, 0)))(key, numbers)
    for i in range(2):
        one = QUADRATIC(key, numbers[i])
        chex.assert_trees_all_close(
            jax.tree.map(lambda x: x[i], batched),  # noqa: B023
            one,
            rtol=1e-12,
            atol=1e-12,
        )


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda k: two_moons(k, 0), r"two_moons: `n` must lie in \[1, inf\), got 0"),
        (lambda k: spirals(k, 5, classes=1), r"`classes` must lie in \[2, 5\], got 1"),
        (lambda k: spirals(k, 5, turns=float("nan")), r"`turns` must lie in \(-inf, inf\)"),
        (lambda k: teacher(k, 5, width=0), r"teacher: `width` must lie in \[1, inf\), got 0"),
        (lambda k: linear_regression(k, 5, 5), r"`features` must lie in \[2, 5\), got 5"),
        (lambda k: linear_regression(k, 9, 5, 0.5), r"`condition_number` must lie in \[1, inf\)"),
        (lambda k: ill_conditioned_quadratic(k, 1), r"`dimension` must lie in \[2, inf\), got 1"),
    ],
)
def test_bad_arguments_are_refused(key, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(key)


def test_a_traced_size_is_refused_by_name(key, as_users_run_it):
    with pytest.raises(TypeError, match="two_moons: `n` is static"):
        jax.jit(lambda n: two_moons(key, n))(5)
