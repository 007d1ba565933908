"""Momentum: a running sum, or a running mean, of the updates so far.

With updates g_t and decay d,

    trace:  v_t = g_t + d v_{t-1}            (1 / (1 - d) times larger in the long run)
    ema:    m_t = d m_{t-1} + (1 - d) g_t    (of the size of g)

References: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964;
Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013,
https://proceedings.mlr.press/v28/sutskever13.html, for the reparametrised Nesterov form.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, Params, checks, numerics, tree


class TraceState(NamedTuple):
    """State of :func:`trace`. ``trace``: decaying sum, shaped like the params, float32 or wider."""

    trace: Params


def trace(
    decay: ScalarLike, nesterov: bool = False, accumulator_dtype: DTypeLike | None = None
) -> GradientTransformationExtraArgs:
    """A decaying sum of updates: v_t = g_t + decay * v_{t-1}.

    Args:
        decay: the weight of the past, in [0, 1].
        nesterov: return g_t + decay * v_t, one step ahead, instead of v_t.
        accumulator_dtype: dtype of the sum; float32 or wider by default.

    Examples:
        >>> tx = trace(0.5)
        >>> _, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> float(tx.update(jnp.array(1.0), state)[0])
        1.5
    """
    checks.dtype("trace", "accumulator_dtype", accumulator_dtype)
    checks.flag("trace", "nesterov", nesterov)
    checks.number("trace", "decay", decay, "[0, 1]")

    def init(params):
        return TraceState(trace=tree.accumulator_like(params, accumulator_dtype))

    def update(updates, state, params=None, **extra_args):
        checks.step("trace", updates, state, TraceState, "trace")
        total = tree.running_sum(state.trace, updates, decay)
        ahead = tree.running_sum(total, updates, decay) if nesterov else total
        return tree.cast_like(ahead, updates), TraceState(trace=tree.cast_like(total, state.trace))

    return GradientTransformationExtraArgs(init, update)


class EmaState(NamedTuple):
    """State of :func:`ema`.

    count: number of updates, int32[].
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
        debias: divide by 1 - decay^t, which corrects for starting from zeros.
        accumulator_dtype: dtype of the mean; float32 or wider by default.
    """
    checks.dtype("ema", "accumulator_dtype", accumulator_dtype)
    checks.flag("ema", "debias", debias)
    checks.number("ema", "decay", decay, "[0, 1)")

    def init(params):
        return EmaState(jnp.zeros((), jnp.int32), tree.accumulator_like(params, accumulator_dtype))

    def update(updates, state, params=None, **extra_args):
        checks.step("ema", updates, state, EmaState, "ema")
        count = numerics.safe_increment(state.count)
        mean = tree.update_moment(updates, state.ema, decay, 1)
        unbiased = tree.bias_correction(mean, decay, count) if debias else mean
        return tree.cast_like(unbiased, updates), EmaState(count, tree.cast_like(mean, state.ema))

    return GradientTransformationExtraArgs(init, update)
