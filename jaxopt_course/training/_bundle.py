"""A trained model in one file, with everything that is needed to apply it to new rows.

The file has a line ``jaxopt_course bundle 2 DIGEST``, a line of JSON that describes the model, and
the arrays in Flax's msgpack format. The digest is the sha256 of everything after its line. The file
contains no code, so a file of unknown origin can at worst be refused.

Bundles are checked before they are written and after they were read: names, sizes and types first,
which describe a model; the arrays must then have the shapes, dtypes and ranges of that model.
"""

import functools
import json
import math
import os
import pathlib
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization
from jaxtyping import Array, PyTree, Shaped

from jaxopt_course.checkpoints import briefly
from jaxopt_course.core import Params, checks, replacing, sha256
from jaxopt_course.data import Scaler, TableEncoder, check_features, scale_features
from jaxopt_course.nn import MODELS
from jaxopt_course.problems import PROBLEMS, problem
from jaxopt_course.tasks import Task, linen_task

from ._evaluate import predict


FORMAT, VERSION = "jaxopt_course bundle", "2"
LONGEST_SEAL, LONGEST_HEADER = 200, 1_000_000  # bytes
LONGEST_CONFIG = 100_000  # characters of JSON
MOST_AXES, MOST_INPUTS = 8, 2**31 - 1
HEADER = ("model", "input_shape", "problem", "label_names")


class Bundle(NamedTuple):
    """A trained model.

    model: ``{"name": ..., "config": {...}}``: a model of :mod:`jaxopt_course.nn` and its arguments,
        as JSON can represent them.
    input_shape: shape of one example, without the batch.
    problem: name of the problem type.
    params: the parameters.
    model_state: the model state; ``{}`` if there is none.
    scaler: scaler of the inputs, or None.
    label_names: names of the classes. None: their numbers.
    encoder: how columns of a table become inputs, or None.
    """

    model: dict[str, Any]
    input_shape: tuple[int, ...]
    problem: str
    params: Params
    model_state: PyTree
    scaler: Scaler | None = None
    label_names: tuple[str, ...] | None = None
    encoder: TableEncoder | None = None


class Predictions(NamedTuple):
    """Predictions of a model for some examples.

    values: probabilities, or numbers in the unit of the targets.
    labels: one readable prediction per example: names of classes if the bundle has them, else class
        numbers, 0 or 1 for each label, or the values themselves.
    """

    values: Array
    labels: Shaped[np.ndarray, "rows ..."]


def save_bundle(path: str | os.PathLike[str], bundle: Bundle) -> None:
    """Write ``bundle`` to the file ``path``, atomically.

    Raises:
        ValueError: if the bundle is inconsistent: an unknown model or problem, a config that JSON
            cannot represent, arrays that are not finite or do not fit the model, or a scaler that
            divides by 0.
        OSError: if the file cannot be written, or exists and is not a bundle.
    """
    _check_bundle("save_bundle", bundle)
    path = pathlib.Path(path)
    if path.is_file() and path.stat().st_size and _kind_of(path) is None:
        raise FileExistsError(f"save_bundle: {path} is not a model bundle, so it is not replaced.")
    scaler = {} if bundle.scaler is None else {"scaler": bundle.scaler._asdict()}
    arrays = {"params": bundle.params, "model_state": bundle.model_state, **scaler}
    payload = serialization.msgpack_serialize(jax.tree.map(np.asarray, arrays))
    encoder = {} if bundle.encoder is None else {"encoder": bundle.encoder.to_json()}
    header = json.dumps({name: getattr(bundle, name) for name in HEADER} | encoder)
    content = header.encode() + b"\n" + payload
    seal = f"{FORMAT} {VERSION} {sha256(content)}\n"
    with replacing(path) as part:
        part.write_bytes(seal.encode() + content)


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read the bundle in the file ``path``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a bundle, has another version, is damaged, or is inconsistent.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_bundle: there is no file {path}.")
    version = _kind_of(path)
    if version is None:
        raise ValueError(f"load_bundle: {path} is not a model bundle.")
    if version != VERSION:
        raise ValueError(
            f"load_bundle: {path} has version {version}, this library reads version {VERSION}: "
            "save the model again."
        )
    seal, _, content = path.read_bytes().partition(b"\n")
    if seal != f"{FORMAT} {VERSION} {sha256(content)}".encode():
        raise ValueError(f"load_bundle: {path} is truncated or damaged: its checksum differs.")
    bundle = _unpacked(path, content)
    _check_bundle(f"load_bundle: {path}", bundle)
    return bundle


def _kind_of(path: pathlib.Path) -> str | None:
    """The version of the bundle in ``path``, from its first line; None if it is not a bundle."""
    with path.open("rb") as file:
        line = file.readline(LONGEST_SEAL)
    if line.startswith(b'{"format": "jaxopt_course bundle"'):
        return "1"
    found = re.fullmatch(rf"{FORMAT} ([0-9]+) [0-9a-f]{{64}}\n".encode(), line)
    return found[1].decode() if found else None


def _unpacked(path: pathlib.Path, content: bytes) -> Bundle:
    """The parts of a bundle, which may be inconsistent."""
    line, _, payload = content.partition(b"\n")
    try:
        if len(line) > LONGEST_HEADER:
            raise ValueError(f"its header has {len(line)} bytes, at most {LONGEST_HEADER} are read")
        header = json.loads(line)
        arrays = serialization.msgpack_restore(payload)
        names, scaler = header["label_names"], arrays.get("scaler")
        return Bundle(
            model=header["model"],
            input_shape=tuple(header["input_shape"]),
            problem=header["problem"],
            params=arrays["params"],
            model_state=arrays["model_state"],
            scaler=None if scaler is None else Scaler(**scaler),
            label_names=None if names is None else tuple(names),
            encoder=TableEncoder.from_json(header["encoder"]) if "encoder" in header else None,
        )
    except Exception as error:  # msgpack and Flax raise errors of many kinds
        raise ValueError(f"load_bundle: {path} is incomplete: {briefly(error)}.") from error


def apply_bundle(bundle: Bundle, inputs: Any, batch_size: int = 512) -> Predictions:
    """The predictions of a model for new examples.

    Args:
        bundle: the model.
        inputs: unscaled examples, one per row; the scaler of the bundle is applied.
        batch_size: number of examples that are computed at once, in [1, inf).

    Raises:
        ValueError: if the examples have another shape than those of the training, or a number is
            not finite in float32, scaled or not.
    """
    shape = jnp.shape(inputs)
    if not shape or shape[1:] != bundle.input_shape:
        wanted = ", ".join(map(str, ("rows", *bundle.input_shape)))
        raise ValueError(f"apply_bundle: `inputs` must have the shape ({wanted}), got {shape}.")
    values = inputs if isinstance(inputs, jax.Array) else np.asarray(inputs)
    if bundle.scaler is not None:
        values = scale_features(bundle.scaler, values)
    with np.errstate(over="ignore"):  # in float32, where 1e300 is infinite
        check_features("apply_bundle", np.asarray(values).astype(np.float32))
    task = _task_of("apply_bundle", bundle)
    outputs = predict(task, bundle.params, bundle.model_state, values, batch_size)
    row = problem(bundle.problem)
    labels = np.asarray(row.predict_label(outputs))
    if bundle.label_names is not None and labels.ndim == 1:
        labels = np.asarray(bundle.label_names)[labels]
    return Predictions(row.activation(outputs), labels)


def _check_bundle(owner: str, bundle: Bundle) -> None:
    """Raise unless the parts of ``bundle`` are consistent; arrays are checked last."""
    _check_description(owner, bundle.model, bundle.input_shape, bundle.problem)
    config, n_leaves = bundle.model["config"], len(jax.tree.leaves(bundle.params))
    if any(isinstance(x, list | tuple) and len(x) > n_leaves for x in config.values()):
        raise ValueError(
            f"{owner}: `model` does not make a model of {n_leaves} parameter arrays: it has more "
            "layers."
        )
    task = _task_of(owner, bundle)
    _check_arrays(owner, task, bundle.params, bundle.model_state)
    if bundle.scaler is not None:
        _check_scaler(owner, bundle.scaler, bundle.input_shape)
    _check_label_names(owner, bundle.label_names, bundle.problem, config["outputs"])
    if bundle.encoder is not None:
        _check_encoder(owner, bundle.encoder, bundle.input_shape)


def _task_of(owner: str, bundle: Bundle) -> Task:
    """The model as a task whose predictions are outputs before the activation."""
    try:
        return _make_task(json.dumps(bundle.model, sort_keys=True), bundle.input_shape)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{owner}: `model` does not make a model: {error}") from error


@functools.lru_cache(maxsize=32)  # the same task again, so that `predict` is not compiled again
def _make_task(model: str, input_shape: tuple[int, ...]) -> Task:
    name, config = (json.loads(model)[field] for field in ("name", "config"))
    checks.choice("Bundle", "model name", name, MODELS)
    as_it_is = problem("regression")  # its activation is the identity
    example = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)  # of any size
    return linen_task(MODELS[name](**config), example, as_it_is)


def _check_description(owner: str, model: Any, input_shape: Any, problem: Any) -> None:
    """Raise unless JSON of limited size describes the model, and the problem is known."""
    fits = isinstance(model, dict) and model.keys() == {"name", "config"}
    if not (fits and isinstance(model["name"], str) and isinstance(model["config"], dict)):
        rule = "must be {'name': ..., 'config': {...}}"
        raise ValueError(f"{owner}: `model` {rule}, got {checks.shown(model)}.")
    try:
        length = len(json.dumps(model, allow_nan=False))
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: `model` does not make a model that JSON can write: {briefly(error)}."
        ) from error
    if length > LONGEST_CONFIG:
        raise ValueError(
            f"{owner}: `model` must have at most {LONGEST_CONFIG} characters of JSON, got {length}."
        )
    is_size = lambda n: isinstance(n, int) and not isinstance(n, bool) and n > 0
    fits = isinstance(input_shape, tuple) and len(input_shape) <= MOST_AXES
    if not (fits and all(map(is_size, input_shape)) and math.prod(input_shape) <= MOST_INPUTS):
        raise ValueError(
            f"{owner}: `input_shape` must be at most {MOST_AXES} sizes in [1, inf) whose product "
            f"is at most {MOST_INPUTS}, got {checks.shown(input_shape)}."
        )
    checks.choice(owner, "problem", problem, PROBLEMS)


def _check_arrays(owner: str, task: Task, params: Params, model_state: PyTree) -> None:
    """Raise unless parameters and model state are finite arrays like those of ``task``."""
    try:
        made = jax.eval_shape(task.init, jax.random.key(0))
    except Exception as error:  # the config may be anything
        raise ValueError(f"{owner}: `model` does not make a model: {briefly(error)}.") from error
    given = {"parameter": params, "model state": model_state}
    for (what, tree), like in zip(given.items(), made, strict=True):
        shaped = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), like)
        checks.like(owner, what, tree, shaped, than="model")
        leaves = zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(like), strict=True)
        for (path, leaf), other in leaves:
            place = f"{what} at {jax.tree_util.keystr(path)}"
            is_variance = what == "model state" and "var" in jax.tree_util.keystr(path[-1:])
            interval = "[0, inf)" if is_variance else None
            _check_numbers(owner, place, leaf, interval, other.dtype)


def _check_scaler(owner: str, scaler: Scaler, input_shape: tuple[int, ...]) -> None:
    """Raise unless ``scaler`` scales inputs of this shape by finite numbers above 0."""
    shape = np.shape(scaler.offset)
    for name, part in scaler._asdict().items():
        if np.shape(part) != shape or shape != input_shape[len(input_shape) - len(shape) :]:
            raise ValueError(
                f"{owner}: `scaler.{name}` must have the shape {input_shape} of an input, or of "
                f"its last axes, got {np.shape(part)}."
            )
        interval = "(0, inf)" if name == "scale" else None
        _check_numbers(owner, f"`scaler.{name}`", part, interval)


def _check_label_names(owner: str, names: Any, problem: str, outputs: int) -> None:
    """Raise unless there is one name per class, all different."""
    if names is None:
        return
    if not (isinstance(names, tuple) and all(isinstance(name, str) for name in names)):
        rule = "must be strings or None"
        raise ValueError(f"{owner}: `label_names` {rule}, got {checks.shown(names)}.")
    n_classes = 2 if problem == "binary" and outputs == 1 else outputs
    if len(names) != n_classes or len(set(names)) != len(names):
        raise ValueError(
            f"{owner}: `label_names` must be {n_classes} names, all different, got {len(names)}: "
            f"{checks.shown(names)}."
        )


def _check_encoder(owner: str, encoder: Any, input_shape: tuple[int, ...]) -> None:
    """Raise unless ``encoder`` makes inputs of this shape and has limited size."""
    if not isinstance(encoder, TableEncoder):
        raise ValueError(
            f"{owner}: `encoder` must be a TableEncoder or None, got {checks.shown(encoder)}."
        )
    entries = json.loads(json.dumps(encoder.to_json()))
    if TableEncoder.from_json(entries) != encoder or len(str(entries)) > LONGEST_HEADER / 2:
        raise ValueError(
            f"{owner}: `encoder` must have at most {LONGEST_HEADER // 2} characters of JSON."
        )
    if (len(encoder.feature_names),) != input_shape:
        raise ValueError(
            f"{owner}: `encoder` makes inputs of shape {(len(encoder.feature_names),)}, but the "
            f"model takes {input_shape}."
        )


def _check_numbers(
    owner: str, place: str, leaf: Any, interval: str | None, dtype: Any = None
) -> None:
    """Raise unless ``leaf`` is an array of finite floats, of this dtype and in this interval.

    ``interval`` is ``"[0, inf)"``, ``"(0, inf)"`` or None, which allows all finite numbers.
    """
    found = getattr(leaf, "dtype", None)
    if found is None or not jnp.issubdtype(found, jnp.floating) or dtype not in (None, found):
        wanted = "real numbers" if dtype is None else f"the model's dtype {dtype}"
        raise ValueError(f"{owner}: {place} must be an array of {wanted}, got {found}.")
    numbers = np.asarray(leaf, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{owner}: {place} must be finite, got NaN or infinity.")
    low = numbers.min(initial=np.inf)
    if interval is not None and (low < 0 or (low == 0 and interval.startswith("("))):
        raise ValueError(f"{owner}: {place} must lie in {interval}, got {low}.")
