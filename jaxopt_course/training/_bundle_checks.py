"""Checks of a bundle, before it is written and after it was read.

Names, sizes and types are checked first. They describe a model; the arrays must then have the
shapes, dtypes and ranges of that model.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.checkpoints import briefly
from jaxopt_course.core import Params, checks
from jaxopt_course.data import Scaler
from jaxopt_course.problems import PROBLEMS


LONGEST_CONFIG = 100_000  # characters of JSON
MOST_AXES, MOST_INPUTS = 8, 2**31 - 1


def check_description(owner: str, model: Any, input_shape: Any, problem: Any) -> None:
    """Raise unless JSON of limited size describes the model, and the problem is known."""
    fits = isinstance(model, dict) and model.keys() == {"name", "config"}
    if not (fits and isinstance(model["name"], str) and isinstance(model["config"], dict)):
        raise ValueError(
            f"{owner}: `model` must be {{'name': ..., 'config': {{...}}}}, got {_shown(model)}."
        )
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
    sizes = isinstance(input_shape, tuple) and len(input_shape) <= MOST_AXES
    if not (
        sizes
        and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in input_shape)
        and math.prod(input_shape) <= MOST_INPUTS
    ):
        raise ValueError(
            f"{owner}: `input_shape` must be at most {MOST_AXES} sizes in [1, inf) whose product "
            f"is at most {MOST_INPUTS}, got {_shown(input_shape)}."
        )
    checks.choice(owner, "problem", problem, PROBLEMS)


def check_arrays(
    owner: str,
    init: Callable[..., tuple[Params, PyTree]],
    params: Params,
    model_state: PyTree,
) -> None:
    """Raise unless parameters and model state are finite arrays like those of ``init``."""
    try:
        made = jax.eval_shape(init, jax.random.key(0))
    except Exception as error:  # the config may be anything
        raise ValueError(f"{owner}: `model` does not make a model: {briefly(error)}.") from error
    for what, like, given in zip(
        ("parameter", "model state"), made, (params, model_state), strict=True
    ):
        shaped = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), like)
        checks.like(owner, what, given, shaped, than="model")
        leaves = zip(jax.tree.leaves_with_path(given), jax.tree.leaves(like), strict=True)
        for (path, leaf), other in leaves:
            _check_leaf(owner, f"{what} at {jax.tree_util.keystr(path)}", leaf, other.dtype)
            if "var" in jax.tree_util.keystr(path[-1:]) and what == "model state":
                _check_range(owner, f"{what} at {jax.tree_util.keystr(path)}", leaf, "[0, inf)")


def check_scaler(owner: str, scaler: Scaler, input_shape: tuple[int, ...]) -> None:
    """Raise unless ``scaler`` scales inputs of this shape by finite numbers above 0."""
    shape = np.shape(scaler.offset)
    for name, part in scaler._asdict().items():
        if np.shape(part) != shape or shape != input_shape[len(input_shape) - len(shape) :]:
            raise ValueError(
                f"{owner}: `scaler.{name}` must have the shape {input_shape} of an input, or of "
                f"its last axes, got {np.shape(part)}."
            )
        _check_leaf(owner, f"`scaler.{name}`", part, None)
    _check_range(owner, "`scaler.scale`", scaler.scale, "(0, inf)")


def check_label_names(owner: str, names: Any, problem: str, outputs: int) -> None:
    """Raise unless there is one name per class, all different."""
    if names is None:
        return
    if not (isinstance(names, tuple) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{owner}: `label_names` must be strings or None, got {_shown(names)}.")
    n_classes = 2 if problem == "binary" and outputs == 1 else outputs
    if len(names) != n_classes or len(set(names)) != len(names):
        raise ValueError(
            f"{owner}: `label_names` must be {n_classes} names, all different, got {len(names)}: "
            f"{_shown(names)}."
        )


def _check_leaf(owner: str, place: str, leaf: Any, dtype: Any) -> None:
    """Raise unless ``leaf`` is an array of real, finite numbers of this dtype; None: of any."""
    found = getattr(leaf, "dtype", None)
    if found is None or not jnp.issubdtype(found, jnp.floating) or dtype not in (None, found):
        wanted = "real numbers" if dtype is None else f"the model's dtype {dtype}"
        raise ValueError(f"{owner}: {place} must be an array of {wanted}, got {found}.")
    if not np.isfinite(np.asarray(leaf, np.float64)).all():
        raise ValueError(f"{owner}: {place} must be finite, got NaN or infinity.")


def _check_range(owner: str, place: str, leaf: Any, interval: str) -> None:
    low = np.min(np.asarray(leaf, np.float64), initial=np.inf)
    if low < 0 or (low == 0 and interval.startswith("(")):
        raise ValueError(f"{owner}: {place} must lie in {interval}, got {low}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
