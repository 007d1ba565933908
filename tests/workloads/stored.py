"""Comparisons made of numbers, without a training."""

import numpy as np

from jaxopt_course.workloads import Comparison, Trials


LENGTH = 100
NEVER = 2 * LENGTH  # any number above the length


def trials_of(steps, seconds_per_step=1.0):
    """Trials that reach the target 0.5 at these steps, whole numbers [trials, seeds].

    The loss is 1 before and 0.1 from there on; where it never gets there, it is 1 to the end.
    """
    costs = np.arange(1.0, LENGTH + 1)
    values = np.where(costs < np.asarray(steps)[..., None], 1.0, 0.1)
    return Trials(values, costs, seconds_per_step)


def stored(steps, held_out=None, seconds=None):
    """A comparison of {optimizer: {workload: steps [trials, seeds]}}, the defaults first."""
    optimizers, workloads = tuple(steps), tuple(next(iter(steps.values())))
    held_out, seconds, found = held_out or steps, seconds or {}, {}
    for own in optimizers:
        for on in workloads:
            each = seconds.get(own, 1.0)
            found[own, on, "base"] = trials_of(steps[own][on], each)
            found[own, on, "held_out"] = trials_of(held_out[own][on], each)
    count = len(next(iter(found.values())).values)
    u = np.linspace(0.0, 1.0, count)
    return Comparison(
        optimizers=optimizers,
        workloads=workloads,
        steps=dict.fromkeys(workloads, LENGTH),
        targets={(on, variant): 0.5 for on in workloads for variant in ("base", "held_out")},
        numbers={own: {"rate": 10.0 ** (-4 * u)} for own in optimizers},
        points=dict.fromkeys(optimizers, u[:, None]),
        trials=found,
    )


def lottery(seed, optimizers, workloads=12, trials=100, seeds=2):
    """Steps of tuning as it goes: a trial has its own merit, and a seed its luck; half fail.

    Args:
        optimizers: {name: factor of its steps}.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for own, factor in optimizers.items():
        found[own] = {}
        for k in range(workloads):
            merit = factor * rng.uniform(15, 120, (trials + 1, 1))
            luck = rng.uniform(0.8, 1.25, (trials + 1, seeds))
            found[own][f"w{k}"] = np.ceil(merit * luck)
    return stored(found)
