"""Effects: what a claim says happens, as a number with an interval over seeds, and its verdict.

Over seeds, with values x_1, ..., x_n, their mean m and its standard error e,

    mean     m +- t e                 with t of Student's distribution, n - 1 degrees of freedom
    ratio    exp of that, of log(a_i / b_i)
    share    the exact interval of Clopper & Pearson

Where the values do not depend on a choice, e = s / sqrt(n) with their standard deviation s. Where
they are those of a configuration that was chosen by its results, e is the bootstrap's: the standard
deviation of the mean over resamples of the seeds, in each of which the configuration is chosen
again, times sqrt(n / (n - 1)), so that both agree where nothing is chosen.

The claims make many such comparisons. The level of each interval is 1 - 0.05 / COMPARISONS
(Bonferroni), so that with a probability of 95 % all intervals hold the true numbers at once.

A number that was only measured up to a bound (a training that does not arrive, a grid that ends)
makes the mean a bound too, and its interval infinite on that side.

References: Clopper & Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of
the Binomial", Biometrika 1934; Efron & Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 6; Dunn, "Multiple Comparisons Among Means", JASA 1961.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Real

from ._claimed import Claimed
from ._selection import resamples


HOLDS, FAILS, DEPENDS, UNDECIDED = "holds", "does not hold", "it depends", "undecided"
COMPARISONS = 92  # the effects of all claims, which a test counts
COVERAGE = 1 - 0.05 / COMPARISONS


class Effect(NamedTuple):
    """A measured number, and which numbers would bear the claim out.

    what: what the number is, in one sentence.
    value: the estimate.
    low: lower end of its interval over seeds; all intervals hold at once with 95 %.
    high: upper end.
    claimed: the range that the claim says the number lies in, with the least size that counts.
    at_least: number of seeds in which the number is only known to be at least what was counted.
    at_most: number of seeds in which it is only known to be at most that.
    """

    what: str
    value: float
    low: float
    high: float
    claimed: Claimed
    at_least: int = 0
    at_most: int = 0

    @property
    def verdict(self) -> str:
        """``"holds"``, ``"does not hold"`` or ``"undecided"``.

        An effect holds if its whole interval lies in the claimed range, and does not hold if the
        whole of it lies outside: the effect is then the opposite, or smaller than the least size
        that counts. Otherwise the interval is too wide to tell.

        Examples:
            >>> mean_effect("A mean.", np.array([1.0, 2.0, 3.0]), Claimed(0.5, math.inf)).verdict
            'undecided'
        """
        least, most, _ = self.claimed
        above, below = self.low > least or least == -math.inf, self.high < most or most == math.inf
        if above and below:
            return HOLDS
        return FAILS if self.high <= least or self.low >= most else UNDECIDED

    @property
    def shown(self) -> str:
        """The value in three digits, or the bound that it is."""
        if self.at_least and self.at_most:
            return f"{self.value:.3g} (bounded on neither side)"
        sign = ">= " if self.at_least else "<= " if self.at_most else ""
        return f"{sign}{self.value:.3g}"

    @property
    def interval(self) -> str:
        """Its ends in three digits."""
        return f"[{self.low:.3g}, {self.high:.3g}]"


def judge_claim(effects: Iterable[Effect]) -> str:
    """The verdict on a claim, by those on its effects.

    ``"holds"`` if all hold, ``"does not hold"`` if none does, ``"it depends"`` if some hold and
    others do not, and ``"undecided"`` if there is no such contradiction but not all are decided.
    """
    found = {effect.verdict for effect in effects}
    if {HOLDS, FAILS} <= found:
        return DEPENDS
    return UNDECIDED if UNDECIDED in found else found.pop()


def mean_effect(
    what: str,
    values: Real[np.ndarray, "..."],
    claimed: Claimed,
    *,
    at_least: Bool[np.ndarray, "..."] | None = None,
    at_most: Bool[np.ndarray, "..."] | None = None,
) -> Effect:
    """The mean over seeds.

    Args:
        what: what it is the mean of.
        values: one for each seed, f[seeds], all finite; at least 2. Or f[1 + resamples, seeds], of
            which row 0 is the seeds themselves and the others belong to
            :func:`~benchmarks.claims._selection.resamples`, where values depend on a choice.
        claimed: the range that the claim says it lies in.
        at_least: of which seeds the value is only a lower bound. None: of none.
        at_most: of which seeds it is only an upper bound. None: of none.

    Raises:
        ValueError: if there are fewer, or one is not finite.
    """
    low_count, high_count = _count(at_least), _count(at_most)
    value, low, high = _mean_interval(what, values)
    low, high = -math.inf if high_count else low, math.inf if low_count else high
    return Effect(what, value, low, high, claimed, low_count, high_count)


def ratio_effect(
    what: str,
    above: Real[np.ndarray, "..."],
    below: Real[np.ndarray, "..."],
    claimed: Claimed,
    *,
    above_capped: Bool[np.ndarray, "..."] | None = None,
    below_capped: Bool[np.ndarray, "..."] | None = None,
) -> Effect:
    """The geometric mean over seeds of ``above / below``.

    Args:
        what: what it is the ratio of.
        above: as ``values`` of :func:`mean_effect`, all in (0, inf).
        below: likewise.
        claimed: the range that the claim says it lies in.
        above_capped: of which seeds ``above`` is only a lower bound. None: of none.
        below_capped: of which seeds ``below`` is only a lower bound. None: of none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.asarray(above, float)) - np.log(np.asarray(below, float))
    effect = mean_effect(what, logs, claimed, at_least=above_capped, at_most=below_capped)
    with np.errstate(over="ignore"):  # of two seeds an interval may end beyond what floats hold
        value, low, high = (float(np.exp(x)) for x in (effect.value, effect.low, effect.high))
    return effect._replace(value=value, low=low, high=high)


def share_effect(what: str, hits: Bool[np.ndarray, "seeds"], claimed: Claimed) -> Effect:
    """The share of seeds of which something is true.

    Args:
        what: what it is the share of.
        hits: bool[seeds].
        claimed: the range that the claim says it lies in.
    """
    from scipy.stats import binomtest

    true = np.asarray(hits, bool)
    test = binomtest(int(true.sum()), true.size)
    interval = test.proportion_ci(COVERAGE, method="exact")
    return Effect(what, float(true.mean()), float(interval.low), float(interval.high), claimed)


def exact_effect(what: str, value: float, claimed: Claimed) -> Effect:
    """A number that no seed changes."""
    return Effect(what, float(value), float(value), float(value), claimed)


def _count(flags: np.ndarray | None) -> int:
    """Of the seeds themselves, which are row 0 where there are resamples."""
    return 0 if flags is None else int(np.atleast_2d(flags)[0].sum())


def _mean_interval(what: str, values: np.ndarray) -> tuple[float, float, float]:
    from scipy.stats import t

    x = np.asarray(values, float)
    if x.ndim not in (1, 2) or x.shape[-1] < 2 or not np.isfinite(x).all():
        raise ValueError(
            f"Effect: there must be a finite number for each of at least 2 seeds, got {x} ({what})"
        )
    n = x.shape[-1]
    mean, error = float(np.atleast_2d(x)[0].mean()), _standard_error(x)
    half = float(t.ppf((1 + COVERAGE) / 2, n - 1)) * error
    return mean, mean - half, mean + half


def _standard_error(x: np.ndarray) -> float:
    """Of the mean of f[seeds], or of f[1 + resamples, seeds] by its resamples."""
    n = x.shape[-1]
    if x.ndim == 1:
        return float(x.std(ddof=1) / math.sqrt(n))
    means = (x * resamples(n)).sum(1)[1:] / n
    return float(means.std(ddof=1) * math.sqrt(n / (n - 1)))
