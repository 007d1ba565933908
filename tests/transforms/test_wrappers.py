"""Wrappers against optax, NumPy and closed forms: conditions, lookahead, evaluation weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import global_norm
from tests.optimizers.trajectories import GRADIENTS, PARAMS, STEPS, flat, updates_of
from tests.transforms.stepping import ONE, assert_same_updates


ADAM = optimizers.adam(0.1)


# Conditions


OFTEN = lambda step: step % 3 != 1


def test_conditions_as_in_optax(standard_promotion):
    for name in ("conditionally_mask", "conditionally_transform"):
        ours, theirs = (getattr(place, name)(ADAM, OFTEN) for place in (transforms, optax))
        assert_same_updates(ours, theirs)
        assert ours.init(ONE)._fields == theirs.init(ONE)._fields


def test_a_condition_may_ask_for_the_extra_arguments():
    below = lambda step, value, **others: value < 0.5
    for wrap, otherwise in (
        (transforms.conditionally_mask, 0.0),
        (transforms.conditionally_transform, 1.0),
    ):
        tx = wrap(transforms.scale(3.0), below, forward_extra_args=True)
        state = tx.init(ONE)
        assert float(tx.update(ONE, state, value=0.1)[0]) == 3.0
        assert float(tx.update(ONE, state, value=0.9)[0]) == otherwise


@pytest.mark.parametrize("mask", [True, np.array(False), {"a": True, "b": False}])
def test_frozen_leaves_do_not_move_and_keep_no_state(mask, standard_promotion):
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    for ours, theirs in (
        (transforms.freeze(mask), optax.freeze(mask)),
        (
            transforms.selective_transform(ADAM, freeze_mask=mask),
            optax.selective_transform(ADAM, freeze_mask=mask),
        ),
    ):
        updates, _ = ours.update(params, ours.init(params), params)
        expected, _ = theirs.update(params, theirs.init(params), params)
        chex.assert_trees_all_close(updates, expected, rtol=1e-12)
    tx = transforms.selective_transform(ADAM, freeze_mask={"a": True, "b": False})
    state = tx.init(params).inner_states["train"].inner_state
    assert state[0].mu["a"] == optax.MaskedNode()


# Lookahead


def slow_and_fast(tx, kind, steps=60):
    """Both sets of parameters after each step."""
    grads = jax.tree.map(lambda g: jnp.asarray(g[:steps]), GRADIENTS)
    both = kind.init_synced(jax.tree.map(jnp.asarray, PARAMS))

    def body(carry, g):
        both, state = carry
        updates, state = tx.update(g, state, both)
        both = optax.apply_updates(both, updates)
        return (both, state), both

    _, path = jax.lax.scan(body, (both, tx.init(both)), grads)
    return flat(path)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("inner", [ADAM, optimizers.sgd(0.1, 0.9)])
def test_lookahead_as_optax_does(inner, reset, standard_promotion):
    ours = slow_and_fast(transforms.lookahead(inner, 5, 0.4, reset), transforms.LookaheadParams)
    theirs = slow_and_fast(optax.lookahead(inner, 5, 0.4, reset), optax.LookaheadParams)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())


def test_slow_params_move_as_in_the_algorithm():
    """Algorithm 1 in NumPy, for gradient descent."""
    rate, k, alpha = 0.1, 3, 0.5
    grads = np.random.default_rng(0).normal(size=30)
    tx = transforms.lookahead(optimizers.sgd(rate), k, alpha)
    both = transforms.LookaheadParams.init_synced(jnp.array(2.0))
    state = tx.init(both)
    slow = 2.0
    for outer in range(10):
        fast = slow
        for g in grads[outer * k : (outer + 1) * k]:
            fast -= rate * g
            updates, state = tx.update(jnp.asarray(g), state, both)
            both = transforms.apply_updates(both, updates)
        slow += alpha * (fast - slow)
        np.testing.assert_allclose([both.slow, both.fast], [slow, slow], rtol=1e-12)


def test_narrow_gradients_do_not_round_the_way_back():
    """1 and 1 + 2^-40 are one number in float32; the slow parameters go half of what is between."""
    tx = transforms.lookahead(transforms.scale(0.0), 1, 0.5)
    both = transforms.LookaheadParams(jnp.array(1 + 2.0**-40), ONE)
    updates, _ = tx.update(jnp.ones((), jnp.float32), tx.init(both), both)
    assert float(updates.slow) == -float(updates.fast) == 2.0**-41


def test_lookahead_asks_for_both_sets_of_params():
    tx = transforms.lookahead(optimizers.sgd(0.1), 2, 0.5)
    with pytest.raises(ValueError, match="lookahead: `params` must be LookaheadParams, such as"):
        tx.update(ONE, tx.init(ONE), ONE)
    with pytest.raises(ValueError, match="lookahead reads the parameters"):
        tx.update(ONE, tx.init(ONE))


# Evaluation weights


@pytest.mark.parametrize("debias", [True, False])
def test_the_mean_of_the_params_is_that_of_numpy(debias):
    decay, params = 0.97, jax.tree.map(jnp.asarray, PARAMS)
    tx = transforms.ema_params(ADAM, decay, debias)

    def body(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        params = transforms.apply_updates(params, updates)
        return (params, state), (params, transforms.evaluation_params(state, params))

    grads = jax.tree.map(jnp.asarray, GRADIENTS)
    _, (path, means) = jax.lax.scan(body, (params, tx.init(params)), grads)
    mean = (
        np.zeros(flat(path).shape[1])
        if debias
        else flat(jax.tree.map(lambda p: p[None], params))[0]
    )
    for t, (now, ours) in enumerate(zip(flat(path), flat(means), strict=True)):
        mean = decay * mean + (1 - decay) * now
        expected = mean / (1 - decay ** (t + 1)) if debias else mean
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)
    assert t == STEPS - 1


def test_the_training_itself_does_not_change(standard_promotion):
    assert_same_updates(transforms.ema_params(ADAM, 0.9), ADAM)


KERNEL = {"kernel": True, "bias": False}
COMPOSED = {
    "alone": lambda tx: tx,
    "chain": lambda tx: transforms.chain(transforms.clip(1.0), tx),
    "named_chain": lambda tx: transforms.named_chain(("inner", tx)),
    "MultiSteps": lambda tx: transforms.MultiSteps(tx, 1),
    "inject": lambda tx: transforms.inject_hyperparams(lambda rate: tx)(0.1),
    "apply_if_finite": lambda tx: transforms.apply_if_finite(tx, 1),
    "conditionally": lambda tx: transforms.conditionally_mask(tx, lambda step: step >= 0),
    "optax": lambda tx: optax.chain(optax.masked(tx, {"kernel": True, "bias": True})),
}


@pytest.mark.parametrize("compose", COMPOSED.values(), ids=COMPOSED)
def test_evaluation_weights_are_found_in_any_composition(compose):
    params = {"kernel": jnp.array([1.0, 2.0]), "bias": jnp.array(3.0)}
    tx = compose(transforms.ema_params(optimizers.sgd(0.5), 0.5, debias=False))
    updates, state = tx.update(params, tx.init(params), params)
    moved = transforms.apply_updates(params, updates)
    expected = jax.tree.map(lambda a, b: (a + b) / 2, params, moved)
    chex.assert_trees_all_close(transforms.evaluation_params(state, moved), expected, rtol=1e-7)


def test_leaves_that_are_masked_out_are_evaluated_as_they_are():
    params = {"kernel": jnp.array([1.0, 2.0]), "bias": {"b": jnp.array(3.0)}}
    tx = transforms.masked(transforms.ema_params(optimizers.sgd(0.5), 0.5), KERNEL)
    zeros = jax.tree.map(jnp.zeros_like, params)
    _, state = tx.update(params, tx.init(params), params)
    found = transforms.evaluation_params(state, zeros)
    chex.assert_trees_all_close(found, {"kernel": params["kernel"] / 2, "bias": zeros["bias"]})


def test_each_group_of_a_partition_may_keep_a_mean():
    params = {"kernel": jnp.array([1.0, 2.0]), "bias": jnp.array(3.0)}
    groups = {name: transforms.ema_params(optimizers.sgd(0.0), 0.5) for name in ("a", "b")}
    tx = transforms.partition(groups, {"kernel": "a", "bias": "b"})
    _, state = tx.update(params, tx.init(params), params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    chex.assert_trees_all_close(transforms.evaluation_params(state, zeros), params)


def test_params_are_their_own_evaluation_weights_where_none_are_kept():
    params = {"w": jnp.ones(2, jnp.bfloat16)}
    assert transforms.evaluation_params(ADAM.init(params), params) is params


def test_a_state_in_the_place_of_the_params_is_refused(as_users_run_it):
    params = {"w": jnp.ones(2)}
    state = transforms.ema_params(ADAM, 0.9).init(params)
    with pytest.raises(TypeError, match="must be parameters, got a state"):
        transforms.evaluation_params(params, state)
    before = transforms.ema_params(ADAM, 0.9).init(params)  # no step was made
    found = transforms.evaluation_params(before, params)
    chex.assert_trees_all_equal(found, params)
    chex.assert_trees_all_equal_dtypes(found, params)


def test_another_state_takes_part_by_its_method():
    class State:
        def evaluation_params(self, params):
            return -params

    assert float(transforms.evaluation_params((1, [State()]), ONE)) == -1.0


# Caution


def cautious_adamw(rate, d, xi, b1=0.9, b2=0.999, eps=1e-8):
    """Algorithm 2 in NumPy, for one leaf, with the decay at the plain rate; the params' path."""
    w, grads = (np.asarray(tree["dense"]["kernel"], float) for tree in (PARAMS, GRADIENTS))
    m, v, path = np.zeros_like(w), np.zeros_like(w), []
    for t, g in enumerate(grads, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        u = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        phi = u * g > 0
        w = w - rate * u * phi * phi.size / (phi.sum() + xi) - rate * d * w
        path.append(w)
    return np.array(path)


@pytest.mark.parametrize(("d", "xi"), [(0.0, 1.0), (0.1, 1.0), (0.1, 1e-3)])
def test_cautious_adamw_is_that_of_the_paper(d, xi):
    tx = transforms.chain(
        transforms.cautious(optimizers.adam(1.0), xi),
        transforms.scale(-1.0),
        transforms.add_decayed_weights(d),
        transforms.scale_by_learning_rate(0.05),
    )
    params = jnp.asarray(PARAMS["dense"]["kernel"])

    def body(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        params = transforms.apply_updates(params, updates)
        return (params, state), params

    _, path = jax.lax.scan(
        body, (params, tx.init(params)), jnp.asarray(GRADIENTS["dense"]["kernel"])
    )
    np.testing.assert_allclose(path, cautious_adamw(0.05, d, xi), rtol=1e-10, atol=1e-12)


def test_no_entry_of_a_cautious_update_goes_uphill():
    updates = updates_of(transforms.cautious(optimizers.sgd(0.1, 0.9)))
    plain = updates_of(optimizers.sgd(0.1, 0.9))
    gradients = flat(GRADIENTS)
    assert (updates * gradients <= 0).all()
    assert (plain * gradients > 0).any()  # the plain ones do
    assert (updates[plain * gradients < 0] != 0).all()


def test_tiny_float16_products_are_no_zeros():
    tx = transforms.cautious(optimizers.sgd(1.0), xi=0.0)
    tiny = jnp.full(2, 1e-4, jnp.float16)
    np.testing.assert_array_equal(tx.update(tiny, tx.init(tiny))[0], -tiny)


def test_complex_entries_are_compared_by_their_inner_product():
    tx = transforms.cautious(transforms.scale(-1.0), xi=0.0)
    g = jnp.array([1 + 2j, -3j])
    np.testing.assert_allclose(tx.update(g, tx.init(g))[0], -g)


# Arguments


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: transforms.MultiSteps(ADAM, 0), r"MultiSteps: `every_k_schedule` must lie in"),
        (lambda: transforms.apply_every(0), r"apply_every: `k` must lie in \[1, inf\), got 0"),
        (lambda: transforms.lookahead(ADAM, 0, 0.5), r"lookahead: `sync_period` must lie in"),
        (lambda: transforms.lookahead(ADAM, 5, 1.5), r"lookahead: `slow_step_size` must lie in"),
        (lambda: transforms.ema_params(ADAM, 1.0), r"ema_params: `decay` must lie in \[0, 1\)"),
        (lambda: transforms.cautious(ADAM, -1.0), r"cautious: `xi` must lie in \[0, inf\)"),
        (lambda: transforms.skip_large_updates({}, 0, None, -1.0), "`max_squared_norm` must lie"),
        (lambda: transforms.measure_with_ema(global_norm, 1.0), r"ema: `decay` must lie in"),
    ],
)
def test_bad_numbers_are_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_the_mean_of_the_params_asks_for_them():
    tx = transforms.ema_params(ADAM, 0.9)
    with pytest.raises(ValueError, match="ema_params reads the parameters"):
        tx.update(ONE, tx.init(ONE))
