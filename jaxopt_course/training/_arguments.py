"""What every training is given, task, optimizer and key, and what a bad one is answered."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from jaxopt_course.core import checks
from jaxopt_course.tasks import Task


def check_parts(owner: str, task: Any, optimizer: Any) -> None:
    """Raise unless these are a task and a gradient transformation.

    Raises:
        TypeError: if one of them is not.
    """
    if not isinstance(task, Task):
        hint = " Was it meant to be called?" if callable(task) else ""
        raise TypeError(f"{owner}: `task` must be a Task, got {checks.shown(task)}.{hint}")
    checks.transformation(owner, "optimizer", optimizer)


def check_key(owner: str, key: Any) -> None:
    """Raise unless ``key`` is one typed key, which may be traced.

    Raises:
        TypeError: if it is no typed key.
        ValueError: if there are several.
    """
    rule = f"{owner}: `key` must be a typed key, such as jax.random.key(0)"
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(f"{rule}, got {checks.shown(key)}.")
    if key.shape != ():
        raise ValueError(f"{rule}, got keys of shape {key.shape}.")


def built(owner: str, build: Callable[[Any], Any], hyperparameters: Any) -> tuple[Task, Any]:
    """The task and the optimizer that ``build`` returns.

    Raises:
        TypeError: if it does not return these.
    """
    parts = build(hyperparameters)
    is_pair = isinstance(parts, tuple | list) and len(parts) == 2
    if not is_pair or isinstance(parts, optax.GradientTransformation):  # a pair of functions
        raise TypeError(
            f"{owner}: `build` must return a pair (task, optimizer), got {checks.shown(parts)}."
        )
    check_parts(f"{owner}: what `build` returns", *parts)
    return parts[0], parts[1]
