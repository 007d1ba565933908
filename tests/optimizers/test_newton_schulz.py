"""Polar Express, the Gram iteration and the exact polar factor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxopt_course.optimizers import (
    muon,
    orthogonalized,
    polar_factor,
    scale_by_muon,
    scale_by_shampoo,
)
from tests.optimizers.trajectories import distance


LOW, CUSHION = 1e-3, 0.02407327424182761  # those of the authors' table
STANDARD, CONVERGES = (3.4445, -4.7750, 2.0315), (1.875, -1.25, 0.375)


def polar_express(steps):
    """The coefficients of the preset, from the state of the optimizer."""
    tx = muon(0.1, "polar_express", steps)
    return np.array(tx.init(jnp.ones((2, 2))).inner_states["muon"].inner_state[0].ns_coeffs)


def value(x, row):
    return row[0] * x + row[1] * x**3 + row[2] * x**5


def nearest_to_one(low, high):
    """The odd quintic with the smallest largest distance to 1 on [low, high], by Remez.

    Its error has the same size and alternating signs at four points: the ends and both inner
    extrema, where the derivative a + 3 b x^2 + 5 c x^4 is 0.
    """
    if low / high > 1 - 5e-6:  # the equations are singular in double precision
        return np.array(CONVERGES) / high ** np.array([1, 3, 5])
    points, signs = np.linspace(low, high, 4), np.array([1.0, -1.0, 1.0, -1.0])
    for _ in range(100):
        equations = np.stack([points, points**3, points**5, signs], 1)
        a, b, c, _ = np.linalg.solve(equations, np.ones(4))
        root = np.sqrt(9 * b**2 - 20 * a * c)
        inner = np.sqrt((-3 * b + np.array([-root, root])) / (10 * c))
        points = np.array([low, *inner, high])
    return np.array([a, b, c])


def composition(low, steps, cushion):
    """The quintics of the paper's algorithm 1, before the safety factor."""
    high, rows = 1.0, []
    for _ in range(steps):
        row = nearest_to_one(max(low, cushion * high), high)
        row *= 2 / (value(low, row) + value(high, row))  # 1 where there is no cushion
        rows.append(row)
        low = value(low, row)
        high = 2 - low
    return np.array(rows)


def composed(x, rows):
    for row in rows:
        x = value(x, row)
    return x


def test_the_coefficients_are_those_of_the_algorithm():
    safe = composition(LOW, 7, CUSHION) / 1.01 ** np.array([1, 3, 5])
    # 1e-8: near its end the equations have a condition of 1e8
    np.testing.assert_allclose(polar_express(10), [*safe, *[CONVERGES] * 3], rtol=1e-8)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6])
def test_the_composition_is_within_the_bound_of_the_paper(steps):
    """The error on [l, 1] is at most (1 - l^2)^(3^T); the cushion and safety add a little."""
    x = np.geomspace(LOW, 1, 100_001)
    error = np.abs(1 - composed(x, composition(LOW, steps, 0.0))).max()
    assert error <= (1 - LOW**2) ** (3**steps)
    cushioned = np.abs(1 - composed(x, composition(LOW, steps, CUSHION))).max()
    assert error - 1e-9 <= cushioned <= 1.1 * error + 1e-3
    safe = np.abs(1 - composed(x, polar_express(steps))).max()
    assert safe <= 1.4 * error + 0.005


@pytest.mark.parametrize(("steps", "bound"), [(5, 0.155), (6, 0.01), (12, 1e-5)])
def test_gaussian_matrices_become_orthogonal(steps, bound, key):
    """The bounds are those of the polynomial on [0.001, 1]: 0.1538 and 0.0056."""
    rows = polar_express(steps)
    assert len(rows) == steps
    x = jax.random.normal(key, (256, 1024), jnp.float32)
    q = jax.jit(orthogonalized, static_argnums=2)(x, jnp.array(rows, jnp.float32), steps)
    singular = np.linalg.svd(np.asarray(q, float), compute_uv=False)
    assert np.abs(1 - singular).max() <= bound


def spectra():
    """Wide matrices with singular values that are alike, spread over five decades, or 0."""
    rng = np.random.default_rng(0)
    gaussian = rng.normal(size=(32, 80))
    u, _, v = np.linalg.svd(gaussian, full_matrices=False)
    low = rng.normal(size=(32, 4)) @ rng.normal(size=(4, 80))
    return {"gaussian": gaussian, "spread": u * np.geomspace(1, 1e-5, 32) @ v, "low": low}


@pytest.mark.parametrize("name", ["gaussian", "spread", "low"])
@pytest.mark.parametrize("preset", ["standard", "polar_express"])
def test_two_steps_by_the_gram_matrix_are_two_steps(name, preset):
    """Up to rounding; in float32 no worse than single steps, which are those of a square matrix."""
    rows = polar_express(8) if preset == "polar_express" else np.array([STANDARD] * 5)
    x = spectra()[name]
    single = x / np.linalg.norm(x)
    narrow = single.astype(np.float32)
    for row in rows:
        for dtype in (np.float64, np.float32):
            y = single if dtype == np.float64 else narrow
            gram = y @ y.T
            y = (np.eye(len(y)) * row[0] + row[1] * gram + row[2] * gram @ gram).astype(dtype) @ y
            single, narrow = (y, narrow) if dtype == np.float64 else (single, y)
    run = jax.jit(lambda x, rows: orthogonalized(x, rows, eps=0.0))
    wide = run(jnp.asarray(x), jnp.asarray(rows))
    assert distance(np.asarray(wide), single) <= 1e-9  # float64: 1e-16 * 8.2^2 * 4^6
    ours = distance(np.asarray(run(jnp.asarray(x, jnp.float32), jnp.asarray(rows))), single)
    assert ours <= 2 * distance(narrow, single) + 1e-6


def test_muon_and_shampoo_without_memory_are_the_polar_factor(key):
    x = jax.random.normal(key, (5, 5))
    exact = polar_factor(x)
    u, _, v = np.linalg.svd(np.asarray(x))
    np.testing.assert_allclose(exact, u @ v, atol=1e-13)
    for tx in (scale_by_muon(CONVERGES, 40, beta=0.0, eps=0.0), scale_by_shampoo(eps=0.0)):
        update, _ = tx.update(x, tx.init(x), x)
        np.testing.assert_allclose(update, exact, atol=1e-10)


def test_the_polar_factor_of_a_matrix_without_full_rank_is_a_partial_isometry(key):
    x = jax.random.normal(key, (3, 6, 2)) @ jax.random.normal(key, (3, 2, 4))
    q = polar_factor(x)
    np.testing.assert_allclose(q @ q.mT @ q, q, atol=1e-12)
    np.testing.assert_allclose(jnp.trace(q.mT @ q, axis1=1, axis2=2), [2, 2, 2], atol=1e-12)
    assert not polar_factor(jnp.zeros((3, 2))).any()


@pytest.mark.parametrize("method", ["svd", "qdwh"])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 4, 4)])
def test_polar_factors_are_those_of_scipy(shape, method, key):
    x = jax.random.normal(key, shape, complex)
    for scale in (1e-150, 1.0, 1e150):
        found = polar_factor(scale * x, method)
        for own, matrix in zip(
            found.reshape(-1, *shape[-2:]), x.reshape(-1, *shape[-2:]), strict=True
        ):
            np.testing.assert_allclose(own, scipy.linalg.polar(matrix)[0], atol=1e-13)


def test_qr_decompositions_complete_the_polar_factor_of_a_matrix_without_full_rank(key):
    x = jax.random.normal(key, (6, 2)) @ jax.random.normal(key, (2, 4))
    q = polar_factor(x, "qdwh")
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(q @ (q.T @ x), x, atol=1e-12)
    with pytest.raises(ValueError, match="`method` must be"):
        polar_factor(x, "qr")
