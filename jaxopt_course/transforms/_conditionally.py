"""A transformation that runs at some steps only; at the others updates pass, or are zero."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    State,
    Updates,
    checks,
    numerics,
    refuse_accumulation,
    tree,
)


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
) -> GradientTransformationExtraArgs:
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
    return _when(
        "conditionally_transform",
        inner,
        should_transform_fn,
        forward_extra_args,
        ConditionallyTransformState,
        otherwise=lambda updates: updates,
    )


def conditionally_mask(
    inner: optax.GradientTransformation,
    should_transform_fn: ConditionFn,
    forward_extra_args: bool = False,
) -> GradientTransformationExtraArgs:
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
    return _when(
        "conditionally_mask",
        inner,
        should_transform_fn,
        forward_extra_args,
        ConditionallyMaskState,
        otherwise=tree.zeros_like,
    )


def _when(
    owner: str,
    inner: optax.GradientTransformation,
    condition: ConditionFn,
    forward_extra_args: bool,
    new_state: type,
    otherwise: Callable[[Updates], Updates],
) -> GradientTransformationExtraArgs:
    """``inner`` at the steps that ``condition`` names, ``otherwise`` at the others."""
    checks.function(owner, "should_transform_fn", condition)
    inner = checks.transformation(owner, "inner", inner)

    def init(params):
        inner_state = inner.init(params)
        refuse_accumulation(owner, "inner", inner_state)
        return new_state(step=jnp.zeros((), jnp.int32), inner_state=inner_state)

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, new_state)
        due = condition(state.step, **(extra_args if forward_extra_args else {}))
        if due is None:
            raise TypeError(f"{owner}: `should_transform_fn` must return a bool, got None.")
        updates, inner_state = jax.lax.cond(
            due,
            lambda: inner.update(updates, state.inner_state, params, **extra_args),
            lambda: (otherwise(updates), state.inner_state),
        )
        return updates, new_state(step=numerics.safe_increment(state.step), inner_state=inner_state)

    return GradientTransformationExtraArgs(init, update)
