"""Large batches in small pieces: the optimizer runs on the mean gradient of k mini-steps.

With gradients g_1, g_2, ... of the mini-steps since the last update,

    a_n = a_{n-1} + (g_n - a_{n-1}) / n     (their running mean; or their sum)

the updates are 0 until n = k; then the optimizer inside is run once, on a_k. In between it is
not evaluated at all.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, DTypeLike, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    Schedule,
    State,
    Updates,
    accumulator_like,
    as_float,
    as_transformation,
    cast_like,
    check_like,
    check_number,
    difference,
    increment,
    running_sum,
    squared,
    total,
)


__all__ = [
    "MultiSteps",
    "MultiStepsState",
    "ShouldSkipUpdateFunction",
    "skip_large_updates",
    "skip_not_finite",
]


class MultiStepsState(NamedTuple):
    """Where the accumulation stands.

    mini_step: gradients accumulated since the last update, int32[].
    gradient_step: how often the optimizer inside has run, int32[].
    inner_opt_state: its state.
    acc_grads: mean or sum of the gradients since then, float32 or wider.
    skip_state: what the predicate for skipping said of the last gradients.
    """

    mini_step: Int[Array, ""]
    gradient_step: Int[Array, ""]
    inner_opt_state: State
    acc_grads: Updates
    skip_state: PyTree = ()


@runtime_checkable
class ShouldSkipUpdateFunction(Protocol):
    """What :class:`MultiSteps` asks of every gradient: shall it be left out?"""

    def __call__(
        self, updates: Updates, gradient_step: Int[Array, ""], params: Params | None
    ) -> tuple[Bool[Array, ""], PyTree]:
        """Whether to skip, bool[], and a tree of arrays to be seen in the state."""


class MultiSteps(GradientTransformationExtraArgs):
    """The transformation that runs ``opt`` on the mean gradient of every k mini-steps.

    Args:
        opt: the optimizer inside. Extra arguments of ``update`` reach it when it runs.
        every_k_schedule: k, a number in [1, inf), or a schedule of ``gradient_step``.
        use_grad_mean: whether ``opt`` gets the mean; the sum otherwise.
        should_skip_update_fn: a predicate such as :func:`skip_not_finite`. Where it holds, the
            mini-step leaves no trace but ``skip_state``.
        accumulator_dtype: dtype of the accumulator; float32 or wider by default.

    Raises:
        TypeError: if k is neither a number nor a schedule; from ``update``, if the predicate
            gives no bool.
        ValueError: if k lies below 1.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = MultiSteps(optax.sgd(1.0), every_k_schedule=2)
        >>> state = tx.init(jnp.array(0.0))
        >>> for gradient in (1.0, 2.0):
        ...     updates, state = tx.update(jnp.array(gradient), state)
        ...     print(float(updates), bool(tx.has_updated(state)))
        0.0 False
        -1.5 True
    """

    inner_opt: GradientTransformationExtraArgs

    def __new__(
        cls,
        opt: optax.GradientTransformation,
        every_k_schedule: ScalarLike | Schedule,
        use_grad_mean: bool = True,
        should_skip_update_fn: ShouldSkipUpdateFunction | None = None,
        accumulator_dtype: DTypeLike | None = None,
    ) -> "MultiSteps":
        """Build the two functions."""
        if not callable(every_k_schedule):
            check_number("MultiSteps", "every_k_schedule", every_k_schedule, "[1, inf)")
        inner = as_transformation("MultiSteps", "opt", opt)

        def init(params: Params) -> MultiStepsState:
            skip_state = ()
            if should_skip_update_fn is not None:
                zeros = jax.tree.map(jnp.zeros_like, params)
                _, skip_state = should_skip_update_fn(zeros, jnp.zeros((), jnp.int32), params)
            mini_step, gradient_step = (jnp.zeros((), jnp.int32) for _ in range(2))
            accumulated = accumulator_like(params, accumulator_dtype)
            return MultiStepsState(
                mini_step, gradient_step, inner.init(params), accumulated, skip_state
            )

        def update(
            updates: Updates,
            state: MultiStepsState,
            params: Params | None = None,
            **extra_args: Any,
        ) -> tuple[Updates, MultiStepsState]:
            check_like("MultiSteps", "gradient", updates, state.acc_grads)
            n = increment(state.mini_step)
            weight = 1 / as_float(n) if use_grad_mean else None
            every_k = every_k_schedule
            if callable(every_k):
                every_k = every_k(state.gradient_step)

            accumulated = lambda: _accumulated(state.acc_grads, updates, weight)

            def run() -> tuple[Updates, MultiStepsState]:
                new_updates, inner_state = inner.update(
                    cast_like(accumulated(), updates), state.inner_opt_state, params, **extra_args
                )
                return new_updates, state._replace(
                    mini_step=jnp.zeros_like(n),
                    gradient_step=increment(state.gradient_step),
                    inner_opt_state=cast_like(inner_state, state.inner_opt_state),
                    acc_grads=jax.tree.map(jnp.zeros_like, state.acc_grads),
                )

            shapes, _ = jax.eval_shape(run)  # an optimizer may give updates of another kind
            nothing = lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
            wait = lambda: (nothing(), state._replace(mini_step=n, acc_grads=accumulated()))
            skip = lambda: (nothing(), state)

            branch = (as_float(n) >= as_float(every_k)).astype(jnp.int32)
            if should_skip_update_fn is None:
                return jax.lax.switch(branch, [wait, run])
            should_skip, skip_state = should_skip_update_fn(updates, state.gradient_step, params)
            _check_bool(should_skip)
            new_updates, new_state = jax.lax.switch(
                jnp.where(should_skip, 2, branch), [wait, run, skip]
            )
            return new_updates, new_state._replace(skip_state=skip_state)

        self = super().__new__(cls, init, update)
        self.inner_opt = inner
        return self

    @staticmethod
    def has_updated(state: MultiStepsState) -> Bool[Array, ""]:
        """Whether the last ``update`` ran the optimizer inside (or skipped right after it did)."""
        return (state.mini_step == 0) & (state.gradient_step > 0)

    def gradient_transformation(self) -> GradientTransformationExtraArgs:
        """The two functions alone."""
        return GradientTransformationExtraArgs(self.init, self.update)


def skip_not_finite(
    updates: Updates, gradient_step: ScalarLike, params: Params | None
) -> tuple[Bool[Array, ""], dict[str, Array]]:
    """Skip gradients with a NaN or an infinity.

    Args:
        updates: the gradients of a mini-step.
        gradient_step: not read.
        params: not read.

    Returns:
        Whether to skip, and ``{"should_skip", "num_not_finite"}``.
    """
    count = jnp.zeros((), jnp.int32)
    for leaf in jax.tree.leaves(updates):
        count += jnp.sum(~jnp.isfinite(leaf), dtype=jnp.int32)
    return count > 0, {"should_skip": count > 0, "num_not_finite": count}


def skip_large_updates(
    updates: Updates,
    gradient_step: ScalarLike,
    params: Params | None,
    max_squared_norm: ScalarLike,
) -> tuple[Bool[Array, ""], dict[str, Array]]:
    """Skip gradients whose squared L2 norm is not below ``max_squared_norm``; a NaN is not.

    Args:
        updates: the gradients of a mini-step.
        gradient_step: not read.
        params: not read.
        max_squared_norm: in [0, inf]; bind it by ``functools.partial``.

    Returns:
        Whether to skip, and ``{"should_skip", "norm_squared"}``.

    Raises:
        ValueError: if the bound is negative or NaN.
    """
    check_number("skip_large_updates", "max_squared_norm", max_squared_norm, "[0, inf]")
    squares = as_float(total(squared(updates)))
    should_skip = ~(squares < as_float(max_squared_norm))
    return should_skip, {"should_skip": should_skip, "norm_squared": squares}


def _accumulated(old: Updates, updates: Updates, weight: Array | None) -> Updates:
    """``old + updates``, or the mean that moves by ``weight`` towards them; as ``old`` is kept."""
    if weight is None:
        return cast_like(running_sum(old, updates, 1.0), old)
    return cast_like(running_sum(difference(old, updates), old, -weight), old)


def _check_bool(should_skip: Any) -> None:
    if jnp.shape(should_skip) != () or jnp.result_type(should_skip) != jnp.bool_:
        raise TypeError(
            "MultiSteps: `should_skip_update_fn` must give a bool without axes first, "
            f"got {should_skip!r}."
        )
