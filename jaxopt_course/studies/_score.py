"""What a training is ranked by: one number of its run, NaN where it failed."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxopt_course.core import checks
from jaxopt_course.training import Outcome, OutcomeCode, Run


Metric = str | Callable[[Any], Any] | None

LARGER_IS_BETTER = (
    "accuracy", "exact_match", "f1", "f1_score", "precision", "r2", "r2_score", "recall"
)  # fmt: skip


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
        metric: a name in the history, of which the best evaluation counts; None: as of
            :func:`metric_name`; or a function of the run.
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
        own = jax.tree.map(lambda leaf: leaf, run)  # which it may assign into
        score = jnp.asarray(metric(own), jnp.result_type(float))
        if score.shape != ():
            raise ValueError(f"search: `metric` must give one number, got shape {score.shape}.")
    else:
        values = history[metric_name("search", metric, history)]
        worst, best = (jnp.inf, jnp.min) if mode == "min" else (-jnp.inf, jnp.max)
        score = best(jnp.where(jnp.isfinite(values), values, worst))
    failed = (outcome.code == OutcomeCode.DIVERGED) | ~jnp.isfinite(score)
    return Kept(jnp.where(failed, jnp.nan, score), dict(history), outcome)


def check_mode(owner: str, metric: Metric, mode: str) -> None:
    """Raise unless ``mode`` is "min" or "max", and "max" where the metric's name asks for it."""
    checks.choice(owner, "mode", mode, ("min", "max"))
    ends = tuple(f"_{name}" for name in LARGER_IS_BETTER)
    if mode == "min" and isinstance(metric, str) and f"_{metric}".endswith(ends):
        raise ValueError(
            f"{owner}: `mode` must be 'max' for the metric {metric!r}, which is better when "
            "larger, or `metric` be an error, which is better when smaller, got mode='min'."
        )


def metric_name(owner: str, metric: str | None, names: Iterable[str]) -> str:
    """``metric``, one of ``names``; for None the validation loss, else the training loss."""
    known = sorted(names)
    name = metric or ("validation_loss" if "validation_loss" in known else "loss")
    checks.choice(owner, "metric", name, known)
    return name


def score_name(metric: Metric, names: Iterable[str]) -> str:
    """What the scores are called in a table: the metric in words."""
    return "score" if callable(metric) else metric_name("search", metric, names).replace("_", " ")


def ranked(scores: np.ndarray, mode: str) -> np.ndarray:
    """The places of ``scores``, the best first, of equal ones the first; not finite is worst."""
    losses = scores if mode == "min" else -scores
    return np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
