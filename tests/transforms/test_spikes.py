"""Clipping to, and skipping above, a running quantile of norms, beside NumPy's percentile."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.transforms import clip_by_quantile, ema_params, evaluation_params, skip_spikes


def norms_of_steps(seed, count=30):
    """Norms of which every seventh is a spike."""
    norms = np.exp(np.random.default_rng(seed).normal(size=count) / 2)
    norms[6::7] *= 20
    return norms


def gradients(norms):
    """Trees of two leaves whose joint norms are ``norms``."""
    return {"a": jnp.outer(jnp.array(norms), jnp.array([0.6, 0.0])), "b": 0.8 * jnp.array(norms)}


def updates_of(tx, norms):
    params = {"a": jnp.zeros(2), "b": jnp.zeros(())}

    def step(state, grads):
        updates, state = tx.update(grads, state, params)
        return state, updates

    return jax.lax.scan(step, tx.init(params), gradients(norms))


@pytest.mark.parametrize(("quantile", "window"), [(0.0, 3), (0.35, 8), (0.9, 50), (1.0, 1)])
def test_clipping_is_to_the_percentile_of_the_last_norms(quantile, window):
    norms = norms_of_steps(0)
    _, updates = jax.jit(lambda q: updates_of(clip_by_quantile(q, window), norms))(quantile)
    wanted = [
        min(n, np.percentile(norms[max(0, t + 1 - window) : t + 1], 100 * quantile))
        for t, n in enumerate(norms)
    ]
    np.testing.assert_allclose(updates["b"], 0.8 * np.array(wanted), rtol=1e-12)
    np.testing.assert_allclose(updates["a"][:, 0], 0.6 * np.array(wanted), rtol=1e-12)


@pytest.mark.parametrize(("quantile", "factor", "window"), [(0.5, 3.0, 5), (0.8, 1.5, 9)])
def test_steps_above_the_quantile_before_them_are_skipped(quantile, factor, window):
    norms = norms_of_steps(1)
    tx = lambda q, f: skip_spikes(optimizers.sgd(1.0), q, f, window)
    state, updates = jax.jit(lambda *n: updates_of(tx(*n), norms))(quantile, factor)
    skipped = [
        t >= window and n > factor * np.percentile(norms[t - window : t], 100 * quantile)
        for t, n in enumerate(norms)
    ]
    np.testing.assert_allclose(updates["b"], np.where(skipped, 0, -0.8 * norms), rtol=1e-12)
    assert 0 < sum(skipped) < len(norms) / 2
    assert int(state.total_skipped) == sum(skipped)


def test_a_skipped_step_leaves_the_inner_optimizer_and_averages_around_it():
    tx = ema_params(skip_spikes(optimizers.adam(0.1), 0.5, 2.0, window=2), 0.5, debias=False)
    params = jnp.array(3.0)
    state = tx.init(params)
    for g in (1.0, 1.0, 1.5):
        updates, state = tx.update(jnp.array(g), state, params)
        params = params + updates
    before = state
    updates, state = tx.update(jnp.array(100.0), state, params)
    assert float(updates) == 0
    assert float(evaluation_params(state, params)) == float(evaluation_params(before, params))
    np.testing.assert_array_equal(
        *(jax.tree.leaves(s.inner_state.inner_state)[1] for s in (before, state))
    )


def test_a_level_that_stays_is_accepted():
    tx, window = skip_spikes(optimizers.sgd(1.0), 0.75, 2.0, window=8), 8
    norms = np.array([1.0] * window + [10.0] * window)
    state, updates = updates_of(tx, norms)
    skipped = np.asarray(updates["b"] == 0)
    assert not skipped[:window].any()
    # The quantile lies between the norms number 5 and 6 of 0 to 7, until the third is high.
    assert skipped[window:].tolist() == [True] * 3 + [False] * 5
    assert int(state.total_skipped) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_norms_that_are_not_finite_are_not_kept(bad):
    norms = np.array([bad, 1.0, 2.0, bad, 3.0])
    clip, _ = updates_of(clip_by_quantile(0.5, 3), norms)
    skip, updates = updates_of(skip_spikes(optimizers.sgd(1.0), 0.5, 9.0, 3), norms)
    for recent in (clip, skip.recent):
        assert recent.norms.tolist() == pytest.approx([1, 2, 3])
        assert int(recent.count) == 3
    assert updates["b"].tolist() == pytest.approx([0, -0.8, -1.6, 0, -2.4])


def test_bad_arguments_are_named(as_users_run_it):
    for build in (clip_by_quantile, lambda *a, **k: skip_spikes(optimizers.sgd(1.0), *a, **k)):
        with pytest.raises(ValueError, match=r"`quantile` must lie in \[0, 1\], got 1.1"):
            build(1.1)
        with pytest.raises(TypeError, match="`window` must be an int"):
            build(0.5, window=2.5)
    with pytest.raises(ValueError, match=r"`factor` must lie in \(0, inf\), got 0.0"):
        skip_spikes(optimizers.sgd(1.0), 0.5, 0.0)
    with pytest.raises(ValueError, match="must not accumulate gradients"):
        skip_spikes(transforms.MultiSteps(optimizers.sgd(1.0), 2)).init(jnp.zeros(2))
