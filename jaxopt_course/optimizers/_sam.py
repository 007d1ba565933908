"""Sharpness-aware minimization: descend along the gradient of the worst point nearby.

With gradient g at the parameters w, and radius r,

    e  = r g / |g|                         to first order the worst point of a ball
    w <- w - a_t grad f(w + e)

Here any transformation, ``adv_optimizer``, makes the ascent in one or several steps, and any other
makes the descent; ``sam(sgd(a), chain(normalize(), sgd(r)))`` is the method of the paper.

Reference: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
Generalization", 2021, algorithm 1, https://arxiv.org/abs/2010.01412.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    Updates,
    checks,
    refuse_accumulation,
    tree,
)
from jaxopt_course.transforms import apply_updates, packed_state


Step: TypeAlias = Callable[..., tuple[Updates, Any]]


class SAMState(NamedTuple):
    """State of sharpness-aware minimization.

    steps_since_sync: number of ascent steps since the last descent, int32[].
    opt_state: state of the optimizer of the descent.
    adv_state: state of the optimizer of the ascent.
    cache: the params at which the ascent began; None in opaque mode.
    """

    steps_since_sync: Int[Array, ""]
    opt_state: State
    adv_state: State
    cache: Params | None


def sam(
    optimizer: optax.GradientTransformation,
    adv_optimizer: optax.GradientTransformation,
    sync_period: int = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
    batch_axis_name: str | None = None,
) -> GradientTransformationExtraArgs:
    """Ascend ``sync_period - 1`` steps, then descend from where the ascent began.

    By default each ``update`` is one step of the ascent or the descent, and params follow the
    ascent. In opaque mode each ``update`` is a whole round, and needs the gradient,
    ``grad_fn(params, i)`` with the step i of the ascent, or the loss, ``value_fn(params)``.

    Args:
        optimizer: makes the descent, with the gradient at the last point of the ascent.
        adv_optimizer: makes the ascent: its updates are negated.
        sync_period: number of gradients in a round, a static int in [1, inf); 1 for no ascent.
        reset_state: whether each ascent starts with a fresh state of ``adv_optimizer``.
        opaque_mode: whether each call makes a whole round. This is needed where gradients have side
            effects, such as the running statistics of BatchNorm.
        batch_axis_name: in opaque mode, name of the mapped axis over which gradients are averaged.

    Examples:
        >>> from jaxopt_course import chain, normalize, sgd
        >>> tx = sam(sgd(0.1), chain(normalize(), sgd(0.05)), opaque_mode=True)
    """
    checks.flags("sam", reset_state=reset_state, opaque_mode=opaque_mode)
    checks.integer("sam", "sync_period", sync_period, "[1, inf)")
    down = checks.transformation("sam", "optimizer", optimizer)
    up = checks.transformation("sam", "adv_optimizer", adv_optimizer)

    def init(params):
        # A copy, because params may be donated.
        cache = None if opaque_mode else jax.tree.map(jnp.copy, params)
        opt_state, adv_state = down.init(params), up.init(params)
        refuse_accumulation("sam", "optimizer", opt_state)
        refuse_accumulation("sam", "adv_optimizer", adv_state)
        return SAMState(jnp.zeros((), jnp.int32), opt_state, adv_state, cache)

    def ascend(*args: Any, **extra_args: Any) -> tuple[Updates, State]:
        steps, state = up.update(*args, **extra_args)
        return jax.tree.map(jnp.negative, steps), state

    def restarted(params: Params, state: State) -> State:
        """The state with which the next ascent starts, packed as ``state`` is."""
        return packed_state(up.init(params), state) if reset_state else state

    common = (down.update, ascend, restarted, sync_period)
    step = _whole_round(*common, batch_axis_name) if opaque_mode else _single_step(*common)

    def update(updates, state, params=None, **extra_args):
        checks.state("sam", state, SAMState)
        checks.params("sam", params, updates)
        return step(updates, state, params, extra_args)

    return GradientTransformationExtraArgs(init, update)


def _single_step(
    descend: Step, ascend: Step, restarted: Callable[..., State], sync_period: int
) -> Step:
    """An update that makes one step of the ascent or of the descent."""

    def step(updates, state, params, extra_args):
        is_first = state.steps_since_sync == 0
        choose = lambda own, cached: jnp.where(is_first, own, cached)
        start = jax.tree.map(choose, params, state.cache)

        def descended() -> tuple[Updates, State, State]:
            steps, opt_state = descend(updates, state.opt_state, start, **extra_args)
            back = tree.running_sum(tree.sub(start, params), steps, 1.0)
            return tree.cast_like(back, updates), opt_state, restarted(params, state.adv_state)

        def ascended() -> tuple[Updates, State, State]:
            steps, adv_state = ascend(updates, state.adv_state, params, **extra_args)
            return tree.cast_like(steps, updates), state.opt_state, adv_state

        is_last = state.steps_since_sync == sync_period - 1
        steps, opt_state, adv_state = jax.lax.cond(is_last, descended, ascended)
        steps_since = (state.steps_since_sync + 1) % sync_period
        return steps, SAMState(steps_since, opt_state, adv_state, start)

    return step


def _whole_round(
    descend: Step,
    ascend: Step,
    restarted: Callable[..., State],
    sync_period: int,
    batch_axis_name: str | None,
) -> Step:
    """An update that makes a whole ascent and the descent."""

    def step(updates, state, params, extra_args):
        gradient = _gradient(**extra_args)
        grads, adv_state, point = updates, state.adv_state, params
        for i in range(sync_period - 1):
            steps, adv_state = ascend(grads, adv_state, point, **extra_args)
            point = apply_updates(point, steps)
            grads = gradient(point, i)
            if batch_axis_name is not None:
                grads = jax.lax.pmean(grads, batch_axis_name)
        grads = tree.cast_like(grads, updates)
        steps, opt_state = descend(grads, state.opt_state, params, **extra_args)
        adv_state = restarted(params, adv_state)
        return steps, SAMState(jnp.zeros((), jnp.int32), opt_state, adv_state, None)

    return step


def _gradient(
    grad_fn: Callable[[Params, int], Updates] | None = None,
    value_fn: Callable[[Params], Any] | None = None,
    **extra_args: Any,
) -> Callable[[Params, int], Updates]:
    if grad_fn is not None:
        return grad_fn
    if value_fn is None:
        raise ValueError(
            "sam: in opaque mode `update` needs `grad_fn`, a function of params and step, "
            "or `value_fn`, a function of params."
        )
    slope = jax.grad(value_fn)
    return lambda params, i: slope(params)
