"""What a study in rounds must know of the optimizer, found out on parameters of one entry each."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxopt_course.core import checks, global_norm
from jaxopt_course.training import Stages

from ._devices import is_key
from ._space import Dimensions


DECAYED = 0.5  # of the step of the first budget: less is warned of


class ScheduleWarning(UserWarning):
    """Steps shrink within the budget, so that short trainings are judged at other rates."""


def warn_of_decay(
    owner: str, stages: Stages, configuration: PyTree, steps: Sequence[int], stacklevel: int
) -> None:
    """Compare the update for one gradient at the first budget and at the last."""
    ratio = _step_ratio(stages, configuration, steps)
    if ratio < DECAYED:
        warnings.warn(
            f"{owner}: at step {steps[-1]} the optimizer's steps are {ratio:.2g} times as long as "
            f"at step {steps[0]}, under the same gradient: where a schedule decays within the "
            "budget, short trainings never see its end.",
            ScheduleWarning,
            stacklevel=stacklevel + 1,
        )


def _step_ratio(stages: Stages, configuration: PyTree, steps: Sequence[int]) -> float:
    """How long the last budget's last step is, in units of the first's; all gradients are 1."""
    update, init = _shrunken(stages, configuration)

    def step(state: Any, _: None) -> tuple[Any, Array]:
        updates, state = update(state, configuration)
        return state, global_norm(updates)

    run = jax.jit(lambda state: jax.lax.scan(step, state, length=steps[-1])[1])
    lengths = np.asarray(run(init(configuration)))
    return float(lengths[-1] / max(lengths[steps[0] - 1], np.finfo(np.float32).tiny))


def check_state_has_no_numbers(
    owner: str, stages: Stages, dimensions: Dimensions, values: Sequence[Sequence[Any]]
) -> None:
    """Raise if new numbers would not reach the optimizer, for its state keeps those of the start.

    A number is kept if the initial state varies with it, and does not arrive if the update of one
    and the same state does not. ``inject_hyperparams`` makes such states.

    Args:
        owner: who asks.
        stages: of the training.
        dimensions: of the space.
        values: two different ones for each range.
    """

    @jax.jit
    def is_kept(before: list[Array], after: list[Array]) -> Array:
        was, new = (dimensions.fill(numbers) for numbers in (before, after))
        update, init = _shrunken(stages, was)
        state = init(was)
        return _differ(state, init(new)) & ~_differ(update(state, was), update(state, new))

    before = [pair[0] for pair in values]
    for i, name in enumerate(dimensions.names):
        after = [*before[:i], values[i][1], *before[i + 1 :]]
        if is_kept(before, after):
            raise ValueError(
                f"{owner}: the optimizer must take {name or 'its number'} anew in every round, but "
                "its state keeps the first one, as that of `inject_hyperparams` does; build it "
                "without."
            )


def _shrunken(
    stages: Stages, configuration: PyTree
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``update(state, configuration)`` and ``init(configuration)``, for one entry a parameter."""
    task, _ = stages.build(configuration)
    shapes, _ = jax.eval_shape(task.init, jax.random.key(0))
    params = jax.tree.map(lambda x: jnp.zeros((1,) * x.ndim, x.dtype), shapes)
    grads = jax.tree.map(jnp.ones_like, params)
    one = jnp.ones(())
    extra = {"value": one, "grad": grads, "value_fn": lambda params: one, "weight": one}
    optimizer = lambda configuration: checks.transformation(
        "search", "optimizer", stages.build(configuration)[1]
    )
    update = lambda state, configuration: optimizer(configuration).update(
        grads, state, params, **extra
    )
    return update, lambda configuration: optimizer(configuration).init(params)


def _differ(a: PyTree, b: PyTree) -> Array:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    data = lambda x: jax.random.key_data(x) if is_key(x) else x
    each = [jnp.any(data(jnp.asarray(x)) != data(jnp.asarray(y))) for x, y in pairs]
    return functools.reduce(jnp.logical_or, each, jnp.array(False))
