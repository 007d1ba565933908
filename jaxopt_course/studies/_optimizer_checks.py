"""Checks of the optimizer of a study in rounds, on parameters of one entry each."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxopt_course.core import checks, global_norm, is_key

from ._study import Study


DECAYED = 0.5  # as a share of the first budget's step: shorter last steps are warned of


class ScheduleWarning(UserWarning):
    """The optimizer's steps shrink within the budget of a study in rounds."""


def warn_of_decay(study: Study, configuration: PyTree, steps: Sequence[int]) -> None:
    """Compare the optimizer's steps at the ends of the first budget and of the last one."""
    update, init = _shrunken(study, configuration)

    def step(state: Any, _: None) -> tuple[Any, Array]:
        updates, state = update(state, configuration)
        return state, global_norm(updates)

    run = jax.jit(lambda state: jax.lax.scan(step, state, length=steps[-1])[1])
    lengths = np.asarray(run(init(configuration)))
    ratio = float(lengths[-1] / max(lengths[steps[0] - 1], np.finfo(np.float32).tiny))
    if ratio < DECAYED:
        warnings.warn(
            f"{study.owner}: at step {steps[-1]} the optimizer's steps are {ratio:.2g} times as "
            f"long as at step {steps[0]}, under the same gradient: where a schedule decays within "
            "the budget, short trainings never see its end.",
            ScheduleWarning,
            stacklevel=5,  # the user's call: above the wrapper, the study and its private function
        )


def check_state_has_no_numbers(study: Study, values: Sequence[Sequence[Any]]) -> None:
    """Raise if the optimizer's state holds hyperparameters, so that new ones would have no effect.

    A hyperparameter is held if the initial state varies with it, and the update of one and the same
    state does not. ``inject_hyperparams`` makes such states.

    Args:
        study: without choices in its space.
        values: two different ones for each range.
    """
    space = study.apart

    @jax.jit
    def is_held(before: list[Array], after: list[Array]) -> Array:
        was, new = space.fill(before), space.fill(after)
        update, init = _shrunken(study, was)
        state = init(was)
        return _differ(state, init(new)) & ~_differ(update(state, was), update(state, new))

    before = [pair[0] for pair in values]
    for i, name in enumerate(space.names):
        after = [*before[:i], values[i][1], *before[i + 1 :]]
        if is_held(before, after):
            raise ValueError(
                f"{study.owner}: the optimizer must take {name or 'its number'} again in every "
                "round, but its state keeps the first one, as that of `inject_hyperparams` does; "
                "build it without."
            )


def _shrunken(study: Study, configuration: PyTree) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``update(state, configuration)`` and ``init(configuration)``, for one entry a parameter."""
    task = study.training(configuration).setup.task
    shapes, _ = jax.eval_shape(task.init, jax.random.key(0))
    params = jax.tree.map(lambda x: jnp.zeros((1,) * x.ndim, x.dtype), shapes)
    grads, one = jax.tree.map(jnp.ones_like, params), jnp.ones(())
    extra = {"value": one, "grad": grads, "value_fn": lambda params: one, "weight": one}
    optimizer = lambda configuration: checks.transformation(
        "search", "optimizer", study.training(configuration).setup.optimizer
    )
    update = lambda state, configuration: optimizer(configuration).update(
        grads, state, params, **extra
    )
    return update, lambda configuration: optimizer(configuration).init(params)


def _differ(a: PyTree, b: PyTree) -> Array:
    data = lambda x: jax.random.key_data(x) if is_key(x) else jnp.asarray(x)
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jnp.any(jnp.array([jnp.any(data(x) != data(y)) for x, y in pairs], bool))
