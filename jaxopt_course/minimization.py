"""Minimization of a function, compiled into one program.

Each step gives the optimizer the value and the gradient at the current point. The outcome is

    CONVERGED         |g| <= gtol,  or  |f - f'| < ftol max(|f|, |f'|, 1) for the last two values
    ITERATION_LIMIT   after `max_steps` steps
    NO_PROGRESS       after `patience` steps in a row without a new lowest value
    NOT_FINITE        before a step that leads to a non-finite value, gradient or state

The trajectory has the points that an optimizer visits, without a test for a minimum:

    p_0 = params,   p_(t+1) = p_t + u_t,   u_t = update(grad f(look(p_t)), ...)

where look(p) is p, or the look-ahead point of the optimizer.
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
    states,
    tree,
    was_applied,
)
from jaxopt_course.transforms import ValueFn, apply_accumulated, lookahead_params, take_step


__all__ = ["MinimizeOutcome", "Minimum", "minimize", "trajectory"]


class MinimizeOutcome(enum.IntEnum):
    """How a minimization ended; a printed :class:`Minimum` explains it."""

    CONVERGED = 0
    ITERATION_LIMIT = 1
    NO_PROGRESS = 2
    NOT_FINITE = 3


class Minimum(NamedTuple):
    """The result of a minimization; ``print`` it to read how it ended, and what to do about it.

    params: the last point with a finite value and gradient. For an optimizer that looks ahead it is
        the look-ahead point.
    value: value of the function there, f[].
    gradient_norm: L2 norm of the gradient there, f[].
    steps: number of steps taken, i32[].
    outcome: a :class:`MinimizeOutcome`, i32[].
    state: state of the optimizer.
    history: values after 0, 1, 2, ... steps, f[history_size]; NaN after the last step.

    Examples:
        >>> print(minimize(lambda x: x**2, jnp.array(1.0), optax.sgd(0.5)))
        Converged after 1 step: value 0, gradient norm 0.
    """

    params: Params
    value: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    steps: Int[Array, ""]
    outcome: Int[Array, ""]
    state: State
    history: Float[Array, "history_size"]

    def __str__(self) -> str:
        if not checks.are_known(self.value, self.gradient_norm, self.steps, self.outcome):
            return repr(self)
        step, norm = int(self.steps), float(self.gradient_norm)
        steps, outcome = checks.counted(step, "step"), MinimizeOutcome(int(self.outcome))
        if outcome is MinimizeOutcome.CONVERGED:
            value = float(self.value)
            return f"Converged after {steps}: value {value:.6g}, gradient norm {norm:.3g}."
        if outcome is MinimizeOutcome.ITERATION_LIMIT:
            return (
                f"Stopped at the limit of {steps}, where the gradient norm is {norm:.3g}. "
                "Raise `max_steps` or the learning rate, or use a second-order optimizer."
            )
        if outcome is MinimizeOutcome.NO_PROGRESS:
            return (
                f"No progress: the steps before step {step} reached no new lowest value, and the "
                f"gradient norm is {norm:.3g}. Lower the learning rate. If it is small already, "
                "the precision allows no more: raise `gtol` or compute in float64."
            )
        if not tree.all_finite((self.value, self.gradient_norm)):
            return "Not finite: the value or the gradient at the start. Choose another start."
        return (
            f"Not finite: after {steps}, the next one leads to a value, a gradient or a state "
            "that is not finite. Lower the learning rate, or check that the function is bounded "
            "below."
        )


class _Progress(NamedTuple):
    """The loop's carry. ``value`` and ``grads`` are those at ``point``."""

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

    The function is pure: ``vmap`` it over initial points or hyperparameters of an optimizer that is
    built inside. Each call compiles a program; jit the function around it if it runs often.

    Args:
        fn: a differentiable function from params, a pytree of floats, to a scalar.
        params: the initial point.
        optimizer: any gradient transformation. Its ``update`` is also offered ``value``, ``grad``
            and ``value_fn``. If the last transformation of a chain is a line search, the value and
            the gradient that it found are reused. Gradients that are still accumulated at the limit
            of steps are applied (:func:`~jaxopt_course.transforms.apply_accumulated`).
        args: further arguments of ``fn``, each a pytree of arrays.
        max_steps: largest number of steps, in [0, inf).
        gtol: norm of the gradient at which to stop, in [0, inf).
        ftol: relative change of the value below which to stop, in [0, inf).
        patience: number of steps in a row without a new lowest value after which to stop, in
            [1, inf).
        history_size: number of values to record, in [0, inf), static.

    Returns:
        A :class:`Minimum`, whose ``outcome`` says how the minimization ended.

    Raises:
        TypeError: if a parameter is not a float, ``fn`` does not return one, or ``optimizer`` is
            not a gradient transformation.
        ValueError: if a number is out of range, or ``fn`` does not return a scalar.

    Examples:
        >>> from jaxopt_course.optimizers import lbfgs
        >>> from jaxopt_course.surfaces import rosenbrock
        >>> found = minimize(rosenbrock, jnp.array([-1.2, 1.0]), lbfgs())
        >>> MinimizeOutcome(int(found.outcome)).name
        'CONVERGED'
        >>> [round(float(x), 3) for x in found.params]
        [1.0, 1.0]
    """
    checks.numbers("minimize", "[0, inf)", max_steps=max_steps, gtol=gtol, ftol=ftol)
    checks.number("minimize", "patience", patience, "[1, inf)")
    checks.integer("minimize", "history_size", history_size, "[0, inf)")
    tx = checks.transformation("minimize", "optimizer", optimizer)
    params = jax.tree.map(jnp.asarray, params)
    _check_function(fn, params, args)

    def program(params: Params, args: Any, limits: dict[str, Array]) -> Minimum:
        loss = lambda params: fn(params, *args)
        value_fn = ValueFn(loss, lambda count, at_most: loss)  # all batches are the same
        end = _run(tx, value_fn, params, limits, history_size)
        norm = global_norm(end.grads)
        return Minimum(end.point, end.value, norm, end.steps, end.outcome, end.state, end.history)

    numbers = {"max_steps": max_steps, "gtol": gtol, "ftol": ftol, "patience": patience}
    limits = {name: numerics.as_float(number) for name, number in numbers.items()}
    return jax.jit(canonical_convolutions(program))(params, args, limits)


def _run(
    tx: GradientTransformationExtraArgs,
    value_fn: ValueFn,
    params: Params,
    limits: dict[str, Array],
    history_size: int,
) -> _Progress:
    """The progress at the end of the loop over the steps, which starts at ``params``."""

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

    state = tx.init(params)
    point, value, grads = _evaluated(value_fn, params, state)
    zero, history = jnp.zeros((), jnp.int32), jnp.full(history_size, jnp.nan, value.dtype)
    start = _Progress(params, state, point, value, grads, zero, value, zero, zero, history)
    start = _judged(start, jnp.full_like(value, jnp.nan), limits)
    return _finished(tx, value_fn, jax.lax.while_loop(going, step, start))


def _evaluated(value_fn: ValueFn, params: Params, state: State) -> tuple[Params, Array, Updates]:
    """The point at which the gradient is taken, and the value and the gradient there."""
    point = lookahead_params(state, params)
    return point, *jax.value_and_grad(value_fn)(point)


def _stepped(tx: GradientTransformationExtraArgs, value_fn: ValueFn, old: _Progress) -> _Progress:
    """The progress one step after ``old``, before :func:`_judged`."""
    params, state = take_step(
        tx, old.params, old.state, old.grads, value=old.value, value_fn=value_fn
    )
    point = lookahead_params(state, params)
    evaluated = lambda: jax.value_and_grad(value_fn)(point)
    stored = _stored(state, old.value) if point is params else None
    if stored is None:
        value, grads = evaluated()
    else:
        value, grads = jax.lax.cond(tree.all_finite(stored), lambda: stored, evaluated)
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


def _moved(new: _Progress, old: _Progress) -> Array:
    """Whether the step from ``old`` to ``new`` was an update, and not only an accumulation."""
    applied = was_applied(new.state, old.state)
    return jnp.array(True) if applied is None else applied


def _finished(tx: GradientTransformationExtraArgs, value_fn: ValueFn, end: _Progress) -> _Progress:
    """``end``, after applying gradients that are still accumulated at the limit of steps."""
    if is_pending(end.state) is None:
        return end
    params, state = apply_accumulated(tx, end.state, end.params, value_fn=value_fn)
    point, value, grads = _evaluated(value_fn, params, state)
    new = end._replace(params=params, state=state, point=point, value=value, grads=grads)
    new = _recorded(new)
    at_limit = end.outcome == int(MinimizeOutcome.ITERATION_LIMIT)
    better = at_limit & tree.all_finite((value, grads))
    return jax.tree.map(lambda x, y: jnp.where(better, x, y), new, end)


def _is_lost(old: _Progress, new: _Progress) -> Array:
    """Whether parameters or the optimizer's state became non-finite."""
    parts = lambda progress: (progress.params, states.without_reports(progress.state))
    return tree.loses_finiteness(parts(old), parts(new))


def _judged(progress: _Progress, old_value: Array, limits: dict[str, Array]) -> _Progress:
    """``progress`` after a step from ``old_value``, with its outcome and its entry in the history.

    ``old_value`` is NaN at the start. The outcome is ITERATION_LIMIT unless another one applies.
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
    return _recorded(progress._replace(outcome=outcome))


def _recorded(progress: _Progress) -> _Progress:
    """``progress`` with its value in its history."""
    history = progress.history
    if history.size == 0:  # an empty array has no entry to write to
        return progress
    history = history.at[progress.steps].set(progress.value, mode="drop")
    return progress._replace(history=history)


def _stored(state: State, value: Array) -> tuple[Array, Updates] | None:
    """Value and gradient that a line search found, if it is the last transformation of a chain.

    Transformations behind it would move the params elsewhere. A value in a narrower dtype is not
    used.
    """
    while type(state) is tuple and state:
        state = state[-1]
    kinds = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)
    if isinstance(state, kinds) and state.grad is not None and state.value.dtype == value.dtype:
        return jnp.asarray(state.value), state.grad
    return None


def _check_function(fn: Callable[..., Any], params: Params, args: tuple[PyTree, ...]) -> None:
    """Raise unless ``fn`` maps floats to a scalar float."""
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
            f"minimize: `fn` must return a scalar, got shape {value.shape}; "
            "take its mean or its sum."
        )


def trajectory(
    fn: Callable[[Any], Any], params: Params, optimizer: optax.GradientTransformation, steps: int
) -> Params:
    """The parameters after 0, 1, ..., ``steps`` steps of minimizing ``fn``.

    The function is pure: jit it, or ``vmap`` it over initial points or hyperparameters of an
    optimizer that is built inside.

    Args:
        fn: a function from params to a scalar.
        params: the initial point.
        optimizer: any gradient transformation.
        steps: number of steps, in [0, inf), static.

    Returns:
        The params with a leading axis of ``steps + 1`` points.

    Raises:
        ValueError: if ``steps`` lies outside its range.

    Examples:
        >>> from jaxopt_course.optimizers import sgd
        >>> trajectory(lambda x: x**2, jnp.array(1.0), sgd(0.25), 3).tolist()
        [1.0, 0.5, 0.25, 0.125]
    """
    checks.integer("trajectory", "steps", steps, "[0, inf)")
    tx = checks.transformation("trajectory", "optimizer", optimizer)
    start = jax.tree.map(jnp.asarray, params)

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        value, grads = jax.value_and_grad(fn)(lookahead_params(state, params))
        params, state = take_step(tx, params, state, grads, value=value, value_fn=fn)
        return (params, state), params

    run = canonical_convolutions(lambda carry: jax.lax.scan(step, carry, length=steps)[1])
    points = run((start, tx.init(start)))
    return jax.tree.map(lambda first, later: jnp.concatenate([first[None], later]), start, points)
