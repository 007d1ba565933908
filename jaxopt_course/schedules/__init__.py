"""Schedules: functions from a step count to a value."""

from jaxopt_course.core import handed_on as _handed_on

from ._cycles import cosine_onecycle_schedule as cosine_onecycle_schedule
from ._cycles import cyclic_schedule as cyclic_schedule
from ._cycles import linear_onecycle_schedule as linear_onecycle_schedule
from ._cycles import sgdr_schedule as sgdr_schedule
from ._decays import exponential_decay as exponential_decay
from ._decays import inverse_sqrt_decay as inverse_sqrt_decay
from ._decays import inverse_time_decay as inverse_time_decay
from ._decays import step_decay as step_decay
from ._piecewise import join_schedules as join_schedules
from ._piecewise import piecewise_constant_schedule as piecewise_constant_schedule
from ._piecewise import piecewise_interpolate_schedule as piecewise_interpolate_schedule
from ._transitions import constant_schedule as constant_schedule
from ._transitions import cosine_decay_schedule as cosine_decay_schedule
from ._transitions import linear_schedule as linear_schedule
from ._transitions import polynomial_schedule as polynomial_schedule
from ._warmup import warmup_constant_schedule as warmup_constant_schedule
from ._warmup import warmup_cosine_decay_schedule as warmup_cosine_decay_schedule
from ._warmup import warmup_exponential_decay_schedule as warmup_exponential_decay_schedule
from ._warmup import warmup_stable_decay as warmup_stable_decay


__getattr__ = _handed_on("schedules")  # the other schedules of optax
