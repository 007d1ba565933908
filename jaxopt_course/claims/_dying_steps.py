"""Claim 3: how long the steps of Adagrad and RMSProp stay, over a long training of a network.

The size of a step is the root of the mean square of what it adds to the parameters. Measured is
the mean of the last tenth of a training over that of the second twentieth, when the start is over.
If the gradients were stationary noise, Adagrad's steps would shrink as one over the root of time.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.core import difference, global_norm
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adagrad, rmsprop
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task
from jaxopt_course.training import init_state, make_step

from ._claim import Claim, Evidence
from ._effects import ratio_effect
from ._experiment import by_seed, scaled_data
from ._pictures import Curves


__all__ = ["DYING_STEPS"]

STEPS, QUICK_STEPS, POINTS, BATCH = 8000, 1000, 100, 32
KEPT = 0.5  # steps below half of what they were are dying
OPTIMIZERS = {"Adagrad": lambda: adagrad(0.03), "RMSProp": lambda: rmsprop(0.001)}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps = QUICK_STEPS if quick else STEPS
    sizes = {name: by_seed(_sizes(make(), steps), key, seeds) for name, make in OPTIMIZERS.items()}
    early, late = slice(POINTS // 20, POINTS // 10), slice(-POINTS // 10, None)
    effects = tuple(
        ratio_effect(
            f"{name}: the size of the last tenth of the steps over that of early ones.",
            sizes[name][:, late].mean(1),
            sizes[name][:, early].mean(1),
            accepted,
        )
        for name, accepted in (("Adagrad", (0.0, KEPT)), ("RMSProp", (KEPT, np.inf)))
    )
    return Evidence(
        effects,
        f"Digits, a perceptron with two hidden layers of 24, {steps} steps of {BATCH} examples at "
        "constant rates of 0.03 (Adagrad) and 0.001 (RMSProp).",
        Curves(
            np.linspace(0, steps, POINTS + 1)[1:],
            sizes,
            "step",
            "size of a step",
            log_x=True,
            log_y=True,
        ),
    )


def _sizes(optimizer: Any, steps: int) -> Any:
    """A training that returns the sizes of its steps, averaged in stretches: f[POINTS]."""
    data = tuple(map(jnp.asarray, scaled_data("digits")))
    task = linen_task(MLP(10, (24, 24)), data[0][:1], problem("multiclass"))
    take = make_step(task, optimizer)

    def step(state: Any, key: Any) -> Any:
        rows = jax.random.randint(key, (BATCH,), 0, len(data[0]))
        new, _ = take(state, Batch(*(x[rows] for x in data)))
        return new, global_norm(difference(new.params, state.params))

    def train(key: Any, numbers: Any, rows: Any) -> Any:
        state = init_state(task, optimizer, key)
        count = sum(x.size for x in jax.tree.leaves(state.params))
        _, norms = jax.lax.scan(step, state, jax.random.split(key, steps))
        return norms.reshape(POINTS, -1).mean(1) / jnp.sqrt(count)

    return train


DYING_STEPS = Claim(
    "dying_steps",
    "Adagrad's steps die out on long non-convex runs; RMSProp's do not.",
    "T N A K",
    _measure,
)
