"""Large batches in parts: the optimizer runs on the mean gradient of k batches.

With the gradients g_1, g_2, ... of the batches since the last update and their weights w_i,

    W_n = w_1 + ... + w_n
    a_n = a_{n-1} + (w_n / W_n) (g_n - a_{n-1})     (their weighted mean)

the updates are 0 until n = k. Then the inner optimizer runs once, on a_k. If w_i is the total
weight of the rows of batch i, a_k is the gradient of the mean loss of all these rows.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, DTypeLike, Float, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    Schedule,
    State,
    Updates,
    checks,
    global_norm,
    numerics,
    placed_like,
    states,
    tree,
)


class MultiStepsState(NamedTuple):
    """State of :class:`MultiSteps`.

    mini_step: number of batches since the last update, int32[].
    gradient_step: number of updates of the inner optimizer, int32[].
    inner_opt_state: its state.
    acc_grads: weighted mean or sum of the gradients since the last update, float32 or wider.
    skip_state: what the skipping predicate returned for the last gradients.
    acc_weight: total weight of the batches since the last update, float[].
    acc_value: weighted mean of the extra argument ``value`` since the last update, float[].
    """

    mini_step: Int[Array, ""]
    gradient_step: Int[Array, ""]
    inner_opt_state: State
    acc_grads: Updates
    skip_state: PyTree = ()
    acc_weight: Float[Array, ""] = 0.0
    acc_value: Float[Array, ""] = 0.0

    def is_pending(self) -> Bool[Array, ""]:
        """Whether it holds gradients that no update has used yet."""
        inside = states.is_pending(self.inner_opt_state)
        own = self.mini_step > 0
        return own if inside is None else own | inside

    def was_applied(self, old: "MultiStepsState") -> Bool[Array, ""]:
        """Whether the update from ``old`` to this state ran the inner optimizer."""
        ran = self.gradient_step != old.gradient_step
        return states.applied_with(ran, self.inner_opt_state, old.inner_opt_state)

    def without_reports(self) -> "MultiStepsState":
        """The state without what the predicate said of the last gradients."""
        return self._replace(
            inner_opt_state=states.without_reports(self.inner_opt_state), skip_state=()
        )


@runtime_checkable
class ShouldSkipUpdateFunction(Protocol):
    """Decides whether :class:`MultiSteps` skips a gradient."""

    def __call__(
        self, updates: Updates, gradient_step: Int[Array, ""], params: Params | None
    ) -> tuple[Bool[Array, ""], PyTree]:
        """Whether to skip, bool[], and a tree of arrays to keep in the state."""


class MultiSteps(GradientTransformationExtraArgs):
    """Run ``opt`` on the mean gradient of every k batches.

    k batches cause the update that one large batch of all their rows causes. ``update`` reads the
    extra argument ``weight``, the total weight of the batch (such as its number of rows; 1 by
    default), which :func:`~jaxopt_course.training.make_step` passes. A batch of weight 0 counts as
    one of the k without changing the mean. If all k have weight 0, ``opt`` runs on a gradient of 0,
    as it does for a large batch of such rows.

    ``opt`` gets the other extra arguments, but with the weighted mean of ``value``, the accumulated
    gradient as ``grad``, and the total weight as ``weight``. The ``value_fn`` of a line search is
    the mean loss of all rows of the k batches in trainings on arrays with a constant k, and
    wherever ``value_fn`` has a method ``of_last(count, at_most)`` that returns the mean loss of the
    last ``count`` batches. Elsewhere it raises ValueError when ``opt`` calls it; use one batch of
    all rows instead.

    In a :func:`chain`, preceding transformations see the gradient of every batch. Following ones
    run when ``opt`` does, with its extra arguments. Wrappers that count or average steps, such as
    :func:`ema_params`, do so when ``opt`` has run. :func:`apply_accumulated` applies the rest when
    a training ends.

    Args:
        opt: the inner optimizer.
        every_k_schedule: k, a number in [1, inf), or a schedule of ``gradient_step``.
        use_grad_mean: whether ``opt`` gets the mean. Otherwise it gets the mean times the number of
            batches, which is the sum if all weights are equal; ``value`` is the mean in any case.
        should_skip_update_fn: a predicate such as :func:`skip_not_finite`. A batch for which it
            returns true changes only ``skip_state`` and is not one of the k.
        accumulator_dtype: dtype of the accumulator; float32 or wider by default.

    Examples:
        >>> tx = MultiSteps(optax.sgd(1.0), every_k_schedule=2)
        >>> first, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)), weight=3)
        >>> float(first), float(tx.update(jnp.array(2.0), state, weight=1)[0])
        (0.0, -1.25)
    """

    inner_opt: GradientTransformationExtraArgs
    around: Callable[[GradientTransformationExtraArgs], "MultiSteps"]

    def __new__(
        cls,
        opt: optax.GradientTransformation,
        every_k_schedule: ScalarLike | Schedule,
        use_grad_mean: bool = True,
        should_skip_update_fn: ShouldSkipUpdateFunction | None = None,
        accumulator_dtype: DTypeLike | None = None,
    ) -> "MultiSteps":
        """Build ``init`` and ``update``."""
        if not callable(every_k_schedule):
            checks.number("MultiSteps", "every_k_schedule", every_k_schedule, "[1, inf)")
        inner = checks.transformation("MultiSteps", "opt", opt)
        rule = _Rule(every_k_schedule, use_grad_mean, should_skip_update_fn, accumulator_dtype)

        def init(params):
            skip_state = ()
            if should_skip_update_fn is not None:
                zeros = tree.zeros_like(params)
                _, skip_state = should_skip_update_fn(zeros, jnp.zeros((), jnp.int32), params)
            mini_step, gradient_step = (jnp.zeros((), jnp.int32) for _ in range(2))
            accumulated = tree.accumulator_like(params, accumulator_dtype)
            state = MultiStepsState(
                mini_step, gradient_step, inner.init(params), accumulated, skip_state
            )
            return _complete(state)

        def update(updates, state, params=None, **extra_args):
            checks.step("MultiSteps", updates, state, MultiStepsState, "acc_grads")
            state = _complete(state)
            wait, run, skip = _outcomes(rule, inner, updates, state, params, extra_args)
            if extra_args.get("flush") == "without_gradient":
                return jax.lax.cond(state.is_pending(), run, skip)
            every_k = numerics.at_count(every_k_schedule, state.gradient_step)
            due = numerics.has_reached(numerics.safe_increment(state.mini_step), every_k)
            branch = (due | ("flush" in extra_args)).astype(jnp.int32)
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
        self.around = lambda opt: MultiSteps(opt, *rule)
        return self

    @staticmethod
    def has_updated(state: MultiStepsState) -> Bool[Array, ""]:
        """Whether the last ``update`` ran the inner optimizer (or skipped right after it ran)."""
        return (state.mini_step == 0) & (state.gradient_step > 0)

    def gradient_transformation(self) -> GradientTransformationExtraArgs:
        """``init`` and ``update`` alone."""
        return GradientTransformationExtraArgs(self.init, self.update)


def skip_not_finite(
    updates: Updates, gradient_step: ScalarLike, params: Params | None
) -> tuple[Bool[Array, ""], dict[str, Array]]:
    """Skip gradients with a NaN or an infinity.

    Returns:
        Whether to skip, and ``{"should_skip", "num_not_finite"}``. Only ``updates`` is read.
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
    """Skip gradients whose squared L2 norm is NaN or at least ``max_squared_norm``.

    Args:
        updates: the gradients of a batch.
        gradient_step: unused.
        params: unused.
        max_squared_norm: the bound, in [0, inf]. Bind it by ``functools.partial``.

    Returns:
        Whether to skip, and ``{"should_skip", "norm_squared"}``.
    """
    checks.number("skip_large_updates", "max_squared_norm", max_squared_norm, "[0, inf]")
    squares, norm = tree.sum(tree.squared(updates)), global_norm(updates)
    with np.errstate(over="ignore"):  # if the bound is out of range, its root decides
        bound = numerics.as_float(max_squared_norm)
        root: Any = numerics.safe_sqrt(bound)
        if isinstance(max_squared_norm, int | float):
            root = math.sqrt(max_squared_norm)
    limits = jnp.finfo(norm.dtype)
    in_range = (squares > float(limits.tiny / limits.eps)) & (squares < float(limits.max))
    should_skip = ~jnp.where(
        in_range & (bound < jnp.inf),
        numerics.as_float(squares) < bound,
        numerics.as_float(norm) < numerics.as_float(root),
    )
    return should_skip, {"should_skip": should_skip, "norm_squared": numerics.as_float(squares)}


def no_value_fn(params: Params, weight: Any = None, **extra_args: Any) -> Any:
    """Replaces ``value_fn`` inside an accumulation, and raises ValueError when it is called."""
    raise ValueError(
        "MultiSteps: the inner optimizer calls `value_fn`, as line searches do, but the mean loss "
        "of all accumulated batches cannot be computed; use one batch of all their rows (a "
        "larger `batch_size`) without MultiSteps."
    )


class _Rule(NamedTuple):
    """The arguments of :class:`MultiSteps` after the optimizer."""

    every_k: Any
    use_mean: bool
    should_skip: ShouldSkipUpdateFunction | None
    accumulator_dtype: DTypeLike | None

    def at_most(self) -> int | None:
        """The largest number of batches in a group; None if it is unknown while tracing.

        With a predicate, skipped batches lie between those of a group.
        """
        unknown = callable(self.every_k) or checks.is_traced(self.every_k)
        return None if unknown or self.should_skip is not None else math.ceil(float(self.every_k))


def _outcomes(
    rule: _Rule,
    inner: GradientTransformationExtraArgs,
    updates: Updates,
    state: MultiStepsState,
    params: Params | None,
    extra_args: dict[str, Any],
) -> tuple[Callable[[], tuple[Updates, MultiStepsState]], ...]:
    """What a batch may cause: it is added to the group, completes the group, or is skipped."""
    added = lambda: _added(state, updates, rule.use_mean, extra_args)

    def run() -> tuple[Updates, MultiStepsState]:
        group = added()
        grads = tree.cast_like(_of_group(group, rule.use_mean), updates)
        offers = _offers(group, grads, extra_args, rule.at_most())
        new_updates, inner_state = inner.update(grads, state.inner_opt_state, params, **offers)
        return new_updates, _emptied(group)._replace(
            gradient_step=numerics.safe_increment(state.gradient_step),
            inner_opt_state=tree.cast_like(inner_state, state.inner_opt_state),
        )

    shapes, _ = jax.eval_shape(run)  # updates may have another structure than gradients
    zeros = lambda s: placed_like(jnp.zeros(s.shape, s.dtype), s)
    nothing = lambda: jax.tree.map(zeros, shapes)
    return lambda: (nothing(), added()), run, lambda: (nothing(), state)


def _complete(state: MultiStepsState) -> MultiStepsState:
    """``state`` with arrays, also if it was built with the fields of optax alone."""
    weight, value = numerics.as_float(state.acc_weight), numerics.as_float(state.acc_value)
    return state._replace(acc_weight=weight, acc_value=value)


def _added(
    state: MultiStepsState, updates: Updates, use_mean: bool, extra_args: dict[str, Any]
) -> MultiStepsState:
    """``state`` after one more batch."""
    own = numerics.as_float(extra_args.get("weight", 1.0))
    weight = state.acc_weight + own
    share = numerics.safe_divide(own, weight)
    old, new = state.acc_grads, tree.cast_like(updates, state.acc_grads)
    if use_mean:
        grads = tree.running_sum(tree.sub(old, updates), old, -share)
    else:
        grads = tree.running_sum(new, old, own)
    value = state.acc_value + share * (
        numerics.as_float(extra_args.get("value", 0.0)) - state.acc_value
    )
    count = numerics.safe_increment(state.mini_step)
    if "weight" in extra_args:  # even a NaN of weight 0 changes nothing
        kept = lambda x, y: jnp.where(own > 0, x, y.astype(x.dtype))
        grads, value = jax.tree.map(kept, (grads, value), (old, state.acc_value))
    if "flush" in extra_args:  # possibly without a batch
        count = jnp.where(own > 0, count, state.mini_step)
    return state._replace(
        mini_step=count, acc_grads=tree.cast_like(grads, old), acc_weight=weight, acc_value=value
    )


def _of_group(group: MultiStepsState, use_mean: bool) -> Updates:
    """The gradient for the optimizer: the mean, or the mean times the number of batches."""
    if use_mean:
        return group.acc_grads
    return tree.scale(
        group.acc_grads, numerics.safe_divide(numerics.as_float(group.mini_step), group.acc_weight)
    )


def _offers(
    group: MultiStepsState, grads: Updates, extra_args: dict[str, Any], at_most: int | None
) -> dict[str, Any]:
    """The extra arguments of the group: means instead of those of the last batch."""
    offers = {name: value for name, value in extra_args.items() if name != "flush"}
    accumulates = states.is_pending(group.inner_opt_state) is not None
    if accumulates and "flush" in extra_args:
        offers["flush"] = "with_gradient"
    if accumulates or "weight" in offers:
        offers["weight"] = group.acc_weight
    if "value" in offers:
        dtype = jnp.result_type(offers["value"])
        is_float = jnp.issubdtype(dtype, jnp.floating)
        offers["value"] = group.acc_value.astype(dtype) if is_float else group.acc_value
    if "grad" in offers:
        offers["grad"] = grads
    if "value_fn" in offers:
        of_last: Any = getattr(offers["value_fn"], "of_last", None)
        is_known = of_last is not None and at_most is not None
        offers["value_fn"] = of_last(group.mini_step, at_most) if is_known else no_value_fn
    return offers


def _emptied(state: MultiStepsState) -> MultiStepsState:
    """``state`` at the start of a group."""
    fields = ("mini_step", "acc_grads", "acc_weight", "acc_value")
    return state._replace(**{name: tree.zeros_like(getattr(state, name)) for name in fields})


def _check_bool(should_skip: Any) -> None:
    if jnp.shape(should_skip) != () or jnp.result_type(should_skip) != jnp.bool_:
        raise TypeError(
            "MultiSteps: `should_skip_update_fn` must return a scalar bool as its first output, "
            f"got {should_skip!r}."
        )
