"""Claim 3: how long the steps of Adagrad and RMSProp stay, over a long training of a network.

The size of a step is the root of the mean square of what it adds to the parameters. Measured is
the mean of the last tenth of a training over that of the second twentieth, when the start is over,
for two lengths: the shorter training is the beginning of the longer one. If the gradients were
stationary noise, Adagrad's steps would shrink as one over the root of time, and RMSProp's would not
shrink. Once a network fits its data the gradients are not stationary but shrink themselves.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.core import global_norm, tree
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adagrad, rmsprop
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task
from jaxopt_course.training import init_state, make_step

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import Effect, ratio_effect
from ._experiment import by_seed, scaled_data
from ._pictures import Curves


LENGTHS, QUICK_LENGTHS, STRETCH, BATCH = (8000, 32_000), (1000, 2000), 80, 32
QUICK_STRETCH = 10
_HALF = "steps die out if they shrink below half of their early size"
DYING, KEPT = Claimed(-np.inf, 0.5, _HALF), Claimed(0.5, np.inf, _HALF)
OPTIMIZERS = {"Adagrad": lambda: adagrad(0.03), "RMSProp": lambda: rmsprop(0.001)}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    lengths, stretch = (QUICK_LENGTHS, QUICK_STRETCH) if quick else (LENGTHS, STRETCH)
    points = lengths[-1] // stretch
    sizes = {
        name: by_seed(_sizes(make(), points, stretch), key, seeds)
        for name, make in OPTIMIZERS.items()
    }

    def kept(name: str, steps: int, claimed: Claimed) -> Effect:
        own = sizes[name][:, : steps // stretch]
        tenth = own.shape[1] // 10
        return ratio_effect(
            f"{name}: size of the last tenth of {steps} steps, divided by that of early steps.",
            own[:, -tenth:].mean(1),
            own[:, tenth // 2 : tenth].mean(1),
            claimed,
        )

    effects = tuple(
        kept(name, steps, claimed)
        for name, claimed in (("Adagrad", DYING), ("RMSProp", KEPT))
        for steps in lengths
    )
    short, long = (effect.value for effect in effects[2:])
    return Evidence(
        effects,
        f"Digits, a perceptron with two hidden layers of 24, {lengths[0]} and {lengths[1]} steps "
        f"of {BATCH} examples at constant rates of 0.03 (Adagrad) and 0.001 (RMSProp). The verdict "
        "on RMSProp depends on the length: its steps keep their size while the gradients do, and "
        "shrink once the network fits its data and the gradients vanish with the loss "
        f"({short:.2g} of the early size after {lengths[0]} steps, {long:.2g} after {lengths[1]}).",
        Curves(
            stretch * np.arange(1.0, points + 1),
            sizes,
            "step",
            "size of a step",
            log_x=True,
            log_y=True,
        ),
    )


def _sizes(optimizer: Any, points: int, stretch: int) -> Any:
    """A training that returns the sizes of its steps, averaged in stretches: f[points]."""
    data = tuple(map(jnp.asarray, scaled_data("digits")))
    task = linen_task(MLP(10, (24, 24)), data[0][:1], problem("multiclass"))
    take = make_step(task, optimizer)

    def step(state: Any, key: Any) -> Any:
        rows = jax.random.randint(key, (BATCH,), 0, len(data[0]))
        new, _ = take(state, Batch(*(x[rows] for x in data)))
        return new, global_norm(tree.sub(new.params, state.params))

    def train(key: Any, numbers: Any, rows: Any) -> Any:
        state = init_state(task, optimizer, key)
        count = sum(x.size for x in jax.tree.leaves(state.params))
        _, norms = jax.lax.scan(step, state, jax.random.split(key, points * stretch))
        return norms.reshape(points, stretch).mean(1) / jnp.sqrt(count)

    return train


DYING_STEPS = Claim(
    "dying_steps",
    "Adagrad's steps die out on long non-convex runs; RMSProp's do not.",
    "T N A K",
    _measure,
)
