"""chain, named_chain, masked, partition, apply_if_finite, apply_updates, inject_hyperparams."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_course as jc


PARAMS = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "gain": jnp.array(2.0)}
matrices = lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)


def step(tx, grads=PARAMS, params=PARAMS, **extra):
    return tx.update(grads, tx.init(params), params, **extra)


def test_links_run_from_left_to_right():
    updates, _ = step(jc.chain(jc.clip(1.0), jc.scale(3.0)), jnp.array(2.0), jnp.array(0.0))
    assert float(updates) == 3.0


def test_no_link_is_the_identity():
    chex.assert_trees_all_equal(step(jc.chain())[0], PARAMS)


def test_named_links_keep_their_states_by_name():
    tx = jc.named_chain(("mean", jc.ema(0.9)), ("rate", jc.scale_by_learning_rate(0.1)))
    _, state = step(tx)
    assert list(state) == ["mean", "rate"]
    assert int(state["rate"].step) == 1
    with pytest.raises(ValueError, match="named_chain: names must differ"):
        jc.named_chain(("a", jc.identity()), ("a", jc.identity()))


def test_extra_arguments_reach_every_link():
    seen = []

    def listen(updates, state, params=None, **extra):
        seen.append(extra)
        return updates, state

    listener = jc.GradientTransformationExtraArgs(lambda params: (), listen)
    tx = jc.chain(
        jc.masked(listener, matrices),
        jc.apply_if_finite(listener, 1),
        jc.partition({"all": listener}, lambda t: jax.tree.map(lambda _: "all", t)),
        jc.inject_hyperparams(lambda: listener)(),
    )
    step(tx, value=1.0)
    assert len(seen) >= 4
    assert all(list(extra) == ["value"] for extra in seen)


@pytest.mark.parametrize(
    "mask", [matrices, {"dense": {"kernel": True, "bias": False}, "gain": False}]
)
def test_masked_as_optax_does(mask, standard_promotion):
    ours, _ = step(jc.masked(jc.scale_by_adam(), mask))
    theirs, _ = step(optax.masked(optax.scale_by_adam(), mask))
    chex.assert_trees_all_close(ours, theirs, rtol=1e-12)


def test_a_mask_may_be_a_prefix():
    updates, state = step(jc.masked(jc.trace(0.9), {"dense": True, "gain": False}))
    chex.assert_trees_all_equal(updates, PARAMS)
    assert state.inner_state.trace["gain"] == optax.MaskedNode()


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="masked: `mask` must be shaped like"):
        step(jc.masked(jc.identity(), {"other": True}))
    with pytest.raises(TypeError, match="masked: the leaves of `mask` must be bools, got 'yes'"):
        step(jc.masked(jc.identity(), {"dense": "yes", "gain": "no"}))


def test_partition_as_optax_does(standard_promotion):
    labels = lambda tree: jax.tree.map(lambda x: "flat" if x.ndim < 2 else "deep", tree)
    ours, _ = step(jc.partition({"flat": jc.sgd(0.1, 0.9), "deep": jc.adam(0.1)}, labels))
    theirs, _ = step(
        optax.partition({"flat": optax.sgd(0.1, 0.9), "deep": optax.adam(0.1)}, labels)
    )
    chex.assert_trees_all_close(ours, theirs, rtol=1e-12)


def test_arguments_shaped_like_the_updates_are_masked_if_asked():
    seen = []

    def listen(updates, state, params=None, **extra):
        seen.append(extra["grad"])
        return updates, state

    listener = jc.GradientTransformationExtraArgs(lambda params: (), listen)
    tx = jc.masked(listener, {"dense": True, "gain": False}, mask_compatible_extra_args=True)
    step(tx, grad=PARAMS)
    assert seen[0]["gain"] == optax.MaskedNode()


def test_a_label_without_a_transformation_is_named():
    tx = jc.partition({"a": jc.identity()}, {"dense": "a", "gain": "b"})
    with pytest.raises(ValueError, match=r"label 'b' at \['gain'\] has no transformation"):
        tx.init(PARAMS)


def test_steps_that_are_not_finite_are_not_taken():
    tx = jc.apply_if_finite(jc.adam(0.1), max_consecutive_errors=2)
    good, bad = {"w": jnp.array(1.0)}, {"w": jnp.array(jnp.nan)}
    _, state = tx.update(good, tx.init(good))
    for errors in (1, 2):
        updates, after = tx.update(bad, state)
        assert float(updates["w"]) == 0.0
        chex.assert_trees_all_equal(after.inner_state, state.inner_state)
        assert int(after.notfinite_count) == errors == int(after.total_notfinite)
        state = after
    updates, state = tx.update(bad, state)  # one more than allowed: it shows
    assert bool(jnp.isnan(updates["w"]))
    updates, state = jc.apply_if_finite(jc.adam(0.1), 2).update(good, after)
    assert int(state.notfinite_count) == 0
    assert bool(state.last_finite)


def test_updates_are_added_in_the_wider_dtype():
    params = {"w": jnp.asarray(1.0, jnp.bfloat16), "frozen": jnp.array(1.0), "none": None}
    moved = jc.apply_updates(params, {"w": jnp.asarray(2.0**-9), "frozen": None, "none": None})
    assert moved["w"].dtype == jnp.bfloat16
    assert float(moved["frozen"]) == 1.0


@pytest.mark.exhaustive
def test_injected_schedules_are_those_of_optax(standard_promotion):
    ours = jc.inject_hyperparams(jc.adam)(jc.linear_schedule(0.1, 0.0, 5), b1=0.8)
    theirs = optax.inject_hyperparams(optax.adam)(optax.linear_schedule(0.1, 0.0, 5), b1=0.8)
    ours_state, theirs_state = ours.init(PARAMS), theirs.init(PARAMS)
    for _ in range(4):
        a, ours_state = ours.update(PARAMS, ours_state)
        b, theirs_state = theirs.update(PARAMS, theirs_state)
        chex.assert_trees_all_close(a, b, rtol=1e-7)  # optax rounds its numbers to float32
    assert set(ours_state.hyperparams) == {"learning_rate", "b1", "b2", "eps", "eps_root"}


def test_injected_numbers_of_optax_factories_too(standard_promotion):
    tx = jc.inject_hyperparams(optax.adamw)(0.1, mask=matrices)
    state = tx.init(PARAMS)
    assert "mask" not in state.hyperparams
    assert "weight_decay" in state.hyperparams
    tx.update(PARAMS, state, PARAMS)


def test_static_arguments_must_exist():
    with pytest.raises(ValueError, match="`static_args` must name arguments of adam"):
        jc.inject_hyperparams(jc.adam, static_args="momentum")


def test_factories_need_no_name():
    tx = jc.inject_hyperparams(functools.partial(jc.adam, b1=0.8))(jc.linear_schedule(0.1, 0.0, 5))
    assert set(tx.init(PARAMS).hyperparams) == {"learning_rate", "b1", "b2", "eps", "eps_root"}
    with pytest.raises(ValueError, match="`static_args` must name arguments of functools"):
        jc.inject_hyperparams(functools.partial(jc.adam), static_args="momentum")


@pytest.mark.exhaustive
def test_an_injected_update_keeps_nothing_of_its_trace():
    tx = jc.inject_hyperparams(jc.adam)(0.1)
    state = tx.init(PARAMS)
    with jax.checking_leaks():
        jax.jit(tx.update)(PARAMS, state)


def test_changing_an_injected_rate_compiles_nothing():
    tx = jc.inject_hyperparams(jc.sgd)(0.1)
    traces = []

    @jax.jit
    def run(state):
        traces.append(1)
        return tx.update(PARAMS, state)

    state = tx.init(PARAMS)
    for rate in np.linspace(0.1, 1.0, 20):
        state.hyperparams["learning_rate"] = jnp.asarray(rate)
        updates, state = run(state)
        np.testing.assert_allclose(updates["gain"], -2 * rate)
    assert len(traces) == 1
