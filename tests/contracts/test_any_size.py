"""Gradients of any size: what does not depend on their scale, and what bounds it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers, regularizers, transforms
from jaxopt_course.core import GradientTransformationExtraArgs
from tests.catalogue import RECIPES, TRANSFORMATIONS
from tests.tiers import everyday_first


# Built without an eps, which is a scale of its own: the update is that of any multiple.
SCALE_FREE = {
    "fromage": lambda: optimizers.fromage(0.1, 0.0),
    "lars": lambda: optimizers.lars(0.1, eps=0.0, weight_decay=0.0),
    "lion": lambda: optimizers.lion(0.1),
    "muon:aol": lambda: optimizers.scale_by_muon(preconditioning="aol", eps=0.0),
    "muon:frobenius": lambda: optimizers.scale_by_muon(eps=0.0),
    "muon:schatten": lambda: optimizers.scale_by_muon(preconditioning="schatten", eps=0.0),
    "normalize": transforms.normalize,
    "scale_by_sign": optimizers.scale_by_sign,
    "scale_by_trust_ratio": transforms.scale_by_trust_ratio,
}
# The norm that comes out of any larger one.
BOUNDED = {
    "clip_by_global_norm": (lambda: transforms.clip_by_global_norm(0.5), 0.5),
    "clip_by_block_rms": (lambda: transforms.clip_by_block_rms(0.5), 0.5 * 6**0.5),
    "adaptive_grad_clip": (lambda: transforms.adaptive_grad_clip(0.5, axis=(0, 1)), 0.5 * 2.0),
    "normalize_by_update_norm": (lambda: transforms.normalize_by_update_norm(0.5), 0.5),
}
ONE = np.ones((), np.float32)
PARAMS = np.array([[1.0, 0.5, -1.0], [0.5, 1.0, 0.5]]) * 2 / 3.75**0.5  # of norm 2
GRADIENT = np.array([[0.5, -1.0, 0.25], [0.75, 0.125, -0.5]])
LARGE = [("float32", 1e30), ("bfloat16", 1e30), ("float16", 6e4), ("float32", 2e38)]
ROUNDING = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-3}


# The states of these are squares by definition. They are infinite where the squares are, and these
# methods subtract or divide two of them.
SQUARES = (
    "adafactor:factored",
    "ftrl",
    "kl_shampoo",
    "kl_soap",
    "psgd_kron",
    "rmsprop:centered",
    "scale_by_factored_rms:factored",
    "scale_by_kl_shampoo",
    "scale_by_kl_soap",
    "scale_by_shampoo",
    "scale_by_soap",
    "scale_by_stddev",
    "scale_by_yogi",
    "shampoo",
    "soap",
    "soap_muon",
    "splus",
    "yogi",
)
EVERY_DAY = ("clip_by_global_norm", "lars", "lion", "normalize_by_update_norm", "sgd")


def two_updates(tx, dtype, size):
    params = jnp.asarray(PARAMS, dtype)
    state, update = tx.init(params), jax.jit(tx.update)
    results = []
    for sign in (1, -0.5):
        updates, state = update(jnp.asarray(sign * size * GRADIENT, dtype), state, params)
        results.append(np.asarray(updates, float))
    return results


def check_finite(tx, dtype, size):
    updates = two_updates(tx, dtype, size)
    assert np.isfinite(updates).all(), updates


def check_scale_free(tx, dtype, size):
    usual, scaled = two_updates(tx, dtype, 1.0), two_updates(tx, dtype, size)
    np.testing.assert_allclose(scaled, usual, rtol=ROUNDING[dtype], atol=ROUNDING[dtype])


def check_bounded(tx, bound, dtype, size):
    update = two_updates(tx, dtype, size)[0]
    np.testing.assert_allclose(np.linalg.norm(update), bound, rtol=ROUNDING[dtype])
    direction = GRADIENT / np.linalg.norm(GRADIENT)
    np.testing.assert_allclose(update / bound, direction, atol=ROUNDING[dtype])


@pytest.mark.parametrize(("dtype", "size"), [*LARGE, ("float32", 1e-30), ("bfloat16", 1e-30)])
@pytest.mark.parametrize("name", everyday_first(25, SCALE_FREE))
def test_updates_do_not_depend_on_the_scale_of_gradients(name, dtype, size):
    if size == 2e38 and name.startswith("muon"):
        pytest.skip("the momentum, a sum of gradients, exceeds the largest number")
    check_scale_free(SCALE_FREE[name](), dtype, size)


@pytest.mark.parametrize("name", EVERY_DAY)
def test_updates_are_finite_for_gradients_of_any_size(name):
    check_finite(TRANSFORMATIONS[name].build(), "float32", 1e30)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_updates_of_the_whole_catalogue_are_finite(name):
    sizes = [("float32", 1e-30), ("bfloat16", 1e-30)]
    if name not in SQUARES:
        sizes += [("float32", 1e30), ("bfloat16", 1e30)]
        sizes += [("float16", 3e3)]  # whose square is infinite; updates may be some ten times it
    for dtype, size in sizes:
        check_finite(TRANSFORMATIONS[name].build(), dtype, size)


@pytest.mark.exhaustive
# Of an infinite difference of squares jax 0.10 makes 0, and jax 0.12 NaN.
@pytest.mark.parametrize("name", sorted(set(SQUARES) - {"scale_by_stddev"}))
def test_the_exempted_ones_need_their_exemption(name):
    with pytest.raises(AssertionError):
        check_finite(TRANSFORMATIONS[name].build(), "float32", 1e30)


@pytest.mark.parametrize(("dtype", "size"), LARGE)
@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_hold_for_gradients_of_any_size(name, dtype, size):
    build, bound = BOUNDED[name]
    check_bounded(build(), bound, dtype, size)


def test_the_checks_reject_the_plain_formula():
    def by_plain_norm(updates, state, params=None, **extra_args):
        return updates / jnp.sqrt(jnp.sum(jnp.square(updates))), state

    plain = GradientTransformationExtraArgs(lambda params: (), by_plain_norm)
    check_scale_free(plain, "float32", 100.0)
    check_bounded(plain, 1.0, "float32", 100.0)
    for size in (1e30, 1e-30):
        with pytest.raises(AssertionError):
            check_scale_free(plain, "float32", size)
    with pytest.raises(AssertionError):
        check_finite(plain, "float32", 1e-30)
    with pytest.raises(AssertionError):
        check_bounded(plain, 1.0, "float32", 1e30)


def test_polyak_steps_are_right_at_any_size():
    grads = jnp.asarray(GRADIENT * 1e30, jnp.float32)
    tx = optimizers.scale_by_polyak(max_learning_rate=jnp.inf)
    updates, _ = tx.update(grads, tx.init(grads), grads, value=1e30)
    square = (GRADIENT**2).sum()
    np.testing.assert_allclose(updates, GRADIENT / square, rtol=1e-6)


def test_newton_steps_are_right_at_any_size():
    """Those of a quadratic loss are proportional to the distance from its minimum."""
    curvature = jnp.array([1.0, 4.0], jnp.float32)
    loss = lambda w: jnp.sum(curvature * w * w) / 2
    tx = optimizers.scale_by_newton_cg(10)

    def step(params):
        grads = curvature * params
        offers = {"value": jnp.float32(0), "grad": grads, "value_fn": loss}
        return tx.update(grads, tx.init(params), params, **offers)[0]

    params = jnp.array([3.0, 1.0], jnp.float32)
    usual = step(params)
    assert jnp.linalg.norm(usual) > 1
    np.testing.assert_allclose(step(params * 1e30) / 1e30, usual, rtol=1e-5)


def test_per_example_clips_and_projections_hold_at_any_size():
    for size in (1.0, 1e30, 5e37):
        rows = jnp.asarray([[3 * size, 4 * size], [3.0, 4.0]], jnp.float32)
        total, shrunk = transforms.per_example_global_norm_clip(rows, 1.0)
        np.testing.assert_allclose(total, [1.2, 1.6], rtol=1e-6)
        assert shrunk == 2
        projected = regularizers.project_l2_constraint(rows[0], 25.0)
        np.testing.assert_allclose(projected, [3.0, 4.0], rtol=1e-6)
    rows = jnp.asarray([[3e30, 4e30], [3.0, 4.0]], jnp.float32)
    np.testing.assert_allclose(regularizers.group_lasso_penalty(rows), 5e30, rtol=1e-6)
    small = jnp.float32(1e-30)
    assert regularizers.prox_l0(small, strength=0.0) == small


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_large_gradients_are_skipped_by_their_norm(size):
    grads = {"a": jnp.asarray(3 * size, jnp.float32), "b": jnp.asarray([4 * size], jnp.float32)}

    def skipped(root):
        return transforms.skip_large_updates(grads, 0, None, (root * size) ** 2)[0]

    assert skipped(4.9)
    assert not skipped(5.1)
    assert not skipped(np.inf)
    assert transforms.skip_large_updates({"a": jnp.inf * ONE}, 0, None, np.inf)[0]


def test_a_norm_at_the_bound_is_skipped():
    assert transforms.skip_large_updates(jnp.float32([3, 4]), 0, None, 25.0)[0]
