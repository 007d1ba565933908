"""Line searches for second-order optimizers.

The line searches are optax's. They are wrapped because they refuse unknown extra arguments, mix
dtypes, and return weakly typed initial states, which cause a second compilation.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    State,
    Updates,
    checks,
    on_auto_axes,
    on_own_axes,
    placed_like,
    tree,
)
from jaxopt_course.transforms import identity, scale, scale_by_learning_rate


def downhill(learning_rate: ScalarOrSchedule | None) -> GradientTransformationExtraArgs:
    """Negate updates, and multiply them by the learning rate if there is one."""
    return scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)


def line_search(
    owner: str, linesearch: optax.GradientTransformation | None
) -> GradientTransformationExtraArgs:
    """``linesearch``, as a transformation that keeps dtypes and ignores unknown extra arguments.

    Args:
        owner: name of the optimizer, for error messages.
        linesearch: of optax, or like one of those. None: no line search.
    """
    if linesearch is None:
        return identity()
    inner = checks.transformation(owner, "linesearch", linesearch)
    needed = [
        p.name
        for p in inspect.signature(linesearch.update).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty
    ]

    @functools.cache
    def state_class() -> type:
        return type(jax.eval_shape(inner.init, jnp.zeros(())))

    def init(params: Params) -> State:
        # It takes its dtype from the first leaf, so a tree without leaves is given one.
        has_leaves = bool(jax.tree.leaves(params))
        state = inner.init(params if has_leaves else (jnp.zeros(()), params))
        if getattr(state, "grad", None) is not None:
            grad = state.grad if has_leaves else state.grad[1]
            state = state._replace(grad=jax.tree.map(placed_like, grad, params))
        return tree.cast_like(state, state)  # makes weak types strong

    def update(updates, state, params=None, **extra_args):
        checks.state(f"{owner}: the line search", state, state_class())
        checks.params(f"{owner}: the line search", params)
        missing = [name for name in needed if name not in extra_args]
        if missing:
            raise ValueError(
                f"{owner}: the line search needs `{'`, `'.join(missing)}`: call "
                "`update(grads, state, params, value=value, grad=grads, value_fn=fn)`."
            )
        if not jax.tree.leaves(params):
            return updates, state
        offered = {name: extra_args[name] for name in needed}
        if "value_fn" in needed:
            value_fn = bound_value_fn(extra_args["value_fn"], extra_args)
            offered["value_fn"] = on_own_axes(value_fn, params)
        return on_auto_axes(step, updates, state, params, offered, like=(updates, state))

    def step(
        updates: Updates, state: State, params: Params, offered: dict[str, Any]
    ) -> tuple[Updates, State]:
        with jax.numpy_dtype_promotion("standard"):
            new_updates, new_state = inner.update(updates, state, params, **offered)
        return tree.cast_like(new_updates, updates), tree.cast_like(new_state, state)

    return GradientTransformationExtraArgs(init, update)


def bound_value_fn(
    value_fn: Callable[..., Any], extra_args: dict[str, Any]
) -> Callable[[Params], Any]:
    """``value_fn`` as a function of the params alone, with its other arguments taken by name."""
    names = list(inspect.signature(value_fn).parameters)[1:]
    return functools.partial(value_fn, **{k: v for k, v in extra_args.items() if k in names})
