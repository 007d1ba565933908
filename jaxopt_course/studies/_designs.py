"""Which points of the unit cube a study tries: designs, and samplers that learn from the scores.

A scrambled Sobol sequence has neither gaps nor clusters in any projection. Random points have both,
and a grid of n points tries only n^(1/d) values of each of d numbers. Optuna's samplers ("tpe",
"gp") propose points in rounds and learn from the scores of the rounds before.

References: Owen, "Scrambling Sobol' and Niederreiter-Xing Points", J. Complexity 1998; Bergstra &
Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012; Watanabe, "Tree-Structured
Parzen Estimator", 2023, arXiv:2304.11127. "gp" is a Gaussian process with the Matern 5/2 kernel and
logarithmic expected improvement, as in Optuna.
"""

import itertools
import math
import warnings
from collections.abc import Generator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float64, Key, PyTree

from jaxopt_course.core import checks

from ._space import Choice, Int, Points, Range, space_of


LEARNING = ("tpe", "gp")
LEARNER = "a `method` that learns, 'tpe' or 'gp'"
METHODS = ("sobol", "random", "grid", *LEARNING)
ROUNDS = 16


def sobol_design(key: Key[Array, ""], space: PyTree, trials: int) -> Points:
    """The first points of a scrambled Sobol sequence.

    Args:
        key: scrambles the sequence.
        space: its ranges are the dimensions.
        trials: number of points, in [1, inf); best a power of two.

    Examples:
        >>> from jaxopt_course.studies import Float
        >>> points = sobol_design(jax.random.key(0), {"rate": Float(0.0, 1.0)}, 4)
        >>> sorted((4 * points[:, 0]).astype(int).tolist())  # one in each quarter
        [0, 1, 2, 3]
    """
    from scipy.stats import qmc

    d = _count("sobol_design", space, trials)
    if d == 0:
        return np.zeros((trials, 0))
    sequence = qmc.Sobol(d, rng=np.random.default_rng(host_seed(key)))
    return sequence.random_base2(math.ceil(math.log2(trials)))[:trials]


def random_design(key: Key[Array, ""], space: PyTree, trials: int) -> Points:
    """Independent uniform points; the arguments are those of :func:`sobol_design`."""
    d = _count("random_design", space, trials)
    return np.random.default_rng(host_seed(key)).random((trials, d))


def grid_design(space: PyTree, trials: int) -> Points:
    """The finest grid of at most ``trials`` points that has equally many values of each number.

    It includes the ends of every range and every option of a choice. No value of an `Int` occurs
    twice.

    Args:
        space: its ranges are the axes.
        trials: the largest number of points, at least the number of combinations of options.

    Examples:
        >>> from jaxopt_course.studies import Choice, Float
        >>> space = {"rate": Float(0.0, 1.0), "width": Choice([8, 16])}
        >>> grid_design(space, 7).tolist()
        [[0.0, 0.25], [0.0, 0.75], [0.5, 0.25], [0.5, 0.75], [1.0, 0.25], [1.0, 0.75]]
    """
    _count("grid_design", space, trials)
    ranges = space_of(space).ranges
    sizes = lambda level: math.prod(len(_levels(r, level)) for r in ranges)
    if sizes(1) > trials:
        raise ValueError(
            f"grid_design: `trials` must lie in [{sizes(1)}, inf), the number of combinations of "
            f"options, got {trials}."
        )
    level = 1
    while sizes(level + 1) <= trials and level < trials:
        level += 1
    points = list(itertools.product(*(_levels(r, level) for r in ranges)))
    return np.array(points, float).reshape(len(points), len(ranges))


def is_design(points: Any, d: int, trials: int = 1) -> bool:
    """Whether ``points`` are at least ``trials`` points of the unit cube of ``d`` dimensions."""
    table = np.asarray(points)
    fits = table.ndim == 2 and table.shape[0] >= trials and table.shape[1] == d
    return fits and bool(np.all((table >= 0) & (table <= 1)))


def host_seed(key: Key[Array, ""]) -> int:
    """A seed for a generator of the host, in [0, 2^32)."""
    return int(jax.random.bits(key, dtype=np.uint32))


def check_method(
    method: str | Points, space: PyTree, trials: int | None, rounds: int | None, started: int = 0
) -> tuple[int, int]:
    """The number of trials besides those ``started``, and of the rounds of a method that learns.

    Raises:
        ValueError: if the method is unknown, ``trials`` is missing, or points do not fit the space.
    """
    learns = isinstance(method, str) and method in LEARNING
    checks.beside("search", LEARNER, present=learns, rounds=rounds)
    if isinstance(method, str):
        checks.choice("search", "method", method, METHODS)
        if trials is None:
            raise ValueError(f"search: `trials` must be given where `method` is {method!r}.")
        checks.integer("search", "trials", trials, f"[{started + 1}, inf)")
        if rounds is not None:
            checks.integer("search", "rounds", rounds, "[8, inf)")
        left = trials - started
        return len(grid_design(space, left)) if method == "grid" else left, rounds or ROUNDS
    shape, d = np.shape(method), len(space_of(space).ranges)
    if not is_design(method, d):
        raise ValueError(
            f"search: `method` must name one or be points in [0, 1] of shape (trials, {d}), got "
            f"shape {shape}."
        )
    if trials not in (None, shape[0] + started):
        others = f" and the {started} of `points`" if started else ""
        raise ValueError(
            f"search: `trials` must be the {shape[0]} of `method`{others}, got {trials}."
        )
    return shape[0], ROUNDS


def proposals(
    method: str | Points,
    key: Key[Array, ""],
    space: PyTree,
    trials: int,
    rounds: int,
    mode: str,
    start: Float64[np.ndarray, "started d"],
) -> Generator[Points, np.ndarray, None]:
    """The points of ``start``, if there are any, and then tables of points, ``trials`` in all.

    A method that learns yields ``rounds`` tables; the scores of each, NaN for a failure, are sent
    in before the next one. The other methods yield one table.
    """
    scores = (yield start) if len(start) else np.empty(0)
    if not isinstance(method, str):
        yield np.asarray(method, float)
    elif method in LEARNING:
        sampler = _sampler(method, host_seed(key))
        yield from _learned(sampler, space, trials, rounds, mode, start, scores)
    elif method == "grid":
        yield grid_design(space, trials)
    else:
        yield (sobol_design if method == "sobol" else random_design)(key, space, trials)


def _learned(
    sampler: Any,
    space: PyTree,
    trials: int,
    rounds: int,
    mode: str,
    start: Points,
    scores: np.ndarray,
) -> Generator[Points, np.ndarray, None]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction: Any = "minimize" if mode == "min" else "maximize"
    study = optuna.create_study(sampler=sampler, direction=direction)
    apart = space_of(space)
    distributions: dict[str, Any] = {
        str(i): optuna.distributions.CategoricalDistribution(range(len(kind.options)))
        if isinstance(kind, Choice)
        else optuna.distributions.FloatDistribution(0, 1)
        for i, kind in enumerate(apart.ranges)
    }
    for point, score in zip(start.tolist(), scores.tolist(), strict=True):
        if math.isfinite(score):
            params = {
                str(i): kind.index(u) if isinstance(kind, Choice) else u
                for i, (kind, u) in enumerate(zip(apart.ranges, point, strict=True))
            }
            study.add_trial(
                optuna.create_trial(value=score, params=params, distributions=distributions)
            )
    known = scores[np.isfinite(scores)]
    size = math.ceil(trials / rounds)  # equal rounds, so that one chunk fits
    for begin in range(0, trials, size):
        asked = [study.ask(distributions) for _ in range(begin, min(begin + size, trials))]
        values = [[trial.params[name] for name in distributions] for trial in asked]
        points = np.array(values, float).reshape(len(asked), len(distributions))
        for i, kind in apart.choices.items():
            points[:, i] = (points[:, i] + 0.5) / len(kind.options)
        scores = yield points
        known = np.append(known, scores[np.isfinite(scores)])
        worst = math.nan if known.size == 0 else (known.max() if mode == "min" else known.min())
        # A failure counts as the worst score so far, so that its neighborhood is avoided.
        told = np.where(np.isnan(scores), worst, scores).tolist()
        for trial, score in zip(asked, told, strict=True):
            if math.isnan(score):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)


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
                "search: `method` 'gp' needs torch: Optuna's Gaussian process is written in it."
            ) from error
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)


def _levels(kind: Range, level: int) -> list[float]:
    """Grid points of a range: its ends and evenly between, or the middle where there is one."""
    if isinstance(kind, Choice):
        return [(i + 0.5) / len(kind.options) for i in range(len(kind.options))]
    even = [0.5] if level == 1 else [i / (level - 1) for i in range(level)]
    return list({kind.at(u): u for u in even}.values()) if isinstance(kind, Int) else even


def _count(owner: str, space: PyTree, trials: int) -> int:
    """The number of dimensions, after a check of ``trials``."""
    checks.integer(owner, "trials", trials, "[1, inf)")
    return len(space_of(space).ranges)
