"""How sure the mean of a configuration is, and its difference to another configuration's.

The trainings of a fold share its validation rows, so their scores are not independent. The seeds of
each fold are averaged first, and with m_f the mean of fold f of k folds

    mean = sum_f m_f / k      standard error = s / sqrt(k)      s^2 = sum_f (m_f - mean)^2 / (k - 1)

With a single fold the same is done over its seeds. Two configurations are compared fold by fold,
which takes out what makes a fold easy or hard for both:

    d_f = m_f - m'_f        mean(d) +- t s_d / sqrt(k)     with t of Student's distribution, k - 1
                                                           degrees of freedom

Folds also share training rows, which this does not count: intervals are rather too narrow.

Reference: Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 2003.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from jaxopt_course.core import checks


class PairedDifferences(NamedTuple):
    """How much higher than the reference each configuration scores. Arrays are f64[configurations].

    means: of the differences over folds, or over seeds where there is one fold; 0 for the
        reference itself, NaN where a training failed.
    standard_errors: of these means; NaN of a single training.
    low: the lower end of the interval; NaN of a single training.
    high: the upper end.
    """

    means: Float64[np.ndarray, "c"]
    standard_errors: Float64[np.ndarray, "c"]
    low: Float64[np.ndarray, "c"]
    high: Float64[np.ndarray, "c"]


def paired_differences(
    scores: Float64[np.ndarray, "c folds seeds"], reference: int, level: float = 0.95
) -> PairedDifferences:
    """The differences of all configurations to one of them, with intervals.

    A configuration whose interval contains 0 cannot be told from the reference. If the reference
    is the best of many, its score is too good, and so is its lead.

    Args:
        scores: of the trainings, as ``SearchResult.scores`` or ``Reevaluation.scores``. All
            configurations have the same folds and seeds.
        reference: the number of the configuration that the others are compared with, such as
            ``result.best``.
        level: the probability of an interval to contain the true difference, in (0, 1).

    Raises:
        ValueError: if the scores do not have three axes or a number is out of range.

    Examples:
        >>> scores = np.array([[[1.0], [2.0]], [[2.0], [3.5]]])  # of two folds
        >>> found = paired_differences(scores, 0)
        >>> found.means.tolist(), found.standard_errors.tolist()
        ([0.0, 1.25], [0.0, 0.25])
    """
    from scipy.stats import t

    scores = np.asarray(scores, np.float64)
    if scores.ndim != 3:
        raise ValueError(
            "paired_differences: `scores` must have the shape [configurations, folds, seeds], "
            f"got {scores.shape}."
        )
    checks.integer("paired_differences", "reference", reference, f"[0, {len(scores)})")
    checks.number("paired_differences", "level", level, "(0, 1)")
    differences = scores - scores[reference]
    means, errors = differences.mean((1, 2)), standard_errors_of(differences)
    freedom = _units_of(scores).shape[1] - 1
    width = errors * (t.ppf((1 + level) / 2, freedom) if freedom > 0 else np.nan)
    return PairedDifferences(means, errors, means - width, means + width)


def standard_errors_of(scores: Float64[np.ndarray, "c folds seeds"]) -> Float64[np.ndarray, "c"]:
    """The standard error of each configuration's mean; NaN of a single training."""
    units = _units_of(scores)
    if units.shape[1] == 1:
        return np.full(len(units), np.nan)
    return units.std(1, ddof=1) / np.sqrt(units.shape[1])


def _units_of(scores: np.ndarray) -> Float64[np.ndarray, "c units"]:
    """What counts as independent: the means of the folds, or the seeds of the only fold."""
    return scores[:, 0] if scores.shape[1] == 1 else scores.mean(2)
