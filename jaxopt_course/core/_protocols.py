"""The interface: a gradient transformation is two pure functions, as in optax.

    init(params) -> state
    update(updates, state, params=None, **extra_args) -> (updates, state)

The types are optax's own, so that transformations of both libraries can be chained. This library
returns ``GradientTransformationExtraArgs``. It accepts ``GradientTransformation`` too, whose update
takes no extra arguments, and converts it by ``checks.transformation``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import PyTree
from optax import EmptyState as EmptyState
from optax import GradientTransformation as GradientTransformation
from optax import GradientTransformationExtraArgs as GradientTransformationExtraArgs
from optax import MaskedNode as MaskedNode
from optax import ScalarOrSchedule as ScalarOrSchedule


Params = PyTree  # of arrays; None and empty containers are allowed
Updates = PyTree  # same structure and shapes as the params
State = PyTree  # a container, never a bare array
Schedule = Callable[[Any], Any]  # step count, int32[] -> value, float[]
Mask = PyTree | Callable[[Params], PyTree]  # of bools shaped like a prefix of the params

# The initial count of a state that is built with the fields of optax alone.
NO_STEPS: Any = np.int32(0)
