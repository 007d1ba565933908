"""Measurements of the updates in a chain, kept in the state.

``optax.tree.get(state, name)`` returns them. ``init`` measures zero updates, so that the state has
its final structure from the start. Floats are kept in float32 or wider.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, DTypeLike, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    State,
    Updates,
    checks,
    tree,
)

from ._chain import chain
from ._stateless import stateless
from ._trace import ema


class SnapshotState(NamedTuple):
    """State of :func:`snapshot`. ``measurement``: name -> measurement of the last updates."""

    measurement: dict[str, PyTree]

    def without_reports(self) -> tuple[()]:
        """Nothing: all of it describes the last step."""
        return ()


def snapshot(
    measure_name: str, measure: Callable[[Updates], PyTree]
) -> GradientTransformationExtraArgs:
    """Keep ``measure(updates)`` in the state, and return the updates unchanged.

    Args:
        measure_name: the name of the measurement.
        measure: updates -> a tree of arrays.

    Examples:
        >>> tx = optax.chain(snapshot("largest", jnp.max), optax.clip(1.0))
        >>> updates, state = tx.update(jnp.array([3.0, 5.0]), tx.init(jnp.zeros(2)))
        >>> float(optax.tree.get(state, "largest"))
        5.0
    """
    checks.function("snapshot", "measure", measure)
    if not isinstance(measure_name, str):
        raise TypeError(
            f"snapshot: `measure_name` must be a str, got {checks.shown(measure_name)}."
        )

    def init(params):
        return SnapshotState({measure_name: _kept(measure(tree.zeros_like(params)))})

    def update(updates, state, params=None, **extra_args):
        checks.state("snapshot", state, SnapshotState)
        checks.parts("snapshot", "`measurement` of the state", state.measurement, [measure_name])
        measurement = tree.cast_like(measure(updates), state.measurement[measure_name])
        return updates, SnapshotState({measure_name: measurement})

    return GradientTransformationExtraArgs(init, update)


class MonitorState(NamedTuple):
    """State of :func:`monitor`.

    measurements: name -> measurement of the last updates.
    measure_states: states of the measures that are transformations, in order.
    """

    measurements: dict[str, PyTree]
    measure_states: tuple[State, ...]

    def without_reports(self) -> tuple[()]:
        """Nothing: all of it describes the last step."""
        return ()


def monitor(
    measures: Mapping[str, optax.GradientTransformation | Callable[[Updates], PyTree]],
) -> GradientTransformationExtraArgs:
    """Keep several measurements in the state, and return the updates unchanged.

    Args:
        measures: name -> a function of the updates, or a transformation whose "updates" are the
            measurement, such as :func:`measure_with_ema`. The latter is called once in ``init``,
            without extra arguments.

    Examples:
        >>> tx = monitor({"mean": jnp.mean, "smooth": measure_with_ema(jnp.mean, decay=0.5)})
        >>> _, state = tx.update(jnp.full(2, 4.0), tx.init(jnp.zeros(2)))
        >>> float(state.measurements["mean"])
        4.0
    """
    if not isinstance(measures, Mapping):
        raise TypeError(
            "monitor: `measures` must be a dictionary, name -> measure, "
            f"got {checks.shown(measures)}."
        )
    parts = {name: _as_transformation(name, measure) for name, measure in measures.items()}

    def init(params):
        states = tuple(tx.init(params) for tx in parts.values())
        zeros = tree.zeros_like(params)
        measurements = {
            name: _kept(tx.update(zeros, state, params)[0])
            for (name, tx), state in zip(parts.items(), states, strict=True)
        }
        return MonitorState(measurements, states)

    def update(updates, state, params=None, **extra_args):
        checks.state("monitor", state, MonitorState)
        checks.parts("monitor", "`measurements` of the state", state.measurements, parts)
        measurements, states = {}, []
        for (name, tx), own in zip(parts.items(), state.measure_states, strict=True):
            measurement, own = tx.update(updates, own, params, **extra_args)
            measurements[name] = tree.cast_like(measurement, state.measurements[name])
            states.append(own)
        return updates, MonitorState(measurements, tuple(states))

    return GradientTransformationExtraArgs(init, update)


def measure_with_ema(
    measure: Callable[[Updates], PyTree],
    decay: ScalarLike,
    debias: bool = True,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """An exponential moving average of ``measure(updates)``, for :func:`monitor`.

    Args:
        measure: updates -> a tree of arrays, bools included.
        decay: the weight of the past, in [0, 1).
        debias: divide by 1 - decay^t, as :func:`ema` does.
        accumulator_dtype: dtype of the average; float32 or wider by default.
    """
    checks.function("measure_with_ema", "measure", measure)
    average = ema(decay, debias, accumulator_dtype)
    measured = lambda updates, params=None: tree.widened(measure(updates))
    init = lambda params: average.init(measured(tree.zeros_like(params)))
    return chain(stateless(measured), GradientTransformationExtraArgs(init, average.update))


def _as_transformation(name: str, measure: Any) -> GradientTransformationExtraArgs:
    if callable(measure) and not isinstance(measure, optax.GradientTransformation):
        return stateless(lambda updates, params: measure(updates))
    return checks.transformation("monitor", f"measures[{name!r}]", measure)


def _kept(measurement: PyTree) -> PyTree:
    """The measurement as it is stored: narrow floats in float32, integers and bools as they are."""

    def own(x: Any) -> Array:
        is_inexact = jnp.issubdtype(jnp.result_type(x), jnp.inexact)
        return tree.widened(x) if is_inexact else jnp.asarray(x)

    return jax.tree.map(own, measurement)
