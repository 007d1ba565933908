"""The checks of a bundle: its description first, then its arrays, which must fit the model."""

import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.checkpoints import briefly
from jaxopt_course.core import Params, checks, is_key
from jaxopt_course.data import Scaler, TableEncoder
from jaxopt_course.nn import MODELS
from jaxopt_course.problems import PROBLEMS, problem
from jaxopt_course.tasks import Task, linen_task


LONGEST_CONFIG, LONGEST_ENCODER = 100_000, 500_000  # characters of JSON
MOST_AXES, MOST_INPUTS = 8, 2**31 - 1


def check_bundle(owner: str, bundle: Any) -> None:
    """Raise unless the parts of ``bundle`` are consistent; arrays are checked last."""
    if bundle.own_task is not None:
        _check_own(owner, bundle, bundle.own_task)
        return
    _check_description(owner, bundle.model, bundle.input_shape, bundle.problem)
    config, n_leaves = bundle.model["config"], len(jax.tree.leaves(bundle.params))
    if any(isinstance(x, list | tuple) and len(x) > n_leaves for x in config.values()):
        raise ValueError(
            f"{owner}: `model` does not make a model of {n_leaves} parameter arrays: it has more "
            "layers."
        )
    task = task_of(owner, bundle)
    _check_arrays(owner, task, bundle.params, bundle.model_state)
    if bundle.scaler is not None:
        _check_scaler(owner, bundle.scaler, bundle.input_shape)
    _check_label_names(owner, bundle.label_names, bundle.problem, config["outputs"])
    if bundle.encoder is not None:
        _check_encoder(owner, bundle.encoder, bundle.input_shape)


def _check_own(owner: str, bundle: Any, task: Task) -> None:
    """Raise unless the parts of a bundle of any task are consistent."""
    if bundle.model is not None:
        raise ValueError(f"{owner}: `model` must be None beside `own_task`.")
    if bundle.problem is not None:
        checks.choice(owner, "problem", bundle.problem, PROBLEMS)
    if bundle.input_shape is not None:
        _check_input_shape(owner, bundle.input_shape)
    checks.beside(
        owner, "`input_shape`", present=bundle.input_shape is not None, scaler=bundle.scaler
    )
    _check_arrays(owner, task, bundle.params, bundle.model_state, what="task's")
    if bundle.scaler is not None:
        _check_scaler(owner, bundle.scaler, bundle.input_shape)
    _check_label_names(owner, bundle.label_names, str(bundle.problem), None)


def task_of(owner: str, bundle: Any) -> Task:
    """The model as a task whose predictions are outputs before the activation."""
    try:
        described = json.dumps(bundle.model, sort_keys=True)
        return make_task(described, bundle.input_shape, "regression")  # no activation
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{owner}: `model` does not make a model: {error}") from error


@functools.lru_cache(maxsize=32)  # the same task again, so that `predict` is not compiled again
def make_task(model: str, input_shape: Any, kind: str) -> Task:
    name, config = (json.loads(model)[field] for field in ("name", "config"))
    checks.choice("Bundle", "model name", name, MODELS)
    example = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)  # of any size
    return linen_task(MODELS[name](**config), example, problem(kind))


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
    _check_input_shape(owner, input_shape)
    checks.choice(owner, "problem", problem, PROBLEMS)


def _check_input_shape(owner: str, input_shape: Any) -> None:
    is_size = lambda n: isinstance(n, int) and not isinstance(n, bool) and n > 0
    fits = isinstance(input_shape, tuple) and len(input_shape) <= MOST_AXES
    if not (fits and all(map(is_size, input_shape)) and math.prod(input_shape) <= MOST_INPUTS):
        raise ValueError(
            f"{owner}: `input_shape` must be at most {MOST_AXES} sizes in [1, inf) whose product "
            f"is at most {MOST_INPUTS}, got {checks.shown(input_shape)}."
        )


def init_shapes(owner: str, task: Task) -> Any:
    """Shapes and dtypes of the parameters and the model state of ``task``."""
    try:
        return jax.eval_shape(task.init, jax.random.key(0))
    except Exception as error:  # the config may be anything
        raise ValueError(f"{owner}: `model` does not make a model: {briefly(error)}.") from error


def _check_arrays(
    owner: str, task: Task, params: Params, model_state: PyTree, what: str = "model"
) -> None:
    """Raise unless parameters and model state are finite arrays like those of ``task``."""
    made, than = init_shapes(owner, task), what
    if any(map(is_key, jax.tree.leaves(made))):
        raise ValueError(
            f"{owner}: a bundle holds arrays of numbers, but the {what} state holds PRNG keys."
        )
    given = {"parameter": params, "model state": model_state}
    for (what, tree), like in zip(given.items(), made, strict=True):
        shaped = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), like)
        checks.like(owner, what, tree, shaped, than=than)
        leaves = zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(like), strict=True)
        for (path, leaf), other in leaves:
            place = f"{what} at {jax.tree_util.keystr(path)}"
            is_variance = (
                than == "model"
                and what == "model state"
                and "var" in jax.tree_util.keystr(path[-1:])
            )
            interval = "[0, inf)" if is_variance else None
            if jnp.issubdtype(other.dtype, jnp.floating):
                _check_numbers(owner, place, leaf, interval, other.dtype)
            elif getattr(leaf, "dtype", None) != other.dtype:
                raise ValueError(
                    f"{owner}: {place} must be an array of the task's dtype {other.dtype}, got "
                    f"{checks.shown(leaf)}."
                )


def _check_scaler(owner: str, scaler: Scaler, input_shape: Any) -> None:
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


def _check_label_names(owner: str, names: Any, problem: str, outputs: int | None) -> None:
    """Raise unless there is one name per class, if their number is known, all different."""
    if names is None:
        return
    if not (isinstance(names, tuple) and all(isinstance(name, str) for name in names)):
        rule = "must be strings or None"
        raise ValueError(f"{owner}: `label_names` {rule}, got {checks.shown(names)}.")
    n_classes = 2 if problem == "binary" and outputs in (1, None) else outputs
    n_classes = len(names) if n_classes is None else n_classes
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
    if TableEncoder.from_json(entries) != encoder or len(str(entries)) > LONGEST_ENCODER:
        raise ValueError(
            f"{owner}: `encoder` must have at most {LONGEST_ENCODER} characters of JSON."
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
