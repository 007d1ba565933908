"""What is evaluated, kept as best and stopped by is the point that the optimizer outputs."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import EarlyStopping, Rows, fit, make_population, make_train
from jaxopt_course import evaluate as mean_loss
from jaxopt_course.contrib import schedule_free_sgd
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.problems import problem
from jaxopt_course.studies import Float, search
from jaxopt_course.tasks import function_task
from jaxopt_course.training import OutcomeCode, make_training
from jaxopt_course.transforms import (
    MultiSteps,
    chain,
    clip,
    ema_params,
    evaluation_params,
    packed,
)
from tests.tiers import everyday_first

from .problems import blobs, build


KEY = jax.random.key(2)
X = jax.random.normal(jax.random.key(0), (48, 4))
Y = X @ jnp.arange(4.0)[:, None] + jax.random.normal(jax.random.key(1), (48, 1))
TRAIN, VALID = np.arange(32), np.arange(32, 48)
ROWS = Rows(TRAIN, validation=VALID)
TASK = function_task(lambda key: jnp.zeros((4, 1)), lambda w, x: x @ w, problem("regression"))
AVERAGING = {
    "schedule_free": schedule_free_sgd(0.1),
    "ema_params": ema_params(sgd(0.1), 0.95),
    "inside a chain": chain(clip(1e3), ema_params(sgd(0.1), 0.95)),
    "inside MultiSteps": MultiSteps(ema_params(sgd(0.1), 0.9), 2),
    "packed": ema_params(packed(adam(0.1)), 0.9),
    "inside packed": packed(ema_params(adam(0.1), 0.9)),
}
LENGTH = {"epochs": 3, "batch_size": 8}


def loss_at(params, rows=VALID):
    return mean_loss(TASK, params, {}, X[rows], Y[rows])["loss"]


def fitted(tx, **options):
    options = {"rows": ROWS, **LENGTH, **options}
    return fit(TASK, tx, (X, Y), key=KEY, progress=False, **options)


def compiled(tx, rows=ROWS, **options):
    train = make_train(lambda _: (TASK, tx), (X, Y), **LENGTH, **options)
    return jax.jit(train)(KEY, None, rows)


WAYS = [(fitted, "schedule_free"), (fitted, "packed"), *((compiled, name) for name in AVERAGING)]


@pytest.mark.parametrize("run_of, name", everyday_first(1, WAYS))
def test_the_average_is_what_is_evaluated_and_kept(run_of, name):
    run = run_of(AVERAGING[name])
    average = evaluation_params(run.state.opt_state, run.state.params)
    assert not np.allclose(average, run.state.params, rtol=1e-3)
    np.testing.assert_allclose(run.history["validation_loss"][-1], loss_at(average), rtol=1e-6)
    lowest = np.min(run.history["validation_loss"])
    np.testing.assert_allclose(loss_at(run.best_params), lowest, rtol=1e-6)


@pytest.mark.parametrize("run_of", everyday_first(1, [fitted, compiled]))
def test_raw_evaluates_what_is_trained(run_of):
    run = run_of(AVERAGING["ema_params"], evaluate="raw")
    plain = run_of(sgd(0.1))
    np.testing.assert_array_equal(run.history["validation_loss"], plain.history["validation_loss"])
    np.testing.assert_array_equal(run.best_params, plain.best_params)


def test_an_optimizer_without_averages_has_the_same_program_either_way():
    programs = [
        str(jax.make_jaxpr(make_train(lambda _: (TASK, adam(0.1)), (X, Y), **LENGTH, **how))(KEY))
        for how in ({}, {"evaluate": "raw"})
    ]
    assert programs[0] == programs[1]


@pytest.mark.exhaustive
def test_populations_brackets_and_searches_judge_the_average():
    build_one = lambda rate: (TASK, ema_params(sgd(rate), 0.95))
    train = make_train(build_one, (X, Y), **LENGTH)
    rates = jnp.array([0.05, 0.1])
    runs = jax.jit(make_population(train, ["hyperparameters"]))(KEY, rates, ROWS)
    training = make_training(build_one, (X, Y), batch_size=8)
    for i, rate in enumerate(rates):
        run = jax.tree.map(lambda x, i=i: x[i], runs)
        average = evaluation_params(run.state.opt_state, run.state.params)
        np.testing.assert_allclose(run.history["validation_loss"][-1], loss_at(average), rtol=1e-6)
        own = training(rate, ROWS)
        progress, row = own.evaluate(own.advance(own.start(KEY), 12))
        np.testing.assert_allclose(row["validation_loss"], loss_at(average), rtol=1e-6)
        np.testing.assert_allclose(progress.best_params, average, rtol=1e-6)
    points = np.array([[0.0], [1.0]])
    found = search(train, Float(0.05, 0.1), key=KEY, folds=ROWS, method=points, progress=False)
    keys = jax.random.fold_in(KEY, 0)
    alone = [train(keys, rate, ROWS).history["validation_loss"].min() for rate in rates]
    np.testing.assert_allclose(found.scores.ravel(), alone, rtol=1e-6)


@pytest.mark.exhaustive
def test_early_stopping_watches_the_average():
    options = {"epochs": 30, "early_stopping": EarlyStopping(patience=3)}
    stops = {}
    for how in ("averaged", "raw"):
        run = fitted(ema_params(sgd(0.3), 0.97), **options, evaluate=how)
        assert int(run.outcome.code) == OutcomeCode.STOPPED_EARLY
        best = int(np.nanargmin(run.history["validation_loss"]))
        stops[how] = int(run.outcome.step)
        assert stops[how] == 4 * (best + 1 + 3)  # three evaluations without a better one
        np.testing.assert_allclose(
            loss_at(run.best_params), run.history["validation_loss"][best], rtol=1e-6
        )
    assert stops["averaged"] < stops["raw"]


@pytest.mark.exhaustive
def test_batch_statistics_that_are_not_of_the_average_are_warned_of():
    task, _ = build(None)
    data = blobs()
    options = {"key": KEY, "epochs": 1, "batch_size": 10, "progress": False}
    with pytest.warns(UserWarning, match="recompute the statistics of the result"):
        fit(task, ema_params(sgd(0.1), 0.9), data, **options)
    with warnings.catch_warnings(action="error"):
        fit(task, ema_params(sgd(0.1), 0.9), data, **options, evaluate="raw")
        fit(task, sgd(0.1), data, **options)


@pytest.mark.parametrize("function", [fit, make_train, make_training])
def test_another_word_for_what_is_evaluated_is_refused(function, as_users_run_it):
    options = {"batch_size": 8, "evaluate": "mean"}
    arguments = (TASK, sgd(0.1)) if function is fit else (lambda _: (TASK, sgd(0.1)),)
    if function is fit:
        options["key"] = KEY
    if function is not make_training:
        options["epochs"] = 1
    with pytest.raises(ValueError, match="`evaluate` must be one of averaged, raw, got 'mean'"):
        function(*arguments, (X, Y), **options)
