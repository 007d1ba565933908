"""Claim 24: whether twenty steps of one example do as much as twenty steps of all twenty.

A perceptron on twenty digits, to a loss on these, by steps of one example and by steps of all. Each
has the rate with which it takes the fewest steps for the other seeds. Costs are examples seen,
and seconds: steps times the seconds of a step without evaluations. Each seed is timed for itself,
both ways in turn, so that the noise of the clock is in the interval. "Twenty times" is taken for a
factor between ten and forty.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._measure import interleaved
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import Rows, make_train

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import ratio_effect
from ._experiment import Cost, by_seed, drawn_rows, first_at_most, scaled_data
from ._pictures import Curves
from ._selection import pick_by_others, picked


EXAMPLES, TARGET = 20, 0.1  # the loss before the first step is about log 10 = 2.3
STEPS, QUICK_STEPS = {1: 3000, EXAMPLES: 1000}, {1: 400, EXAMPLES: 100}
RATES = np.array([0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
TWENTY = Claimed(EXAMPLES / 2, EXAMPLES * 2, "ten to forty times counts as twenty times")
TIMED = 1000  # steps in a row


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    lengths, rates = (QUICK_STEPS, RATES[2:5]) if quick else (STEPS, RATES)
    data = scaled_data("digits")
    losses = {
        size: by_seed(_training(data, size, steps, 1), key, seeds, rates.astype(np.float32))
        for size, steps in lengths.items()
    }
    cost = {size: _steps_to_target(found) for size, found in losses.items()}
    each = _seconds_of_a_step(data, key, seeds)
    one, full = cost[1], cost[EXAMPLES]
    effects = tuple(
        ratio_effect(
            f"{what} with steps of all twenty, divided by that with single examples.",
            full.values * of_full,
            one.values * of_one,
            TWENTY,
            above_capped=full.capped,
            below_capped=one.capped,
        )
        for what, of_one, of_full in (
            ("Examples to the target", 1, EXAMPLES),
            ("Time to the target", each[1], each[EXAMPLES]),
        )
    )
    seen = np.arange(1, lengths[1] // EXAMPLES + 1)
    shown = {
        "one example a step": _of_best(losses[1], seen * EXAMPLES),
        "all twenty a step": _of_best(losses[EXAMPLES], seen),
    }
    return Evidence(
        effects,
        f"{EXAMPLES} digits, a perceptron with a hidden layer of 32, to a training loss of "
        f"{TARGET}, on {jax.devices()[0].device_kind}: steps of one example take "
        f"{np.median(one.values[0]):.0f} steps of {1e6 * np.median(each[1]):.2g} microseconds, and "
        f"steps of all take {np.median(full.values[0]):.0f} of "
        f"{1e6 * np.median(each[EXAMPLES]):.2g}. Of equal examples the factor would be twenty.",
        Curves(
            EXAMPLES * seen.astype(float),
            shown,
            "examples seen",
            "training loss",
            log_x=True,
            log_y=True,
        ),
    )


def _training(data: Any, size: int, steps: int, evaluate_every: int) -> Callable[..., Any]:
    """Losses over all twenty examples, f[evaluations]."""
    task = linen_task(MLP(10, (32,)), data[0][:1], problem("multiclass"))
    train = make_train(
        lambda rate: (task, sgd(rate)),
        data,
        steps=steps,
        batch_size=size,
        evaluate_every=evaluate_every,
    )

    def losses(key: Any, rate: Any, rows: Any) -> Any:
        drawn = drawn_rows(key, len(data[0]), EXAMPLES, 0).train
        return train(key, rate, Rows(drawn, None, drawn)).history["validation_loss"]

    return losses


def _steps_to_target(losses: np.ndarray) -> Cost:
    """Of losses f[rates, seeds, steps], each seed's steps at its pick, with resamples in front."""
    cost = first_at_most(losses, TARGET, np.arange(1, losses.shape[-1] + 1))
    picks = pick_by_others(cost.values)
    return Cost(picked(cost.values, picks), picked(cost.capped, picks))


def _of_best(losses: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The losses after these steps at each seed's pick, f[seeds, steps]."""
    cost = first_at_most(losses, TARGET, np.arange(1, losses.shape[-1] + 1))
    picks = pick_by_others(cost.values)[0]
    return losses[picks, np.arange(len(picks))][:, at - 1]


def _seconds_of_a_step(data: Any, key: Any, seeds: int) -> dict[int, np.ndarray]:
    """Of each size, f[seeds]."""
    rate = jnp.asarray(0.1)
    runs = {}
    for size in (1, EXAMPLES):
        train = jax.jit(_training(data, size, TIMED, TIMED))
        runs[str(size)] = lambda train=train: train(key, rate, None)
    times = interleaved(runs, seeds, warm_up=1)
    return {int(size): np.array(own) / TIMED for size, own in times.items()}


TWENTY_EXAMPLES = Claim(
    "twenty_examples",
    "With twenty examples, steps of one example are twenty times as fast as steps of all.",
    "A",
    _measure,
)
