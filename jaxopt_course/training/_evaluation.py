"""The hook of `fit` at its evaluations: what it receives, and what becomes of its answer.

Segments end at each evaluation, so the hook runs on the host between two compiled programs. If
early stopping monitors one of its metrics, the comparison with the best value runs after it.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import Params, checks

from ._early_stopping import monitored, refuse_monitor
from ._progress import Progress
from ._segments import Segments, evaluated_program, settle_program


class Evaluation(NamedTuple):
    """What ``on_evaluation`` of :func:`fit` receives.

    step: number of steps taken.
    params: the evaluated parameters: averaged ones if the optimizer defines them, unless
        ``evaluate="raw"``.
    model_state: the model state.
    row: the metrics of this evaluation by name, as in the history, as Python numbers.
    """

    step: int
    params: Params
    model_state: PyTree
    row: dict[str, int | float]


class Stop(enum.Enum):
    """The type of ``STOP``, its only value."""

    STOP = enum.auto()


STOP: Final = Stop.STOP

OnEvaluation = Callable[[Evaluation], Mapping[str, Any] | Literal[Stop.STOP] | None]


def after_hook(
    on_evaluation: OnEvaluation | None,
    segments: Segments,
    progress: Progress,
    metrics: dict[str, Any],
    last: bool,
) -> tuple[Progress, dict[str, Any]]:
    """The progress and the metrics of its evaluation, after ``on_evaluation`` has seen them.

    ``last`` says whether the training ended with this evaluation.
    """
    if on_evaluation is None:
        return progress, metrics
    setup, given = segments.setup, segments.given
    point = evaluated_program(given, progress, last, setup=setup)
    row = {name: value.item() for name, value in metrics.items()}
    answer = on_evaluation(Evaluation(row.pop("step"), point[0], point[1], row))
    own = {} if answer is None or answer is STOP else _checked(answer, metrics)
    name = monitored(given[2], metrics)
    if own and name not in {**metrics, **own}:
        raise refuse_monitor(name, {**metrics, **own})
    metric, stops = own.get(name), np.bool_(answer is STOP)
    if metric is not None or stops:
        progress = settle_program(given, progress, point, metric, stops, setup=setup)
    return progress, metrics | own


def _checked(answer: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics in ``answer``, as scalars of NumPy in the default dtype of floats.

    Raises:
        TypeError: if it is not a mapping from names to numbers.
        ValueError: if a name is in use.
    """
    if not isinstance(answer, Mapping):
        raise TypeError(
            "fit: `on_evaluation` must return a mapping from names to numbers, STOP or None, got "
            f"{checks.shown(answer)}."
        )
    found = {}
    for name, value in answer.items():
        if not isinstance(name, str) or name in {*metrics, "epoch"}:
            raise ValueError(
                "fit: `on_evaluation` must return names that are strings and not in use, got "
                f"{name!r}."
            )
        number = np.asarray(jax.device_get(value))
        if number.shape != () or number.dtype.kind not in "bifu":
            raise TypeError(
                f"fit: `on_evaluation` must return real numbers, got {checks.shown(value)} for "
                f"{name!r}."
            )
        found[name] = number.astype(jnp.result_type(float))[()]
    return found
