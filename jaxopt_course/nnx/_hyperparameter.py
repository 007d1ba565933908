"""Numbers of a layer that may be traced.

A Python number is a static attribute of an NNX module. An array cannot be one: a traced number
would leave the trace in which the module is made. It becomes a variable of a type of its own,
which is neither trained nor part of the state of a model.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import ScalarLike

from jaxopt_course.core import checks


class Hyperparameter(nnx.Variable):
    """The variable of a number that was given as an array, such as a traced dropout rate.

    :func:`~jaxopt_course.tasks.nnx_task` takes its value from ``make_model`` in every call, and
    not from the model state.

    Examples:
        >>> from jaxopt_course.nnx import Dropout
        >>> type(Dropout(jnp.array(0.5), rngs=nnx.Rngs(0)).rate).__name__
        'Hyperparameter'
    """


def number(owner: str, name: str, value: ScalarLike, interval: str) -> Any:
    """``value``, checked, to be kept as an attribute of a module."""
    checks.number(owner, name, value, interval)
    is_array = isinstance(value, jax.Array | np.ndarray)
    return Hyperparameter(jnp.asarray(value)) if is_array else value


def value_of(number: Any) -> Any:
    """The number that an attribute holds."""
    return number[...] if isinstance(number, nnx.Variable) else number
