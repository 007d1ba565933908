"""What becomes of a training in which something is not finite, whatever it is."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.optimizers import adagrad, adam, lbfgs, lion, rmsprop, sgd, signum
from jaxopt_course.problems import problem
from jaxopt_course.schedules import piecewise_constant_schedule
from jaxopt_course.tasks import Task, function_task
from jaxopt_course.training import (
    DivergenceError,
    EarlyStopping,
    OutcomeCode,
    fit,
    make_train,
    make_training,
)
from jaxopt_course.transforms import (
    MultiSteps,
    apply_every,
    apply_if_finite,
    chain,
    dynamic_loss_scale,
    loss_scale,
    monitor,
    quantized_state,
    reduce_on_plateau,
    skip_large_updates,
    zero_nans,
)
from tests.tiers import everyday_first


KEY = jax.random.key(0)
BAD_ROW = 5
BAD = 1000.0  # a target from which a row is planted


def line_with(slope, value=0.0):
    """y = w x in float32; rows whose target is BAD have a loss of ``value`` with this slope."""

    @jax.custom_jvp
    def planted(outputs):
        return jnp.full_like(outputs, value)

    planted.defjvp(lambda p, t: (planted(p[0]), t[0] * jnp.asarray(slope, t[0].dtype)))

    def loss(outputs, targets):
        bad = targets[:, 0] >= BAD
        own = planted(jnp.where(bad, outputs[:, 0], 1.0))
        return jnp.where(bad, own, 0.5 * (outputs[:, 0] - targets[:, 0]) ** 2)

    init = lambda key: {"w": jnp.ones((1, 1), jnp.float32)}
    kind = dataclasses.replace(problem("regression"), loss=loss)
    return function_task(init, lambda p, x: x @ p["w"], kind)


def data(n=8, bad=(BAD_ROW,)):
    """The least loss of all other rows is at w = 2."""
    targets = np.full((n, 1), 2.0, np.float32)
    targets[list(bad)] = BAD
    return np.ones((n, 1), np.float32), targets


def floats(tree):
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]


def is_finite(tree):
    return all(bool(jnp.isfinite(x).all()) for x in floats(tree))


fit_quietly = functools.partial(fit, key=KEY, progress=False)

# --- skip ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "slope"),
    everyday_first(
        3,
        [
            (lion(0.05, weight_decay=0.0), np.inf),
            (signum(0.05), np.inf),
            (adam(0.1), 1e20),
            (adagrad(0.3), 1e20),
            (rmsprop(0.05), 1e20),
            (sgd(0.1), np.nan),
            (MultiSteps(sgd(0.3), 2), np.nan),
            (chain(sgd(0.1), apply_every(2)), np.nan),
        ],
    ),
)
def test_a_skipped_step_leaves_nothing_behind(optimizer, slope):
    """One row an epoch has a finite loss and a gradient that poisons the state, or overflows it."""
    run = fit_quietly(
        line_with(slope), optimizer, data(), epochs=12, batch_size=1, on_divergence="skip"
    )
    assert int(run.skipped) == int(run.history["skipped"][-1]) == 12
    assert is_finite(run.state.opt_state)
    assert abs(float(run.state.params["w"][0, 0]) - 2) < 0.1
    assert "12 of the 96 steps had no effect, because they were not finite." in str(run)


def test_where_the_optimizer_scales_the_loss_its_gradients_are_its_own():
    """A scale of 1 at most: each gradient that is not finite halves it, and no step is skipped."""
    tx = dynamic_loss_scale(sgd(0.1), 1024.0, growth_interval=10**6)
    run = fit_quietly(line_with(np.inf), tx, data(), epochs=3, batch_size=1, on_divergence="skip")
    assert int(run.skipped) == 0
    assert float(loss_scale(run.state.opt_state)) == 1024 / 2**3


@pytest.mark.parametrize("early_stopping", [None, EarlyStopping(1)])
def test_a_run_all_of_whose_steps_were_skipped_has_diverged(early_stopping):
    options = {"epochs": 2, "batch_size": 2, "early_stopping": early_stopping}
    everywhere = data(8, range(8))
    run = fit_quietly(line_with(np.nan), sgd(0.1), everywhere, on_divergence="skip", **options)
    assert OutcomeCode(int(run.outcome.code)) is OutcomeCode.DIVERGED
    steps = int(run.state.step)
    assert int(run.outcome.step) == int(run.skipped) == steps
    assert f"every one of the {steps} steps was skipped" in str(run)


# --- stop: the same in every driver ----------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("optimizer", "slope", "diverges"),
    [
        (lion(0.05), np.inf, True),  # an infinite momentum, and updates of +-1 for ever
        (adam(0.1), 1e20, True),  # an infinite second moment, and updates of 0 for ever
        (chain(zero_nans(), sgd(0.1)), np.nan, False),
        (apply_if_finite(sgd(0.1), 5), np.nan, False),
        (dynamic_loss_scale(sgd(0.1)), np.inf, False),
        (MultiSteps(sgd(0.1), 2, should_skip_update_fn=functools.partial(
            skip_large_updates, max_squared_norm=1e6)), np.nan, False),
    ],
)  # fmt: skip
def test_all_drivers_notice_at_the_evaluation_what_a_gradient_has_left(optimizer, slope, diverges):
    task, rows = line_with(slope), data()
    lengths = {"epochs": 3, "batch_size": 1}
    build = lambda _: (task, optimizer)
    run = fit_quietly(task, optimizer, rows, **lengths)
    whole = jax.jit(make_train(build, rows, **lengths))(KEY)
    training = make_training(build, rows, batch_size=1)
    progress = jax.jit(lambda progress: training().advance(progress, 8))(training().start(KEY))
    progress, _ = jax.jit(lambda progress: training().evaluate(progress))(progress)
    assert bool(progress.running) is not diverges
    for outcome in (run.outcome, whole.outcome):
        code = OutcomeCode.DIVERGED if diverges else OutcomeCode.COMPLETED
        assert (int(outcome.code), int(outcome.step)) == (code, 8 if diverges else 24)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "optimizer",
    [
        chain(adam(0.1), reduce_on_plateau()),
        lbfgs(),
        quantized_state(adam(0.1)),
        monitor({"inverse": lambda updates: 1 / (0 * updates["w"][0, 0])}),
    ],
)
@pytest.mark.parametrize("on_divergence", ["stop", "raise", "skip"])
def test_infinities_that_belong_to_a_state_are_no_divergence(optimizer, on_divergence):
    options = {"epochs": 4, "batch_size": 8, "on_divergence": on_divergence}
    with jax.numpy_dtype_promotion("standard"):
        run = fit_quietly(line_with(0.0), optimizer, data(8, ()), **options)
    assert run.outcome.code == OutcomeCode.COMPLETED
    assert int(run.skipped) == 0


# --- which part was first, and whose fault it is ----------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "plant", "part"),
    everyday_first(
        1,
        [
            (adam(0.1), {"slope": 0.0, "value": np.nan}, "loss"),
            (adam(0.1), {"slope": np.nan}, "gradient"),
            (sgd(100.0), {"slope": 1e38}, "update"),
            (adam(0.1), {"slope": 1e24}, "state"),
            (adam(0.1), {"slope": 1.0}, None),
        ],
    ),
)
def test_the_first_part_that_is_not_finite_and_the_rows_that_make_it_so(optimizer, plant, part):
    task, rows = line_with(**plant), data(16)
    options = {"epochs": 2, "on_divergence": "raise"}
    if part is None:
        assert fit_quietly(task, optimizer, rows, batch_size=4, **options).outcome.code == 0
        return
    with pytest.raises(DivergenceError) as caught:
        fit_quietly(task, optimizer, rows, batch_size=4, **options)
    assert (caught.value.part, caught.value.rows) == (part, [BAD_ROW])
    assert f"the {part} of step {caught.value.step} is not finite" in str(caught.value)
    order = [(rows[0][i : i + 4], rows[1][i : i + 4]) for i in range(0, 16, 4)]
    with pytest.raises(DivergenceError, match=r"of step 1 .* places in its batch \[1\]\."):
        fit_quietly(task, optimizer, order, **options)


@pytest.mark.exhaustive
@pytest.mark.parametrize("inner", [sgd(0.1), lbfgs()])
def test_the_mini_batch_with_the_gradient_is_named_and_not_the_one_that_applies_it(inner):
    with pytest.raises(DivergenceError) as caught, jax.numpy_dtype_promotion("standard"):
        fit_quietly(
            *(line_with(np.nan), MultiSteps(inner, 4), data(16)),
            **{"epochs": 2, "batch_size": 2, "on_divergence": "raise"},
        )
    assert (caught.value.rows, caught.value.leaf) == ([BAD_ROW], "['w']")


@pytest.mark.exhaustive
def test_no_row_is_to_blame_for_a_rate_that_overflows():
    rate = piecewise_constant_schedule(0.1, {3: 1e42})
    with pytest.raises(DivergenceError, match="for which no single row is to blame") as caught:
        fit_quietly(
            *(line_with(0.0), sgd(rate), data(8, ())),
            **{"epochs": 3, "batch_size": 4, "on_divergence": "raise"},
        )
    assert (caught.value.part, caught.value.step, caught.value.rows) == ("update", 3, [])


def test_rows_that_another_row_infects_are_innocent():
    """As in a batch normalization: each loss depends on the mean over the batch."""

    def loss(params, model_state, batch, *, key, train):
        outputs = batch.inputs @ params["w"]
        errors = (outputs - outputs.mean() - batch.targets)[:, 0]
        return errors**2, (model_state, {})

    task = Task(
        lambda key: ({"w": jnp.ones((1, 1), jnp.float32)}, {}), loss, lambda p, s, x: x @ p["w"]
    )
    inputs, targets = (jnp.asarray(x) for x in data(8, ()))
    inputs = inputs.at[BAD_ROW].set(jnp.nan)
    with pytest.raises(DivergenceError) as caught:
        fit_quietly(
            *(task, sgd(0.1), (inputs, targets)), epochs=1, batch_size=8, on_divergence="raise"
        )
    assert caught.value.rows == [BAD_ROW]


@pytest.mark.exhaustive
def test_at_most_ten_rows_are_named():
    with pytest.raises(DivergenceError, match="and perhaps others") as caught:
        fit_quietly(
            *(line_with(0.0, np.nan), sgd(0.1), data(32, range(32))),
            **{"epochs": 1, "batch_size": 32, "on_divergence": "raise"},
        )
    assert len(caught.value.rows) == 10


# --- what is best ------------------------------------------------------------------------------

X = np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)


def rising(rate):
    """A rate that becomes this one at step 3, which leads far away, or to NaN."""
    return sgd(piecewise_constant_schedule(0.05, {3: rate / 0.05}))


def squared(w):
    return float(np.mean(0.5 * (float(w) * X - 2 * X) ** 2))


@pytest.mark.parametrize("rate", everyday_first(1, [10.0, 1e38]))
@pytest.mark.parametrize("every", everyday_first(1, [1, 2]))
def test_the_best_parameters_are_those_at_which_the_loss_was_computed(rate, every):
    task, optimizer = line_with(0.0), rising(rate)
    seen = [jnp.ones((1, 1), jnp.float32)]
    options = {"steps": 6, "evaluate_every": every}
    arrays = options | {"batch_size": 4}
    record = lambda r: seen.append(r.state.params["w"])
    run = fit_quietly(task, optimizer, (X, 2 * X), callbacks=[record], segment=1, **arrays)
    seen, losses = seen[: len(run.history["loss"]) * every], np.asarray(run.history["loss"])
    number = int(np.nanargmin(losses))
    mean = np.mean([squared(w[0, 0]) for w in seen[number * every : (number + 1) * every]])
    np.testing.assert_allclose(losses[number], mean, rtol=1e-5)
    expected = {"w": seen[number * every + every - 1]}  # the last that entered the mean
    assert is_finite(expected)
    chex.assert_trees_all_equal(run.best_params, expected)
    others = [
        fit_quietly(task, optimizer, (X, 2 * X), **arrays),
        fit_quietly(task, optimizer, [(X, 2 * X)], **options),
        jax.jit(make_train(lambda _: (task, optimizer), (X, 2 * X), **arrays))(KEY),
    ]
    for other in others:
        chex.assert_trees_all_close(other.best_params, expected, rtol=1e-5)


def test_parameters_that_are_not_finite_never_win():
    """Their loss is finite: the model does not use them."""
    init = lambda key: {"w": jnp.ones((1, 1), jnp.float32), "unused": jnp.zeros((), jnp.float32)}
    task = function_task(init, lambda p, x: x @ p["w"], problem("regression"))
    spoil = optax.stateless(lambda g, p: {**g, "unused": jnp.full_like(g["unused"], jnp.nan)})
    tx = optax.chain(spoil, optax.sgd(0.05))
    train = make_train(lambda _: (task, tx), (X, 2 * X), steps=4, batch_size=4, evaluate_every=1)
    run = jax.jit(train)(KEY)
    assert is_finite(run.best_params)
    assert OutcomeCode(int(run.outcome.code)) is OutcomeCode.DIVERGED


# --- callbacks ---------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_callback_that_assigns_into_its_record_changes_nothing():
    def assign(record):
        record.state.params["w"] = record.state.params["w"] + 7
        record.losses[:] = 0
        for values in record.metrics.values():
            values[:] = 0

    options = {"epochs": 3, "batch_size": 4, "segment": 3}
    plain = fit_quietly(line_with(0.0), adam(0.1), data(8, ()), **options)
    assigned = fit_quietly(line_with(0.0), adam(0.1), data(8, ()), callbacks=[assign], **options)
    chex.assert_trees_all_equal(plain, assigned)
