"""Dynamic loss scaling: the rule, beside Flax's own, and in trainings that need it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.dynamic_scale import DynamicScale

import jaxopt_course as jc
from jaxopt_course.nn import MLP
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, Task, function_task, linen_task, mixed_precision
from jaxopt_course.training import OutcomeCode, init_state, make_step, make_train
from jaxopt_course.transforms import (
    dynamic_loss_scale,
    loss_scale,
)


ADAM = jc.adam(0.1)
PARAMS = {"w": jnp.array([1.0, -2.0], jnp.float32), "b": jnp.array(0.5, jnp.float32)}


def rule(finite, scale, interval, factor, low, high):
    """The scales after each step, in Python."""
    good, scales = 0, []
    for fine in finite:
        good = good + 1 if fine else 0
        if not fine:
            scale = max(scale / factor, low)
        elif good == interval:
            scale, good = min(scale * factor, high), 0
        scales.append(scale)
    return np.array(scales, np.float32)


def path(gradients, numbers):
    """The updates and the states of a run, of whose gradients some are not finite."""
    tx = dynamic_loss_scale(ADAM, **numbers)

    def body(state, g):
        grads = {"w": jnp.stack([jnp.ones_like(g), g]), "b": jnp.ones_like(g)}
        updates, state = tx.update(grads, state, PARAMS)
        return state, (updates, state)

    return jax.lax.scan(body, tx.init(PARAMS), gradients)[1]


def test_the_scale_follows_the_rule_for_any_numbers_and_stays_in_its_range():
    bad = np.random.default_rng(0).choice(5, size=60) == 0
    bad[40:] = True
    gradients = jnp.where(bad, jnp.resize(jnp.array([jnp.nan, jnp.inf, -jnp.inf]), 60), 1.0)
    names = ("initial_scale", "growth_interval", "factor", "min_scale", "max_scale")
    rows = np.array([[2**15, 2, 2, 1, 2**24], [8, 1, 3, 0.5, 20], [1, 7, 2, 1, 4]], np.float64)
    together = jax.jit(jax.vmap(path, in_axes=(None, 0)))(
        gradients.astype(jnp.float32), dict(zip(names, rows.T, strict=True))
    )[1]
    for ours, numbers in zip(np.asarray(together.scale), rows, strict=True):
        scale, interval, factor, low, high = numbers
        expected = rule(~bad, scale, interval, factor, low, high)
        np.testing.assert_allclose(ours, expected, rtol=1e-6)  # 60 roundings where factor is 3
        assert ours.min() >= low
        assert ours.max() <= high


def test_a_bad_step_is_as_if_it_had_not_been():
    gradients = jnp.array([0.3, jnp.nan, -0.7, jnp.inf, jnp.nan, 0.2], jnp.float32)
    good = np.isfinite(gradients)
    run = jax.jit(lambda g: path(g, {}))
    (updates, states), (alone, states_alone) = run(gradients), run(gradients[good])
    pick = lambda tree, rows: jax.tree.map(lambda x: x[rows], tree)
    chex.assert_trees_all_equal(pick(updates, good), alone)
    chex.assert_trees_all_equal(pick(states.inner_state, good), states_alone.inner_state)
    zeros = pick(updates, ~good)
    chex.assert_trees_all_equal(zeros, jax.tree.map(jnp.zeros_like, zeros))
    before = pick(states.inner_state, np.array([0, 2, 2]))
    chex.assert_trees_all_equal(pick(states.inner_state, ~good), before)


def test_the_scale_is_found_in_any_composition():
    scaled = dynamic_loss_scale(ADAM, initial_scale=64.0)
    for tx in (
        scaled,
        jc.chain(jc.clip(1.0), scaled),
        jc.MultiSteps(scaled, 2),
        jc.ema_params(scaled, 0.9),
        jc.inject_hyperparams(lambda rate: dynamic_loss_scale(jc.sgd(rate), 64.0))(0.1),
        optax.chain(optax.masked(scaled, {"w": True, "b": False})),
    ):
        assert float(loss_scale(tx.init(PARAMS))) == 64.0
    assert loss_scale(ADAM.init(PARAMS)) is None
    with pytest.raises(ValueError, match="one DynamicLossScaleState at most, got 2"):
        loss_scale(jc.chain(scaled, scaled).init(PARAMS))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("initial_scale", 0.0),
        ("growth_interval", 0),
        ("factor", 1.0),
        ("min_scale", 0.0),
        ("max_scale", jnp.inf),
    ],
)
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"dynamic_loss_scale: `{name}` must lie in"):
        dynamic_loss_scale(ADAM, **{name: value})


# In trainings


def line(n=16) -> Batch:
    inputs = jax.random.normal(jax.random.key(5), (n, 2), jnp.float32)
    return Batch(inputs, inputs @ jnp.array([[2.0], [-1.0]], jnp.float32))


def line_task(times=1.0) -> Task:
    """Linear regression in float16, its loss multiplied."""
    squared = problem("regression")

    def loss(outputs, targets):
        return jnp.asarray(times, jnp.float32) * squared.loss(outputs, targets)

    own = squared.__class__(**(vars(squared) | {"loss": loss}))
    init = lambda key: {"w": jnp.zeros((2, 1), jnp.float32)}
    task = function_task(init, lambda params, x: x @ params["w"], own)
    return mixed_precision(task, jnp.float16)


def steps_of(task, tx, batch, count):
    """The states and the losses of a run."""
    step = make_step(task, tx)

    def body(state, _):
        state, metrics = step(state, batch)
        return state, (state, metrics["loss"])

    return jax.jit(lambda key: jax.lax.scan(body, init_state(task, tx, key), length=count)[1])(
        jax.random.key(0)
    )


def test_a_training_is_that_with_the_scale_of_flax(standard_promotion):
    """Scales that grow every third step and overflow again and again; Flax counts one less."""
    task, batch, rate, count = line_task(), line(), 0.02, 40
    tx = dynamic_loss_scale(jc.sgd(rate), initial_scale=2.0**17, growth_interval=3)
    states, losses = steps_of(task, tx, batch, count)

    def body(carry, _):
        params, scale = carry
        mean = lambda p: task.loss(p, {}, batch, key=None, train=True)[0].mean()
        scale, finite, loss, grads = scale.value_and_grad(mean)(params)
        moved = jax.tree.map(lambda p, g: jnp.where(finite, p - rate * g, p), params, grads)
        return (moved, scale), (moved, scale.scale, finite, loss)

    theirs = DynamicScale(
        growth_interval=2, scale=jnp.float32(2.0**17), fin_steps=jnp.array(0, jnp.int32)
    )
    start = (task.init(None)[0], theirs)
    run = jax.jit(lambda: jax.lax.scan(body, start, length=count)[1])
    params, scales, finite, their_losses = run()
    assert 5 < finite.sum() < count - 5
    np.testing.assert_array_equal(states.opt_state.scale, scales)
    # float32 rounds the sums of two compiled programs differently
    chex.assert_trees_all_close(states.params, params, rtol=1e-5)
    np.testing.assert_allclose(losses, their_losses, rtol=1e-4)


def test_tiny_gradients_are_lost_without_a_scale_and_found_with_one():
    """1e-9 times the usual ones: below the smallest number of float16, 6e-8."""
    times, batch = 1e-9, line()
    rate = 0.1 / times
    (plain, _), (scaled, _) = (
        steps_of(line_task(times), tx, batch, 60)
        for tx in (jc.sgd(rate), dynamic_loss_scale(jc.sgd(rate), 2.0**24))
    )
    assert not plain.params["w"].any()
    # float16 rounds to 5e-4 of the largest
    np.testing.assert_allclose(scaled.params["w"][-1], [[2.0], [-1.0]], atol=2e-3)


def network() -> Task:
    model = MLP(3, (8,), normalization="batch", dropout=0.2)
    task = linen_task(model, jnp.zeros((1, 4), jnp.float32), problem("multiclass"))
    return mixed_precision(task, jnp.float16)


def rows():
    inputs = jax.random.normal(jax.random.key(2), (24, 4), jnp.float32)
    return Batch(inputs, jnp.arange(24) % 3)


@pytest.mark.exhaustive
def test_a_step_that_overflows_changes_nothing_but_the_scale_and_the_step():
    """At 2^24 the gradient of a logit overflows; some halvings later none does."""
    tx = dynamic_loss_scale(jc.adam(0.01), 2.0**24)
    states, losses = steps_of(network(), tx, rows(), 12)
    first = jax.jit(lambda key: init_state(network(), tx, key))(jax.random.key(0))
    skipped = np.asarray(states.opt_state.scale[1:] < states.opt_state.scale[:-1])
    assert skipped[0]
    assert not skipped[-1]
    assert np.isfinite(losses).all()
    at = lambda i: jax.tree.map(lambda x: x[i], states)
    expected = first._replace(
        step=jnp.array(1, jnp.int32),
        opt_state=first.opt_state._replace(
            scale=jnp.array(2.0**23, jnp.float32), last_finite=jnp.array(False)
        ),
    )
    chex.assert_trees_all_equal(*(s._replace(key=None) for s in (at(0), expected)))
    for i, skip in enumerate(skipped):
        before, after = at(i), at(i + 1)
        moved = [
            not np.array_equal(x, y)
            for part in ("params", "model_state")
            for x, y in zip(
                *(jax.tree.leaves(getattr(s, part)) for s in (before, after)), strict=True
            )
        ]
        assert not any(moved) if skip else all(moved)
        assert after.step == before.step + 1


@pytest.mark.exhaustive
def test_a_whole_training_finds_its_scale(key):
    tx = dynamic_loss_scale(jc.adam(0.02), 2.0**24)
    train = make_train(lambda _: (network(), tx), rows()[:2], steps=60, batch_size=8)
    run = jax.jit(train)(key)
    state = run.state.opt_state
    assert run.outcome.code == OutcomeCode.COMPLETED
    assert run.state.step == 60
    halvings = int(np.log2(2.0**24 / state.scale))
    assert halvings > 0
    assert optax.tree_utils.tree_get(state.inner_state, "count") == 60 - halvings
    assert run.history["loss"][-1] < run.history["loss"][0]
