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
    Params,
    State,
    Updates,
    checks,
    numerics,
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
        return SnapshotState({measure_name: _kept(measure(_zeros(params)))})

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
    links = {name: _as_link(name, measure) for name, measure in measures.items()}

    def init(params):
        states = tuple(link.init(params) for link in links.values())
        measurements = {
            name: _kept(link.update(_zeros(params), state, params)[0])
            for (name, link), state in zip(links.items(), states, strict=True)
        }
        return MonitorState(measurements, states)

    def update(updates, state, params=None, **extra_args):
        checks.state("monitor", state, MonitorState)
        checks.parts("monitor", "`measurements` of the state", state.measurements, links)
        measurements, states = {}, []
        for (name, link), own in zip(links.items(), state.measure_states, strict=True):
            measurement, own = link.update(updates, own, params, **extra_args)
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
    measured = lambda updates: tree.widened(measure(updates))
    shaped = GradientTransformationExtraArgs(
        lambda params: average.init(measured(_zeros(params))), average.update
    )
    return chain(stateless(lambda updates, params: measured(updates)), shaped)


def _as_link(name: str, measure: Any) -> GradientTransformationExtraArgs:
    is_function = callable(measure) and not isinstance(measure, optax.GradientTransformation)
    if is_function:
        return stateless(lambda updates, params: measure(updates))
    return checks.transformation("monitor", f"measures[{name!r}]", measure)


def _zeros(params: Params) -> Updates:
    return tree.zeros_like(params)


def _kept(measurement: PyTree) -> PyTree:
    """The measurement as it is stored: narrow floats in float32, integers and bools as they are."""

    def own(x: Any) -> Array:
        dtype = jnp.result_type(x)
        return jnp.asarray(
            x, numerics.wide_dtype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else dtype
        )

    return jax.tree.map(own, measurement)
