"""Numbers that describe the steps of a training, beside its metrics: ``track``.

    gradient_norm   |g|, the global norm of the gradients that the optimizer receives
    update_norm     |p_after - p_before|, the global norm of the change of the parameters
    learning_rate   that of the last update

The norms are means over the steps since the last evaluation, weighted by the rows of the batches as
the loss is.
"""

from collections.abc import Collection, Sequence
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxopt_course.core import Params, State, checks, global_norm, tree
from jaxopt_course.transforms import learning_rates

from ._state import TrainState
from ._step import StepTaken


NORMS = ("gradient_norm", "update_norm")
TRACKED = ("learning_rate", *NORMS)


def check_track(owner: str, track: Sequence[str]) -> tuple[str, ...]:
    """The tracked names as a tuple; ValueError for an unknown one."""
    names = (track,) if isinstance(track, str) else tuple(track)
    for name in names:
        checks.choice(owner, "track", name, TRACKED)
    return names


def check_not_tracked(track: Sequence[str], metrics: Collection[str]) -> None:
    """Raise ValueError if a metric of the task has the name of a tracked number."""
    for name in track:
        if name in metrics:
            raise ValueError(f"Task: a metric cannot be called {name!r} if `track` names it, too.")


def no_norms(track: Sequence[str], params: Params) -> dict[str, Float[Array, ""]]:
    """Zeros in the dtypes of :func:`norms_of`."""
    return {name: jnp.zeros((), tree.scalar_dtype(params)) for name in NORMS if name in track}


def norms_of(
    track: Sequence[str], before: TrainState, taken: StepTaken
) -> dict[str, Float[Array, ""]]:
    """The tracked norms of a step."""
    found = {}
    if "gradient_norm" in track:
        found["gradient_norm"] = global_norm(taken.grads)
    if "update_norm" in track:
        found["update_norm"] = global_norm(tree.sub(taken.state.params, before.params))
    return {name: norm.astype(tree.scalar_dtype(before.params)) for name, norm in found.items()}


def rates_of(
    optimizer: optax.GradientTransformation, params: Params, opt_state: State
) -> dict[str, Float[Array, ""]]:
    """The learning rate of the last update; several ones are numbered.

    Raises:
        ValueError: if the optimizer does not say what its learning rate is.
    """
    found: list[Any] = learning_rates(optimizer, params)(opt_state)
    if not found:
        raise ValueError(
            "track: the state of the optimizer must tell its 'learning_rate', as that of "
            "`inject_hyperparams(optimizer)(learning_rate=...)` does, got a state without one."
        )
    if len(found) == 1:
        return {"learning_rate": found[0]}
    return {f"learning_rate_{number}": rate for number, rate in enumerate(found, 1)}
