"""The interface of the library: a gradient transformation is two pure functions, as in optax.

    init(params) -> state
    update(updates, state, params=None, **extra_args) -> (updates, state)

The types are optax's own two, so that links of both libraries mix in one chain: what a user makes
may be a ``GradientTransformation``, whose update takes no extra arguments; what this library builds
is a ``GradientTransformationExtraArgs``. Whatever is given a transformation accepts both, and calls
what :func:`as_transformation` makes of it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from jaxtyping import PyTree
from optax import (
    EmptyState,
    GradientTransformation,
    GradientTransformationExtraArgs,
    MaskedNode,
    ScalarOrSchedule,
)

from ._checks import shown


__all__ = [
    "NO_STEPS",
    "EmptyState",
    "GradientTransformation",
    "GradientTransformationExtraArgs",
    "MaskedNode",
    "Params",
    "ScalarOrSchedule",
    "Schedule",
    "State",
    "Updates",
    "as_transformation",
]

Params = PyTree  # of arrays; None and empty containers are allowed
Updates = PyTree  # same structure and shapes as the params
State = PyTree  # a container, never a bare array
Schedule = Callable[[Any], Any]  # step count, int32[] -> value, float[]

# What a state that is built by hand, with the fields that it has in optax, counts from.
NO_STEPS: Any = np.int32(0)


def as_transformation(owner: str, name: str, value: Any) -> GradientTransformationExtraArgs:
    """``value``, if it is a gradient transformation, with an update that takes extra arguments.

    Args:
        owner: the function that was given it, for the message.
        name: the argument.
        value: what the caller gave. Extra arguments are dropped if its update takes none.

    Raises:
        TypeError: if it is not a gradient transformation, such as an optimizer that was not called.

    Examples:
        >>> as_transformation("masked", "inner", None)
        Traceback (most recent call last):
        TypeError: masked: `inner` must be a gradient transformation, got None.
    """
    if not isinstance(value, GradientTransformation):
        hint = " Was it meant to be called?" if callable(value) else ""
        raise TypeError(
            f"{owner}: `{name}` must be a gradient transformation, got {shown(value)}.{hint}"
        )
    return optax.with_extra_args_support(value)
