"""Averages of the last parameters: of a tail of the training, or of the latest few.

With the parameters w_t after step t, ``tail_average`` includes those at the steps start + every,
start + 2 every, ... With the n-th of them, x_n, and m_0 = 0,

    m_n = m_{n-1} + c_n (x_n - m_{n-1}),    c_n = 1 / n                    the uniform mean
                                            c_n = (1 - d) / (1 - d^n)      with a decay d

where the second is the debiased running mean of :func:`ema_params`. ``latest_average`` keeps the
last k of them, x_{n-k+1}, ..., x_n, and evaluates their mean. The training itself is unchanged.

References: Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992,
https://doi.org/10.1137/0330046, for the uniform mean of all steps; Izmailov et al., "Averaging
Weights Leads to Wider Optima and Better Generalization", 2018, https://arxiv.org/abs/1803.05407,
algorithm 1 (SWA), for that of a tail; Kaddour, "Stop Wasting My Time! Saving Days of ImageNet and
BERT Training with Latest Weight Averaging", 2022, https://arxiv.org/abs/2209.14981 (LAWA).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    checks,
    numerics,
    states,
    tree,
)

from ._take_step import apply_updates


class Progress(NamedTuple):
    """When the parameters enter an average.

    steps: number of updates so far that moved the parameters, int32[].
    waited: those after the start and since the last parameters that entered, int32[].
    entered: number of parameters that entered so far, int32[].
    """

    steps: Int[Array, ""]
    waited: Int[Array, ""]
    entered: Int[Array, ""]


class TailAverageState(NamedTuple):
    """State of :func:`tail_average`.

    mean: the mean m_n, shaped like the params, float32 or wider.
    progress: the numbers of steps and of averaged parameters.
    inner_state: the state of the optimizer.
    """

    mean: Params
    progress: Progress
    inner_state: State

    def evaluation_params(self, params: Params) -> Params:
        """The mean, in the dtypes of ``params``; ``params`` themselves before the first entered."""
        return _mean_or_own(self.progress, self.mean, params)


def tail_average(
    inner: optax.GradientTransformation,
    start: ScalarLike = 0,
    every: ScalarLike = 1,
    decay: ScalarLike | None = None,
) -> GradientTransformationExtraArgs:
    """Average the parameters of the end of a training, for :func:`evaluation_params`.

    With ``start=0`` it is the mean of all steps (Polyak-Ruppert), with a later start stochastic
    weight averaging (SWA). It must be the outermost wrapper. Around :class:`MultiSteps` and other
    wrappers that do not change the parameters in every step, only the steps that do are counted.
    ``update`` needs the parameters.

    Args:
        inner: the optimizer, whose updates are returned as they are.
        start: number of steps before the tail, in [0, inf).
        every: number of steps between two averaged parameters, in [1, inf).
        decay: d, the weight of the past in a running mean, in [0, 1). None: a uniform mean.

    Examples:
        >>> tx, params = tail_average(optax.sgd(1.0), start=1), jnp.array(0.0)
        >>> state = tx.init(params)
        >>> for _ in range(3):
        ...     updates, state = tx.update(jnp.array(-1.0), state, params)
        ...     params = params + updates
        >>> float(params), float(state.evaluation_params(params))
        (3.0, 2.5)
    """
    owner = "tail_average"
    _check_times(owner, start, every)
    if decay is not None:
        checks.number(owner, "decay", decay, "[0, 1)")
    inner = checks.transformation(owner, "inner", inner)

    def init(params):
        return TailAverageState(tree.accumulator_like(params), _no_progress(), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, TailAverageState)
        checks.params(owner, params)
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        progress, enters = _next(state, inner_state, start, every)
        n = jnp.maximum(progress.entered, 1)

        def moved(mean: Array, new: Any) -> Array:
            share = 1 / n.astype(mean.dtype)
            if decay is not None:
                share = numerics.complement(decay, mean.dtype)
                share = share / numerics.one_minus_power(decay, n, mean.dtype)
            return jnp.where(enters, mean + share * (jnp.asarray(new, mean.dtype) - mean), mean)

        mean = jax.tree.map(moved, state.mean, apply_updates(params, updates))
        return updates, TailAverageState(mean, progress, inner_state)

    return GradientTransformationExtraArgs(init, update)


class LatestAverageState(NamedTuple):
    """State of :func:`latest_average`.

    latest: the last parameters that entered, in the order of the places that they take in turn; a
        tuple of trees shaped like the params.
    progress: the numbers of steps and of averaged parameters.
    inner_state: the state of the optimizer.
    """

    latest: tuple[Params, ...]
    progress: Progress
    inner_state: State

    def evaluation_params(self, params: Params) -> Params:
        """The mean, in the dtypes of ``params``; ``params`` themselves before the first entered."""
        known = jnp.minimum(self.progress.entered, len(self.latest))

        def mean(*copies: Array) -> Array:
            wide = tree.widened(list(copies))
            kept = [jnp.where(i < known, x, 0) for i, x in enumerate(wide)]
            return sum(kept[1:], start=kept[0]) / jnp.maximum(known, 1).astype(kept[0].dtype)

        return _mean_or_own(self.progress, jax.tree.map(mean, *self.latest), params)


def latest_average(
    inner: optax.GradientTransformation, window: int = 5, every: ScalarLike = 1
) -> GradientTransformationExtraArgs:
    """Average the latest few parameters, for :func:`evaluation_params` (LAWA).

    It keeps ``window`` copies of the parameters, in their dtypes, and is otherwise used as
    :func:`tail_average`.

    Args:
        inner: the optimizer, whose updates are returned as they are.
        window: k, the number of parameters to average, in [1, inf), static.
        every: number of steps between two averaged parameters, in [1, inf); such as one epoch.

    Examples:
        >>> tx, params = latest_average(optax.sgd(1.0), window=2), jnp.array(0.0)
        >>> state = tx.init(params)
        >>> for _ in range(5):
        ...     updates, state = tx.update(jnp.array(-1.0), state, params)
        ...     params = params + updates
        >>> float(params), float(state.evaluation_params(params))
        (5.0, 4.5)
    """
    owner = "latest_average"
    checks.integer(owner, "window", window, "[1, inf)")
    _check_times(owner, 0, every)
    inner = checks.transformation(owner, "inner", inner)

    def init(params):
        copied = lambda p: jnp.array(p, copy=True)
        latest = tuple(jax.tree.map(copied, params) for _ in range(window))
        return LatestAverageState(latest, _no_progress(), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, LatestAverageState)
        checks.params(owner, params)
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        progress, enters = _next(state, inner_state, 0, every)
        new = tree.cast_like(apply_updates(params, updates), params)
        place = (progress.entered - 1) % window

        def written() -> tuple[Params, ...]:
            return tuple(
                jax.tree.map(lambda x, old, i=i: jnp.where(place == i, x, old), new, copy)
                for i, copy in enumerate(state.latest)
            )

        latest = jax.lax.cond(enters, written, lambda: state.latest)
        return updates, LatestAverageState(latest, progress, inner_state)

    return GradientTransformationExtraArgs(init, update)


def _check_times(owner: str, start: ScalarLike, every: ScalarLike) -> None:
    checks.number(owner, "start", start, "[0, inf)")
    checks.number(owner, "every", every, "[1, inf)")


def _no_progress() -> Progress:
    return Progress(*(jnp.zeros((), jnp.int32) for _ in range(3)))


def _next(
    state: Any, inner_state: State, start: ScalarLike, every: ScalarLike
) -> tuple[Progress, Bool[Array, ""]]:
    """The progress after a step, and whether its parameters enter the average."""
    old: Progress = state.progress
    in_tail = numerics.has_reached(old.steps, start)
    waited = old.waited + in_tail.astype(jnp.int32)
    enters = in_tail & numerics.has_reached(waited, every)
    entered = numerics.safe_increment(old.entered)
    new = Progress(
        numerics.safe_increment(old.steps),
        jnp.where(enters, 0, waited),
        jnp.where(enters, entered, old.entered),
    )
    none = old, jnp.zeros_like(enters)
    return states.if_applied(inner_state, state.inner_state, (new, enters), none)


def _mean_or_own(progress: Progress, mean: Params, params: Params) -> Params:
    """``mean`` in the dtypes of ``params``, which are returned before anything entered."""
    begun = progress.entered > 0
    chosen = lambda m, p: jnp.where(begun, m.astype(jnp.result_type(p)), p)
    return tree.map_unmasked(chosen, mean, params)
