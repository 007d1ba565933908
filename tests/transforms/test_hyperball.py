"""Hyperball against its formula in NumPy, and the norms that it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.core import global_norm
from jaxopt_course.optimizers import MuonDimensionNumbers, adam, muon, sgd
from jaxopt_course.transforms import MultiSteps, apply_updates, hyperball, learning_rates
from tests.optimizers.trajectories import FIRST, MATRICES, PARAMS, distance, rates, updates_of


KERNEL = {"w": MuonDimensionNumbers(), "b": None}


def by_hand(w, gradients, rate, momentum):
    """Heavy ball inside, in NumPy; the radius is that of the start, as in the paper."""
    radius, trace, points = np.linalg.norm(w), 0.0, [w]
    for t, g in enumerate(gradients):
        trace = momentum * trace + g
        w = w - rate(t) * radius * trace / np.linalg.norm(trace)
        w = radius * w / np.linalg.norm(w)
        points.append(w)
    return np.diff(np.stack(points), axis=0).reshape(len(gradients), -1)


def test_it_is_its_formula():
    """Wen et al.: matrices move by a direction and a rate, and vectors as the optimizer says."""
    tx = hyperball(sgd(0.1, 0.9), rates)
    ours = updates_of(tx, FIRST, MATRICES)
    theirs = by_hand(FIRST["w"], MATRICES["w"], lambda t: float(rates(t)), 0.9)
    plain = updates_of(sgd(0.1, 0.9), FIRST, MATRICES)
    assert distance(ours[:, 3:], theirs) <= 1e-12
    assert distance(ours[:, :3], plain[:, :3]) == 0.0


@pytest.mark.parametrize(
    "inner", [adam(1.0), muon(7.0, muon_weight_dimension_numbers=KERNEL), sgd(1e-9)]
)
def test_the_norm_of_every_matrix_is_invariant(inner):
    moves = updates_of(hyperball(inner, 0.3), FIRST, MATRICES)[:, 3:]
    points = FIRST["w"].ravel() + np.cumsum(moves, axis=0)
    norms = np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(norms, np.linalg.norm(FIRST["w"]), rtol=1e-12)
    assert np.linalg.norm(moves, axis=1).min() > 0.02 * norms[0]


def test_the_rate_of_the_optimizer_is_without_effect_on_matrices():
    ours, other = (updates_of(hyperball(sgd(a), 0.3), FIRST, MATRICES) for a in (0.1, 40.0))
    assert distance(ours[:, 3:], other[:, 3:]) <= 1e-12
    assert distance(ours[:, :3], other[:, :3] / 400) <= 1e-12


def test_a_mask_says_which_leaves_have_spheres():
    params = {"w": jnp.ones((2, 2)), "table": jnp.ones((2, 2))}
    tx = hyperball(sgd(1.0), 0.5, {"w": True, "table": False})
    updates, _ = tx.update(params, tx.init(params), params)
    assert global_norm(apply_updates(params, updates)["w"]) == pytest.approx(2.0)
    np.testing.assert_array_equal(updates["table"], -1.0)


@pytest.mark.parametrize(
    ("w", "grads"),
    [
        (np.zeros((2, 2)), np.ones((2, 2))),  # zero is the only point of its sphere
        (np.ones((2, 2)), np.zeros((2, 2))),  # no direction
        (np.ones((2, 2)), np.ones((2, 2))),  # the step ends in the middle of the sphere
    ],
)
def test_what_has_no_direction_stays(w, grads):
    tx = hyperball(sgd(1.0), 1.0)
    move = lambda w: tx.update(jnp.asarray(grads), tx.init(w), w)[0]
    np.testing.assert_array_equal(move(jnp.asarray(w)), 0.0)
    slopes = jax.grad(lambda w: jnp.sum(move(w)))(jnp.asarray(w))
    assert bool(jnp.isfinite(slopes).all())


@pytest.mark.parametrize(
    ("dtype", "size"), [("float16", 2e4), ("float32", 1e30), ("float32", 1e-30)]
)
def test_matrices_of_any_size_and_dtype(dtype, size):
    w = jnp.asarray(np.array([[3.0, 0.0], [0.0, 1.0]]) * size, dtype)
    grads = jnp.asarray(np.array([[0.0, 2.0], [0.0, 0.0]]) * size, dtype)
    tx = hyperball(sgd(1.0), 0.5)
    updates, _ = tx.update(grads, tx.init(w), w)
    moved = np.asarray(w, float) + np.asarray(updates, float)
    assert updates.dtype == dtype
    # Twice the rounding of an entry.
    assert np.linalg.norm(moved / size) == pytest.approx(
        10**0.5, rel=2 * float(jnp.finfo(dtype).eps)
    )


def test_accumulated_batches_are_one_step():
    tx, params = hyperball(MultiSteps(sgd(1.0), 2), 0.5), {"w": jnp.eye(2)}
    state = tx.init(params)
    first, state = tx.update({"w": jnp.ones((2, 2))}, state, params)
    second, _ = tx.update({"w": 3 * jnp.ones((2, 2))}, state, params)
    once = hyperball(sgd(1.0), 0.5)
    whole, _ = once.update({"w": 2 * jnp.ones((2, 2))}, once.init(params), params)
    np.testing.assert_array_equal(first["w"], 0.0)
    np.testing.assert_allclose(second["w"], whole["w"], rtol=1e-12)


def test_its_rates_are_found():
    tx = hyperball(sgd(1.0), rates)
    assert [float(x) for x in learning_rates(tx, PARAMS)(tx.init(PARAMS))] == [1.0, 0.3]


def test_what_is_wrong_is_said(as_users_run_it):
    with pytest.raises(TypeError, match="hyperball: `inner` must be"):
        hyperball(0.1, 0.1)
    with pytest.raises(ValueError, match=r"`learning_rate` must lie in \[0, inf\), got -1.0"):
        hyperball(optax.sgd(0.1), -1.0)
    tx, w = hyperball(sgd(0.1), 0.1), jnp.ones((2, 2))
    with pytest.raises(ValueError, match="hyperball reads the parameters"):
        tx.update(w, tx.init(w))
