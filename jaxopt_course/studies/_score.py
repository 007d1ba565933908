"""What a training is ranked by: one number of its run, NaN where it failed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxopt_course.training import Outcome, OutcomeCode, Run


__all__ = ["Kept", "Metric", "keep"]

Metric = str | Callable[[Any], Any] | None


class Kept(NamedTuple):
    """The little that stays of a training.

    score: what it is ranked by; NaN where it failed.
    history: of the run, {name: f[evaluations]}.
    outcome: of the run.
    """

    score: Float[Array, ""]
    history: dict[str, Array]
    outcome: Outcome


def keep(run: Any, metric: Metric, mode: str) -> Kept:
    """The score of a run by ``metric``, its history and its outcome.

    A run that diverged has failed, however good it was before.

    Args:
        run: a :class:`~jaxopt_course.training.Run`, or anything else where ``metric`` is a
            function.
        metric: a name in the history, of which the best evaluation counts; None: the validation
            loss or, where there is none, the training loss; or a function of the run.
        mode: ``"min"`` or ``"max"``.

    Raises:
        TypeError: if there is no run, and nothing else to rank by.
        ValueError: if the history has no such name, or the function gives more than a number.
    """
    history, outcome = {}, Outcome(jnp.int32(OutcomeCode.COMPLETED), jnp.int32(0))
    if isinstance(run, Run):
        history, outcome = run.history, run.outcome
    elif not callable(metric):
        raise TypeError(
            "search: `train` must return a Run, or `metric` be a function of what it returns, "
            f"got {type(run).__name__}."
        )
    if callable(metric):
        score = jnp.asarray(metric(run), jnp.result_type(float))
        if score.shape != ():
            raise ValueError(f"search: `metric` must give one number, got shape {score.shape}.")
    else:
        name = metric or ("validation_loss" if "validation_loss" in history else "loss")
        if name not in history:
            raise ValueError(
                f"search: `metric` must be one of {', '.join(sorted(history))}, got {name!r}."
            )
        worst, best = (jnp.inf, jnp.min) if mode == "min" else (-jnp.inf, jnp.max)
        values = history[name]
        score = best(jnp.where(jnp.isfinite(values), values, worst))
    failed = (outcome.code == OutcomeCode.DIVERGED) | ~jnp.isfinite(score)
    return Kept(jnp.where(failed, jnp.nan, score), dict(history), outcome)
