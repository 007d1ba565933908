"""The interface of the library: a gradient transformation is two pure functions, as in optax.

    init(params) -> state
    update(updates, state, params=None, **extra_args) -> (updates, state)

The types are optax's own, so that links of both libraries mix in one chain.
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import PyTree
from optax import EmptyState, MaskedNode, ScalarOrSchedule
from optax import GradientTransformationExtraArgs as GradientTransformation


__all__ = [
    "EmptyState",
    "GradientTransformation",
    "MaskedNode",
    "Params",
    "ScalarOrSchedule",
    "Schedule",
    "State",
    "Updates",
]

Params = PyTree  # of arrays; None and empty containers are allowed
Updates = PyTree  # same structure and shapes as the params
State = PyTree  # a container, never a bare array
Schedule = Callable[[Any], Any]  # step count, int32[] -> value, float[]
