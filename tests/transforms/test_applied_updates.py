"""Wrappers that count or average steps do so by applied updates, whichever is around the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import (
    is_pending,
    was_applied,
)
from jaxopt_course.transforms import (
    MultiSteps,
    apply_accumulated,
    evaluation_params,
)
from tests.tiers import everyday_first


K = 3
START = jnp.array([3.0, -2.0])


def batches(number):
    """Gradients, values and weights of ``number`` groups; the last batch of each weighs nothing."""
    rng = np.random.default_rng(0)
    grads = jnp.asarray(rng.normal(size=(number, K, 2)))
    values = jnp.asarray(rng.uniform(size=(number, K)))
    weights = jnp.asarray(rng.integers(1, 9, size=(number, K)), float).at[:, -1].set(0.0)
    return grads.at[0, -1].set(jnp.nan), values, weights


def taken(tx, params, grads, values, weights):
    """The parameters and the state after the updates, one a row of the arrays."""

    def step(carry, batch):
        params, state = carry
        gradient, value, weight = batch
        updates, state = tx.update(gradient, state, params, value=value, weight=weight)
        return (transforms.apply_updates(params, updates), state), None

    carry = params, tx.init(params)
    return jax.jit(lambda c: jax.lax.scan(step, c, (grads, values, weights))[0])(carry)


def in_groups(tx, params, number):
    grads, values, weights = batches(number)
    flat = (x.reshape(-1, *x.shape[2:]) for x in (grads, values, weights))
    return taken(tx, params, *flat)


def in_large_batches(tx, params, number):
    grads, values, weights = batches(number)
    total = weights.sum(1)
    mean = lambda x, w: jnp.where(w > 0, x * w, 0).sum(1)
    by_rows = mean(grads, weights[..., None]) / total[:, None]
    return taken(tx, params, by_rows, mean(values, weights) / total, total)


def falling(t):
    return 1 / (1 + jnp.asarray(t, float))


SGD = optimizers.sgd(0.1)
COUNTING = {
    "ema_params": lambda inner: transforms.ema_params(inner, 0.9),
    "schedule_free": lambda inner: optimizers.schedule_free(inner, 0.1),
    "accelerated": lambda inner: optimizers.accelerated(inner),
    "apply_if_finite": lambda inner: transforms.apply_if_finite(inner, 0),
    "plateau": lambda inner: transforms.chain(
        inner, transforms.reduce_on_plateau(0.5, patience=1, accumulation_size=2)
    ),
    "decay": lambda inner: transforms.chain(inner, transforms.add_decayed_weights(0.1)),
    "schedule": lambda inner: transforms.named_chain(
        ("inner", inner),
        ("schedule", transforms.scale_by_schedule(falling)),
    ),
    "average of averages": lambda inner: transforms.ema_params(
        transforms.masked(transforms.chain(transforms.identity(), inner), True), 0.9
    ),
}


@pytest.mark.parametrize("name", everyday_first(3, COUNTING))
def test_around_an_accumulation_steps_are_applied_updates(name):
    wrap = COUNTING[name]
    wanted, state = in_large_batches(wrap(SGD), START, 5)
    mean = evaluation_params(state, wanted)
    for tx in (wrap(MultiSteps(SGD, K)), MultiSteps(wrap(SGD), K)):
        params, state = in_groups(tx, START, 5)
        np.testing.assert_allclose(params, wanted, rtol=1e-12)
        np.testing.assert_allclose(evaluation_params(state, params), mean, rtol=1e-12)


def test_lookahead_synchronizes_by_applied_updates():
    wrap = lambda inner: transforms.lookahead(inner, 2, 0.5)
    both = transforms.LookaheadParams.init_synced(START)
    wanted, _ = in_large_batches(wrap(SGD), both, 5)
    found, _ = in_groups(wrap(MultiSteps(SGD, K)), both, 5)
    np.testing.assert_allclose(found.slow, wanted.slow, rtol=1e-12)
    np.testing.assert_allclose(found.fast, wanted.fast, rtol=1e-12)


def test_an_injected_schedule_counts_applied_updates():
    factory = lambda learning_rate: MultiSteps(optimizers.sgd(learning_rate), K)
    _, state = in_groups(transforms.inject_hyperparams(factory)(falling), START, 3)
    assert int(state.count) == 3
    np.testing.assert_allclose(state.hyperparams["learning_rate"], 1 / 3)


def test_a_loss_scale_grows_after_applied_updates():
    wrap = lambda inner: transforms.dynamic_loss_scale(inner, 8.0, growth_interval=2)
    steps = lambda tx, n: taken(tx, START, jnp.ones((n, 2)), jnp.ones(n), jnp.ones(n))
    params, state = steps(wrap(MultiSteps(SGD, K)), 2 * K)
    wanted, large = steps(wrap(SGD), 2)
    np.testing.assert_allclose(params, wanted, rtol=1e-12)
    assert float(state.scale) == float(large.scale) == 16.0
    inside, _ = steps(MultiSteps(wrap(SGD), K), 2 * K)
    np.testing.assert_allclose(inside, wanted, rtol=1e-12)


def test_skipped_steps_are_not_averaged():
    bad = jnp.ones((4, 2)).at[1:3].set(jnp.nan)
    for wrap in (
        lambda inner: transforms.apply_if_finite(inner, 5),
        lambda inner: transforms.dynamic_loss_scale(inner),
    ):
        tx = transforms.ema_params(wrap(SGD), 0.9)
        params, state = taken(tx, START, bad, jnp.ones(4), jnp.ones(4))
        good, wanted = taken(tx, START, jnp.ones((2, 2)), jnp.ones(2), jnp.ones(2))
        np.testing.assert_allclose(
            evaluation_params(state, params), evaluation_params(wanted, good), rtol=1e-12
        )


@pytest.mark.parametrize(
    "build",
    [
        transforms.cautious,
        lambda inner: transforms.conditionally_mask(inner, lambda t: t < 3),
        lambda inner: transforms.conditionally_transform(inner, lambda t: t < 3),
        lambda inner: optimizers.sam(inner, SGD),
        lambda inner: optimizers.sam(SGD, inner),
    ],
)
def test_wrappers_that_read_every_gradient_refuse_an_accumulation_inside(build):
    with pytest.raises(ValueError, match="must not accumulate gradients, for"):
        build(transforms.chain(MultiSteps(SGD, K))).init(START)
    build(SGD).init(START)


def test_a_value_function_inside_is_refused_with_what_to_do_instead():
    tx = MultiSteps(optimizers.lbfgs(), K)
    loss = lambda w: jnp.sum(w**2)
    state = tx.init(START)
    with pytest.raises(ValueError, match="larger `batch_size`"):
        tx.update(START, state, START, value=1.0, grad=START, value_fn=loss)


def test_a_group_without_weight_is_a_gradient_of_zero():
    tx = MultiSteps(optimizers.sgd(0.1, momentum=0.5), 2)
    state = tx.init(START)
    for weight in (1.0, 1.0, 0.0, 0.0):
        updates, state = tx.update(jnp.ones(2), state, START, weight=weight, value=2.0)
    np.testing.assert_allclose(updates, -0.05 * jnp.ones(2))  # the momentum moves on


def test_sums_are_means_times_the_number_of_batches():
    for weights, wanted in (((1.0, 1.0), 8.0), ((4.0, 4.0), 8.0), ((3.0, 1.0), 2 * 3.0)):
        tx = MultiSteps(optimizers.sgd(1.0), 2, use_grad_mean=False)
        state = tx.init(START)
        for gradient, weight in zip((2.0, 6.0), weights, strict=True):
            updates, state = tx.update(jnp.full(2, gradient), state, START, weight=weight)
        np.testing.assert_allclose(updates, -wanted * jnp.ones(2))


PLACES = {
    "alone": lambda tx: tx,
    "masked": lambda tx: transforms.masked(tx, True),
    "chain": lambda tx: transforms.chain(transforms.clip(100.0), tx, transforms.scale(0.5)),
    "named_chain": lambda tx: transforms.named_chain(("a", optimizers.scale_by_adam()), ("b", tx)),
    "partition": lambda tx: transforms.partition({"a": tx, "b": optimizers.adam(0.1)}, "a"),
    "packed": transforms.packed,
    "ema": lambda tx: transforms.ema_params(tx, 0.9),
    "nested": lambda tx: MultiSteps(tx, 2),
    "every": lambda tx: transforms.chain(tx, transforms.apply_every(2)),
}


@pytest.mark.parametrize("name", everyday_first(3, PLACES))
def test_what_is_left_is_applied_wherever_it_was_accumulated(name):
    """After 4 of 3 + 3 batches: the update of the fourth alone, and then nothing is left."""
    tx = PLACES[name](MultiSteps(optimizers.sgd(1.0), K))
    params = {"w": START}
    state, moved = tx.init(params), params
    for gradient in (1.0, 2.0, 3.0, 7.0):
        updates, state = tx.update({"w": jnp.full(2, gradient)}, state, moved)
        moved = transforms.apply_updates(moved, updates)
    assert bool(is_pending(state))
    finish = jax.jit(lambda state, params: apply_accumulated(tx, state, params))
    end, new_state = finish(state, moved)
    assert not bool(is_pending(new_state))
    assert jax.tree.structure(new_state) == jax.tree.structure(state)
    factor = {"chain": 0.5}.get(name, 1.0)
    wanted = {"nested": (2.0 * 3 + 7.0) / 4}.get(name, 2.0 + 7.0)
    if name != "named_chain":  # Adam in front of it makes other gradients
        np.testing.assert_allclose(end["w"], START - factor * wanted, rtol=1e-12)
    again, _ = finish(new_state, end)
    np.testing.assert_array_equal(again["w"], end["w"])


def test_other_groups_and_links_in_front_stay_as_they_are():
    labels = {"w": "a", "b": "b"}
    tx = transforms.chain(
        transforms.trace(0.9),
        transforms.partition(
            {"a": MultiSteps(optimizers.sgd(1.0), K), "b": optimizers.adam(0.1)}, labels
        ),
    )
    params = {"w": START, "b": START}
    state = tx.init(params)
    updates, state = tx.update(params, state, params)
    params = transforms.apply_updates(params, updates)
    end, new_state = apply_accumulated(tx, state, params)
    np.testing.assert_array_equal(end["b"], params["b"])
    assert not np.array_equal(end["w"], params["w"])
    for before, after in (
        (state[0], new_state[0]),
        (state[1].inner_states["b"], new_state[1].inner_states["b"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, before, after)


def test_an_optimizer_that_accumulates_nothing_is_not_asked():
    state = SGD.init(START)
    assert is_pending(state) is None
    assert was_applied(state, state) is None
    params, same = apply_accumulated(SGD, state, START)
    assert params is START
    assert same is state
