"""Weights to evaluate with: a running mean of the parameters themselves.

With parameters w_t after step t and decay d,

    m_t = d m_{t-1} + (1 - d) w_t,    evaluated as m_t / (1 - d^t)  (debiased, m_0 = 0)
                                      or as m_t                     (m_0 = w_0)

The training itself does not change. Reference: Polyak & Juditsky, "Acceleration of stochastic
approximation by averaging", 1992, https://doi.org/10.1137/0330046; with exponential weights
Tarvainen & Valpola, "Mean teachers", 2017, https://arxiv.org/abs/1703.01780.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    checks,
    if_applied,
    numerics,
    tree,
)

from ._apply_updates import apply_updates


class EmaParamsState(NamedTuple):
    """The running mean beside the state of the optimizer.

    ema: running mean of the parameters, shaped like them, float32 or wider.
    weight: running mean of ones, 1 - d^t: what debiasing divides by; 1 where there is none.
    inner_state: the state of the optimizer.
    """

    ema: Params
    weight: Float[Array, ""]
    inner_state: State

    def evaluation_params(self, params: Params) -> Params:
        """The mean, in the dtypes of ``params``; these where there is no mean (yet)."""
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

    It must be the outermost wrapper of whatever changes the updates. Around :class:`MultiSteps`
    and other wrappers that do not change the parameters in every step, only the steps that do
    are averaged.

    Args:
        inner: the optimizer; its updates are handed on as they are.
        decay: d, the weight of the past, in [0, 1).
        debias: start from zero and divide by 1 - d^t, which forgets the initial parameters;
            else start from these.

    Raises:
        ValueError: if ``decay`` lies outside [0, 1); from ``update``, without ``params``.

    Examples:
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array(0.0), ema_params(optax.sgd(1.0), decay=0.5)
        >>> state = tx.init(params)
        >>> for gradient in (-1.0, -1.0):  # the parameter moves to 1, then to 2
        ...     updates, state = tx.update(jnp.array(gradient), state, params)
        ...     params = params + updates
        >>> round(float(evaluation_params(state, params)), 4)  # (1/4 + 2/2) / (3/4)
        1.6667
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
        ema, weight = if_applied(inner_state, state.inner_state, new, old)
        return updates, EmaParamsState(ema, weight, inner_state)

    return GradientTransformationExtraArgs(init, update)
