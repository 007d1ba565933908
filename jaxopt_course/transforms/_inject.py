"""Hyperparameters in the state: read, changed and scheduled without recompiling."""

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, DTypeLike, Int

from jaxopt_course.core import (
    EmptyState,
    GradientTransformationExtraArgs,
    State,
    checks,
    numerics,
    states,
)


class InjectHyperparamsState(NamedTuple):
    """State of :func:`inject_hyperparams`.

    count: number of updates, int32[].
    hyperparams: name -> the value used by the last update. Assign to it to change the value.
    hyperparams_states: name -> the state of its schedule, if any; the step count of a plain
        schedule.
    inner_state: the state of the transformation.
    scheduled: name -> the last value from its schedule. If ``hyperparams`` holds another value, it
        was set by hand and takes precedence.
    """

    count: Int[Array, ""]
    hyperparams: dict[str, Array]
    hyperparams_states: dict[str, State] = {}  # noqa: RUF012 - never changed
    inner_state: State = EmptyState()
    scheduled: dict[str, Array] = {}  # noqa: RUF012


def inject_hyperparams(
    inner_factory: Callable[..., optax.GradientTransformation],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: DTypeLike | None = None,
) -> Callable[..., GradientTransformationExtraArgs]:
    """Keep the numeric hyperparameters of ``inner_factory`` in the state.

    Every number becomes an entry of ``state.hyperparams``, in float32 or wider. A callable for an
    argument that takes numbers is its schedule (of the step count, from 0). A value assigned to
    ``state.hyperparams[name]`` takes precedence over the schedule until the schedule's last value,
    ``state.scheduled[name]``, is assigned back. Bools, None, and arguments that are annotated as
    ``int`` or not as numbers, such as masks, stay arguments.

    Args:
        inner_factory: a function that returns a transformation, of this library or of optax.
        static_args: names of arguments that stay arguments.
        hyperparam_dtype: dtype of the entries; the default float dtype if None.

    Returns:
        A factory that takes the arguments of ``inner_factory``, or schedules for them.

    Examples:
        >>> tx = inject_hyperparams(optax.sgd)(learning_rate=0.5)
        >>> state = tx.init(jnp.array(1.0))
        >>> state.hyperparams["learning_rate"] = jnp.array(0.25)
        >>> float(tx.update(jnp.array(1.0), state)[0])
        -0.25
    """
    if not callable(inner_factory):
        raise TypeError(
            "inject_hyperparams: `inner_factory` must be a function, "
            f"got {checks.shown(inner_factory)}."
        )
    signature = _signature(inner_factory)
    owner = getattr(inner_factory, "__name__", repr(inner_factory))
    names = _without_static(owner, signature.parameters, static_args)
    floats = [name for name in names if _takes_floats(signature.parameters[name].annotation)]

    @functools.wraps(inner_factory)
    def factory(*args: Any, **kwargs: Any) -> GradientTransformationExtraArgs:
        def inner(hyperparams: Mapping[str, Any]) -> GradientTransformationExtraArgs:
            own = signature.bind(*args, **kwargs)
            own.arguments.update(hyperparams)
            made = inner_factory(*own.args, **own.kwargs)
            return checks.transformation("inject_hyperparams", f"{owner}(...)", made)

        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = {name: bound.arguments[name] for name in floats}
        numbers = {name: value for name, value in given.items() if _is_number(value)}
        schedules = {
            name: _stateful(owner, name, value)
            for name, value in given.items()
            if name not in numbers and callable(value)
        }
        inner(numbers | {name: s(s.init()) for name, s in schedules.items()})  # checks numbers
        return _injected(inner, numbers, schedules, hyperparam_dtype)

    return factory


def _injected(
    inner: Callable[[Mapping[str, Any]], GradientTransformationExtraArgs],
    numbers: Mapping[str, Any],
    schedules: Mapping[str, Any],
    dtype: DTypeLike | None,
) -> GradientTransformationExtraArgs:
    """``inner`` of the numbers in the state, those of ``schedules`` updated in each step."""

    def entry(value: Any) -> Array:
        return jnp.asarray(value, dtype or numerics.wide_dtype(jnp.result_type(float)))

    def init(params):
        of_schedules = {name: schedule.init() for name, schedule in schedules.items()}
        scheduled = {name: entry(schedules[name](state)) for name, state in of_schedules.items()}
        copies = jax.tree.map(jnp.array, scheduled)  # because no buffer may be donated twice
        hyperparams = {name: entry(value) for name, value in numbers.items()} | copies
        inner_state, count = inner(hyperparams).init(params), jnp.zeros((), jnp.int32)
        return InjectHyperparamsState(count, hyperparams, of_schedules, inner_state, scheduled)

    def update(updates, state, params=None, **extra_args):
        checks.state("inject_hyperparams", state, InjectHyperparamsState)
        for field, names in (
            ("hyperparams", {**numbers, **schedules}),
            ("hyperparams_states", schedules),
            ("scheduled", schedules),
        ):
            what = f"`{field}` of the state"
            checks.parts("inject_hyperparams", what, getattr(state, field), names)
        hyperparams = {name: entry(value) for name, value in state.hyperparams.items()}
        of_schedules, scheduled = {}, {}
        for name, schedule in schedules.items():
            before, last = state.hyperparams_states[name], state.scheduled[name]
            by_hand = _differs(hyperparams[name], last)
            value = entry(schedule(before, **extra_args))
            hyperparams[name] = jnp.where(by_hand, hyperparams[name], value)
            scheduled[name] = jnp.where(by_hand, last, value)
            of_schedules[name] = schedule.update(before, **extra_args)
        old = state.inner_state
        updates, inner_state = inner(hyperparams).update(updates, old, params, **extra_args)
        new = numerics.safe_increment(state.count), of_schedules
        count, of_schedules = states.if_applied(
            inner_state, old, new, (state.count, state.hyperparams_states)
        )
        return updates, InjectHyperparamsState(
            count, hyperparams, of_schedules, inner_state, scheduled
        )

    return GradientTransformationExtraArgs(init, update)


def _differs(value: Array, scheduled: Array) -> Bool[Array, ""]:
    """Whether ``value`` was set by hand and differs from ``scheduled`` by more than rounding.

    A compiler may compute the schedule once for each of the two fields, with different rounding.
    """
    rounding = 8 * jnp.finfo(value.dtype).eps * jnp.abs(scheduled)
    return (value != scheduled) & ~(jnp.abs(value - scheduled) <= rounding)


def _without_static(owner: str, parameters: Iterable[str], static_args: Any) -> list[str]:
    """The ``parameters`` of a factory that are not among ``static_args``, which are checked."""
    if not isinstance(static_args, str | Iterable):
        raise TypeError(
            "inject_hyperparams: `static_args` must be names of arguments, "
            f"got {checks.shown(static_args)}."
        )
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    if unknown := static.difference(parameters):
        raise ValueError(
            f"inject_hyperparams: `static_args` must name arguments of "
            f"{owner} ({', '.join(parameters)}), got {sorted(unknown)}."
        )
    return [name for name in parameters if name not in static]


def _signature(function: Callable) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:  # a string that only a type checker can resolve
        return inspect.signature(function)


def _takes_floats(annotation: Any) -> bool:
    """Whether an argument with this annotation takes real numbers; an unknown one may."""
    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        return True
    return any(kind is float for kind in typing.get_args(annotation) or (annotation,))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.ndarray | jax.Array) and not isinstance(
        value, bool
    )


class _CountedSchedule(NamedTuple):
    """A plain schedule with the interface of optax's stateful schedules."""

    schedule: Callable[[Array], Any]

    def init(self) -> Int[Array, ""]:
        return jnp.zeros((), jnp.int32)

    def update(self, state: Int[Array, ""], **extra_args: Any) -> Int[Array, ""]:
        return numerics.safe_increment(state)

    def __call__(self, state: Int[Array, ""], **extra_args: Any) -> Any:
        return self.schedule(state)


def _stateful(owner: str, name: str, schedule: Any) -> Any:
    """``schedule`` with ``init`` and ``update``; TypeError if it does not return a number."""
    if hasattr(schedule, "init") and hasattr(schedule, "update"):
        return schedule
    cause = None
    try:
        value: Any = jax.eval_shape(schedule, jax.ShapeDtypeStruct((), jnp.int32))
        returns_number = value.shape == () and jnp.issubdtype(value.dtype, np.number)
    except Exception as error:
        returns_number, cause = False, error
    if not returns_number:
        raise TypeError(
            f"inject_hyperparams: `{name}` of {owner} is callable but not a schedule, a function "
            "from a step count to a number; if it is an argument, name it in `static_args`."
        ) from cause
    return _CountedSchedule(schedule)
