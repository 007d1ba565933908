"""Configurations chosen by their results, judged without favour, and resampled with the choice.

What depends on a choice is an array with an axis of resamples in front: row 0 is the seeds as they
are, and each further row chooses again from seeds that were drawn with replacement. Its numbers
then vary as they would if the whole experiment, choice included, had other seeds.
"""

import functools

import numpy as np
from jaxtyping import Float, Int, Shaped


RESAMPLES = 2000  # the standard error over them is itself known to 1 / sqrt(4000) = 1.6 %


@functools.cache
def resamples(seeds: int) -> Float[np.ndarray, "resamples seeds"]:
    """How often each seed was drawn, f[1 + 2000, seeds]; row 0 has each once. Always the same."""
    drawn = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    weights = np.concatenate([np.ones((1, seeds)), drawn])
    weights.flags.writeable = False
    return weights


def finite_or_worst(losses: np.ndarray) -> np.ndarray:
    """``losses`` with the worst finite one instead of those that are not finite."""
    finite = np.isfinite(losses)
    return np.where(finite, losses, losses[finite].max())


def pick_by_others(
    losses: Float[np.ndarray, "configurations seeds"],
) -> Int[np.ndarray, "resamples seeds"]:
    """For each seed the configuration that is best, in the mean of logarithms, for the others.

    A configuration that is picked and judged by the same numbers looks better than it is. In a
    resample the others are all drawn seeds but the copies of that one.

    Returns:
        Indices of configurations, i[1 + resamples, seeds]; row 0 is of the seeds as they are.
    """
    logs = np.log(finite_or_worst(losses))
    weights = resamples(losses.shape[1])[:, None]
    weighted = logs * weights
    return (weighted.sum(-1, keepdims=True) - weighted).argmin(1)


def picked(
    values: Shaped[np.ndarray, "configurations seeds *rest"],
    picks: Int[np.ndarray, "*resamples seeds"],
) -> Shaped[np.ndarray, "..."]:
    """The values of each seed's pick, [*resamples, seeds, *rest]."""
    return values[picks, np.arange(values.shape[1])]
