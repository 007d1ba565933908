"""Gradients that are accumulated over several batches: one large batch in small pieces."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.core import GradientTransformationExtraArgs
from jaxopt_course.minimization import (
    minimize,
)
from jaxopt_course.optimizers import adam, lbfgs, sgd
from jaxopt_course.tasks import Batch
from jaxopt_course.training import (
    Checkpointing,
    EarlyStopping,
    Rows,
    fit,
    init_state,
    make_population,
    make_step,
    make_train,
    make_training,
)
from jaxopt_course.transforms import MultiSteps, apply_every, chain, ema_params
from tests.tiers import everyday_first

from .problems import line, line_task


QUIET = {"progress": False}


def recording():
    """A transformation whose state is the weight that its last ``update`` was offered."""

    def update(updates, state, params=None, *, weight, **extra_args):
        return updates, {"weight": jnp.asarray(weight)}

    return GradientTransformationExtraArgs(lambda params: {"weight": jnp.zeros(())}, update)


@pytest.mark.parametrize(
    ("weights", "total"), [(None, 4.0), (jnp.array([1.0, 0.5, 0.0, 2.0]), 3.5), (jnp.zeros(4), 0.0)]
)
def test_a_step_offers_the_total_weight_of_its_batch(weights, total, key):
    inputs, targets = line(4)
    step = jax.jit(make_step(line_task(), recording()))
    state, _ = step(init_state(line_task(), recording(), key), Batch(inputs, targets, weights))
    weight = state.opt_state["weight"]
    assert float(weight) == total
    assert jnp.issubdtype(weight.dtype, jnp.floating)


@pytest.mark.parametrize(
    "weights", [None, jnp.array([1.0, 1.0, 50.0, 0.0, 2.0, 0.5, 3.0])], ids=["rows", "weights"]
)
@pytest.mark.parametrize("size", everyday_first(1, [2, 3]))
def test_short_batches_and_weighted_rows_are_those_of_one_large_batch(weights, size, key):
    data, rows = line(7), Rows(jnp.arange(7), weights)
    options = {"key": key, "epochs": 2, "rows": rows} | QUIET
    k = -(-7 // size)
    large = fit(line_task(), adam(0.1), data, batch_size=7, **options)
    small = fit(line_task(), MultiSteps(adam(0.1), k), data, batch_size=size, **options)
    chex.assert_trees_all_close(small.state.params, large.state.params, rtol=1e-9)


@pytest.mark.exhaustive
def test_what_is_left_at_the_end_is_applied_before_the_last_evaluation(key):
    """3 batches and k = 4: a large batch of the three, in every kind of training."""
    data = line(6)
    rows = Rows(jnp.arange(6), None, jnp.arange(6))
    wanted = fit(line_task(), sgd(0.1), data, key=key, epochs=1, batch_size=6, rows=rows, **QUIET)
    tx = MultiSteps(sgd(0.1), 4)
    train = make_train(lambda _: (line_task(), tx), data, epochs=1, batch_size=2)
    training = make_training(lambda _: (line_task(), tx), data, batch_size=2)
    halfway = training(None, rows).advance(training(None, rows).start(key), 3)
    runs = [
        fit(line_task(), tx, data, key=key, epochs=1, batch_size=2, rows=rows, segment=1, **QUIET),
        jax.jit(train)(key, None, rows),
        jax.tree.map(
            lambda x: x[0], jax.jit(make_population(train, ("key",)))(key[None], None, rows)
        ),
    ]
    for run in runs:
        chex.assert_trees_all_close(run.state.params, wanted.state.params, rtol=1e-9)
        chex.assert_trees_all_close(run.best_params, wanted.best_params, rtol=1e-9)
        validated = run.history["validation_loss"], wanted.history["validation_loss"]
        np.testing.assert_allclose(*validated, rtol=1e-9)
        assert int(run.state.opt_state.mini_step) == 0
        assert "not applied" not in str(run)
    after, row = training(None, rows).evaluate(halfway)
    np.testing.assert_allclose(row["validation_loss"], validated[1][0], rtol=1e-9)
    assert int(after.state.opt_state.mini_step) == 3  # the training may still be advanced


@pytest.mark.exhaustive
def test_a_stream_applies_what_is_left(key):
    inputs, targets = line(6)
    batches = [(inputs[i : i + 2], targets[i : i + 2]) for i in (0, 2, 4)]
    wanted = fit(line_task(), sgd(0.1), (inputs, targets), key=key, steps=1, batch_size=6, **QUIET)
    for tx in (MultiSteps(sgd(0.1), 4), ema_params(chain(MultiSteps(sgd(0.1), 4)), 0.9)):
        run = fit(line_task(), tx, batches, key=key, epochs=1, **QUIET)
        chex.assert_trees_all_close(run.state.params, wanted.state.params, rtol=1e-9)
    summed = fit(
        line_task(), chain(sgd(0.1 / 3), apply_every(4)), batches, key=key, steps=3, **QUIET
    )
    chex.assert_trees_all_close(summed.state.params, wanted.state.params, rtol=1e-9)


@pytest.mark.exhaustive
def test_the_end_of_a_segment_is_no_end_of_a_group(tmp_path, key):
    """Cut and resumed with more steps, a training has the bits of the one that was not cut."""
    options = {"key": key, "batch_size": 2} | QUIET
    tx, data = MultiSteps(adam(0.1), 4), line(6)
    whole = fit(line_task(), tx, data, epochs=3, **options)
    pieces = fit(line_task(), tx, data, epochs=3, segment=1, **options)
    fit(line_task(), tx, data, epochs=1, checkpoint=tmp_path / "c", **options)
    resumed = fit(
        line_task(),
        tx,
        data,
        epochs=3,
        checkpoint=Checkpointing(tmp_path / "c", resume="auto"),
        **options,
    )
    for run in (pieces, resumed):
        chex.assert_trees_all_equal(run.state.params, whole.state.params)
        chex.assert_trees_all_equal(run.state.opt_state, whole.state.opt_state)


def test_a_training_that_stops_early_says_that_gradients_were_dropped(key):
    rule = EarlyStopping(patience=1, min_delta=1e9)
    run = fit(
        line_task(), MultiSteps(sgd(0.1), 50), line(6), key=key, epochs=20, batch_size=2,
        early_stopping=rule, **QUIET,
    )  # fmt: skip
    assert "Gradients accumulated since the last update were not applied." in str(run)


@pytest.mark.exhaustive
def test_a_line_search_gets_the_mean_loss_of_all_rows_of_its_group(key):
    """Groups of 3 batches that cross the ends of epochs of 2."""
    data = line(8)
    options = {"key": key, "batch_size": 4} | QUIET
    small = fit(line_task(), MultiSteps(lbfgs(), 4), data, steps=12, **options)
    large = fit(line_task(), lbfgs(), data, key=key, steps=3, batch_size=8, **QUIET)
    chex.assert_trees_all_close(small.state.params, large.state.params, rtol=1e-6)
    with pytest.raises(ValueError, match="larger `batch_size`"):
        fit(line_task(), MultiSteps(lbfgs(), 2), [(data.inputs, data.targets)], key=key, steps=2,
            **QUIET)  # fmt: skip


@pytest.mark.exhaustive
def test_a_minimization_counts_and_finishes_updates():
    bowl, start = lambda w: jnp.sum((w - 1.0) ** 2), jnp.zeros(2)
    tx = MultiSteps(sgd(0.1), 4)
    wanted = minimize(bowl, start, sgd(0.1), max_steps=3, history_size=4)
    found = minimize(bowl, start, tx, max_steps=10, ftol=1e-3, patience=3, history_size=11)
    np.testing.assert_allclose(found.params, wanted.params)  # 2 updates, and one of the last 2
    np.testing.assert_allclose(found.history[10], wanted.value)
    searched = minimize(bowl, start, MultiSteps(lbfgs(), 3), max_steps=30)
    np.testing.assert_allclose(searched.params, 1.0, atol=1e-4)
