"""A NaN is found where it arises, and JAX's own search for it is not disturbed."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import sgd
from jaxopt_course.tasks import Task
from jaxopt_course.training import DivergenceError, OutcomeCode, fit


def distance_task() -> Task:
    """Pairs of points: the loss is their distance, whose gradient is NaN where it is 0."""

    def init(key):
        return {"first": {"w": jnp.ones((1, 2))}, "second": {"w": jnp.ones(2)}}, {}

    def distance(x):
        return jnp.sqrt(jnp.sum(jnp.square(x), axis=-1))  # its slope at 0 is infinite

    def loss(params, model_state, batch, *, key, train):
        between = params["first"]["w"] * batch.inputs
        return distance(between) + jnp.sum(params["second"]["w"]), (model_state, {})

    return Task(init, loss, lambda params, model_state, inputs: inputs)


def pairs():
    inputs = np.ones((12, 2))
    inputs[5] = 0
    return inputs, np.zeros(12)


def test_a_nan_of_the_gradient_is_found_at_its_step_with_its_cause():
    options = {"key": jax.random.key(0), "epochs": 3, "batch_size": 1, "progress": False}
    with pytest.raises(DivergenceError) as caught:
        fit(distance_task(), sgd(0.0), pairs(), on_divergence="raise", **options)
    error = caught.value
    assert (error.part, error.leaf, error.rows) == ("gradient", "['first']['w']", [5])
    assert "test_debugging.py" in error.origin
    assert "(distance_task.<locals>.distance)" in error.origin
    assert f"The first NaN is the result of {error.origin}." in str(error)
    # The parameters are NaN after this step, and the loss of the next one tells.
    run = fit(distance_task(), sgd(0.0), pairs(), **options)
    assert (int(run.outcome.code), int(run.outcome.step)) == (
        OutcomeCode.DIVERGED,
        error.step + 1,
    )
    assert "`fit` with `on_divergence='raise'` finds the step" in str(run)


def test_an_overflow_has_no_first_nan():
    data = np.full((4, 2), 1e200), np.zeros(4)
    with pytest.raises(DivergenceError) as caught:
        fit(
            *(distance_task(), sgd(0.1), data),
            key=jax.random.key(0),
            epochs=1,
            batch_size=4,
            progress=False,
            on_divergence="raise",
        )
    assert caught.value.part == "loss"
    assert caught.value.origin is None or "NaN" in str(caught.value)


# Every training here is sound, or ends by a rule; then one has a NaN, which JAX must report.
SCRIPT = """
import jax, jax.numpy as jnp
import jaxopt_course as jc
from tests.training.problems import line, line_task
from tests.training.test_debugging import distance_task, pairs

task, key = line_task(), jax.random.key(0)
rows = jc.Rows(jnp.arange(8), None, jnp.arange(8, 12))
rule = jc.EarlyStopping(1, min_delta=1e9)
some = {"epochs": 4, "batch_size": 3}
by_fit = {"key": key, "progress": False, **some}
late = lambda evaluation: {"f1": 0.5} if evaluation.step > 5 else None
for options in ({}, {"early_stopping": rule}, {"on_evaluation": late}):
    jc.fit(task, jc.adam(0.1), line(), rows=rows, **by_fit, **options)
for options in ({}, {"early_stopping": rule}):
    train = jc.make_train(lambda rate: (task, jc.adam(rate)), line(), **some, **options)
    run = jax.jit(train)(key, 0.1, rows)
    for strategy in ("map", "vmap"):
        several = jc.make_population(train, ["hyperparameters"], strategy=strategy)
        jax.jit(several)(key, jnp.array([0.1, 0.2]), rows)
assert jnp.isinf(run.history["loss"][-1])  # after the end
run = jc.fit(distance_task(), jc.sgd(0.1), pairs(), on_divergence="skip", **by_fit)
assert int(run.skipped) == 4
for how, error in (("raise", jc.training.DivergenceError), ("stop", FloatingPointError)):
    try:
        jc.fit(distance_task(), jc.sgd(0.1), pairs(), on_divergence=how, **by_fit)
    except error as caught:
        print(type(caught).__name__)
"""


@pytest.mark.exhaustive
def test_the_flag_of_jax_stops_at_nan_and_at_nothing_else():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "JAX_DEBUG_NANS": "True"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.split()  # between them JAX says what it does
    assert (first, last) == ("DivergenceError", "FloatingPointError")
