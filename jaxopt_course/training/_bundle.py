"""A trained model in one file: all that it takes to apply it to new rows.

The file is one line of JSON (what the model is), then the arrays in Flax's msgpack format. Nothing
in it is code, so a file of unknown origin can at worst be refused.
"""

import functools
import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization
from jaxtyping import Array, PyTree, Shaped

from jaxopt_course.core import Params, check_choice, check_like, replacing
from jaxopt_course.data import Scaler, scale_features
from jaxopt_course.nn import MODELS
from jaxopt_course.problems import PROBLEMS, problem
from jaxopt_course.tasks import Task, linen_task

from ._checkpoint_errors import briefly
from ._evaluate import predict


__all__ = ["Bundle", "Predictions", "apply_bundle", "load_bundle", "save_bundle"]

FORMAT, VERSION = "jaxopt_course bundle", 1


class Bundle(NamedTuple):
    """A trained model.

    model: ``{"name": ..., "config": {...}}``: a model of :mod:`jaxopt_course.nn`, and the
        arguments that it is made with, as JSON can write them.
    input_shape: the shape of one example, without the batch.
    problem: the name of the problem type.
    params: the parameters.
    model_state: the model state, ``{}`` if it has none.
    scaler: what inputs go through first, or None.
    label_names: what the classes are called, one name each; None: their numbers.
    """

    model: dict[str, Any]
    input_shape: tuple[int, ...]
    problem: str
    params: Params
    model_state: PyTree
    scaler: Scaler | None = None
    label_names: tuple[str, ...] | None = None


class Predictions(NamedTuple):
    """What a model says of some examples.

    values: probabilities, or numbers in the targets' unit.
    labels: what a person reads, one an example: names of classes where the bundle has them, else
        class numbers, 0 or 1 for each label, or the values themselves.
    """

    values: Array
    labels: Shaped[np.ndarray, "rows ..."]


def save_bundle(path: str | os.PathLike[str], bundle: Bundle) -> None:
    """Write ``bundle`` to the file ``path``; whoever reads there sees the old file or the new one.

    Raises:
        ValueError: if the bundle does not fit together: unknown model or problem, wrong shapes,
            a config that JSON cannot write.
    """
    _check_bundle("save_bundle", bundle)
    path = pathlib.Path(path)
    arrays = {"params": bundle.params, "model_state": bundle.model_state}
    if bundle.scaler is not None:
        arrays["scaler"] = bundle.scaler._asdict()
    payload = serialization.msgpack_serialize(jax.tree.map(np.asarray, arrays))
    header = {
        "format": FORMAT,
        "version": VERSION,
        "model": bundle.model,
        "input_shape": bundle.input_shape,
        "problem": bundle.problem,
        "label_names": bundle.label_names,
        "sha256": hashlib.sha256(payload).hexdigest(),
    }
    with replacing(path) as part:
        part.write_bytes(json.dumps(header).encode() + b"\n" + payload)


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """The bundle in the file ``path``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no bundle, of another version, damaged, or does not fit together.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_bundle: there is no file {path}.")
    line, _, payload = path.read_bytes().partition(b"\n")
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"load_bundle: {path} is not a model bundle.")
    if header.get("version") != VERSION:
        raise ValueError(
            f"load_bundle: {path} has version {header.get('version')!r}, "
            f"this library reads version {VERSION}."
        )
    if hashlib.sha256(payload).hexdigest() != header.get("sha256"):
        raise ValueError(f"load_bundle: {path} is truncated or damaged: its checksum differs.")
    try:
        arrays = serialization.msgpack_restore(payload)
        names = header["label_names"]
        bundle = Bundle(
            model=header["model"],
            input_shape=tuple(header["input_shape"]),
            problem=header["problem"],
            params=arrays["params"],
            model_state=arrays["model_state"],
            scaler=Scaler(**arrays["scaler"]) if "scaler" in arrays else None,
            label_names=None if names is None else tuple(names),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"load_bundle: {path} is incomplete: {briefly(error)}.") from error
    _check_bundle("load_bundle", bundle)
    return bundle


def apply_bundle(bundle: Bundle, inputs: Any, batch_size: int = 512) -> Predictions:
    """The predictions for new examples.

    Args:
        bundle: the model.
        inputs: examples as they were measured, one a row: the bundle's scaler is applied.
        batch_size: how many are computed at once, in [1, inf).

    Raises:
        ValueError: if the examples have another shape than the model was trained on.
    """
    shape = jnp.shape(inputs)
    if not shape or shape[1:] != bundle.input_shape:
        wanted = ", ".join(map(str, ("rows", *bundle.input_shape)))
        raise ValueError(f"apply_bundle: `inputs` must have the shape ({wanted}), got {shape}.")
    if bundle.scaler is not None:
        inputs = scale_features(bundle.scaler, inputs)
    task = _task_of("apply_bundle", bundle)
    outputs = predict(task, bundle.params, bundle.model_state, inputs, batch_size)
    row = problem(bundle.problem)
    labels = np.asarray(row.predict_label(outputs))
    if bundle.label_names is not None and labels.ndim == 1:
        labels = np.asarray(bundle.label_names)[labels]
    return Predictions(row.activation(outputs), labels)


def _check_bundle(owner: str, bundle: Bundle) -> None:
    """Raise unless the parts of ``bundle`` fit together."""
    check_choice(owner, "problem", bundle.problem, PROBLEMS)
    task = _task_of(owner, bundle)
    for what, made, given in zip(
        ("parameter", "model state"),
        jax.eval_shape(task.init, jax.random.key(0)),
        (bundle.params, bundle.model_state),
        strict=True,
    ):
        shaped = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), made)
        check_like(owner, what, given, shaped, than="model")
    n_names = len(bundle.label_names or ())
    outputs = bundle.model["config"]["outputs"]
    n_classes = 2 if bundle.problem == "binary" and outputs == 1 else outputs
    if bundle.label_names is not None and n_names != n_classes:
        raise ValueError(f"{owner}: `label_names` must be {n_classes} names, got {n_names}.")


def _task_of(owner: str, bundle: Bundle) -> Task:
    """The bundle's model as a task whose predictions are outputs before the activation."""
    try:
        return _make_task(json.dumps(bundle.model, sort_keys=True), bundle.input_shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{owner}: `model` does not make a model: {error}") from error


@functools.lru_cache(maxsize=32)  # the same task again, so that `predict` need not compile again
def _make_task(model: str, input_shape: tuple[int, ...]) -> Task:
    name, config = (json.loads(model)[field] for field in ("name", "config"))
    check_choice("Bundle", "model name", name, MODELS)
    as_it_is = problem("regression")  # its activation is the identity
    return linen_task(MODELS[name](**config), jnp.zeros((1, *input_shape)), as_it_is)
