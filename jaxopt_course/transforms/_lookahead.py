"""Lookahead: k steps forward, one step back.

Fast parameters f follow an optimizer; after every k steps the slow ones s move a part of the
way to where the fast ones arrived, and these start anew from there:

    f <- f + u,    and every k steps    s <- s + alpha (f - s),  f <- s

Reference: Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", 2019,
https://arxiv.org/abs/1907.08610, algorithm 1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    checks,
    if_applied,
    numerics,
    states,
    tree,
)


class LookaheadParams(NamedTuple):
    """Two sets of parameters.

    fast: where gradients are taken.
    slow: the weights to evaluate and to keep.
    """

    fast: Params
    slow: Params

    @classmethod
    def init_synced(cls, params: Params) -> "LookaheadParams":
        """Both sets equal ``params``; the slow ones are a copy, so that both can be donated."""
        return cls(fast=params, slow=jax.tree.map(lambda p: jnp.array(p, copy=True), params))


class LookaheadState(NamedTuple):
    """Where between two synchronizations.

    fast_state: the state of the optimizer of the fast parameters.
    steps_since_sync: its steps since the last synchronization, int32[].
    """

    fast_state: State
    steps_since_sync: Int[Array, ""]


def lookahead(
    fast_optimizer: optax.GradientTransformation,
    sync_period: ScalarLike,
    slow_step_size: ScalarLike,
    reset_state: bool = False,
) -> GradientTransformationExtraArgs:
    """Lookahead around ``fast_optimizer``, for parameters that are :class:`LookaheadParams`.

    ``update`` takes gradients at ``params.fast``, shaped like these, and returns updates of
    both sets. It must be the outermost wrapper: what changes its updates parts the two. Around
    :class:`MultiSteps` it counts the steps that change the parameters.

    Args:
        fast_optimizer: the optimizer of the fast parameters.
        sync_period: k, in [1, inf).
        slow_step_size: alpha, in [0, 1].
        reset_state: whether the fast optimizer starts anew after each synchronization.

    Raises:
        ValueError: if a number lies outside its range; from ``update``, if the params are no
            :class:`LookaheadParams`.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> tx = lookahead(optax.sgd(0.1), sync_period=5, slow_step_size=0.5)
        >>> params = LookaheadParams.init_synced(jnp.array([3.0, -2.0]))
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params.fast, state, params)  # of |params|^2
        ...     params = optax.apply_updates(params, updates)
        >>> bool(jnp.linalg.norm(params.slow) < 1e-6)
        True
    """
    checks.flag("lookahead", "reset_state", reset_state)
    checks.number("lookahead", "sync_period", sync_period, "[1, inf)")
    checks.number("lookahead", "slow_step_size", slow_step_size, "[0, 1]")
    fast_optimizer = checks.transformation("lookahead", "fast_optimizer", fast_optimizer)

    def init(params):
        fast = getattr(params, "fast", params)
        return LookaheadState(fast_optimizer.init(fast), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("lookahead", state, LookaheadState)
        both, alpha = _two_sets(params), numerics.in_dtype(slow_step_size)
        checks.like("lookahead", "gradient", updates, both.fast)
        updates, fast_state = fast_optimizer.update(
            updates, state.fast_state, both.fast, **extra_args
        )
        steps = numerics.safe_increment(state.steps_since_sync)
        due = numerics.has_reached(steps, sync_period)
        steps, sync = if_applied(
            fast_state,
            state.fast_state,
            (steps, due),
            (state.steps_since_sync, jnp.zeros_like(due)),
        )

        def of_slow(update: Any, way: Array) -> Array:
            return jnp.where(sync, alpha(way.dtype) * way, 0).astype(update.dtype)

        def of_fast(update: Any, way: Array) -> Array:
            back = jnp.where(sync, (1 - alpha(way.dtype)) * way, 0)
            return (jnp.asarray(update, way.dtype) - back).astype(update.dtype)

        # how far the fast parameters get from the slow ones
        ways = tree.running_sum(tree.sub(both.fast, both.slow), updates, 1.0)
        slow, fast = (jax.tree.map(f, updates, ways) for f in (of_slow, of_fast))
        if reset_state:
            fast_state = jax.tree.map(
                lambda new, old: jnp.where(sync, new, old),
                tree.cast_like(
                    states.packed_state(fast_optimizer.init(both.fast), fast_state), fast_state
                ),
                fast_state,
            )
        steps = jnp.where(sync, 0, steps)
        return both._replace(fast=fast, slow=slow), LookaheadState(fast_state, steps)

    return GradientTransformationExtraArgs(init, update)


def _two_sets(params: Any) -> Any:
    checks.params("lookahead", params)
    if not (hasattr(params, "fast") and hasattr(params, "slow")):
        raise ValueError(
            "lookahead: `params` must be LookaheadParams, such as "
            f"LookaheadParams.init_synced(params), got {type(params).__name__}."
        )
    return params
