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
    "keras.layers.",
    "keras.optimizers.schedules.",
    "keras.regularizers.",
)


def ours(row):
    """f64[steps, entries] of an optimizer; f64[1, entries] of anything else."""
    theirs, built = code(row.theirs), value_of(code(row.ours))
    if theirs.startswith("torch.optim.lr_scheduler."):
        return as_row(_rates(built))
    if theirs.startswith("torch.nn.utils."):
        clipped, _ = built.update(jax.tree.map(jnp.asarray, PARAMS), built.init(PARAMS))
        return as_row(clipped)
    if theirs.startswith("keras.layers."):
        layer, x = built.clone(param_dtype=jnp.float64), jnp.asarray(GRADIENTS["dense"]["kernel"])
        started = layer.init(jax.random.key(0), x, train=False)
        y, state = layer.apply(started, x, train=True, mutable=["batch_stats"])
        return as_row([layer.apply(started, x[:9], train=False), y[:9], state])
    if theirs.startswith("keras.optimizers.schedules."):
        return as_row(built(COUNTS))
    if theirs.startswith("keras.regularizers."):
        return as_row(built(jnp.asarray(PARAMS["dense"]["kernel"])))
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
    if source.startswith("keras.layers."):
        layer, x = build(), jnp.asarray(GRADIENTS["dense"]["kernel"])
        evaluated, trained = (np.asarray(layer(x, training=train)) for train in (False, True))
        state = [np.asarray(x) for x in (layer.moving_mean, layer.moving_variance)]
        return as_row([evaluated[:9], trained[:9], *state])
    if source.startswith("keras.optimizers.schedules."):
        return as_row([np.asarray(build()(count)) for count in COUNTS])
    if source.startswith("keras.regularizers."):
        return as_row(np.asarray(build()(jnp.asarray(PARAMS["dense"]["kernel"]))))
    return keras_updates(build, *_point(source))
