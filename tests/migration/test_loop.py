"""What replaces a part of a loop of one's own does the same."""

import dataclasses
import json
import re

import flax.linen as nn
import flax.serialization
import flax.training.early_stopping
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxopt_course as jc
from tests.migration import sides
from tests.migration.page import ALL, PAGE, ROWS, code


X = np.random.default_rng(2).normal(size=(8, 3))
Y = X @ np.ones((3, 1)) + 0.1
SQUARES = jc.problems.problem("regression")
LINE = jc.function_task(
    lambda key: {"w": jnp.zeros((3, 1))}, lambda params, x: x @ params["w"], SQUARES
)


def fitted(optimizer, *, task=LINE, key=0, epochs=3, batch_size=8, **options):
    options = {"progress": False, "key": jax.random.key(key), **options}
    return jc.fit(task, optimizer, (X, Y), epochs=epochs, batch_size=batch_size, **options)


def weights(run):
    return run.state.params["w"]


def a_linen_model(tmp_path):
    model = nn.Dense(2, param_dtype=jnp.float64)
    task = jc.linen_task(model, X[:1], SQUARES)
    params, model_state = task.init(jax.random.key(0))
    out = task.predict(params, model_state, X)
    np.testing.assert_allclose(out, model.apply({"params": params}, X), rtol=1e-12)


def an_nnx_model(tmp_path):
    task = jc.nnx_task(lambda rngs: nnx.Linear(3, 1, rngs=rngs), SQUARES)
    params, model_state = task.init(jax.random.key(0))
    out = task.predict(params, model_state, X)
    np.testing.assert_allclose(out, X @ params["kernel"] + params["bias"], rtol=1e-6)


def a_loss(tmp_path):
    own = lambda outputs, targets: jnp.sum(jnp.abs(outputs - targets), axis=-1)
    absolute = dataclasses.replace(SQUARES, loss=own)
    task = jc.function_task(
        lambda key: {"w": jnp.zeros((3, 1))}, lambda params, x: x @ params["w"], absolute
    )
    first = fitted(jc.sgd(0.1), task=task, epochs=1)
    np.testing.assert_allclose(first.history["loss"], np.abs(Y).mean(), rtol=1e-12)
    np.testing.assert_allclose(weights(first), 0.1 * (X * np.sign(Y)).mean(0)[:, None])


def a_train_state(tmp_path):
    (row,) = [row for row in ALL if row.theirs == "flax's `TrainState`"]
    said = re.findall(r"`(\w+)`", row.ours)
    assert set(said) == set(jc.training.TrainState._fields)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(fitted(jc.sgd(0.1)).state))


def a_loop(tmp_path):
    tx, w = optax.adam(0.1), jnp.zeros((3, 1))
    state, loss = tx.init(w), lambda w: jnp.mean((X @ w - Y) ** 2)
    for _ in range(3):
        updates, state = tx.update(jax.grad(loss)(w), state)
        w = optax.apply_updates(w, updates)
    np.testing.assert_allclose(weights(fitted(jc.adam(0.1))), w, rtol=1e-10)


def shuffling(tmp_path):
    one, again, other = (weights(fitted(jc.sgd(0.1), key=k, batch_size=3)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)
    still = fitted(jc.sgd(0.0), batch_size=3)  # batches of 3, 3 and 2 rows
    np.testing.assert_allclose(still.history["loss"], np.mean(Y**2), rtol=1e-12)
    assert still.history["step"].tolist() == [3, 6, 9]


def evaluations(tmp_path):
    rows = jc.Rows(np.arange(6), validation=np.arange(6, 8))
    run = fitted(jc.sgd(0.1), batch_size=3, rows=rows)
    assert run.history["validation_loss"].shape == (3,)
    best = np.mean((X[6:] @ run.best_params["w"] - Y[6:]) ** 2)
    np.testing.assert_allclose(best, run.history["validation_loss"].min(), rtol=1e-10)


def a_mean_of_parameters(tmp_path):
    seen = []
    run = fitted(
        jc.ema_params(jc.sgd(0.1), 0.5),
        callbacks=[lambda record: seen.append(np.array(record.state.params["w"]))],
        segment=1,
    )
    mean = (seen[0] + 2 * seen[1] + 4 * seen[2]) / 7
    averaged = jc.transforms.evaluation_params(run.state.opt_state, run.state.params)
    np.testing.assert_allclose(averaged["w"], mean, rtol=1e-6)
    before = (seen[0] + 2 * seen[1]) / 3  # the last loss was computed before the last step
    np.testing.assert_allclose(run.best_params["w"], before, rtol=1e-6)


def accumulation(tmp_path):
    pieces = fitted(jc.MultiSteps(jc.adam(0.1), 4), batch_size=2)
    np.testing.assert_allclose(weights(pieces), weights(fitted(jc.adam(0.1))), rtol=1e-6)


def checkpoints(tmp_path):
    steps = []
    options = {
        "checkpoint": jc.training.Checkpointing(tmp_path / "checkpoints", resume="auto"),
        "callbacks": [lambda record: steps.append(record.step)],
        "segment": 1,
    }
    first, again = (fitted(jc.sgd(0.1), **options) for _ in range(2))
    assert steps == [1, 2, 3]  # and none the second time
    np.testing.assert_array_equal(weights(first), weights(again))


def a_log(tmp_path):
    run = fitted(jc.sgd(0.1), log=tmp_path / "a")
    lines = (tmp_path / "a" / "history.jsonl").read_text().splitlines()
    logged = [json.loads(line)["loss"] for line in lines]
    np.testing.assert_allclose(logged, run.history["loss"], rtol=1e-6)
    assert len((tmp_path / "a" / "history.csv").read_text().splitlines()) == 1 + 3


def a_logged_rate(tmp_path):
    (row,) = [row for row in ALL if row.theirs == "the logged rate"]
    written = re.search(r"`callbacks=\[(.*?)\]`;", row.ours).group(1)
    printed = []
    schedule = jc.linear_schedule(0.1, 0.0, 4)
    callback = eval(written, {"print": lambda *values: printed.append(values)})
    fitted(jc.inject_hyperparams(jc.adam)(schedule), callbacks=[callback], segment=1)
    assert [step for step, _ in printed] == [1, 2, 3]
    rates = [float(rate) for _, rate in printed]
    np.testing.assert_allclose(rates, [0.1, 0.075, 0.05], rtol=1e-6)


def early_stopping(tmp_path):
    theirs = flax.training.early_stopping.EarlyStopping(patience=9)
    ours = jc.EarlyStopping(patience=10)
    state, ends = ours.init(), []
    for loss in [2.0, 1.0, *[1.5] * 10]:
        theirs, state = theirs.update(loss), ours.update(state, jnp.array(loss))
        ends.append((theirs.should_stop, bool(state.should_stop)))
    assert ends == [(False, False)] * 11 + [(True, True)]


def fitted_as_keras(decay, **options):
    """The training of a linear model that was recorded of Keras, and what was recorded."""
    model = nn.Dense(1, kernel_init=nn.initializers.zeros, param_dtype=jnp.float64)
    rows = jc.Rows(np.arange(8), validation=np.arange(8, 12))
    momentum = jc.heavy_ball(0.1, 0.9)
    penalized = jc.add_decayed_weights(2 * decay, mask=jc.regularizers.weights_only)
    optimizer = jc.chain(penalized, momentum) if decay else momentum
    run = jc.fit(
        jc.linen_task(model, sides.X[:1], SQUARES),
        optimizer,
        (sides.X, sides.Y),
        key=jax.random.key(0),
        batch_size=8,
        epochs=sides.EPOCHS,
        rows=rows,
        progress=False,
        **options,
    )
    return run, json.loads(sides.RECORDED.read_text())["trainings"][str(decay)]


def a_compiled_model(tmp_path):
    run, recorded = fitted_as_keras(0.0)
    params = run.state.params
    np.testing.assert_allclose(params["kernel"].ravel(), recorded["kernel"], rtol=1e-10)
    np.testing.assert_allclose(params["bias"], recorded["bias"], rtol=1e-10)


def a_fit(tmp_path):
    run, recorded = fitted_as_keras(0.0)
    for ours, theirs in (("loss", "loss"), ("validation_loss", "val_loss")):
        np.testing.assert_allclose(run.history[ours], recorded[theirs], rtol=1e-6)


def a_kernel_regularizer(tmp_path):
    run, recorded = fitted_as_keras(0.1)
    kernel = run.state.params["kernel"].ravel()
    np.testing.assert_allclose(kernel, recorded["kernel"], rtol=1e-10)
    np.testing.assert_allclose(run.state.params["bias"], recorded["bias"], rtol=1e-10)
    without = recorded["val_loss"][-1] - 0.1 * np.sum(np.square(kernel))
    np.testing.assert_allclose(run.history["validation_loss"][-1], without, rtol=1e-6)


def the_best_weights(tmp_path):
    for options in ({}, {"early_stopping": jc.EarlyStopping(2)}):
        run, _ = fitted_as_keras(0.0, **options)
        outputs = sides.X[8:] @ run.best_params["kernel"] + run.best_params["bias"]
        best = np.nanmin(run.history["validation_loss"])
        np.testing.assert_allclose(np.mean((outputs - sides.Y[8:]) ** 2), best, rtol=1e-6)


LOOP = {
    "a Linen model, `model.apply`": a_linen_model,
    "an NNX model": an_nnx_model,
    "the loss function": a_loss,
    "flax's `TrainState`": a_train_state,
    "the jitted step, and the loop over epochs": a_loop,
    "shuffling and batching": shuffling,
    "the evaluation of each epoch": evaluations,
    "a mean of the parameters": a_mean_of_parameters,
    "the accumulation of gradients": accumulation,
    "Orbax's checkpoints": checkpoints,
    "a log": a_log,
    "the logged rate": a_logged_rate,
    "flax's `EarlyStopping(patience=9)`": early_stopping,
    '`model.compile(optimizer, "mean_squared_error")`': a_compiled_model,
    "`model.fit(x, y, batch_size=8, epochs=5, validation_data=(a, b))`": a_fit,
    "`kernel_regularizer=keras.regularizers.L2(0.1)`": a_kernel_regularizer,
    "`EarlyStopping(restore_best_weights=True)`": the_best_weights,
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("theirs", LOOP)
def test_what_replaces_a_part_of_the_loop_does_the_same(theirs, tmp_path, standard_promotion):
    LOOP[theirs](tmp_path)


def test_every_row_has_its_check():
    assert all(code(row.ours) for row in ROWS)
    assert [row.theirs for row in ALL if row not in ROWS] == list(LOOP)
    assert len(ALL) == PAGE.count("\n|") - 2 * PAGE.count("\n|---")
