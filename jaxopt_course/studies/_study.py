"""What all studies share: a space, a key, rows, and a metric that ranks configurations."""

import dataclasses
import os
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key, PyTree

from jaxopt_course.core import automatic, check_mesh, checks, place, sha256, text_table
from jaxopt_course.training import Outcome, OutcomeCode, Rows, Run

from ._space import Space, space_of


Metric = str | Callable[[Any], Any] | None
Mode = Literal["min", "max"]

LARGER_IS_BETTER = (
    "accuracy", "exact_match", "f1", "f1_score", "precision", "r2", "recall"
)  # fmt: skip


class Ranking(NamedTuple):
    """The score of a training, whether the lowest or the highest one is best, and other metrics."""

    metric: Metric
    mode: Mode
    metrics: tuple[tuple[str, Callable[[Any], Any]], ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """The checked arguments that all studies share; ``owner`` is the function that was called."""

    owner: str
    training: Callable[..., Any]
    space: PyTree
    key: Key[Array, ""]
    rows: Rows | None
    ranking: Ranking
    _: dataclasses.KW_ONLY
    mesh: Mesh | None
    resume: str | os.PathLike[str] | None
    progress: bool

    def __post_init__(self) -> None:
        _check_mode(self.owner, self.ranking.metric, self.ranking.mode)
        check_mesh(self.owner, self.mesh, "pop")
        if self.mesh is not None:
            object.__setattr__(self, "mesh", automatic(self.mesh))

    @property
    def apart(self) -> Space:
        """The space, taken apart."""
        return space_of(self.space)

    def dealt(self, tree: PyTree) -> PyTree:
        """Arrays of the host, distributed over the devices along their first axis."""
        return place(tree, sharding_of(self.mesh, "pop"))

    def copied(self, tree: PyTree) -> PyTree:
        """Arrays of the host, on every device."""
        return place(tree, sharding_of(self.mesh))

    def about(self, **more: Any) -> dict[str, Any]:
        """What distinguishes this study from others, in terms of JSON."""
        key = np.asarray(jax.random.key_data(self.key)).tolist()
        metric, mode, metrics = self.ranking
        if callable(metric):
            metric = getattr(metric, "__qualname__", "function")
        if metrics:
            more["metrics"] = [name for name, _ in metrics]
        return {"space": repr(self.space), "key": key, "metric": metric, "mode": mode, **more}


class Kept(NamedTuple):
    """What a study keeps of a training: its score, NaN if it failed, its history and outcome."""

    score: Float[Array, ""]
    history: dict[str, Array]
    outcome: Outcome


def keep(
    run: Any,
    metric: Metric,
    mode: str,
    metrics: tuple[tuple[str, Callable[[Any], Any]], ...] = (),
) -> Kept:
    """The score of a run by ``metric``, its history with ``metrics``, and its outcome.

    A run that diverged has failed, whatever it scored before. ``run`` may be anything but a
    :class:`~jaxopt_course.training.Run` if ``metric`` is a function.
    """
    history, outcome = {}, Outcome(jnp.int32(OutcomeCode.COMPLETED), jnp.int32(0))
    if isinstance(run, Run):
        history, outcome = run.history, run.outcome
    elif not callable(metric) and metric not in dict(metrics):
        raise TypeError(
            "search: `train` must return a Run, or `metric` be a function of what it returns, "
            f"got {type(run).__name__}."
        )
    more = {name: _scalar(f"metrics[{name!r}]", function, run)[None] for name, function in metrics}
    if both := sorted(history.keys() & more.keys()):
        raise ValueError(f"search: `metrics` must have new names, got {both} of the history.")
    if callable(metric):
        score = _scalar("metric", metric, run)
    elif metric in more:
        score = more[metric][0]
    else:
        values = history[metric_name("search", metric, history)]
        worst, best = (jnp.inf, jnp.min) if mode == "min" else (-jnp.inf, jnp.max)
        score = best(jnp.where(jnp.isfinite(values), values, worst))
    failed = (outcome.code == OutcomeCode.DIVERGED) | ~jnp.isfinite(score)
    return Kept(jnp.where(failed, jnp.nan, score), {**history, **more}, outcome)


def _scalar(name: str, function: Callable[[Any], Any], run: Any) -> Array:
    """The value of a metric that is a function."""
    own = jax.tree.map(lambda leaf: leaf, run)  # a copy, which the function may modify
    score = jnp.asarray(function(own), jnp.result_type(float))
    if score.shape != ():
        raise ValueError(f"search: `{name}` must return a scalar, got shape {score.shape}.")
    return score


def _check_mode(owner: str, metric: Metric, mode: str) -> None:
    """Raise unless ``mode`` is "min" or "max", and "max" if the metric is better when larger."""
    checks.choice(owner, "mode", mode, ("min", "max"))
    if mode == "min" and isinstance(metric, str) and is_larger_better(metric):
        raise ValueError(
            f"{owner}: `mode` must be 'max' for the metric {metric!r}, which is better when "
            "larger, or `metric` be an error, which is better when smaller, got mode='min'."
        )


def is_larger_better(name: str) -> bool:
    """Whether a metric of this name, such as ``"validation_accuracy"``, is better when larger."""
    return f"_{name}".endswith(tuple(f"_{end}" for end in LARGER_IS_BETTER))


def best_mode(name: str) -> Mode:
    """The mode of a metric of this name."""
    return "max" if is_larger_better(name) else "min"


def metric_name(owner: str, metric: str | None, names: Iterable[str]) -> str:
    """``metric``, one of ``names``; by default the validation loss, else the training loss."""
    known = sorted(names)
    name = metric or ("validation_loss" if "validation_loss" in known else "loss")
    checks.choice(owner, "metric", name, known)
    return name


def ranked(scores: np.ndarray, mode: str) -> np.ndarray:
    """The positions of ``scores``, the best first; ties keep their order, non-finite comes last."""
    losses = scores if mode == "min" else -scores
    return np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")


def best_text(scores: np.ndarray, mode: str) -> str:
    """The best score so far, for the display of progress."""
    known = scores[np.isfinite(scores)]
    if known.size == 0:
        return "no score yet"
    return f"best {known.min() if mode == 'min' else known.max():.4g}"


def columns_table(columns: Iterable[tuple[str, Iterable[Any]]]) -> str:
    """A table of named columns, with four digits of each float."""
    header, cells = zip(*columns, strict=True)
    shown = lambda x: "" if x is None else f"{x:.4g}" if isinstance(x, float) else str(x)
    return text_table(header, zip(*(map(shown, column) for column in cells), strict=True))


def digest(arrays: PyTree) -> str:
    """The SHA-256 of dtypes, shapes and bytes."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(arrays)]
    return sha256(*(part for x in leaves for part in (f"{x.dtype}{x.shape}", x)))


def shards_of(mesh: Mesh | None) -> int:
    """The number of devices over which trainings are distributed."""
    return 1 if mesh is None else int(mesh.shape["pop"])


def sharding_of(mesh: Mesh | None, *axes: str) -> NamedSharding | None:
    """Distributed along the first axis for ``"pop"``; without axes, the same on every device."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(*axes))
