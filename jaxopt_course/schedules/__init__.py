"""Floor 1: schedules, functions from a step count to a value."""

from jaxopt_course.core import handed_on

from ._constant import constant_schedule
from ._cosine import cosine_decay_schedule
from ._cyclic import cyclic_schedule, sgdr_schedule
from ._exponential import exponential_decay, step_decay
from ._inverse import inverse_sqrt_decay, inverse_time_decay
from ._join import join_schedules
from ._onecycle import cosine_onecycle_schedule, linear_onecycle_schedule
from ._piecewise import piecewise_constant_schedule, piecewise_interpolate_schedule
from ._polynomial import linear_schedule, polynomial_schedule
from ._warmup import (
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
    warmup_stable_decay,
)


__all__ = [
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "cyclic_schedule",
    "exponential_decay",
    "inverse_sqrt_decay",
    "inverse_time_decay",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "step_decay",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "warmup_stable_decay",
]

__getattr__ = handed_on("schedules")  # what optax has besides
