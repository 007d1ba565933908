"""Inputs and targets of any structure, and without targets, through all that takes data."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_close, assert_trees_all_equal

from jaxopt_course.data import array_stream, padded_stream
from jaxopt_course.losses import softmax_cross_entropy_with_integer_labels
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.studies import Float, search
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import (
    Checkpointing,
    Rows,
    Stream,
    evaluate,
    fit,
    make_population,
    make_train,
    predict,
)
from tests.tiers import everyday_first


KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
INPUTS = {"image": RNG.normal(size=(22, 2, 2)).astype(np.float32), "number": np.arange(22) % 4}
TARGETS = {"class": np.arange(22) % 3, "value": RNG.normal(size=22).astype(np.float32)}
ROWS = Rows(np.arange(16), validation=np.arange(16, 22))
OPTIONS = {"key": KEY, "batch_size": 6, "progress": False}


class Two(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        image = inputs["image"].reshape(len(inputs["number"]), -1)
        hidden = nn.tanh(nn.Dense(8)(image) + nn.Embed(4, 8)(inputs["number"]))
        return {"class": nn.Dense(3)(hidden), "value": nn.Dense(1)(hidden)[..., 0]}


def both(outputs, batch):
    labels, values = batch.targets["class"], batch.targets["value"]
    cross = softmax_cross_entropy_with_integer_labels(outputs["class"], labels)
    return cross + (outputs["value"] - values) ** 2, {"cross": cross}


def alone(outputs, batch):
    return (outputs["value"] - batch.inputs["image"].mean((1, 2))) ** 2


LIKE = jax.tree.map(lambda x: x[:1], INPUTS)
TASK = linen_task(Two(), LIKE, loss=both)
ALONE = linen_task(Two(), LIKE, loss=alone)
CASES = {
    "dicts": (TASK, (INPUTS, TARGETS)),
    "inputs": (ALONE, INPUTS),
    "pair": (ALONE, (INPUTS, None)),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", CASES)
def test_all_trainings_agree(case, tmp_path):
    task, data = CASES[case]
    run = fit(task, adam(0.01), data, rows=ROWS, epochs=2, checkpoint=tmp_path / "c", **OPTIONS)
    assert run.history["validation_loss"].shape == (2,)
    train = make_train(lambda rate: (task, adam(rate)), data, epochs=2, batch_size=6)
    same = jax.jit(train)(KEY, 0.01, ROWS)
    assert_trees_all_close(same.state.params, run.state.params, rtol=1e-4)
    population = make_population(train, ["hyperparameters"], strategy="vmap")
    many = jax.jit(population)(KEY, jnp.array([0.01, 0.1]), ROWS)
    assert_trees_all_close(many.history["loss"][0], run.history["loss"], rtol=1e-4)
    of_rates = make_train(lambda hp: (task, adam(hp["rate"])), data, epochs=1, batch_size=6)
    space = {"rate": Float(1e-3, 1e-1, log=True)}
    found = search(of_rates, space, key=KEY, trials=2, folds=ROWS, progress=False)
    assert np.isfinite(found.scores).all()
    resume = Checkpointing(tmp_path / "c", resume="auto")
    again = fit(task, adam(0.01), data, rows=ROWS, epochs=2, checkpoint=resume, **OPTIONS)
    assert_trees_all_equal(again.state.params, run.state.params)


@pytest.mark.parametrize("case", everyday_first(1, CASES))
def test_a_stream_gives_what_arrays_give(case):
    task, data = CASES[case]
    inputs, targets = data if isinstance(data, tuple) else (data, None)
    order = jax.random.fold_in(jax.random.split(KEY)[1], 2**32 - 1)
    stream = lambda step: array_stream(order, inputs, targets, 6, start=step)
    options = OPTIONS | {"steps": 8, "evaluate_every": 4}
    run = fit(task, adam(0.01), Stream(stream, data), **options)
    whole = fit(task, adam(0.01), data, **options)
    assert_trees_all_close(run.state.params, whole.state.params, rtol=1e-4)
    scores = evaluate(task, run.state.params, {}, inputs, targets)
    assert scores["loss"] == pytest.approx(float(run.history["validation_loss"][-1]))
    predictions = predict(task, run.state.params, {}, inputs, batch_size=5)
    assert_trees_all_close(
        predictions["class"],
        Two().apply({"params": run.state.params}, jax.tree.map(jnp.asarray, inputs))["class"],
        rtol=1e-4,
        atol=1e-6,
    )


def test_batches_without_targets_are_padded():
    batches = [jax.tree.map(lambda x: x[:3], INPUTS), jax.tree.map(lambda x: x[3:5], INPUTS)]
    padded = list(padded_stream(batches, 3))
    assert [item[2].tolist() for item in padded] == [[1, 1, 1], [1, 1, 0]]
    assert padded[0][1] is None
    run = fit(ALONE, adam(0.01), batches * 2, steps=4, **OPTIONS | {"batch_size": 3})
    assert np.isfinite(run.history["loss"][-1])
    with pytest.raises(ValueError, match=r"\(inputs, None\) or a dict of arrays, got str"):
        fit(ALONE, adam(0.01), ["ab", "cd", "ef"], steps=1, **OPTIONS | {"batch_size": None})


def test_lists_of_arrays_are_never_taken_for_inputs_alone():
    with pytest.raises(TypeError, match="or be an array or a dict of arrays without targets"):
        make_train(lambda _: (ALONE, sgd(0.1)), [np.zeros((3, 2))], epochs=1, batch_size=1)
    bad = {"image": np.zeros((4, 2)), "number": np.zeros(3)}
    with pytest.raises(ValueError, match=r"4 rows in `inputs.image`, 3 rows in `inputs.number`"):
        make_train(lambda _: (ALONE, sgd(0.1)), bad, epochs=1, batch_size=1)
