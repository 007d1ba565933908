"""Claim 27: what a step of AdaGrad costs more than one of plain gradient descent.

A perceptron in batches of 32. Time is that of many steps in a row in one program, once with the
gradient and once of the update alone, with a gradient that stays. A seed is the fastest of five
timings, all programs in turn. Bytes are those that the compiled step needs at once, by XLA's
analysis: exact, the same for each seed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._measure import interleaved
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adagrad, sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task
from jaxopt_course.training import init_state, make_step
from jaxopt_course.transforms import apply_updates

from ._claim import Claim, Evidence
from ._claimed import LARGER_COST
from ._effects import exact_effect, ratio_effect
from ._experiment import bytes_at_once, scaled_data
from ._pictures import Groups


BATCH, STEPS, QUICK_STEPS, WIDTHS, TIMINGS = 32, 200, 20, (256, 256), 5
OPTIMIZERS = {"gradient descent": sgd(1e-3), "AdaGrad": adagrad(1e-3, 0.0, 1e-8)}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps = QUICK_STEPS if quick else STEPS
    inputs, targets = map(jnp.asarray, scaled_data("digits"))
    batch = Batch(inputs[:BATCH], targets[:BATCH])
    task = linen_task(MLP(10, WIDTHS), batch.inputs[:1], problem("multiclass"))
    runs: dict[str, Callable[[], Any]] = {}
    size = {}
    for name, optimizer in OPTIMIZERS.items():
        state = init_state(task, optimizer, key)
        step = make_step(task, optimizer)
        size[name] = bytes_at_once(step, state, batch)
        runs[name] = _in_a_row(_training_step(step, batch), state, steps)
        runs[f"{name}, update"] = _in_a_row(*_updating(optimizer, state.params), steps)
    times = interleaved(runs, seeds * TIMINGS, warm_up=2)
    of_seeds = lambda own: np.min(np.reshape(own, (seeds, TIMINGS)), axis=1)
    spent = {name: 1e6 * of_seeds(own) / steps for name, own in times.items()}
    plain, adaptive = OPTIMIZERS
    effects = (
        ratio_effect(
            "Seconds per step of AdaGrad, divided by those of gradient descent.",
            spent[adaptive],
            spent[plain],
            LARGER_COST,
        ),
        ratio_effect(
            "The same ratio for the update alone.",
            spent[f"{adaptive}, update"],
            spent[f"{plain}, update"],
            LARGER_COST,
        ),
        exact_effect(
            "Bytes of a step of AdaGrad, divided by those of gradient descent.",
            size[adaptive] / size[plain],
            LARGER_COST,
        ),
    )
    count = sum(x.size for x in jax.tree.leaves(state.params))
    return Evidence(
        effects,
        f"A perceptron of {count} parameters, batches of {BATCH}, on "
        f"{jax.devices()[0].device_kind}; a step needs {size[adaptive] / 2**20:.3g} MiB with "
        f"AdaGrad and {size[plain] / 2**20:.3g} MiB without. The larger the batch, the less the "
        "update counts.",
        Groups(spent, "microseconds per step", log_y=True),
    )


def _in_a_row(step: Callable[[Any], Any], start: Any, steps: int) -> Callable[[], Any]:
    """A compiled run of ``steps`` steps from ``start``."""
    run = jax.jit(lambda start: jax.lax.fori_loop(0, steps, lambda _, state: step(state), start))
    return lambda: run(start)


def _training_step(step: Callable[..., Any], batch: Batch) -> Callable[[Any], Any]:
    return lambda state: step(state, batch)[0]


def _updating(optimizer: Any, params: Any) -> tuple[Callable[[Any], Any], Any]:
    """The step that only updates, and the parameters, state and gradients that it starts from."""

    def step(carry: Any) -> Any:
        params, state, grads = carry
        updates, state = optimizer.update(grads, state, params)
        return apply_updates(params, updates), state, grads

    return step, (params, optimizer.init(params), params)


ADAGRAD_COST = Claim(
    "adagrad_cost", "AdaGrad is computationally more expensive than SGD.", "K", _measure
)
