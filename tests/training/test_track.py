"""Learning rates and norms in the rows of the history, against closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.optimizers import adamw, muon, sgd
from jaxopt_course.schedules import linear_schedule
from jaxopt_course.tasks import Task
from jaxopt_course.training import EarlyStopping, fit, make_train
from jaxopt_course.transforms import (
    MultiSteps,
    inject_hyperparams,
    learning_rates,
    packed,
    partition,
)

from .problems import line, line_task


KEY, RATE = jax.random.key(0), linear_schedule(1.0, 0.0, 10)
DATA = jnp.ones((12, 1)), jnp.ones(12)


def slope_task() -> Task:
    """The loss is 3 a + 4 b, so the gradient is (3, 4), whose norm is 5."""
    init = lambda key: ({"a": jnp.zeros(()), "b": jnp.zeros(())}, {})

    def loss(params, model_state, batch, *, key, train):
        value = 3 * params["a"] + 4 * params["b"]
        return value * jnp.ones(batch.inputs.shape[0]), (model_state, {})

    return Task(init, loss, lambda params, model_state, inputs: inputs)


SLOPE = slope_task()
TRACK = ("learning_rate", "gradient_norm", "update_norm")
OPTIONS = {"steps": 6, "batch_size": 4, "evaluate_every": 2, "track": TRACK}
by_fit = functools.partial(fit, SLOPE, data=DATA, key=KEY, progress=False)


def by_train(optimizer, **options):
    return jax.jit(make_train(lambda _: (SLOPE, optimizer), DATA, **options))(KEY)


@pytest.mark.parametrize("train", [by_fit, by_train], ids=["fit", "make_train"])
@pytest.mark.parametrize("wrap", [lambda tx: tx, packed], ids=["plain", "packed"])
def test_they_are_those_of_the_closed_form(train, wrap):
    run = train(optimizer=wrap(sgd(RATE)), **OPTIONS)
    rates = 1 - np.arange(6) / 10
    np.testing.assert_allclose(run.history["learning_rate"], rates[1::2], rtol=1e-12)
    np.testing.assert_allclose(run.history["gradient_norm"], [5, 5, 5], rtol=1e-12)
    updates = 5 * rates.reshape(3, 2).mean(-1)  # means over the two steps of an interval
    np.testing.assert_allclose(run.history["update_norm"], updates, rtol=1e-12)
    plain = train(optimizer=wrap(sgd(RATE)), **OPTIONS | {"track": ()})
    for name in plain.history:
        np.testing.assert_array_equal(plain.history[name], run.history[name])
    assert set(run.history) - set(plain.history) == set(TRACK)


def test_a_norm_is_a_mean_over_rows():
    """Of a ragged epoch: batches of 8 and 4 rows."""
    run = by_train(sgd(RATE), **OPTIONS | {"batch_size": 8, "track": ["update_norm"], "steps": 2})
    expected = 5 * (8 * 1.0 + 4 * 0.9) / 12
    np.testing.assert_allclose(run.history["update_norm"], [expected], rtol=1e-12)


def test_accumulated_gradients_use_the_rate_of_their_update():
    run = by_fit(optimizer=MultiSteps(sgd(RATE), 3), **OPTIONS | {"evaluate_every": 1})
    np.testing.assert_allclose(run.history["learning_rate"], [1, 1, 1, 1, 1, 0.9], rtol=1e-12)
    expected = [0, 0, 5, 0, 0, 4.5]
    np.testing.assert_allclose(run.history["update_norm"], expected, atol=1e-12)


PARAMS = {"a": jnp.zeros((2, 2)), "b": jnp.zeros(2)}
OF_GROUPS = {"z": sgd(0.5), "y": adamw(0.25)}


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (adamw(0.5), [0.5]),
        (muon(0.5), [0.5]),
        (muon(0.5, adam_learning_rate=0.25), [0.25, 0.5]),
        (partition(OF_GROUPS, {"a": "z", "b": "y"}), [0.25, 0.5]),  # "y" comes first in the state
        (inject_hyperparams(adamw)(learning_rate=0.5), [0.5]),
        (optax.inject_hyperparams(optax.adamw)(learning_rate=0.5), [0.5]),
        (optax.adamw(0.5), []),
    ],
)
def test_the_rates_of_an_optimizer(optimizer, expected):
    for params in (PARAMS, jax.eval_shape(lambda: PARAMS)):
        found = learning_rates(optimizer, params)(optimizer.init(PARAMS))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_asking_for_the_rates_leaves_no_trace():
    optimizer = sgd(0.5)
    learning_rates(optimizer, PARAMS)
    assert jax.eval_shape(optimizer.init, PARAMS) == jax.eval_shape(sgd(0.5).init, PARAMS)


def test_a_traced_rate_is_tracked_for_each_member():
    train = make_train(lambda rate: (SLOPE, sgd(rate)), DATA, **OPTIONS)
    runs = jax.jit(jax.vmap(train, in_axes=(None, 0)))(KEY, jnp.array([0.5, 0.25]))
    np.testing.assert_allclose(runs.history["learning_rate"][:, 0], [0.5, 0.25])
    np.testing.assert_allclose(runs.history["update_norm"][:, 0], [2.5, 1.25])


def test_early_stopping_may_monitor_them():
    rule = EarlyStopping(1, monitor="update_norm", mode="max")  # it falls from the start
    run = by_train(sgd(RATE), **OPTIONS, early_stopping=rule)
    assert int(run.outcome.step) == 4


def test_what_cannot_be_tracked():
    with pytest.raises(ValueError, match=r"fit: `track` must be one of .*, got 'momentum'"):
        by_fit(optimizer=sgd(0.1), **OPTIONS | {"track": ("momentum",)})
    options = {**OPTIONS, "track": ("learning_rate",)}
    with pytest.raises(ValueError, match=r"must tell its 'learning_rate', as that of `inject"):
        fit(line_task(), optax.adam(0.1), line(), key=KEY, progress=False, **options)


@pytest.mark.parametrize("name", ["gradient_norm", "learning_rate"])
def test_a_metric_of_the_task_is_not_overwritten(name):
    def loss(*arguments, **options):
        losses, (state, _) = SLOPE.loss(*arguments, **options)
        return losses, (state, {name: losses})

    named, options = SLOPE._replace(loss=loss), {**OPTIONS, "key": KEY, "progress": False}
    with pytest.raises(ValueError, match=f"cannot be called '{name}' if `track` names it, too"):
        fit(named, sgd(0.1), DATA, **options)
    assert name in fit(named, sgd(0.1), DATA, **options | {"track": ()}).history
