"""Trainings whose result is known: gradient descent on w^2, in closed form, without a loop."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.data import Folds
from jaxopt_course.studies import Float
from jaxopt_course.training import Outcome, OutcomeCode, Run, TrainState


SPACE = {"rate": Float(0.01, 3.0, log=True)}
STEPS = np.arange(1, 4)
FOLDS = Folds(
    train=np.array([[2, 3], [0, 1]], np.int32),
    weights=np.ones((2, 2)),
    validation=np.array([[0, 1], [2, 3]], np.int32),
    validation_weights=np.ones((2, 2)),
)


def start_of(key):
    return 1 + jax.random.uniform(key)


def descend(key, hyperparameters, rows):
    """w - rate * 2 w, so w_t = (1 - 2 rate)^t w_0; from rate 1 on it diverges.

    The validation loss is w_t^2 and the smallest row number that validates.
    """
    factor = 1 - 2 * jnp.asarray(hyperparameters["rate"])
    diverged = jnp.abs(factor) >= 1
    losses = (start_of(key) * factor ** jnp.asarray(STEPS, factor.dtype)) ** 2
    history = {"step": jnp.asarray(STEPS, jnp.int32), "loss": losses, "accuracy": 1 / (1 + losses)}
    if rows is not None:
        history["validation_loss"] = losses + rows.validation.min().astype(losses.dtype)
    code = jnp.where(diverged, OutcomeCode.DIVERGED, OutcomeCode.COMPLETED)
    state = TrainState(jnp.int32(3), {}, {}, {}, key)
    return Run(state, {}, {}, history, Outcome(code, jnp.int32(3)))


def expected_scores(configurations, key, seeds, folds=2):
    """As of ``descend``: f64[configurations, folds, seeds]."""
    starts = [float(start_of(jax.random.fold_in(key, s))) for s in seeds]
    scores = np.full((len(configurations), folds, len(starts)), np.nan)
    for c, configuration in enumerate(configurations):
        factor = 1 - 2 * configuration["rate"]
        if abs(factor) < 1:
            for f in range(folds):
                scores[c, f] = [(w * factor**3) ** 2 + 2 * f for w in starts]
    return scores
