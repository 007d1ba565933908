"""The hook of `fit` at its evaluations: what it receives, and what its answer changes.

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

from ._early_stopping import refuse_monitor
from ._progress import Progress
from ._segments import History, Segments, evaluated_program, settle_program
from ._step import RESERVED
from ._training import Training


class Evaluation(NamedTuple):
    """What ``on_evaluation`` of :func:`fit` receives.

    step: number of steps taken.
    params: the evaluated parameters: averaged ones if the optimizer defines them, unless
        ``evaluate="raw"``.
    model_state: the model state.
    row: the metrics of this evaluation by name, as in the history, as Python numbers.

    Examples:
        >>> def on_evaluation(evaluation):
        ...     if evaluation.row["loss"] < 0.01:
        ...         return STOP
        ...     return {"root": evaluation.row["loss"] ** 0.5}
        >>> on_evaluation(Evaluation(10, {}, {}, {"loss": 0.25}))
        {'root': 0.5}
    """

    step: int
    params: Params
    model_state: PyTree
    row: dict[str, int | float]


class Stop(enum.Enum):
    """The type of ``STOP``, its only value, which ``on_evaluation`` returns to end a training."""

    STOP = enum.auto()


STOP: Final = Stop.STOP

OnEvaluation = Callable[[Evaluation], Mapping[str, Any] | Literal[Stop.STOP] | None]


def after_hook(
    on_evaluation: OnEvaluation | None,
    segments: Segments,
    progress: Progress,
    evaluated: History,
    last: bool,
) -> Progress:
    """The progress after ``on_evaluation`` has seen its evaluation, the last of ``evaluated``.

    The numbers that it returns are added there. Nothing happens if there is no function or no
    evaluation. ``last`` says whether the training ended with this evaluation.
    """
    if on_evaluation is None or not evaluated:
        return progress
    setup, given, metrics = segments.setup, segments.given, evaluated[-1]
    point = evaluated_program(given, progress, last, setup=setup)
    row = {name: value.item() for name, value in metrics.items()}
    answer = on_evaluation(Evaluation(row.pop("step"), point[0], point[1], row))
    own = {} if answer is None or answer is STOP else _checked(answer, metrics)
    name = Training(setup, *given).monitored
    if own and name not in {**metrics, **own}:
        raise refuse_monitor(name, {**metrics, **own})
    metric, stops = own.get(name), np.bool_(answer is STOP)
    if metric is not None or stops:
        progress = settle_program(given, progress, point, metric, stops, setup=setup)
    evaluated[-1] = metrics | own
    return progress


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
        if not isinstance(name, str) or name in {*metrics, *RESERVED}:
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
