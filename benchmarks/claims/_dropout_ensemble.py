"""Claim 12: dropout beside a real ensemble.

Test losses of: a network trained without dropout; five such, averaged; one trained
with dropout, used as it is evaluated (weights scaled) and as the average over random sub-networks.
Gains are differences of log losses to that of the first. Dropout has the rate that is best for the
other seeds.

Dropout is like an ensemble if it gains at least half of what the ensemble gains, and if scaled
weights predict as the average of sub-networks does, to a tenth of the loss.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import mean_effect, ratio_effect
from ._experiment import by_seed, cross_entropy, drawn_rows, scaled_data
from ._pictures import Groups
from ._selection import pick_by_others, picked


TRAIN, TEST, BATCH, STEPS, QUICK_STEPS = 300, 1000, 30, 1000, 200
RATES, MEMBERS, SAMPLES = (0.1, 0.25, 0.5), 5, 30
HALF = Claimed(0.0, np.inf, "dropout is like an ensemble if it gains at least half as much")
TENTH = Claimed(0.9, 1.1, "predictions count as alike if their losses differ by less than a tenth")


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps = QUICK_STEPS if quick else STEPS
    # The members differ in their number; those with dropout all have the number of the first.
    numbers = np.array([*range(MEMBERS), *(0 for _ in RATES)], np.int32)
    rates = np.array([0.0] * MEMBERS + [*RATES], np.float32)
    grid = {"member": numbers, "rate": rates}
    whole, sampled, labels = by_seed(_train(steps), key, seeds, grid)
    labels = labels[0]  # all see the same rows
    losses = np.stack([cross_entropy(predictions, labels) for predictions in whole])
    picks = pick_by_others(losses[MEMBERS:])
    averaged = np.stack([cross_entropy(predictions, labels) for predictions in sampled[MEMBERS:]])
    found = {
        "one": np.exp(np.log(losses[:MEMBERS]).mean(0)),
        f"ensemble of {MEMBERS}": cross_entropy(whole[:MEMBERS].mean(0), labels),
        "dropout": picked(losses[MEMBERS:], picks),
        "dropout, sub-networks": picked(averaged, picks),
    }
    one, several, dropped, subnetworks = (np.log(x) for x in found.values())
    shown = {name: np.atleast_2d(losses)[0] for name, losses in found.items()}
    return Evidence(
        (
            mean_effect(
                "Gain of dropout, minus half of the gain of the ensemble.",
                (one - dropped) - (one - several) / 2,
                HALF,
            ),
            ratio_effect(
                "Loss with scaled weights, divided by the loss of the average of sub-networks.",
                np.exp(dropped),
                np.exp(subnetworks),
                TENTH,
            ),
        ),
        f"{TRAIN} digits, a perceptron with two hidden layers of 64, {steps} steps of Adam, "
        f"dropout rates of {RATES[0]:g} to {RATES[-1]:g}; the ensemble gains "
        f"{(one - several).mean():.2f} for {MEMBERS} trainings, dropout "
        f"{(one - dropped[0]).mean():.2f} for one.",
        Groups(shown, "test loss", log_y=True),
    )


def _train(steps: int) -> Any:
    """A training that returns predictions of test rows, by all units and by draws; and labels."""
    data = scaled_data("digits")
    inputs, targets = map(jnp.asarray, data)

    def parts(rate: Any) -> Any:
        model = MLP(10, (64, 64), dropout=rate)
        return model, linen_task(model, data[0][:1], problem("multiclass"))

    build = lambda numbers: (parts(numbers["rate"])[1], adam(2e-3))
    train = make_train(build, data, steps=steps, batch_size=BATCH, evaluate_every=steps)

    def run(key: Any, numbers: Any, rows: Any) -> Any:
        drawn = drawn_rows(key, len(inputs), TRAIN, TEST)
        own = jax.random.fold_in(key, numbers["member"])
        params = train(own, numbers, drawn._replace(validation=None)).state.params
        model, task = parts(numbers["rate"])
        x = inputs[drawn.validation]

        def sample(key: Any) -> Any:
            return jax.nn.softmax(model.apply({"params": params}, x, True, rngs={"dropout": key}))

        sampled = jax.lax.map(sample, jax.random.split(own, SAMPLES)).mean(0)
        return task.predict(params, {}, x), sampled, targets[drawn.validation]

    return run


DROPOUT_ENSEMBLE = Claim("dropout_ensemble", "Dropout is like an ensemble.", "N A K R", _measure)
