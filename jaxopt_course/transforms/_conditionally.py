"""Transformations that act in some steps only, by a condition or once in k steps."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, ScalarLike

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


@runtime_checkable
class ConditionFn(Protocol):
    """Decides in which steps a transformation runs."""

    def __call__(self, step: Int[Array, ""], **extra_args: Any) -> Bool[Array, ""]:
        """Whether to run in ``step``, which counts calls of ``update`` from 0."""


class ConditionallyTransformState(NamedTuple):
    """State of :func:`conditionally_transform`.

    inner_state: the state of the transformation after the last step that ran it.
    step: number of calls of ``update``, int32[].
    """

    inner_state: State
    step: Int[Array, ""]


class ConditionallyMaskState(NamedTuple):
    """State of :func:`conditionally_mask`: ``step`` and ``inner_state`` as above."""

    step: Int[Array, ""]
    inner_state: State


def conditionally_transform(
    inner: optax.GradientTransformation,
    should_transform_fn: ConditionFn,
    forward_extra_args: bool = False,
) -> GradientTransformationExtraArgs:
    """Run ``inner`` in the steps chosen by ``should_transform_fn``; otherwise return the updates.

    Args:
        inner: the transformation, which must keep the dtypes of the updates.
        should_transform_fn: step int32[] -> bool[].
        forward_extra_args: whether the condition also gets the extra arguments of ``update``.

    Examples:
        >>> tx = conditionally_transform(optax.scale(2.0), lambda step: step < 1)
        >>> _, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> float(tx.update(jnp.array(1.0), state)[0])
        1.0
    """
    owner, kind = "conditionally_transform", ConditionallyTransformState
    return _when(
        owner, inner, should_transform_fn, forward_extra_args, kind, lambda updates: updates
    )


def conditionally_mask(
    inner: optax.GradientTransformation,
    should_transform_fn: ConditionFn,
    forward_extra_args: bool = False,
) -> GradientTransformationExtraArgs:
    """Run ``inner`` in the steps chosen by ``should_transform_fn``; otherwise return zeros.

    Arguments are those of :func:`conditionally_transform`.
    """
    owner, kind = "conditionally_mask", ConditionallyMaskState
    return _when(owner, inner, should_transform_fn, forward_extra_args, kind, tree.zeros_like)


def _when(
    owner: str,
    inner: optax.GradientTransformation,
    condition: ConditionFn,
    forward_extra_args: bool,
    new_state: type,
    otherwise: Callable[[Updates], Updates],
) -> GradientTransformationExtraArgs:
    """``inner`` in the steps that ``condition`` chooses, ``otherwise`` in all others."""
    checks.function(owner, "should_transform_fn", condition)
    inner = checks.transformation(owner, "inner", inner)

    def init(params):
        inner_state = inner.init(params)
        states.refuse_accumulation(owner, "inner", inner_state)
        return new_state(step=jnp.zeros((), jnp.int32), inner_state=inner_state)

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, new_state)
        due = condition(state.step, **(extra_args if forward_extra_args else {}))
        if due is None:
            raise TypeError(f"{owner}: `should_transform_fn` must return a bool, got None.")
        updates, inner_state = run_if(
            due, inner, updates, state.inner_state, params, extra_args, otherwise
        )
        return updates, new_state(step=numerics.safe_increment(state.step), inner_state=inner_state)

    return GradientTransformationExtraArgs(init, update)


def run_if(
    condition: Any,
    inner: GradientTransformationExtraArgs,
    updates: Updates,
    state: State,
    params: Params | None,
    extra_args: dict[str, Any],
    otherwise: Callable[[Updates], Updates] = tree.zeros_like,
) -> tuple[Updates, State]:
    """The result of ``inner.update``, or else ``otherwise(updates)`` and the state as it is."""
    return jax.lax.cond(
        condition,
        lambda: inner.update(updates, state, params, **extra_args),
        lambda: (otherwise(updates), state),
    )


class ApplyEvery(NamedTuple):
    """State of :func:`apply_every`.

    count: number of updates since the sum was last returned, int32[].
    grad_acc: their sum, shaped like the params, float32 or wider.
    """

    count: Int[Array, ""]
    grad_acc: Updates

    def is_pending(self) -> Bool[Array, ""]:
        """Whether it holds updates that have not been returned yet."""
        return self.count > 0

    def was_applied(self, old: "ApplyEvery") -> Bool[Array, ""]:
        """Whether the last update returned the sum."""
        return self.count == 0


def apply_every(k: ScalarLike = 1) -> GradientTransformationExtraArgs:
    """Return the sum of every k updates, and zeros in between.

    The other transformations of a chain still run in every step. Use :class:`MultiSteps` for an
    optimizer that should see one large batch instead of k small ones.

    Args:
        k: number of updates in a sum, in [1, inf).

    Examples:
        >>> tx = apply_every(2)
        >>> first, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> float(first), float(tx.update(jnp.array(2.0), state)[0])
        (0.0, 3.0)
    """
    checks.number("apply_every", "k", k, "[1, inf)")

    def init(params):
        return ApplyEvery(jnp.zeros((), jnp.int32), tree.accumulator_like(params))

    def update(updates, state, params=None, **extra_args):
        checks.step("apply_every", updates, state, ApplyEvery, "grad_acc")
        count = numerics.safe_increment(state.count)
        due = numerics.has_reached(count, k) | ("flush" in extra_args)
        total = jax.tree.map(jnp.add, state.grad_acc, tree.cast_like(updates, state.grad_acc))

        def chosen(condition: Array, tree: Updates) -> Updates:
            return jax.tree.map(lambda x: jnp.where(condition, x, jnp.zeros_like(x)), tree)

        new = ApplyEvery(jnp.where(due, 0, count), chosen(~due, total))
        return tree.cast_like(chosen(due, total), updates), new

    return GradientTransformationExtraArgs(init, update)
