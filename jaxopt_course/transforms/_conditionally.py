"""A transformation that runs at some steps only; at the others updates pass, or are zero."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from jaxopt_course.core import GradientTransformation, Params, State, Updates, increment


__all__ = [
    "ConditionFn",
    "ConditionallyMaskState",
    "ConditionallyTransformState",
    "conditionally_mask",
    "conditionally_transform",
]


@runtime_checkable
class ConditionFn(Protocol):
    """Says at which steps to run a transformation."""

    def __call__(self, step: Int[Array, ""], **extra_args: Any) -> Bool[Array, ""]:
        """Whether to run at ``step``, which counts calls of ``update`` from 0."""


class ConditionallyTransformState(NamedTuple):
    """The inner state and the clock.

    inner_state: the inner state, as of the last step that ran it.
    step: how often ``update`` was called, int32[].
    """

    inner_state: State
    step: Int[Array, ""]


class ConditionallyMaskState(NamedTuple):
    """The clock and the inner state.

    step: how often ``update`` was called, int32[].
    inner_state: the inner state, as of the last step that ran it.
    """

    step: Int[Array, ""]
    inner_state: State


def conditionally_transform(
    inner: optax.GradientTransformation,
    should_transform_fn: ConditionFn,
    forward_extra_args: bool = False,
) -> GradientTransformation:
    """Run ``inner`` at the steps that ``should_transform_fn`` names; else hand updates on.

    Args:
        inner: the transformation, which must keep the dtypes of the updates.
        should_transform_fn: step int32[] -> bool[].
        forward_extra_args: whether the condition also gets the extra arguments of ``update``.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = conditionally_transform(optax.scale(2.0), lambda step: step < 1)
        >>> state = tx.init(jnp.array(0.0))
        >>> for _ in range(2):
        ...     updates, state = tx.update(jnp.array(1.0), state)
        ...     print(float(updates))
        2.0
        1.0
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Params) -> ConditionallyTransformState:
        return ConditionallyTransformState(inner.init(params), jnp.zeros((), jnp.int32))

    def update(
        updates: Updates,
        state: ConditionallyTransformState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[Updates, ConditionallyTransformState]:
        updates, inner_state = jax.lax.cond(
            should_transform_fn(state.step, **(extra_args if forward_extra_args else {})),
            lambda: inner.update(updates, state.inner_state, params, **extra_args),
            lambda: (updates, state.inner_state),
        )
        return updates, ConditionallyTransformState(inner_state, increment(state.step))

    return GradientTransformation(init, update)


def conditionally_mask(
    inner: optax.GradientTransformation,
    should_transform_fn: ConditionFn,
    forward_extra_args: bool = False,
) -> GradientTransformation:
    """Run ``inner`` at the steps that ``should_transform_fn`` names; else return zeros.

    Args:
        inner: the transformation, which must keep the dtypes of the updates.
        should_transform_fn: step int32[] -> bool[].
        forward_extra_args: whether the condition also gets the extra arguments of ``update``.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = conditionally_mask(optax.scale(2.0), lambda step: step < 1)
        >>> state = tx.init(jnp.array(0.0))
        >>> for _ in range(2):
        ...     updates, state = tx.update(jnp.array(1.0), state)
        ...     print(float(updates))
        2.0
        0.0
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Params) -> ConditionallyMaskState:
        return ConditionallyMaskState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(
        updates: Updates,
        state: ConditionallyMaskState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[Updates, ConditionallyMaskState]:
        updates, inner_state = jax.lax.cond(
            should_transform_fn(state.step, **(extra_args if forward_extra_args else {})),
            lambda: inner.update(updates, state.inner_state, params, **extra_args),
            lambda: (jax.tree.map(jnp.zeros_like, updates), state.inner_state),
        )
        return updates, ConditionallyMaskState(increment(state.step), inner_state)

    return GradientTransformation(init, update)
