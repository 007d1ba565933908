"""Tables of rungs: how many configurations train how far before the next ones are chosen."""

import itertools
import math
from typing import NamedTuple

from jaxopt_course.core import checks


class Rungs(NamedTuple):
    """How many configurations train how far, rung by rung.

    sizes: configurations, falling.
    steps: in all, rising.
    """

    sizes: tuple[int, ...]
    steps: tuple[int, ...]


def halving_rungs(trials: int, *, eta: float = 3.0, min_steps: int, max_steps: int) -> Rungs:
    """The rungs of successive halving.

    Args:
        trials: configurations of the first rung, in [1, inf).
        eta: by how much each rung has fewer configurations and more steps, in (1, inf).
        min_steps: of the first rung, in [1, max_steps].
        max_steps: of the last.

    Examples:
        >>> halving_rungs(9, eta=3, min_steps=10, max_steps=90)
        Rungs(sizes=(9, 3, 1), steps=(10, 30, 90))
    """
    checks.integer("halving_rungs", "trials", trials, "[1, inf)")
    checks.number("halving_rungs", "eta", eta, "(1, inf)")
    checks.integer("halving_rungs", "max_steps", max_steps, "[1, inf)")
    checks.integer("halving_rungs", "min_steps", min_steps, f"[1, {max_steps}]")
    sizes, steps = [trials], [min_steps]
    while steps[-1] < max_steps and sizes[-1] > 1:
        rung = len(sizes)
        sizes.append(max(1, math.floor(trials / eta**rung + 1e-9)))
        steps.append(min(max_steps, math.floor(min_steps * eta**rung + 1e-9)))
    return Rungs(tuple(sizes), (*steps[:-1], max_steps))


def top_k_rungs(trials: int, k: int, *, min_steps: int, max_steps: int) -> Rungs:
    """Two rungs, all for a while and the best ``k`` to the end: what halving has to beat.

    Args:
        trials: configurations, in [1, inf).
        k: how many go on, in [1, trials].
        min_steps: of all, one epoch say, in [1, max_steps).
        max_steps: of those.
    """
    checks.integer("top_k_rungs", "trials", trials, "[1, inf)")
    checks.integer("top_k_rungs", "max_steps", max_steps, "[1, inf)")
    checks.integer("top_k_rungs", "k", k, f"[1, {trials}]")
    checks.integer("top_k_rungs", "min_steps", min_steps, f"[1, {max_steps})")
    return Rungs((trials, k), (min_steps, max_steps))


def check_rungs(owner: str, rungs: Rungs) -> None:
    """Raise unless ``rungs`` are a table of falling sizes and rising steps."""
    sizes, steps = rungs
    falls = all(a >= b >= 1 for a, b in itertools.pairwise(sizes)) and sizes and sizes[-1] >= 1
    rises = all(a < b for a, b in itertools.pairwise(steps)) and steps and steps[0] >= 1
    if len(sizes) != len(steps) or not falls or not rises:
        raise ValueError(
            f"{owner}: `rungs` must be sizes that do not rise and as many steps that do, all in "
            f"[1, inf), got {rungs}."
        )
