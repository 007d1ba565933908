"""Effects: what a claim says happens, as a number with a 95 % interval, and what would bear it out.

Over seeds, with values x_1, ..., x_n, their mean m and standard deviation s,

    mean     m +- t s / sqrt(n)       with t of Student's distribution, n - 1 degrees of freedom
    ratio    exp of that, of log(a_i / b_i)
    share    the exact interval of Clopper & Pearson

An effect holds if its whole interval lies within the values that were accepted beforehand, and
does not hold if the whole of it lies outside. In between it depends: on the seed, among others.

Reference: Clopper & Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of
the Binomial", Biometrika 1934.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Real


__all__ = [
    "DEPENDS",
    "FAILS",
    "HOLDS",
    "Effect",
    "exact_effect",
    "mean_effect",
    "ratio_effect",
    "share_effect",
]

HOLDS, FAILS, DEPENDS = "holds", "does not hold", "it depends"
COVERAGE = 0.95


class Effect(NamedTuple):
    """A measured number, and which numbers would bear the claim out.

    what: it is, in one sentence.
    value: the estimate.
    low: end of its 95 % interval over seeds.
    high: the other end.
    accepted: (low, high): the claim says that the number lies strictly between the two.
    """

    what: str
    value: float
    low: float
    high: float
    accepted: tuple[float, float]

    @property
    def verdict(self) -> str:
        """``"holds"``, ``"does not hold"``, or ``"it depends"`` where the interval leaves it open.

        Examples:
            >>> mean_effect("A mean.", np.array([1.0, 2.0, 3.0]), (0.0, 9.0)).verdict
            'it depends'
        """
        least, most = self.accepted
        if least < self.low and self.high < most:
            return HOLDS
        return FAILS if self.high <= least or self.low >= most else DEPENDS


def mean_effect(
    what: str, values: Real[np.ndarray, "seeds"], accepted: tuple[float, float]
) -> Effect:
    """The mean over seeds.

    Args:
        what: it is of.
        values: one for each seed, f[seeds], all finite; at least 2.
        accepted: see :class:`Effect`.

    Raises:
        ValueError: if there are fewer, or one is not finite.
    """
    value, low, high = _mean_interval(what, values)
    return Effect(what, value, low, high, accepted)


def ratio_effect(
    what: str,
    above: Real[np.ndarray, "seeds"],
    below: Real[np.ndarray, "seeds"],
    accepted: tuple[float, float],
) -> Effect:
    """The geometric mean over seeds of ``above / below``.

    Args:
        what: it is of.
        above: f[seeds], all in (0, inf).
        below: likewise.
        accepted: see :class:`Effect`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.asarray(above, float)) - np.log(np.asarray(below, float))
    value, low, high = map(math.exp, _mean_interval(what, logs))
    return Effect(what, value, low, high, accepted)


def share_effect(
    what: str, hits: Bool[np.ndarray, "seeds"], accepted: tuple[float, float]
) -> Effect:
    """The share of seeds of which something is true.

    Args:
        what: it is of.
        hits: bool[seeds].
        accepted: see :class:`Effect`.
    """
    from scipy.stats import binomtest

    true = np.asarray(hits, bool)
    test = binomtest(int(true.sum()), true.size)
    interval = test.proportion_ci(COVERAGE, method="exact")
    return Effect(what, float(true.mean()), float(interval.low), float(interval.high), accepted)


def exact_effect(what: str, value: float, accepted: tuple[float, float]) -> Effect:
    """A number that no seed changes."""
    return Effect(what, float(value), float(value), float(value), accepted)


def _mean_interval(what: str, values: np.ndarray) -> tuple[float, float, float]:
    from scipy.stats import t

    x = np.asarray(values, float)
    if x.ndim != 1 or x.size < 2 or not np.isfinite(x).all():
        raise ValueError(
            f"Effect: there must be a finite number for each of at least 2 seeds, got {x} ({what})"
        )
    mean = float(x.mean())
    half = float(t.ppf((1 + COVERAGE) / 2, x.size - 1) * x.std(ddof=1) / math.sqrt(x.size))
    return mean, mean - half, mean + half
