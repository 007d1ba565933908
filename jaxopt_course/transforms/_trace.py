"""Momentum: a running sum, or a running mean, of the updates so far.

With updates g_t and decay d,

    trace:  v_t = g_t + d v_{t-1}            (1 / (1 - d) times larger in the long run)
    ema:    m_t = d m_{t-1} + (1 - d) g_t    (of the size of g)

References: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964;
Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013,
https://proceedings.mlr.press/v28/sutskever13.html, for the reparametrised Nesterov form.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    Updates,
    accumulator_like,
    bias_corrected,
    cast_like,
    check_dtype,
    check_flag,
    check_like,
    check_number,
    check_state,
    increment,
    running_mean,
    running_sum,
)


__all__ = ["EmaState", "TraceState", "ema", "trace"]


class TraceState(NamedTuple):
    """``trace``: the decaying sum of updates, shaped like the params, float32 or wider."""

    trace: Params


def trace(
    decay: ScalarLike, nesterov: bool = False, accumulator_dtype: DTypeLike | None = None
) -> GradientTransformationExtraArgs:
    """A decaying sum of updates: v_t = g_t + decay * v_{t-1}.

    Args:
        decay: the weight of the past, in [0, 1].
        nesterov: return g_t + decay * v_t, which looks one step ahead, instead of v_t.
        accumulator_dtype: dtype of the sum; float32 or wider by default.

    Raises:
        ValueError: if ``decay`` lies outside [0, 1].

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = trace(0.5)
        >>> _, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> float(tx.update(jnp.array(1.0), state)[0])
        1.5
    """
    check_dtype("trace", "accumulator_dtype", accumulator_dtype)
    check_flag("trace", "nesterov", nesterov)
    check_number("trace", "decay", decay, "[0, 1]")

    def init(params: Params) -> TraceState:
        return TraceState(trace=accumulator_like(params, accumulator_dtype))

    def update(
        updates: Updates, state: TraceState, params: Params | None = None, **extra_args: Any
    ) -> tuple[Updates, TraceState]:
        check_state("trace", state, TraceState)
        check_like("trace", "gradient", updates, state.trace)
        total = running_sum(state.trace, updates, decay)
        ahead = running_sum(total, updates, decay) if nesterov else total
        return cast_like(ahead, updates), TraceState(trace=cast_like(total, state.trace))

    return GradientTransformationExtraArgs(init, update)


class EmaState(NamedTuple):
    """The running mean and its age.

    count: how many updates have been made, int32[].
    ema: running mean of updates, shaped like the params, float32 or wider.
    """

    count: Int[Array, ""]
    ema: Params


def ema(
    decay: ScalarLike, debias: bool = True, accumulator_dtype: DTypeLike | None = None
) -> GradientTransformationExtraArgs:
    """An exponential moving average of updates: m_t = decay * m_{t-1} + (1 - decay) * g_t.

    Args:
        decay: the weight of the past, in [0, 1).
        debias: divide by 1 - decay^t, which undoes the pull of the zeros that m starts from.
        accumulator_dtype: dtype of the mean; float32 or wider by default.

    Raises:
        ValueError: if ``decay`` lies outside [0, 1).

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = ema(0.9)
        >>> round(float(tx.update(jnp.array(5.0), tx.init(jnp.array(0.0)))[0]), 5)
        5.0
    """
    check_dtype("ema", "accumulator_dtype", accumulator_dtype)
    check_flag("ema", "debias", debias)
    check_number("ema", "decay", decay, "[0, 1)")

    def init(params: Params) -> EmaState:
        return EmaState(jnp.zeros((), jnp.int32), accumulator_like(params, accumulator_dtype))

    def update(
        updates: Updates, state: EmaState, params: Params | None = None, **extra_args: Any
    ) -> tuple[Updates, EmaState]:
        check_state("ema", state, EmaState)
        check_like("ema", "gradient", updates, state.ema)
        count = increment(state.count)
        mean = running_mean(state.ema, updates, decay)
        unbiased = bias_corrected(mean, decay, count) if debias else mean
        return cast_like(unbiased, updates), EmaState(count, cast_like(mean, state.ema))

    return GradientTransformationExtraArgs(init, update)
