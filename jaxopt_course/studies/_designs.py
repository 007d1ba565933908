"""Where to look, before anything is known: tables of points in the unit cube, f[trials, d].

A scrambled Sobol sequence leaves no gaps and no clusters, in every projection; random points do,
and a grid of n points tries only n^(1/d) values of each number.

References: Owen, "Scrambling Sobol' and Niederreiter-Xing Points", J. Complexity 1998; Bergstra &
Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012.
"""

import itertools
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float64, Key, PyTree

from jaxopt_course.core import checks

from ._space import Choice, Int, Range, dimensions_of


Points = Float64[np.ndarray, "trials d"]


def sobol_design(key: Key[Array, ""], space: PyTree, trials: int) -> Points:
    """The first ``trials`` points of a scrambled Sobol sequence; best if a power of two.

    Args:
        key: scrambles the sequence.
        space: its ranges count the dimensions.
        trials: how many points, in [1, inf).

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
    """Points drawn independently of each other.

    Args:
        key: of the draws.
        space: its ranges count the dimensions.
        trials: how many points, in [1, inf).
    """
    d = _count("random_design", space, trials)
    return np.random.default_rng(host_seed(key)).random((trials, d))


def grid_design(space: PyTree, trials: int) -> Points:
    """The finest grid of at most ``trials`` points with as many values of each number.

    The ends of a range are among them, and every option of a choice. An `Int` has none of its
    values twice.

    Args:
        space: its ranges are the axes.
        trials: at most so many points, in [the combinations of the choices, inf).

    Raises:
        ValueError: if the choices alone have more combinations than ``trials``.

    Examples:
        >>> from jaxopt_course.studies import Choice, Float
        >>> space = {"rate": Float(0.0, 1.0), "width": Choice([8, 16])}
        >>> grid_design(space, 7).tolist()
        [[0.0, 0.25], [0.0, 0.75], [0.5, 0.25], [0.5, 0.75], [1.0, 0.25], [1.0, 0.75]]
    """
    _count("grid_design", space, trials)
    ranges = dimensions_of(space).ranges
    sizes = lambda level: math.prod(len(_levels(r, level)) for r in ranges)
    if sizes(1) > trials:
        raise ValueError(
            f"grid_design: `trials` must lie in [{sizes(1)}, inf), for so many combinations do "
            f"the choices have, got {trials}."
        )
    level = 1
    while sizes(level + 1) <= trials and level < trials:
        level += 1
    points = list(itertools.product(*(_levels(r, level) for r in ranges)))
    return np.array(points, float).reshape(len(points), len(ranges))


def is_design(points: Any, d: int, trials: int = 1) -> bool:
    """Whether ``points`` are at least ``trials`` in the unit cube of ``d`` dimensions."""
    table = np.asarray(points)
    fits = table.ndim == 2 and table.shape[0] >= trials and table.shape[1] == d
    return fits and bool(np.all((table >= 0) & (table <= 1)))


def host_seed(key: Key[Array, ""]) -> int:
    """A seed for a generator of the host, in [0, 2^32)."""
    return int(jax.random.bits(key, dtype=np.uint32))


def _levels(kind: Range, level: int) -> list[float]:
    """Where the grid cuts a range: at its ends and evenly between; once alone, in the middle."""
    if isinstance(kind, Choice):
        return [(i + 0.5) / len(kind.options) for i in range(len(kind.options))]
    even = [0.5] if level == 1 else [i / (level - 1) for i in range(level)]
    return list({kind.at(u): u for u in even}.values()) if isinstance(kind, Int) else even


def _count(owner: str, space: PyTree, trials: int) -> int:
    checks.integer(owner, "trials", trials, "[1, inf)")
    return len(dimensions_of(space).ranges)
