"""Cautious, corrected and independent weight decay, beside their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.transforms import (
    add_decayed_weights,
    apply_updates,
    cautious_weight_decay,
    chain,
    corrected_weight_decay,
    independent_weight_decay,
    scale_by_learning_rate,
)


STEPS, PEAK = 30, 0.2
rng = np.random.default_rng(5)
GRADS = {"w": rng.normal(size=(STEPS, 4, 3)), "b": rng.normal(size=(STEPS, 3))}
FIRST = {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}


def rate(t):
    return PEAK * (1 - jnp.asarray(t, float) / STEPS)


def decay(t):
    return 0.3 / (1 + jnp.asarray(t, float))


def points(tx):
    def step(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        params = apply_updates(params, updates)
        return (params, state), params

    first = jax.tree.map(jnp.asarray, FIRST)
    return jax.lax.scan(step, (first, tx.init(first)), jax.tree.map(jnp.asarray, GRADS))[1]


def by_hand(name, leaf):
    """The same in a loop; the momentum is 0.7."""
    w, v, found = FIRST[leaf].copy(), np.zeros_like(FIRST[leaf]), []
    for t, g in enumerate(GRADS[leaf]):
        v = 0.7 * v + g
        a, d = float(rate(t)), float(decay(t))
        if name == "cautious":
            step = a * (v + d * np.where(np.sign(v) * np.sign(w) >= 0, w, 0))
        elif name == "corrected":
            step = a * v + d * a**2 / PEAK * w
        else:
            step = a * v + d * w
        w = w - step
        found.append(w)
    return np.stack(found)


MOMENTUM = transforms.trace(0.7)
CHAINS = {
    "cautious": chain(MOMENTUM, cautious_weight_decay(decay), scale_by_learning_rate(rate)),
    "corrected": chain(
        MOMENTUM, corrected_weight_decay(decay, rate, PEAK), scale_by_learning_rate(rate)
    ),
    "independent": chain(MOMENTUM, scale_by_learning_rate(rate), independent_weight_decay(decay)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_is_the_formula(name):
    found = points(CHAINS[name])
    for leaf in FIRST:
        np.testing.assert_allclose(found[leaf], by_hand(name, leaf), rtol=1e-11)


def test_cautious_decay_leaves_stationary_points_where_they_are():
    """The usual decay stops short of the minimum of (w - 1)^2 / 2."""

    def end(decay):
        tx = chain(decay, scale_by_learning_rate(0.1))

        def step(carry, _):
            w, state = carry
            updates, state = tx.update(w - 1, state, w)
            return (w + updates, state), None

        return float(
            jax.lax.scan(step, (jnp.array(0.2), tx.init(jnp.array(0.2))), length=400)[0][0]
        )

    assert end(add_decayed_weights(0.5)) == pytest.approx(1 / 1.5)
    assert end(cautious_weight_decay(0.5)) == pytest.approx(1, abs=1e-8)


def test_the_product_of_tiny_numbers_has_a_sign():
    """In float16 their product is 0, which would count as agreement."""
    w, u = jnp.array([1e-5, 1e-5], jnp.float16), jnp.array([1e-5, -1e-5], jnp.float16)
    tx = cautious_weight_decay(1.0)
    found, _ = tx.update(u, tx.init(w), w)
    assert (np.asarray(found) > 0).tolist() == [True, False]
    assert float(found[1]) == float(u[1])


def test_corrected_decay_keeps_the_ratio_of_gradient_and_weights():
    """For a scale-invariant loss |g| / |w| tends to sqrt(2 d / a_max) at every rate."""
    loss = lambda w, n: jnp.vdot(n, w / jnp.linalg.norm(w))  # a linear loss of the direction

    def ratio(decay_at, a):
        tx = chain(decay_at(a), scale_by_learning_rate(a))

        def step(carry, key):
            w, state = carry
            g = jax.grad(loss)(w, jax.random.normal(key, w.shape))
            updates, state = tx.update(g, state, w)
            return (w + updates, state), jnp.linalg.norm(g) / jnp.linalg.norm(w)

        w = jnp.ones(50)
        keys = jax.random.split(jax.random.key(0), 4000)
        _, ratios = jax.lax.scan(step, (w, tx.init(w)), keys)
        return float(jnp.sqrt(jnp.mean(ratios[2000:] ** 2)))

    d, a_max = 0.1, 0.5
    for a in (0.5, 0.1):
        corrected = ratio(lambda a: corrected_weight_decay(d, a, a_max), a)
        plain = ratio(lambda a: add_decayed_weights(d), a)
        # The steady state is that of a continuous limit: an error of order a d, at most 5 %.
        assert corrected == pytest.approx(np.sqrt(2 * d / a_max), rel=0.06)
        assert plain == pytest.approx(np.sqrt(2 * d / a), rel=0.06)


def test_masks_and_whole_optimizers():
    mask = {"w": True, "b": False}
    params = jax.tree.map(jnp.asarray, FIRST)
    grads = jax.tree.map(lambda g: jnp.asarray(g[0]), GRADS)
    tx = chain(optimizers.adam(0.1), independent_weight_decay(0.01, mask))
    plain, _ = (adam := optimizers.adam(0.1)).update(grads, adam.init(params), params)
    found, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(found["w"], plain["w"] - 0.01 * FIRST["w"], rtol=1e-12)
    np.testing.assert_array_equal(found["b"], plain["b"])


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"cautious_weight_decay: `weight_decay` must lie in"):
        cautious_weight_decay(-0.1)
    with pytest.raises(ValueError, match=r"`peak_learning_rate` must lie in \(0, inf\), got 0.0"):
        corrected_weight_decay(0.1, 0.1, 0.0)
    tx = independent_weight_decay(0.1)
    with pytest.raises(ValueError, match="independent_weight_decay reads the parameters"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
