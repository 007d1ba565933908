"""The interface of the library: a gradient transformation is two pure functions, as in optax.

    init(params) -> state
    update(updates, state, params=None, **extra_args) -> (updates, state)

The types are optax's own two, so that links of both libraries mix in one chain: what a user makes
may be a ``GradientTransformation``, whose update takes no extra arguments; what this library builds
is a ``GradientTransformationExtraArgs``. Whatever is given a transformation accepts both, and calls
what ``checks.transformation`` makes of it.
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

# What a state that is built by hand, with the fields that it has in optax, counts from.
NO_STEPS: Any = np.int32(0)
