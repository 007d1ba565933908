"""Spikes: gradients much longer than the recent ones are shrunk, or their steps are skipped.

With the norm n_t = |g_t| over all leaves, and Q_q the quantile q of the norms of the last W steps,
linear between two of them,

    clip_by_quantile    g_t <- g_t min(1, Q_q(n_{t-W+1}, ..., n_t) / n_t)
    skip_spikes         update 0, inner state kept, where  n_t > factor Q_q(n_{t-W}, ..., n_{t-1})

Both keep the norms as they were before, those of clipped and skipped steps included, so that a
lasting change of level is followed. Norms that are NaN or infinite are not kept.

References: Seetharaman et al., "AutoClip: Adaptive Gradient Clipping for Source Separation
Networks", 2020, algorithm 1, https://arxiv.org/abs/2007.14469, with all past norms in place of a
window; skipped steps as in "2 OLMo 2 Furious", 2025, https://arxiv.org/abs/2501.00656, with a
quantile in place of a mean and standard deviations, which the spikes themselves enlarge.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    checks,
    global_norm,
    numerics,
    shrink_to,
    states,
    tree,
)

from ._conditionally import run_if


class RecentNormsState(NamedTuple):
    """The norms of the last gradients: the state of :func:`clip_by_quantile`.

    norms: the last norms, of which the oldest is replaced next, float[window].
    count: number of norms that were kept so far, int32[].
    """

    norms: Float[Array, " window"]
    count: Int[Array, ""]


def clip_by_quantile(
    quantile: ScalarLike = 0.9, window: int = 100
) -> GradientTransformationExtraArgs:
    """Shrink all updates together to a quantile of the norms of the last steps, this one included.

    The first update is never shrunk.

    Args:
        quantile: q, in [0, 1]. AutoClip's authors recommend 0.1, which clips nine steps of ten.
        window: W, the number of norms, in [1, inf), static.

    Examples:
        >>> tx = clip_by_quantile(0.5, window=3)
        >>> _, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> float(tx.update(jnp.array(4.0), state)[0])
        2.5
    """
    checks.number("clip_by_quantile", "quantile", quantile, "[0, 1]")
    checks.integer("clip_by_quantile", "window", window, "[1, inf)")

    def update(updates, state, params=None, **extra_args):
        checks.state("clip_by_quantile", state, RecentNormsState)
        checks.floats("clip_by_quantile", "update", updates)
        norm = global_norm(updates)
        new = _with_norm(state, norm)
        bound = _quantile(new, quantile).astype(norm.dtype)
        return shrink_to(updates, norm, jnp.where(new.count > 0, bound, jnp.inf)), new

    return GradientTransformationExtraArgs(lambda params: _no_norms(params, window), update)


class SkipSpikesState(NamedTuple):
    """State of :func:`skip_spikes`.

    recent: the last norms of the gradients.
    last_applied: whether the last update was not skipped, bool[].
    total_skipped: number of skipped updates, int32[].
    inner_state: the inner state after the last step that was not skipped.
    """

    recent: RecentNormsState
    last_applied: Bool[Array, ""]
    total_skipped: Int[Array, ""]
    inner_state: State

    def was_applied(self, old: "SkipSpikesState") -> Bool[Array, ""]:
        """Whether the last update was not skipped and the inner optimizer applied it."""
        return states.applied_with(self.last_applied, self.inner_state, old.inner_state)


def skip_spikes(
    inner: optax.GradientTransformation,
    quantile: ScalarLike = 0.9,
    factor: ScalarLike = 2.0,
    window: int = 100,
) -> GradientTransformationExtraArgs:
    """Skip steps whose gradient is longer than ``factor`` times a quantile of the recent norms.

    A skipped step returns zeros and keeps the inner state. Nothing is skipped before ``window``
    norms are known, but gradients with a NaN or an infinity always are. A level that stays high
    is accepted after about (1 - q) ``window`` skipped steps, when it is the quantile itself.

    Args:
        inner: the optimizer, which must not accumulate gradients itself.
        quantile: q, in [0, 1].
        factor: the largest ratio to the quantile that is not skipped, in (0, inf).
        window: W, the number of norms, in [1, inf), static.

    Examples:
        >>> tx = skip_spikes(optax.sgd(1.0), quantile=0.5, factor=3.0, window=1)
        >>> _, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> float(tx.update(jnp.array(4.0), state)[0])
        0.0
    """
    checks.number("skip_spikes", "quantile", quantile, "[0, 1]")
    checks.number("skip_spikes", "factor", factor, "(0, inf)")
    checks.integer("skip_spikes", "window", window, "[1, inf)")
    inner = checks.transformation("skip_spikes", "inner", inner)

    def init(params):
        inner_state = inner.init(params)
        states.refuse_accumulation("skip_spikes", "inner", inner_state)
        zero = jnp.zeros((), jnp.int32)
        return SkipSpikesState(_no_norms(params, window), jnp.array(True), zero, inner_state)

    def update(updates, state, params=None, **extra_args):
        checks.state("skip_spikes", state, SkipSpikesState)
        recent, norm = state.recent, global_norm(updates).astype(state.recent.norms.dtype)
        largest = _quantile(recent, quantile) * jnp.asarray(factor, norm.dtype)
        applied = jnp.isfinite(norm) & ((recent.count < window) | (norm <= largest))
        updates, inner_state = run_if(
            applied, inner, updates, state.inner_state, params, extra_args
        )
        skipped = jnp.where(
            applied, state.total_skipped, numerics.safe_increment(state.total_skipped)
        )
        return updates, SkipSpikesState(_with_norm(recent, norm), applied, skipped, inner_state)

    return GradientTransformationExtraArgs(init, update)


def _no_norms(params: Params, window: int) -> RecentNormsState:
    return RecentNormsState(jnp.zeros(window, tree.scalar_dtype(params)), jnp.zeros((), jnp.int32))


def _with_norm(state: RecentNormsState, norm: Float[Array, ""]) -> RecentNormsState:
    """``state`` with a norm more, in the place of the oldest; unchanged if it is not finite."""
    norm = norm.astype(state.norms.dtype)
    place = jnp.arange(len(state.norms), dtype=jnp.int32) == state.count % len(state.norms)
    norms = jnp.where(place & jnp.isfinite(norm), norm, state.norms)
    count = jnp.where(jnp.isfinite(norm), numerics.safe_increment(state.count), state.count)
    return RecentNormsState(norms, count)


def _quantile(state: RecentNormsState, q: ScalarLike) -> Float[Array, ""]:
    """The quantile ``q`` of the norms that are known, linear between two of them."""
    known = jnp.minimum(state.count, len(state.norms))
    is_known = jnp.arange(len(state.norms), dtype=jnp.int32) < known
    ordered = jnp.sort(jnp.where(is_known, state.norms, jnp.inf))
    last = jnp.maximum(known - 1, 0)
    position = jnp.asarray(q, ordered.dtype) * last.astype(ordered.dtype)
    below = jnp.floor(position)
    low, high = (ordered[jnp.minimum(below.astype(jnp.int32) + i, last)] for i in (0, 1))
    return low + (position - below) * (high - low)
