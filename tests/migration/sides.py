"""What stands on either side of a row of the page, as numbers: theirs, ours, and theirs recorded.

Torch and Keras are too heavy for the everyday tests. ``record.py`` writes what they give to
``recorded.json``, with their versions; of the updates of an optimizer only those of a few steps.
"""

import json
import os
import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.migration.page import COUNTS, code, value_of
from tests.optimizers.trajectories import (
    GRADIENTS,
    PARAMS,
    keras_updates,
    torch_updates,
    updates_of,
)


RECORDED = pathlib.Path(__file__).with_name("recorded.json")
STEPS = [0, 1, 2, 9, 49, 199]  # of an optimizer's 200, those that are recorded
LOSSES = 2 + np.random.default_rng(0).normal(size=len(COUNTS)) / (1 + COUNTS)
OTHERS = (  # what is no optimizer, by its beginning
    "torch.optim.lr_scheduler.",
    "torch.nn.utils.",
    "torch.nn.Dropout",
    "keras.optimizers.schedules.",
    "keras.regularizers.",
    "keras.initializers.",
    "keras.losses.",
    "keras.layers.BatchNormalization",
    "keras.layers.Dropout",
    "keras.callbacks.EarlyStopping",
)
QUANTILES = np.linspace(0, 1, 33)  # of what an initializer draws, with the shape
DRAWN = (1024, 512)
TARGETS = np.eye(3)[[0, 2, 1, 1, 0]]
OUTPUTS = np.random.default_rng(3).dirichlet(np.ones(3), 5)
CLASSES = TARGETS.argmax(1)
X = np.random.default_rng(2).normal(size=(12, 3))  # of which the first 8 train
Y = X @ np.ones((3, 1)) + 0.1
EPOCHS = 5
DECAYS = (0.0, 0.1)


def ours(row):
    """f64[steps, entries] of an optimizer; f64[1, entries] of anything else."""
    theirs, built = code(row.theirs), value_of(code(row.ours))
    if theirs.startswith("torch.optim.lr_scheduler."):
        return as_row(_rates(built))
    if theirs.startswith("torch.nn.utils."):
        clipped, _ = built.update(jax.tree.map(jnp.asarray, PARAMS), built.init(PARAMS))
        return as_row(clipped)
    if theirs.startswith("keras.layers.BatchNormalization"):
        layer, x = built.clone(param_dtype=jnp.float64), jnp.asarray(GRADIENTS["dense"]["kernel"])
        started = layer.init(jax.random.key(0), x, train=False)
        y, state = layer.apply(started, x, train=True, mutable=["batch_stats"])
        return as_row([layer.apply(started, x[:9], train=False), y[:9], state])
    if theirs.startswith("keras.optimizers.schedules."):
        return as_row(built(COUNTS))
    if theirs.startswith("keras.regularizers."):
        return as_row(built(jnp.asarray(PARAMS["dense"]["kernel"])))
    if theirs.startswith("keras.initializers."):
        return _quantiles(built(jax.random.key(0), DRAWN, jnp.float64))
    if theirs.startswith("keras.losses."):
        return as_row(built(jnp.asarray(_targets(theirs)), jnp.asarray(OUTPUTS)))
    if "Dropout" in theirs:
        applied = lambda train: built.apply(
            {}, jnp.ones(1000), train=train, rngs={"dropout": jax.random.key(0)}
        )
        return _dropped(applied(True), applied(False))
    if theirs.startswith("keras.callbacks.EarlyStopping"):
        return as_row(_ends(built))
    params, gradients = _point(theirs)
    return updates_of(built, params=params, gradients=gradients)


def theirs(row):
    """The same of the library that the row names, which must be installed."""
    source = code(row.theirs)
    library = source.split(".")[0]
    if library == "optax":
        return updates_of(eval(source, {"optax": optax}))
    return (_of_torch if library == "torch" else _of_keras)(source)


def recorded(row):
    """The same as it was recorded."""
    return np.array(json.loads(RECORDED.read_text())["rows"][code(row.theirs)])


def kept(values):
    """Those of f64[steps, entries] that are recorded."""
    return values[STEPS] if len(values) > 1 else values


def as_row(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])[None]


def _quantiles(draws):
    return np.quantile(np.asarray(draws), QUANTILES)[None]


def _dropped(training, evaluation):
    """The values that occur in training, of ones, and in evaluation."""
    return as_row([np.unique(np.asarray(training)), np.unique(np.asarray(evaluation))])


def _targets(source):
    return CLASSES if "sparse" in source else TARGETS


def _ends(rule):
    """Whether the training has ended, after each of ``LOSSES``."""
    state, ends = rule.init(), []
    for loss in LOSSES:
        state = rule.update(state, jnp.array(loss))
        ends.append(float(state.should_stop))
    return np.maximum.accumulate(ends)


def the_keras():
    os.environ["KERAS_BACKEND"] = "jax"
    keras = pytest.importorskip("keras")
    keras.config.set_floatx("float64")
    return keras


def _point(source):
    """Params and gradients; for matrices square ones: which axis is the output is disputed."""
    if "matrices" not in source:
        return PARAMS, GRADIENTS
    return tuple({"w": tree["dense"]["kernel"][..., :3, :]} for tree in (PARAMS, GRADIENTS))


def _rates(built):
    """Over ``COUNTS``; of a transformation those that it makes of the rate 0.1."""
    if not isinstance(built, optax.GradientTransformation):
        return [built(count) for count in COUNTS]
    made, state = [], built.init(jnp.zeros(()))
    for loss in LOSSES:
        rate, state = built.update(jnp.array(0.1), state, value=loss)
        made.append(rate)
    return made


def _of_torch(source):
    torch = pytest.importorskip("torch")
    if source.startswith("torch.optim.lr_scheduler."):
        return as_row(_rates_of_torch(torch, source))
    if source.startswith("torch.nn.utils."):
        leaves, treedef = jax.tree.flatten(PARAMS)  # which serve as gradients
        params = [torch.nn.Parameter(torch.tensor(np.array(x))) for x in leaves]
        for param in params:
            param.grad = param.detach().clone()
        eval(source, {"torch": torch, "params": params})
        clipped = [param.grad.numpy() for param in params]
        assert any(np.any(x != y) for x, y in zip(leaves, clipped, strict=True))
        return as_row(jax.tree.unflatten(treedef, clipped))
    if source.startswith("torch.nn.Dropout"):
        torch.manual_seed(0)
        layer = eval(source, {"torch": torch})
        ones = torch.ones(1000, dtype=torch.float64)
        return _dropped(layer.train()(ones), layer.eval()(ones))
    build = lambda leaves: eval(source, {"torch": torch, "params": leaves, "matrices": leaves})
    # Its Muon iterates in bfloat16 whatever the parameters are: not for this comparison.
    with (
        mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone),
        mock.patch.object(torch, "bfloat16", torch.float64),  # by which newer torches ask for it
    ):
        return torch_updates(build, *_point(source))


def _rates_of_torch(torch, source):
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = eval(source, {"torch": torch, "opt": opt})
    by_loss = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    made = []
    for count in COUNTS:
        if by_loss:
            scheduler.step(LOSSES[count])
        made.append(opt.param_groups[0]["lr"])
        opt.step()
        if not by_loss and count < COUNTS[-1]:  # where some are over
            scheduler.step()
    assert not by_loss or min(made) < 0.05, "it was not tried"
    return made


def _of_keras(source):
    keras = the_keras()
    build = lambda: eval(source, {"keras": keras})
    if source.startswith("keras.layers.BatchNormalization"):
        layer, x = build(), jnp.asarray(GRADIENTS["dense"]["kernel"])
        evaluated, trained = (np.asarray(layer(x, training=train)) for train in (False, True))
        state = [np.asarray(x) for x in (layer.moving_mean, layer.moving_variance)]
        return as_row([evaluated[:9], trained[:9], *state])
    if source.startswith("keras.optimizers.schedules."):
        return as_row([np.asarray(build()(count)) for count in COUNTS])
    if source.startswith("keras.regularizers."):
        return as_row(np.asarray(build()(jnp.asarray(PARAMS["dense"]["kernel"]))))
    if source.startswith("keras.initializers."):
        keras.utils.set_random_seed(0)
        return _quantiles(build()(DRAWN))
    if source.startswith("keras.losses."):
        return as_row(np.asarray(build()(_targets(source), OUTPUTS)))
    if source.startswith("keras.layers.Dropout"):
        return _dropped(*(build()(np.ones(1000), training=train) for train in (True, False)))
    if source.startswith("keras.callbacks.EarlyStopping"):
        return as_row(_ends_of_keras(keras, build()))
    return keras_updates(build, *_point(source))


def _ends_of_keras(keras, callback):
    model, ends = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), []
    model.compile()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, loss in enumerate(LOSSES):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        ends.append(float(model.stop_training))
    return ends


def trained_by_keras(decay):
    """What ``compile`` and ``fit`` of Keras give for a linear model, with an L2 regularizer."""
    keras = the_keras()
    regularizer = keras.regularizers.L2(decay) if decay else None
    layer = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=regularizer)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mean_squared_error")
    how = {"validation_data": (X[8:], Y[8:]), "batch_size": 8, "epochs": EPOCHS, "verbose": 0}
    history = model.fit(X[:8], Y[:8], **how).history
    kernel, bias = model.get_weights()
    return {
        "loss": list(history["loss"]),
        "val_loss": list(history["val_loss"]),
        "kernel": kernel.ravel().tolist(),
        "bias": bias.tolist(),
    }
