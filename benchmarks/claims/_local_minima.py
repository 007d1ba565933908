"""Claim 20: where descents with momentum, and with the noise of small batches, end.

A surface with a poor minimum at every integer point, as a mean over examples, each of which has it
moved a little. From random starts go plain descent, momentum, batches of 2 of 32 examples, and
both, each at the rate that is best for the other seeds. The last third of the steps is plain
descent at the lowest rate for all: what counts is the minimum, and not the noise around it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.optimizers import sgd
from jaxopt_course.surfaces import rastrigin
from jaxopt_course.transforms import apply_updates

from ._claim import Claim, Evidence
from ._claimed import LARGER_LOSS
from ._effects import ratio_effect
from ._experiment import by_seed
from ._pictures import Groups
from ._selection import pick_by_others, picked


EXAMPLES, SMALL, MOVES, STARTS, WIDE = 32, 2, 0.15, 16, 4.0
STEPS, LAST, MOMENTUM = 600, 300, 0.9
RATES = (0.0005, 0.001, 0.002, 0.004)  # plain descent is stable up to about 0.005
WAYS = {"plain": (0, 0), "momentum": (MOMENTUM, 0), "small batches": (0, 1), "both": (MOMENTUM, 1)}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    grid = {
        "rate": np.tile(np.array(RATES, np.float32), len(WAYS)),
        "momentum": np.repeat(np.array([m for m, _ in WAYS.values()], np.float32), len(RATES)),
        "small": np.repeat(np.array([s for _, s in WAYS.values()], np.float32), len(RATES)),
    }
    found = by_seed(_ends, key, seeds, grid, strategy="chunk").reshape(len(WAYS), -1, seeds)
    ends = dict(zip(WAYS, (picked(each, pick_by_others(each)) for each in found), strict=True))
    effects = tuple(
        ratio_effect(
            f"Final value of plain descent, divided by that with {name}.",
            ends["plain"],
            ends[name],
            LARGER_LOSS,
        )
        for name in ("momentum", "small batches", "both")
    )
    return Evidence(
        effects,
        f"Rastrigin's function in two dimensions, {STARTS} starts a seed within {WIDE:g} of the "
        f"lowest minimum, {STEPS} steps; networks have other minima.",
        Groups({name: x[0] for name, x in ends.items()}, "mean value at the end", log_y=True),
    )


def _ends(key: Any, numbers: Any, rows: Any) -> Any:
    """The mean over starts of the value at the end."""
    key_moves, key_starts, key_steps = jax.random.split(key, 3)
    moves = MOVES * jax.random.normal(key_moves, (EXAMPLES, 2))
    moves = moves - moves.mean(0)
    starts = jax.random.uniform(key_starts, (STARTS, 2), minval=-WIDE, maxval=WIDE)

    def mean(point: Any, weights: Any) -> Any:
        return weights @ rastrigin(point - moves)

    whole = jnp.full(EXAMPLES, 1 / EXAMPLES)
    noisy, last = sgd(numbers["rate"], momentum=numbers["momentum"]), sgd(RATES[0])

    def descent(start: Any, key: Any) -> Any:
        def step(carry: Any, key: Any) -> Any:
            point, state = carry
            few = jax.random.permutation(key, jnp.arange(EXAMPLES) < SMALL) / SMALL
            weights = jnp.where(numbers["small"] > 0, few, whole)
            updates, state = noisy.update(jax.grad(mean)(point, weights), state, point)
            return (apply_updates(point, updates), state), None

        def settle(carry: Any, _: None) -> Any:
            point, state = carry
            updates, state = last.update(jax.grad(mean)(point, whole), state, point)
            return (apply_updates(point, updates), state), None

        keys = jax.random.split(key, STEPS)
        (point, _), _ = jax.lax.scan(step, (start, noisy.init(start)), keys)
        (point, _), _ = jax.lax.scan(settle, (point, last.init(point)), None, LAST)
        return mean(point, whole)

    values = jax.vmap(descent)(starts, jax.random.split(key_steps, STARTS))
    return jnp.mean(values)


LOCAL_MINIMA = Claim(
    "local_minima",
    "Momentum and the noise of small batches help to leave poor local minima.",
    "K",
    _measure,
)
