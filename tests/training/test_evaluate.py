import chex
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.tasks import Batch, Task
from jaxopt_course.training import evaluate, predict
from tests.tiers import everyday_first

from .problems import blobs, build


@pytest.mark.parametrize("batch_size", everyday_first(1, [7, 50, 512]))
def test_batches_change_neither_means_nor_predictions(batch_size, key):
    task, _ = build(None)
    params, state = task.init(key)
    data = blobs()
    losses, (_, metrics) = task.loss(params, state, Batch(*data), key=None, train=False)
    means = evaluate(task, params, state, *data, batch_size=batch_size)
    assert means == pytest.approx(
        {"loss": float(losses.mean()), "accuracy": float(metrics["accuracy"].mean())}, rel=1e-12
    )
    predictions = predict(task, params, state, np.asarray(data.inputs), batch_size)
    chex.assert_trees_all_close(predictions, task.predict(params, state, data.inputs), rtol=1e-12)


def test_one_program_serves_a_task_and_a_shape():
    traces = []

    def predict_and_count(params, model_state, inputs):
        traces.append(1)
        return params * inputs

    task = Task(lambda key: None, lambda *args: None, predict_and_count)
    for factor in (1.0, 2.0, 3.0):
        doubled = predict(task, jnp.array(factor), {}, jnp.arange(5.0), batch_size=2)
        assert doubled.tolist() == [factor * i for i in range(5)]
    assert len(traces) == 1


def test_empty_data_and_batches_are_refused(key):
    task, _ = build(None)
    params, state = task.init(key)
    with pytest.raises(ValueError, match="evaluate: there must be at least one example"):
        evaluate(task, params, state, jnp.zeros((0, 4)), jnp.zeros(0, int))
    with pytest.raises(ValueError, match=r"predict: `batch_size` must lie in \[1, inf\), got 0"):
        predict(task, params, state, jnp.zeros((1, 4)), batch_size=0)
