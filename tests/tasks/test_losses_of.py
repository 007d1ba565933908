"""A task whose loss is not one number an example is refused, by every function that takes tasks."""

import jax
import jax.numpy as jnp
import pytest

from jaxopt_course.checkpoints import (
    fingerprint,
)
from jaxopt_course.diagnostics import gradient_flow
from jaxopt_course.optimizers import sgd
from jaxopt_course.tasks import Batch, Task, augmented, losses_of, mixed_precision
from jaxopt_course.training import (
    evaluate,
    fit,
    init_state,
    make_step,
    make_train,
    make_training,
)


ROWS, WIDTH, BATCH = 12, 3, 4
X = jnp.arange(ROWS * WIDTH, dtype=float).reshape(ROWS, WIDTH) / 10


def task_of(loss, metric=lambda errors: errors.mean(-1), new_state=lambda state: state):
    """Linear regression of X on itself with a loss, a metric and a model state to be planted."""

    def task_loss(params, model_state, batch, *, key, train):
        errors = (batch.inputs @ params["w"] - batch.inputs) ** 2
        return loss(errors), (new_state(model_state), {"error": metric(errors)})

    init = lambda key: (
        {"w": jnp.zeros((WIDTH, WIDTH))},
        {"seen": jnp.zeros((), jnp.int32), "mean": jnp.zeros(2)},
    )
    return Task(init, task_loss, lambda params, state, inputs: inputs @ params["w"])


def rows_mean(errors):
    return errors.mean(-1)


PLANTED = {
    "scalar loss": (task_of(jnp.mean), "loss", r"\(\)"),
    "loss of entries": (task_of(lambda e: e), "loss", rf"\({BATCH}, {WIDTH}\)"),
    "column of losses": (task_of(lambda e: e.mean(-1, keepdims=True)), "loss", rf"\({BATCH}, 1\)"),
    "scalar metric": (task_of(rows_mean, jnp.mean), "metric 'error'", r"\(\)"),
    "metric of entries": (task_of(rows_mean, lambda e: e), "metric 'error'", f"{WIDTH}"),
}


def one_step(task):
    state = init_state(task, sgd(0.1), jax.random.key(0))
    return jax.eval_shape(make_step(task, sgd(0.1)), state, Batch(X[:BATCH], X[:BATCH]))


def one_stage(task):
    training = make_training(lambda rate: (task, sgd(rate)), (X, X), batch_size=BATCH)
    return training(0.1).start(jax.random.key(0))


def whole_training(task):
    train = make_train(lambda rate: (task, sgd(rate)), (X, X), epochs=1, batch_size=BATCH)
    return train(jax.random.key(0), 0.1)


def in_segments(task):
    key = jax.random.key(0)
    return fit(task, sgd(0.1), (X, X), key=key, epochs=1, batch_size=BATCH, progress=False)


def of_a_stream(task):
    stream = [(X[:BATCH], X[:BATCH])]
    return fit(task, sgd(0.1), stream, key=jax.random.key(0), epochs=1, progress=False)


def evaluated(task):
    return evaluate(task, *task.init(jax.random.key(0)), X[:BATCH], X[:BATCH])


def flow(task):
    return gradient_flow(
        task, init_state(task, sgd(0.1), jax.random.key(0)), Batch(X[:BATCH], X[:BATCH])
    )


DRIVERS = [one_step, one_stage, whole_training, in_segments, of_a_stream, evaluated, flow]


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", PLANTED)
def test_a_loss_or_metric_of_another_shape_is_refused_by_name(driver, name):
    task, what, _ = PLANTED[name]
    with pytest.raises(ValueError, match=rf"^Task: the {what} must have the shape \[batch\], .*"):
        driver(task)


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda f: f.__name__)
def test_one_number_an_example_passes(driver):
    driver(task_of(rows_mean))


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("wrapper", [mixed_precision, lambda t: augmented(t, lambda key, x: x)])
def test_a_wrapped_task_is_checked_too(wrapper, name):
    task, what, shape = PLANTED[name]
    with pytest.raises(ValueError, match=rf"the {what} must .*, got the shape .*{shape}"):
        one_step(wrapper(task))


@pytest.mark.parametrize(
    ("new_state", "error", "words"),
    [
        (lambda s: {"seen": s["seen"]}, ValueError, "'mean'"),
        (lambda s: {**s, "mean": s["mean"][:1]}, ValueError, "'mean'"),
        (lambda s: {**s, "seen": s["seen"].astype(float)}, ValueError, "'seen'.*int32, got float"),
        (lambda s: {**s, "mean": s["mean"] > 0}, ValueError, "'mean'.*float.*, got bool"),
    ],
)
def test_the_model_state_keeps_structure_shapes_and_kinds(new_state, error, words):
    task = task_of(rows_mean, new_state=new_state)
    with pytest.raises(error, match=words):
        one_step(task)
    evaluated(task)  # which drops the model state


def test_floats_of_another_width_in_the_model_state_are_cast():
    task = task_of(rows_mean, new_state=lambda s: {**s, "mean": s["mean"].astype(jnp.bfloat16)})
    state, _ = one_step(task)
    assert state.model_state["mean"].dtype == jnp.zeros(2).dtype


def test_what_is_no_loss_is_refused():
    batch, options = Batch(X, X), {"key": None, "train": False}
    task = Task(lambda key: ({}, {}), lambda *args, **kwargs: jnp.ones(ROWS), lambda *args: None)
    with pytest.raises(TypeError, match=r"must return \(losses, \(model_state, metrics\)\)"):
        losses_of(task, {}, {}, batch, **options)
    counts = task._replace(loss=lambda *args, **kwargs: (jnp.ones(ROWS, int), ({}, {})))
    with pytest.raises(TypeError, match="the loss must hold floats, got int"):
        losses_of(counts, {}, {}, batch, **options)


def test_the_checks_add_nothing_to_the_program():
    task = task_of(rows_mean)
    params, state = task.init(jax.random.key(0))
    batch, options = Batch(X, X), {"key": None, "train": True}
    plain = lambda params: task.loss(params, state, batch, **options)
    checked = lambda params: losses_of(task, params, state, batch, **options)
    assert fingerprint(plain, params) == fingerprint(checked, params)
