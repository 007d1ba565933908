"""Protection from NaN and infinity: steps are skipped, NaNs replaced, losses scaled.

Dynamic loss scaling keeps small float16 gradients from being rounded to 0. The training multiplies
the loss by the scale s and divides the gradients by it, in float32. With n the number of good steps
in a row and N the growth interval,

    all gradients finite:   inner update;            n <- n + 1; if n = N: s <- c s, n <- 0
    otherwise:              updates 0, states kept;  s <- s / c, n <- 0

within [min_scale, max_scale]. The scale therefore stays near the largest one without overflow.

Reference: Micikevicius et al., "Mixed Precision Training", 2018, sections 3.2 and 4,
https://arxiv.org/abs/1710.03740.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    State,
    checks,
    numerics,
    states,
    tree,
)

from ._conditionally import run_if


class ApplyIfFiniteState(NamedTuple):
    """State of :func:`apply_if_finite`.

    notfinite_count: consecutive steps whose updates were not finite, int32[].
    last_finite: whether the last updates were finite, bool[].
    total_notfinite: steps whose updates were not finite, int32[].
    inner_state: the inner state after the last step that was not skipped.
    """

    notfinite_count: Int[Array, ""]
    last_finite: Bool[Array, ""]
    total_notfinite: Int[Array, ""]
    inner_state: State

    def was_applied(self, old: "ApplyIfFiniteState") -> Bool[Array, ""]:
        """Whether the last updates were finite and the inner optimizer applied them."""
        return states.applied_with(self.last_finite, self.inner_state, old.inner_state)


def apply_if_finite(
    inner: optax.GradientTransformation, max_consecutive_errors: ScalarLike
) -> GradientTransformationExtraArgs:
    """Run ``inner`` on finite updates only; otherwise return zeros and keep its state.

    Args:
        inner: the transformation to protect.
        max_consecutive_errors: in [0, inf). After more consecutive steps than this, non-finite
            updates are passed on, so that a training that diverged shows it.

    Examples:
        >>> tx = apply_if_finite(optax.scale(-0.1), max_consecutive_errors=3)
        >>> updates, state = tx.update(jnp.array(jnp.nan), tx.init(jnp.array(1.0)))
        >>> float(updates), int(state.notfinite_count)
        (0.0, 1)
    """
    checks.number("apply_if_finite", "max_consecutive_errors", max_consecutive_errors, "[0, inf)")
    inner = checks.transformation("apply_if_finite", "inner", inner)

    def init(params):
        in_a_row, total = (jnp.zeros((), jnp.int32) for _ in range(2))
        return ApplyIfFiniteState(in_a_row, jnp.array(True), total, inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("apply_if_finite", state, ApplyIfFiniteState)
        finite = tree.all_finite(updates)
        in_a_row = jnp.where(finite, 0, numerics.safe_increment(state.notfinite_count))
        hopeless = numerics.as_float(in_a_row) > numerics.as_float(max_consecutive_errors)
        new_updates, inner_state = run_if(
            finite | hopeless, inner, updates, state.inner_state, params, extra_args
        )
        total = jnp.where(
            finite, state.total_notfinite, numerics.safe_increment(state.total_notfinite)
        )
        return new_updates, ApplyIfFiniteState(in_a_row, finite, total, inner_state)

    return GradientTransformationExtraArgs(init, update)


class ZeroNansState(NamedTuple):
    """State of :func:`zero_nans`. ``found_nan``: whether a leaf's last update had a NaN, bool[]."""

    found_nan: PyTree


def zero_nans() -> GradientTransformationExtraArgs:
    """Replace NaNs in the updates by zeros. Infinities stay.

    Examples:
        >>> tx = zero_nans()
        >>> updates, state = tx.update(jnp.array([jnp.nan, 1.0]), tx.init(jnp.zeros(2)))
        >>> updates.tolist(), bool(state.found_nan)
        ([0.0, 1.0], True)
    """

    def init(params):
        return ZeroNansState(jax.tree.map(lambda p: jnp.zeros((), jnp.bool_), params))

    def update(updates, state, params=None, **extra_args):
        checks.state("zero_nans", state, ZeroNansState)
        found = jax.tree.map(lambda u: jnp.any(jnp.isnan(u)), updates)
        cleaned = jax.tree.map(lambda u: jnp.where(jnp.isnan(u), jnp.zeros_like(u), u), updates)
        return cleaned, ZeroNansState(found)

    return GradientTransformationExtraArgs(init, update)


class DynamicLossScaleState(NamedTuple):
    """State of dynamic loss scaling.

    scale: factor of the next loss, float32[].
    good_steps: steps in a row with finite gradients since the scale last changed, int32[].
    inner_state: state of the optimizer inside, after the last step with finite gradients.
    last_finite: whether the last gradients were finite, bool[].
    """

    scale: Float[Array, ""]
    good_steps: Int[Array, ""]
    inner_state: State
    last_finite: Bool[Array, ""] = True

    def loss_scale(self) -> Float[Array, ""]:
        """The factor of the next loss."""
        return self.scale

    def was_applied(self, old: "DynamicLossScaleState") -> Bool[Array, ""]:
        """Whether the last gradients were finite and the optimizer inside applied its update."""
        return states.applied_with(self.last_finite, self.inner_state, old.inner_state)


def dynamic_loss_scale(
    inner: optax.GradientTransformation,
    initial_scale: ScalarLike = 2.0**15,
    growth_interval: ScalarLike = 2000,
    factor: ScalarLike = 2.0,
    min_scale: ScalarLike = 1.0,
    max_scale: ScalarLike = 2.0**24,
) -> GradientTransformationExtraArgs:
    """Skip updates with non-finite gradients, and adapt the scale of the loss.

    ``update`` expects gradients that are *already divided* by :func:`loss_scale`, so that they
    agree with ``value`` and ``value_fn``, and ``inner`` may clip or normalize them. ``make_step``
    and all trainings of this library multiply and divide. Make this the outermost wrapper, so that
    non-finite gradients reach no other state.

    Args:
        inner: the transformation to protect.
        initial_scale: first scale, in (0, inf); clipped to [``min_scale``, ``max_scale``].
        growth_interval: good steps in a row before the scale grows, in [1, inf), rounded.
        factor: factor by which the scale grows and shrinks, in (1, inf). Powers of 2 are exact.
        min_scale: lowest scale, in (0, inf). Choose one below 1 if the gradients themselves are
            too large for float16.
        max_scale: highest scale, in (0, inf).

    Examples:
        >>> from jaxopt_course.transforms import loss_scale
        >>> tx = dynamic_loss_scale(optax.scale(-0.1), initial_scale=1024.0)
        >>> updates, state = tx.update(jnp.array(jnp.inf), tx.init(jnp.array(1.0)))
        >>> float(updates), float(loss_scale(state))
        (0.0, 512.0)
    """
    owner = "dynamic_loss_scale"
    scales = {"initial_scale": initial_scale, "min_scale": min_scale, "max_scale": max_scale}
    checks.numbers(owner, "(0, inf)", **scales)
    checks.number(owner, "growth_interval", growth_interval, "[1, inf)")
    checks.number(owner, "factor", factor, "(1, inf)")
    inner = checks.transformation(owner, "inner", inner)

    def bounded(scale: Array) -> Array:
        low, high = (jnp.asarray(end, jnp.float32) for end in (min_scale, max_scale))
        return jnp.clip(scale, low, high)

    def init(params):
        scale = bounded(jnp.asarray(initial_scale, jnp.float32))
        zero = jnp.zeros((), jnp.int32)
        return DynamicLossScaleState(scale, zero, inner.init(params), jnp.array(True))

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, DynamicLossScaleState)
        finite = tree.all_finite(updates)
        old = state.inner_state
        new_updates, inner_state = run_if(finite, inner, updates, old, params, extra_args)
        good_steps = states.count_applied(state.good_steps, inner_state, old)
        grows = (good_steps > state.good_steps) & numerics.is_due(good_steps, growth_interval)
        by = jnp.asarray(factor, jnp.float32)
        grown = jnp.where(grows, state.scale * by, state.scale)
        scale = bounded(jnp.where(finite, grown, state.scale / by))
        good_steps = jnp.where(finite & ~grows, good_steps, 0)
        return new_updates, DynamicLossScaleState(scale, good_steps, inner_state, finite)

    return GradientTransformationExtraArgs(init, update)
