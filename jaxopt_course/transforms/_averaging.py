"""Averages of the parameters: a running mean to evaluate with, and lookahead.

With parameters w_t after step t and decay d, ``ema_params`` keeps

    m_t = d m_{t-1} + (1 - d) w_t,    evaluated as m_t / (1 - d^t)  (debiased, m_0 = 0)
                                      or as m_t                     (m_0 = w_0)

and leaves the training itself unchanged. In ``lookahead`` fast parameters f follow an optimizer;
after every k steps the slow parameters s move a part of the way to f, and f restarts from s:

    f <- f + u,    and every k steps    s <- s + alpha (f - s),  f <- s

References: Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992,
https://doi.org/10.1137/0330046; Tarvainen & Valpola, "Mean teachers", 2017,
https://arxiv.org/abs/1703.01780, with exponential weights; Zhang et al., "Lookahead Optimizer: k
steps forward, 1 step back", 2019, https://arxiv.org/abs/1907.08610, algorithm 1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    Updates,
    checks,
    numerics,
    states,
    tree,
)

from ._take_step import apply_updates


class EmaParamsState(NamedTuple):
    """State of :func:`ema_params`.

    ema: running mean of the parameters, shaped like them, float32 or wider.
    weight: running mean of ones, 1 - d^t, the divisor of debiasing; 1 without debiasing.
    inner_state: the state of the optimizer.
    """

    ema: Params
    weight: Float[Array, ""]
    inner_state: State

    def evaluation_params(self, params: Params) -> Params:
        """The mean, in the dtypes of ``params``; ``params`` themselves before the first step."""
        begun = self.weight > 0
        weight = jnp.where(begun, self.weight, 1)

        def mean_or_own(mean: Any, own: Any) -> Any:
            unbiased = mean / weight.astype(mean.dtype)
            return jnp.where(begun, unbiased.astype(jnp.result_type(own)), own)

        return tree.map_unmasked(mean_or_own, self.ema, params)


def ema_params(
    inner: optax.GradientTransformation, decay: ScalarLike, debias: bool = True
) -> GradientTransformationExtraArgs:
    """Keep a running mean of the parameters after each update, for :func:`evaluation_params`.

    It must be the outermost wrapper. Around :class:`MultiSteps` and other wrappers that do not
    change the parameters in every step, only the steps that do are averaged. ``update`` needs the
    parameters.

    Args:
        inner: the optimizer, whose updates are returned as they are.
        decay: d, the weight of the past, in [0, 1).
        debias: start from zero and divide by 1 - d^t, so that the initial parameters have no
            weight. Otherwise start from the initial parameters.

    Examples:
        >>> tx, params = ema_params(optax.sgd(1.0), decay=0.5), jnp.array(0.0)
        >>> updates, state = tx.update(jnp.array(-1.0), tx.init(params), params)
        >>> float(state.evaluation_params(params + updates))
        1.0
    """
    checks.flag("ema_params", "debias", debias)
    checks.number("ema_params", "decay", decay, "[0, 1)")
    inner = checks.transformation("ema_params", "inner", inner)

    def init(params):
        mean, weight = tree.accumulator_like(params), numerics.as_float(0.0)
        if not debias:
            copied = lambda p: jnp.array(p, numerics.wide_dtype(jnp.result_type(p)), copy=True)
            mean, weight = jax.tree.map(copied, params), numerics.as_float(1.0)
        return EmaParamsState(mean, weight, inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("ema_params", state, EmaParamsState)
        checks.params("ema_params", params)
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        mean = tree.update_moment(apply_updates(params, updates), state.ema, decay, 1)
        weight = tree.update_moment(jnp.ones_like(state.weight), state.weight, decay, 1)
        new = tree.cast_like(mean, state.ema), weight if debias else state.weight
        old = state.ema, state.weight
        ema, weight = states.if_applied(inner_state, state.inner_state, new, old)
        return updates, EmaParamsState(ema, weight, inner_state)

    return GradientTransformationExtraArgs(init, update)


class LookaheadParams(NamedTuple):
    """The two sets of parameters of :func:`lookahead`.

    fast: the parameters at which gradients are taken.
    slow: the parameters to evaluate and to save.
    """

    fast: Params
    slow: Params

    @classmethod
    def init_synced(cls, params: Params) -> "LookaheadParams":
        """Both sets equal ``params``. The slow set is a copy, so that both can be donated."""
        return cls(fast=params, slow=jax.tree.map(lambda p: jnp.array(p, copy=True), params))


class LookaheadState(NamedTuple):
    """State of :func:`lookahead`.

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

    ``update`` takes gradients at ``params.fast``, shaped like it, and returns updates of both sets.
    It must be the outermost wrapper, because changing its updates would separate the two sets.
    Around :class:`MultiSteps` it counts the steps that change the parameters.

    Args:
        fast_optimizer: the optimizer of the fast parameters.
        sync_period: k, in [1, inf).
        slow_step_size: alpha, in [0, 1].
        reset_state: whether the state of the fast optimizer is reset after each synchronization.

    Examples:
        >>> params, tx = LookaheadParams.init_synced(0.0), lookahead(optax.sgd(1.0), 1, 0.5)
        >>> updates, _ = tx.update(jnp.array(-1.0), tx.init(params), params)
        >>> float(updates.fast), float(updates.slow)
        (0.5, 0.5)
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
        both, old = _two_sets(params), state.fast_state
        checks.like("lookahead", "gradient", updates, both.fast)
        updates, fast_state = fast_optimizer.update(updates, old, both.fast, **extra_args)
        steps = numerics.safe_increment(state.steps_since_sync)
        due = numerics.has_reached(steps, sync_period)
        steps, sync = states.if_applied(
            fast_state, old, (steps, due), (state.steps_since_sync, jnp.zeros_like(due))
        )
        moves = _moves(both, updates, sync, slow_step_size)
        if reset_state:
            first = states.packed_state(fast_optimizer.init(both.fast), fast_state)
            fast_state = jax.tree.map(
                lambda new, own: jnp.where(sync, new, own),
                tree.cast_like(first, fast_state),
                fast_state,
            )
        return moves, LookaheadState(fast_state, jnp.where(sync, 0, steps))

    return GradientTransformationExtraArgs(init, update)


def _moves(both: Any, updates: Updates, sync: Bool[Array, ""], alpha: ScalarLike) -> Any:
    """The updates of both sets, given those of the fast one."""
    share = numerics.in_dtype(alpha)

    def of_slow(update: Any, way: Array) -> Array:
        return jnp.where(sync, share(way.dtype) * way, 0).astype(update.dtype)

    def of_fast(update: Any, way: Array) -> Array:
        back = jnp.where(sync, (1 - share(way.dtype)) * way, 0)
        return (jnp.asarray(update, way.dtype) - back).astype(update.dtype)

    # from the slow parameters to the fast ones after this step
    ways = tree.running_sum(tree.sub(both.fast, both.slow), updates, 1.0)
    slow, fast = (jax.tree.map(f, updates, ways) for f in (of_slow, of_fast))
    return both._replace(fast=fast, slow=slow)


def _two_sets(params: Any) -> Any:
    checks.params("lookahead", params)
    if not (hasattr(params, "fast") and hasattr(params, "slow")):
        raise ValueError(
            "lookahead: `params` must be LookaheadParams, such as "
            f"LookaheadParams.init_synced(params), got {type(params).__name__}."
        )
    return params
