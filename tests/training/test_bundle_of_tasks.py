"""Bundles of models that are not of this library, and models that are trained further."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.data import fit_scaler, scale_features
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Task, linen_task, starting_from
from jaxopt_course.training import Bundle, apply_bundle, evaluate, fit, load_bundle, save_bundle

from .test_bundle import INPUTS, make_bundle


@pytest.fixture
def saved(tmp_path):
    save_bundle(tmp_path / "described", make_bundle())
    return tmp_path / "described"


class Own(nn.Module):
    """A model that is not of this library, with integers in its state."""

    @nn.compact
    def __call__(self, x):
        self.variable("count", "n", lambda: jnp.zeros((), jnp.int32))
        return nn.Dense(3)(nn.relu(nn.Dense(5)(x)))


OWN = linen_task(Own(), INPUTS[:1], problem("multiclass"))


def of_own(**others):
    return Bundle.of(OWN, *OWN.init(jax.random.key(3)), **others)


def test_the_model_of_any_task_is_saved_and_loaded_with_the_task(tmp_path):
    bundle = of_own(
        input_shape=(2,), scaler=fit_scaler(INPUTS), label_names=("ash", "birch", "cedar")
    )
    save_bundle(tmp_path / "b", bundle)
    loaded = load_bundle(tmp_path / "b", OWN)
    chex.assert_trees_all_equal(loaded.params, bundle.params)
    chex.assert_trees_all_equal_shapes_and_dtypes(loaded.model_state, bundle.model_state)
    assert loaded.task() is OWN
    scaled = scale_features(bundle.scaler, INPUTS)
    expected = OWN.predict(bundle.params, bundle.model_state, jnp.asarray(scaled))
    values, labels = apply_bundle(loaded, INPUTS)
    chex.assert_trees_all_close(values, expected, rtol=1e-5)
    assert labels.tolist() == [("ash", "birch", "cedar")[i] for i in np.argmax(expected, -1)]


def test_a_bundle_of_a_task_needs_this_task(saved, tmp_path):
    save_bundle(tmp_path / "b", of_own())
    other = linen_task(MLP(3), INPUTS[:1], problem("multiclass"))
    wider = linen_task(nn.Dense(4), INPUTS[:1], problem("multiclass"))
    for path, task, said in [
        (tmp_path / "b", None, "is of a task: give this `task`"),
        (tmp_path / "b", other, "parameter tree must have the structure of the task's tree"),
        (tmp_path / "b", wider, "parameter tree must have the structure of the task's tree"),
        (saved, OWN, "describes its model: omit `task`"),
    ]:
        with pytest.raises(ValueError, match=f"^load_bundle: .*{said}"):
            load_bundle(path, task)
    for changes, said in [
        ({"params": {}}, "parameter tree must have"),
        ({"model_state": {"count": {"n": jnp.zeros(())}}}, "the task's dtype int32, got float"),
        ({"scaler": fit_scaler(INPUTS)}, "`scaler` needs `input_shape`"),
        ({"model": {"name": "MLP", "config": {}}}, "`model` must be None beside `own_task`"),
    ]:
        with pytest.raises(ValueError, match=f"^save_bundle: .*{said}"):
            save_bundle(tmp_path / "b", of_own()._replace(**changes))


def test_predictions_of_a_task_without_a_problem_are_its_outputs(tmp_path):
    task = linen_task(Own(), INPUTS[:1], loss=lambda outputs, batch: outputs.mean(-1))
    save_bundle(tmp_path / "b", Bundle.of(task, *task.init(jax.random.key(3))))
    values, labels = apply_bundle(load_bundle(tmp_path / "b", task), INPUTS)
    chex.assert_trees_all_equal(np.asarray(values), labels)


def test_a_loaded_model_is_trained_further(saved):
    bundle = load_bundle(saved)
    task = starting_from(bundle.task(), bundle.params, bundle.model_state)
    inputs, targets = scale_features(bundle.scaler, INPUTS), np.arange(7) % 3
    run = fit(
        task, adam(0.01), (inputs, targets), key=jax.random.key(0), epochs=3, batch_size=7,
        progress=False,
    )  # fmt: skip
    probabilities = jnp.log(apply_bundle(bundle, INPUTS).values)
    first = -probabilities[np.arange(7), targets].mean()
    before = evaluate(bundle.task(), bundle.params, bundle.model_state, inputs, targets)["loss"]
    assert before == pytest.approx(float(first), rel=1e-5)
    assert run.history["loss"][-1] < run.history["loss"][0]


def test_a_state_with_keys_is_refused():
    task = Task(lambda key: ({}, {"key": key}), None, lambda params, state, inputs: inputs)
    bundle = Bundle.of(task, *task.init(jax.random.key(0)))
    with pytest.raises(
        ValueError, match="holds arrays of numbers, but the task's state holds PRNG"
    ):
        save_bundle("never", bundle)
