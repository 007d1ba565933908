"""Proximal operators against the conditions that single out their solutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import regularizers
from jaxopt_course.regularizers import (
    project_l2_constraint,
    prox_box,
    prox_elastic_net,
    prox_group_lasso,
    prox_l0,
    prox_l1,
    prox_l2,
    prox_nuclear,
    prox_simplex,
)
from tests.names import public_names


RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(50, 4, 3)) * np.exp(RNG.normal(size=(50, 1, 1)))
POINTS[[0, -1]] = 0.0
POINTS[[1, -2]] *= 0.05 / np.abs(POINTS[[1, -2]]).max()
STRENGTH, STEP = 0.7, 0.6


def over_points(operator, points=POINTS):
    return np.asarray(jax.jit(jax.vmap(operator))(jnp.asarray(points)))


# For a norm R, y = prox(x) exactly where x - y lies in the dual ball of radius t, and touches it
# in the direction of y:  dual(x - y) <= t  and  <x - y, y> = t R(y).
NORMS = {
    "l1": (prox_l1, lambda y: np.abs(y).sum((1, 2)), lambda z: np.abs(z).max((1, 2))),
    "groups": (
        prox_group_lasso,
        lambda y: np.linalg.norm(y, axis=2).sum(1),
        lambda z: np.linalg.norm(z, axis=2).max(1),
    ),
    "one group": (
        functools.partial(prox_group_lasso, axis=None),
        lambda y: np.linalg.norm(y.reshape(50, -1), axis=1),
        lambda z: np.linalg.norm(z.reshape(50, -1), axis=1),
    ),
    "nuclear": (
        prox_nuclear,
        lambda y: np.linalg.svd(y, compute_uv=False).sum(1),
        lambda z: np.linalg.svd(z, compute_uv=False).max(1),
    ),
}


@pytest.mark.parametrize("imaginary", [0.0, 1.0j], ids=["real", "complex"])
@pytest.mark.parametrize("name", NORMS)
def test_norms_meet_their_optimality_condition(name, imaginary):
    operator, norm, dual = NORMS[name]
    x = POINTS if imaginary == 0 else POINTS + imaginary * POINTS[::-1]
    t = STRENGTH * STEP
    y = over_points(lambda x: operator(x, strength=STRENGTH, scaling=STEP), x)
    # 1e-12: entries are of size 10, and the sum of a dozen is rounded
    assert (dual(x - y) <= t * (1 + 1e-12)).all()
    touch = np.sum((x - y).conj() * y, axis=(1, 2)).real
    np.testing.assert_allclose(touch, t * norm(y), rtol=1e-11, atol=1e-12)
    assert 0 < (norm(y) > 0).mean() < 1  # some points become zero, others do not


def test_one_scaling_for_each_entry_is_a_metric():
    """-(y - x) / a must be a slope of the penalty, entry by entry."""
    a = np.exp(RNG.normal(size=(4, 3)))
    x, scaling = POINTS, jnp.asarray(a)
    y = over_points(lambda x: prox_l1(x, STRENGTH, scaling))
    slopes = np.where(y != 0, np.sign(y), np.clip((x - y) / a / STRENGTH, -1, 1))
    np.testing.assert_allclose((x - y) / a, STRENGTH * slopes, rtol=1e-11, atol=1e-13)
    assert (y == 0).any()
    assert (y != 0).any()
    net = over_points(lambda x: prox_elastic_net(x, STRENGTH, 0.3, scaling))
    slopes = np.where(net != 0, np.sign(net), np.clip((x - net) / a / STRENGTH, -1, 1))
    np.testing.assert_allclose((x - net) / a, STRENGTH * slopes + 0.3 * net, rtol=1e-11, atol=1e-13)
    ridge = over_points(lambda x: prox_l2(x, STRENGTH, scaling))
    np.testing.assert_allclose((x - ridge) / a, STRENGTH * ridge, rtol=1e-11, atol=1e-13)


def test_hard_thresholding_beats_every_other_value():
    """Not convex: brute force over a grid of values and over the two candidates."""
    x = POINTS.ravel()
    y = over_points(lambda x: prox_l0(x, STRENGTH, STEP), x)
    cost = lambda y: (y - x) ** 2 / 2 + STEP * STRENGTH * (y != 0)
    others = np.concatenate([np.linspace(-5, 5, 2001)[:, None] + 0 * x, [x, 0 * x]])
    assert (cost(y) <= np.min([cost(other) for other in others], axis=0) + 1e-15).all()
    assert 0 < (y == 0).mean() < 1


def test_projections_leave_no_better_direction():
    """y is the nearest point of a convex set where no corner z has <x - y, z - y> > 0."""
    x = POINTS.reshape(50, 12)
    y = over_points(lambda x: prox_simplex(x, total=2.0), x)
    np.testing.assert_allclose(y.sum(1), 2.0, rtol=1e-14)
    assert (y >= 0).all()
    corners = 2.0 * np.eye(12)
    gains = np.einsum("ni,nki->nk", x - y, corners[None] - y[:, None])
    assert (gains <= 1e-12).all()
    y = over_points(lambda x: prox_box(x, lower=-0.5, upper=1.0), x)
    for corner in (-0.5, 1.0):
        assert ((x - y) * (corner - y) <= 1e-15).all()
    y = over_points(lambda x: project_l2_constraint({"a": x[:5], "b": x[5:]}, 2.0)["b"], x)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(
        y, (x * np.minimum(1, np.sqrt(2.0) / np.maximum(norms, 1e-300)))[:, 5:]
    )


def test_no_constraint_and_no_step_leave_the_point():
    x = jnp.asarray(POINTS[2])
    for operator in (prox_l1, prox_l2, prox_l0, prox_group_lasso, prox_nuclear, prox_elastic_net):
        np.testing.assert_allclose(operator(x, scaling=0.0), x, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(prox_box(x, -jnp.inf, jnp.inf), x)


def test_slopes_by_the_point_and_the_strength_are_finite_at_zero_and_right_elsewhere():
    def totals(x, strength):
        operators = (prox_l1, prox_l2, prox_group_lasso)
        return sum(jnp.sum(f(x, strength)) for f in operators)

    slopes = jax.jit(jax.grad(totals, (0, 1)))
    for slope in slopes(jnp.zeros((2, 3)), 0.5):
        assert np.isfinite(slope).all()

    def totals_of_a_point(strength, limit):
        point = jnp.array([3.0, 4.0, 0.1])
        return jnp.sum(prox_l1(point, strength)), jnp.sum(project_l2_constraint(point[:2], limit))

    by_strength, by_limit = jax.jit(jax.jacfwd(totals_of_a_point, (0, 1)))(0.5, 4.0)
    np.testing.assert_allclose(by_strength, [-2.0, 0.0])  # two entries are not zero
    np.testing.assert_allclose(by_limit, [0.0, 1.4 / (2 * 2.0)], rtol=1e-14)  # 7/5 sqrt(limit)
    at_zero = jax.jit(jax.grad(lambda x: jnp.sum(project_l2_constraint(x, 0.0))))(jnp.zeros(2))
    assert np.isfinite(at_zero).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_each_returns_the_dtype_it_was_given(dtype):
    x = jnp.asarray(POINTS[2], dtype)
    for name in public_names(regularizers):
        if name.startswith("prox_"):
            y = jax.eval_shape(getattr(regularizers, name), x)
            assert (y.dtype, y.shape) == (x.dtype, x.shape), name


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x: prox_l1(x, -1.0), r"prox_l1: `strength` must lie in \[0, inf\), got -1.0"),
        (lambda x: prox_l1(x, 1.0, -1.0), r"prox_l1: `scaling` must lie in \[0, inf\), got -1.0"),
        (lambda x: prox_elastic_net(x, 1.0, -1.0), "prox_elastic_net: `l2` must lie in"),
        (lambda x: prox_l0(x, 1.0, jnp.ones(2)), r"prox_l0: `scaling` .* shaped like `x`, \(3,\)"),
        (lambda x: prox_simplex(x, 0.0), r"prox_simplex: `total` must lie in \(0, inf\), got 0.0"),
        (lambda x: prox_box(x, 1.0, 0.0), r"prox_box: `lower` must lie in \[-inf, upper\]"),
        (lambda x: prox_box(x, np.nan, 0.0), r"prox_box: `lower` must lie in \[-inf, inf\]"),
        (lambda x: prox_box(x, np.full(3, np.nan)), r"prox_box: `lower` must lie in \[-inf, upper"),
        (lambda x: prox_box(x, 0.0, np.ones((3, 3))), r"`upper` must .* like `x`, \(3,\), got"),
    ],
)
def test_bad_numbers_get_one_sentence(call, sentence, as_users_run_it):
    with pytest.raises(ValueError, match=sentence):
        call(jnp.ones(3))


def test_penalties_that_mix_entries_take_no_other_metric(as_users_run_it):
    for operator in (prox_group_lasso, prox_nuclear, prox_simplex):
        name = operator.__name__
        with pytest.raises(TypeError, match=f"{name}: `scaling` must be a number in .*, got an"):
            operator(jnp.ones((2, 2)), scaling=jnp.ones((2, 2)))
