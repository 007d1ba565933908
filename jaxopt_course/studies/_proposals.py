"""Which points of the unit cube a search tries next: all at once, or in rounds that learn.

Optuna's samplers are asked for a round of points and then told their scores. Their study lies in
memory. A round must be small beside the whole, or nothing is learned: trials of one round know
nothing of each other.

References: TPE: Watanabe, "Tree-Structured Parzen Estimator", 2023, arXiv:2304.11127; GP: a
Gaussian process with the Matern 5/2 kernel and logarithmic expected improvement, as in Optuna.
"""

import math
import warnings
from collections.abc import Generator
from typing import Any

import numpy as np
from jaxtyping import Array, Key, PyTree

from jaxopt_course.core import checks

from ._designs import Points, grid_design, host_seed, is_design, random_design, sobol_design
from ._saves import digest
from ._space import Choice, dimensions_of


LEARNING = ("tpe", "gp")
LEARNER = "a `method` that learns, 'tpe' or 'gp'"
ROUNDS = 16
METHODS = ("sobol", "random", "grid", *LEARNING)

Proposals = Generator[Points, np.ndarray, None]


def proposals(
    method: str | Points, key: Key[Array, ""], space: PyTree, trials: int, rounds: int, mode: str
) -> Proposals:
    """Tables of points; the scores of each, NaN where failed, are sent in before the next.

    Args:
        method: one of ``METHODS``, or the points.
        key: of the draws.
        space: that is searched.
        trials: how many points in all.
        rounds: in how many tables they come, where the method learns.
        mode: ``"min"`` or ``"max"``.
    """
    if not isinstance(method, str):
        yield np.asarray(method, float)
    elif method == "grid":
        yield grid_design(space, trials)
    elif method == "random":
        yield random_design(key, space, trials)
    elif method == "sobol":
        yield sobol_design(key, space, trials)
    else:
        yield from _learned(method, key, space, trials, rounds, mode)


def _learned(
    method: str, key: Key[Array, ""], space: PyTree, trials: int, rounds: int, mode: str
) -> Proposals:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = _sampler(method, host_seed(key))
    study = optuna.create_study(
        sampler=sampler, direction="minimize" if mode == "min" else "maximize"
    )
    ranges = dimensions_of(space).ranges
    distributions: dict[str, Any] = {
        str(i): optuna.distributions.CategoricalDistribution(range(len(kind.options)))
        if isinstance(kind, Choice)
        else optuna.distributions.FloatDistribution(0, 1)
        for i, kind in enumerate(ranges)
    }
    known = np.empty(0)
    for size in _sizes(trials, rounds):
        asked = [study.ask(distributions) for _ in range(size)]
        points = np.empty((size, len(ranges)))
        for i, kind in enumerate(ranges):
            values = np.array([trial.params[str(i)] for trial in asked], float)
            points[:, i] = (
                (values + 0.5) / len(kind.options) if isinstance(kind, Choice) else values
            )
        scores = yield points
        known = np.append(known, scores[np.isfinite(scores)])
        worst = math.nan if known.size == 0 else (known.max() if mode == "min" else known.min())
        for trial, score in zip(asked, scores.tolist(), strict=True):
            # A failure is told as the worst that was seen, so that its surroundings are avoided.
            told = worst if math.isnan(score) else score
            if math.isnan(told):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, told)


def check_method(
    method: str | Points, space: PyTree, trials: int | None, rounds: int | None
) -> tuple[int, int]:
    """How many trials that makes, and how many rounds of a method that learns.

    Raises:
        ValueError: if there is no such method, no number of trials, or points do not fit the space.
    """
    if isinstance(method, str):
        checks.choice("search", "method", method, METHODS)
        if trials is None:
            raise ValueError(f"search: `trials` must be given where `method` is {method!r}.")
        checks.integer("search", "trials", trials, "[1, inf)")
        if rounds is not None:
            checks.integer("search", "rounds", rounds, "[8, inf)")
        checks.beside("search", LEARNER, present=method in LEARNING, rounds=rounds)
        trials = len(grid_design(space, trials)) if method == "grid" else trials
        return trials, rounds or ROUNDS
    checks.beside("search", LEARNER, present=False, rounds=rounds)
    shape, d = np.shape(method), len(dimensions_of(space).ranges)
    if not is_design(method, d):
        raise ValueError(
            f"search: `method` must name one or be points in [0, 1] of shape (trials, {d}), got "
            f"shape {shape}."
        )
    if trials not in (None, shape[0]):
        raise ValueError(f"search: `trials` must be the {shape[0]} of `method`, got {trials}.")
    return shape[0], ROUNDS


def describe_method(method: str | Points) -> str:
    """Its name, or the digest of the points."""
    if isinstance(method, str):
        return method
    return digest(np.asarray(method, float))


def _sizes(trials: int, rounds: int) -> list[int]:
    """Of the rounds: as even as can be, so that one chunk size suits them all."""
    size = math.ceil(trials / rounds)
    return [size] * (trials // size) + [trials % size] * (trials % size > 0)


def _sampler(method: str, seed: int) -> Any:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if method == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        try:
            import torch  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "search: `method` 'gp' needs torch, which Optuna's Gaussian process is written in."
            ) from error
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
