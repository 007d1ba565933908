"""The program of a bracket: trainings side by side in memory, those that go on one by one in time.

The table of rungs and how many there are come traced, so that one program serves all budgets. Who
goes on is an order of the members: the first so many of it train, and are then sorted again.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import global_norm
from jaxopt_course.training import Stages

from ._rungs import MOST_RUNGS
from ._space import Dimensions


__all__ = ["bracket_program", "step_ratio"]


def bracket_program(
    stages: Stages, metric: str | None, mode: str, dimensions: Dimensions
) -> Callable[..., Float[Array, "rungs members"]]:
    """The compiled bracket; the same again for equal arguments, as far as they can be compared."""
    try:
        hash(dimensions)
    except TypeError:  # a fixed array, say
        return _make_program(stages, metric, mode, dimensions)
    return _cached_program(stages, metric, mode, dimensions)


def _make_program(stages: Stages, metric: str | None, mode: str, dimensions: Dimensions) -> Any:
    sign = 1 if mode == "min" else -1

    @jax.jit
    def bracket(columns: list[Array], key: Any, rows: Any, table: Array, rungs: Array) -> Array:
        count = len(columns[0])
        sizes, steps = table
        hyperparameters = lambda member: dimensions.fill(
            {i: column[member] for i, column in enumerate(columns)}
        )
        begin = lambda member: stages.start(key, hyperparameters(member), rows)
        trainings = jax.lax.map(begin, jnp.arange(count, dtype=jnp.int32))

        def train_on(rung: Array, member: Array, trainings: Any) -> tuple[Any, Array]:
            mine, hp = jax.tree.map(lambda x: x[member], trainings), hyperparameters(member)
            mine = stages.advance(mine, hp, rows, steps[rung])
            mine, row = stages.evaluate(mine, hp, rows)
            name = metric or ("validation_loss" if "validation_loss" in row else "loss")
            score = jnp.where(mine.running, row[name], jnp.nan)
            return jax.tree.map(lambda x, y: x.at[member].set(y), trainings, mine), score

        def one_rung(rung: Array, carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
            trainings, order, scores = carry

            def one(place: Array, carry: tuple[Any, Array]) -> tuple[Any, Array]:
                trainings, scores = carry
                member = order[place]
                trainings, score = train_on(rung, member, trainings)
                return trainings, scores.at[rung, member].set(score.astype(scores.dtype))

            trainings, scores = jax.lax.fori_loop(0, sizes[rung], one, (trainings, scores))
            known = jnp.nan_to_num(sign * scores[rung, order], nan=jnp.inf)
            is_out = jnp.arange(count, dtype=jnp.int32) >= sizes[rung]
            return trainings, order[jnp.lexsort((known, is_out))], scores

        scores = jnp.full((MOST_RUNGS, count), jnp.nan, jnp.result_type(float))
        start = (trainings, jnp.arange(count, dtype=jnp.int32), scores)
        return jax.lax.fori_loop(0, rungs, one_rung, start)[2]

    return bracket


_cached_program = functools.lru_cache(maxsize=16)(_make_program)


def step_ratio(stages: Stages, configuration: PyTree, steps: Sequence[int]) -> float:
    """How long the last budget's last step is, in units of the first's, under one gradient.

    The parameters are shrunk to one entry each, and the gradient is 1 all the time.
    """
    task, optimizer = stages.build(configuration)
    shapes, _ = jax.eval_shape(task.init, jax.random.key(0))
    params = jax.tree.map(lambda x: jnp.zeros((1,) * x.ndim, x.dtype), shapes)
    grads = jax.tree.map(jnp.ones_like, params)
    extended = optax.with_extra_args_support(optimizer)
    one = jnp.ones(())

    def step(state: Any, _: None) -> tuple[Any, Array]:
        extra = {"value": one, "grad": grads, "value_fn": lambda params: one}
        updates, state = extended.update(grads, state, params, **extra)
        return state, global_norm(updates)

    run = jax.jit(lambda state: jax.lax.scan(step, state, length=steps[-1])[1])
    lengths = np.asarray(run(optimizer.init(params)))
    return float(lengths[-1] / max(lengths[steps[0] - 1], np.finfo(np.float32).tiny))
