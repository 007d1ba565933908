"""Protection from NaN and infinity: skip steps that are not finite, or replace NaN by zero."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    State,
    checks,
    numerics,
    tree,
    was_applied,
)


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
        inside = was_applied(self.inner_state, old.inner_state)
        return self.last_finite if inside is None else self.last_finite & inside


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

        new_updates, inner_state = jax.lax.cond(
            finite | hopeless,
            lambda: inner.update(updates, state.inner_state, params, **extra_args),
            lambda: (tree.zeros_like(updates), state.inner_state),
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
