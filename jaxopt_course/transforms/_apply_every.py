"""Gradient accumulation as a link: k updates are summed, and handed on all at once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, Updates, checks, numerics, tree


class ApplyEvery(NamedTuple):
    """The sum so far.

    count: updates since the last one that was handed on, int32[].
    grad_acc: their sum, shaped like the params, float32 or wider.
    """

    count: Int[Array, ""]
    grad_acc: Updates

    def is_pending(self) -> Bool[Array, ""]:
        """Whether it holds updates that have not been handed on yet."""
        return self.count > 0

    def was_applied(self, old: "ApplyEvery") -> Bool[Array, ""]:
        """Whether the last update was one that handed on the sum."""
        return self.count == 0


def apply_every(k: ScalarLike = 1) -> GradientTransformationExtraArgs:
    """Hand on the sum of every k updates, and zeros in between.

    The other links of a chain still run at every step. For an optimizer that shall see one
    large batch instead of k small ones, use :class:`MultiSteps`.

    Args:
        k: how many updates make one, in [1, inf).

    Raises:
        ValueError: if ``k`` lies below 1.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = apply_every(2)
        >>> state = tx.init(jnp.array(0.0))
        >>> for gradient in (1.0, 2.0):
        ...     updates, state = tx.update(jnp.array(gradient), state)
        ...     print(float(updates))
        0.0
        3.0
    """
    checks.number("apply_every", "k", k, "[1, inf)")

    def init(params):
        return ApplyEvery(jnp.zeros((), jnp.int32), tree.accumulator_like(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("apply_every", state, ApplyEvery)
        checks.like("apply_every", "gradient", updates, state.grad_acc)
        count = numerics.safe_increment(state.count)
        due = numerics.has_reached(count, k) | ("flush" in extra_args)
        total = jax.tree.map(jnp.add, state.grad_acc, tree.cast_like(updates, state.grad_acc))

        def chosen(condition: Array, tree: Updates) -> Updates:
            return jax.tree.map(lambda x: jnp.where(condition, x, jnp.zeros_like(x)), tree)

        return tree.cast_like(chosen(due, total), updates), ApplyEvery(
            jnp.where(due, 0, count), chosen(~due, total)
        )

    return GradientTransformationExtraArgs(init, update)
