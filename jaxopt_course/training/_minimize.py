"""Minimization of a function: the loop around an optimizer, compiled into one program.

At each step the optimizer is given value and gradient at the point reached so far. It ends with

    CONVERGED         |g| <= gtol,  or  |f - f'| < ftol max(|f|, |f'|, 1) for the last two values
    ITERATION_LIMIT   after `max_steps` steps
    NO_PROGRESS       after `patience` steps in a row, none of which reached a new lowest value
    NOT_FINITE        before a step to a value, gradient or state that is not finite
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    Updates,
    canonical_convolutions,
    checks,
    global_norm,
    is_pending,
    numerics,
    tree,
    was_applied,
)
from jaxopt_course.transforms import apply_accumulated, lookahead_params

from ._judgement import loses_finiteness, without_reports
from ._step import ValueFn, take_step


class MinimizeOutcome(enum.IntEnum):
    """How a minimization ended; :func:`describe_minimum` says what to do about it."""

    CONVERGED = 0
    ITERATION_LIMIT = 1
    NO_PROGRESS = 2
    NOT_FINITE = 3


class Minimum(NamedTuple):
    """What a minimization returns.

    params: the last point with finite value and gradient. For an optimizer that looks ahead,
        the point where it looks.
    value: of the function there, f[].
    gradient_norm: the L2 norm of the gradient there, f[].
    steps: how many steps led there, i32[].
    outcome: a :class:`MinimizeOutcome`, i32[].
    state: of the optimizer.
    history: the values after 0, 1, 2, ... steps, f[history_size]; NaN from the end on.
    """

    params: Params
    value: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    steps: Int[Array, ""]
    outcome: Int[Array, ""]
    state: State
    history: Float[Array, "history_size"]


class _Progress(NamedTuple):
    """``point``: where value and gradient were taken; ``lowest``: the lowest value so far."""

    params: Params
    state: State
    point: Params
    value: Float[Array, ""]
    grads: Updates
    steps: Int[Array, ""]
    lowest: Float[Array, ""]
    steps_since_lowest: Int[Array, ""]
    outcome: Int[Array, ""]
    history: Float[Array, "history_size"]


def minimize(
    fn: Callable[..., Any],
    params: Params,
    optimizer: optax.GradientTransformation,
    *,
    args: tuple[PyTree, ...] = (),
    max_steps: ScalarLike = 1000,
    gtol: ScalarLike = 1e-5,
    ftol: ScalarLike = 0.0,
    patience: ScalarLike = 100,
    history_size: int = 0,
) -> Minimum:
    """Minimize ``fn(params, *args)`` over ``params``.

    It is pure: ``vmap`` it over starts, or over hyperparameters of an optimizer that is built
    inside. Each call compiles; a function around it that is to run often is best jitted.

    Args:
        fn: maps params, a pytree of floats, to one float; differentiable.
        params: where to start.
        optimizer: any gradient transformation. Its ``update`` is also offered ``value``, ``grad``
            and ``value_fn``. Where a line search is its last link, value and gradient that the
            search has found are used again. Gradients that it still accumulates at the limit of
            steps are applied (:func:`~jaxopt_course.transforms.apply_accumulated`).
        args: further arguments of ``fn``: arrays, or pytrees of them.
        max_steps: steps at most, in [0, inf).
        gtol: the norm of the gradient at which to stop, in [0, inf).
        ftol: the relative change of the value below which to stop, in [0, inf).
        patience: steps in a row without a new lowest value that end it, in [1, inf).
        history_size: how many values to record, in [0, inf); static.

    Returns:
        A :class:`Minimum`. Look at its ``outcome``.

    Raises:
        TypeError: if a parameter is not a float, ``fn`` does not return one, or ``optimizer`` is
            no gradient transformation.
        ValueError: if a number lies outside its range, or ``fn`` returns an array with axes.

    Examples:
        >>> from jaxopt_course.optimizers import lbfgs
        >>> from jaxopt_course.surfaces import rosenbrock
        >>> found = minimize(rosenbrock, jnp.array([-1.2, 1.0]), lbfgs())
        >>> MinimizeOutcome(int(found.outcome)).name
        'CONVERGED'
        >>> [round(float(x), 3) for x in found.params]
        [1.0, 1.0]
    """
    checks.number("minimize", "max_steps", max_steps, "[0, inf)")
    checks.number("minimize", "gtol", gtol, "[0, inf)")
    checks.number("minimize", "ftol", ftol, "[0, inf)")
    checks.number("minimize", "patience", patience, "[1, inf)")
    checks.integer("minimize", "history_size", history_size, "[0, inf)")
    tx = checks.transformation("minimize", "optimizer", optimizer)
    params = jax.tree.map(jnp.asarray, params)
    _check_function(fn, params, args)

    def program(params: Params, args: Any, limits: dict[str, Array]) -> Minimum:
        value_fn = lambda params: fn(params, *args)

        def going(progress: _Progress) -> Array:
            affordable = numerics.as_float(progress.steps) < limits["max_steps"]
            return (progress.outcome == int(MinimizeOutcome.ITERATION_LIMIT)) & affordable

        def step(old: _Progress) -> _Progress:
            new = _stepped(tx, value_fn, old)
            finite = tree.all_finite((new.value, new.grads)) & ~_is_lost(old, new)
            lost = old._replace(outcome=jnp.full_like(old.outcome, int(MinimizeOutcome.NOT_FINITE)))
            # Without an update there is no change to judge.
            before = jnp.where(_moved(new, old), old.value, jnp.nan)
            new = _judged(new, before, limits)
            return jax.tree.map(lambda x, y: jnp.where(finite, x, y), new, lost)

        start = _started(tx, value_fn, params, history_size)
        start = _judged(start, jnp.full_like(start.value, jnp.nan), limits)
        end = _finished(tx, value_fn, jax.lax.while_loop(going, step, start))
        return Minimum(
            params=end.point,
            value=end.value,
            gradient_norm=global_norm(end.grads),
            steps=end.steps,
            outcome=end.outcome,
            state=end.state,
            history=end.history,
        )

    numbers = {"max_steps": max_steps, "gtol": gtol, "ftol": ftol, "patience": patience}
    limits = {name: numerics.as_float(number) for name, number in numbers.items()}
    return jax.jit(canonical_convolutions(program))(params, args, limits)


def describe_minimum(minimum: Minimum) -> str:
    """A sentence for a person: how a minimization ended, and what to do about it.

    Args:
        minimum: of one minimization, concrete.

    Examples:
        >>> import optax
        >>> found = minimize(lambda x: x**2, jnp.array(1.0), optax.sgd(0.5))
        >>> describe_minimum(found)
        'Converged after 1 step: value 0, gradient norm 0.'
    """
    step, norm = int(minimum.steps), float(minimum.gradient_norm)
    steps = checks.counted(step, "step")
    texts = {
        MinimizeOutcome.CONVERGED: (
            f"Converged after {steps}: value {float(minimum.value):.6g}, gradient norm {norm:.3g}."
        ),
        MinimizeOutcome.ITERATION_LIMIT: (
            f"Stopped at the limit of {steps}, where the gradient norm is {norm:.3g}. "
            "Raise `max_steps` or the learning rate, or take a second-order optimizer."
        ),
        MinimizeOutcome.NO_PROGRESS: (
            f"No progress: the steps before step {step} reached no new lowest value, and the "
            f"gradient norm is {norm:.3g}. Lower the learning rate; if it is small already, this "
            "is as far as the precision goes: raise `gtol` or compute in float64."
        ),
        MinimizeOutcome.NOT_FINITE: (
            f"Not finite: after {steps}, the next one leads to a value, a gradient or a "
            "state that is not finite. Lower the learning rate, or look whether the function is "
            "bounded below."
            if tree.all_finite((minimum.value, minimum.gradient_norm))
            else "Not finite: the value or the gradient at the start. Choose another start."
        ),
    }
    return texts[MinimizeOutcome(int(minimum.outcome))]


def _started(
    tx: GradientTransformationExtraArgs,
    value_fn: Callable[[Params], Array],
    params: Params,
    size: int,
) -> _Progress:
    """The progress at ``params``, not judged yet, with a history of so many values."""
    state = tx.init(params)
    point = lookahead_params(state, params)
    value, grads = jax.value_and_grad(value_fn)(point)
    zero, history = jnp.zeros((), jnp.int32), jnp.full(size, jnp.nan, value.dtype)
    return _Progress(params, state, point, value, grads, zero, value, zero, zero, history)


def _stepped(
    tx: GradientTransformationExtraArgs, value_fn: Callable[[Params], Array], old: _Progress
) -> _Progress:
    """The progress one step after ``old``, not judged yet."""
    offered = _same_in_every_batch(value_fn)
    params, state = take_step(tx, old.params, old.state, offered, old.value, old.grads)
    point = lookahead_params(state, params)
    anew = lambda: jax.value_and_grad(value_fn)(point)
    stored = _stored(state, old.value) if point is params else None
    if stored is None:
        value, grads = anew()
    else:
        value, grads = jax.lax.cond(tree.all_finite(stored), lambda: stored, anew)
    lower = value < old.lowest
    new = old._replace(
        params=params,
        state=state,
        point=point,
        value=value,
        grads=grads,
        steps=old.steps + 1,
        lowest=jnp.where(lower, value, old.lowest),
    )
    more = _moved(new, old).astype(jnp.int32)
    return new._replace(steps_since_lowest=jnp.where(lower, 0, old.steps_since_lowest + more))


def _same_in_every_batch(value_fn: Callable[[Params], Array]) -> ValueFn:
    """``value_fn`` as it is offered: the mean over the batches of an accumulation is itself."""
    return ValueFn(value_fn, lambda count, at_most: value_fn)


def _moved(new: _Progress, old: _Progress) -> Array:
    """Whether the step from ``old`` to ``new`` was an update, and no mere accumulation."""
    applied = was_applied(new.state, old.state)
    return jnp.array(True) if applied is None else applied


def _finished(
    tx: GradientTransformationExtraArgs, value_fn: Callable[[Params], Array], end: _Progress
) -> _Progress:
    """``end``, or, at the limit of steps, what the gradients that are still accumulated lead to."""
    if is_pending(end.state) is None:
        return end
    offered = _same_in_every_batch(value_fn)
    params, state = apply_accumulated(tx, end.state, end.params, value_fn=offered)
    point = lookahead_params(state, params)
    value, grads = jax.value_and_grad(value_fn)(point)
    history = end.history
    if history.size > 0:
        history = history.at[end.steps].set(value, mode="drop")
    new = end._replace(
        params=params, state=state, point=point, value=value, grads=grads, history=history
    )
    at_limit = end.outcome == int(MinimizeOutcome.ITERATION_LIMIT)
    better = at_limit & tree.all_finite((value, grads))
    return jax.tree.map(lambda x, y: jnp.where(better, x, y), new, end)


def _is_lost(old: _Progress, new: _Progress) -> Array:
    """Whether parameters or the optimizer's state are no longer finite."""
    parts = lambda progress: (progress.params, without_reports(progress.state))
    return loses_finiteness(parts(old), parts(new))


def _judged(progress: _Progress, old_value: Array, limits: dict[str, Array]) -> _Progress:
    """``progress`` with its outcome and its place in the history, after a step from ``old_value``.

    The start has no old value: NaN. Where nothing else ends it, the outcome is the limit's.
    """
    value, norm = progress.value, global_norm(progress.grads)
    size = jnp.maximum(jnp.maximum(jnp.abs(value), jnp.abs(old_value)), 1)
    level = jnp.abs(value - old_value) < limits["ftol"].astype(value.dtype) * size
    stalled = numerics.as_float(progress.steps_since_lowest) >= limits["patience"]
    ends = {
        MinimizeOutcome.NOT_FINITE: ~tree.all_finite((value, progress.grads)),
        MinimizeOutcome.CONVERGED: (norm <= limits["gtol"].astype(norm.dtype)) | level,
        MinimizeOutcome.NO_PROGRESS: stalled,
    }
    codes = [jnp.asarray(int(code), jnp.int32) for code in (*ends, MinimizeOutcome.ITERATION_LIMIT)]
    outcome = jnp.select([*ends.values()], codes[:-1], codes[-1])
    history = progress.history
    if history.size > 0:  # a place behind the end is dropped, but there must be an end
        history = history.at[progress.steps].set(value, mode="drop")
    return progress._replace(outcome=outcome, history=history)


def _stored(state: State, value: Array) -> tuple[Array, Updates] | None:
    """Value and gradient that a line search left at the end of its step, if it is the last link.

    Links behind it would move the params elsewhere. A value in a narrower dtype is not taken.
    """
    while type(state) is tuple and state:
        state = state[-1]
    kinds = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)
    if isinstance(state, kinds) and state.grad is not None and state.value.dtype == value.dtype:
        return jnp.asarray(state.value), state.grad
    return None


def _check_function(fn: Callable[..., Any], params: Params, args: tuple[PyTree, ...]) -> None:
    """Raise unless ``fn`` maps floats to one float."""
    for path, leaf in jax.tree.leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            place = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise TypeError(
                f"minimize: `params`{place} must be real floating point numbers, "
                f"got {leaf.dtype.name}."
            )
    value = jax.eval_shape(fn, params, *args)
    if not (hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)):
        raise TypeError(f"minimize: `fn` must return one floating point number, got {value!r}.")
    if value.shape != ():
        raise ValueError(
            f"minimize: `fn` must return one number, got an array of shape {value.shape}; "
            "take its mean or its sum."
        )
