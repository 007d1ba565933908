"""Floor 1: schedules, functions from a step count to a value."""

from jaxopt_course.core import handed_on as _handed_on

from ._constant import constant_schedule as constant_schedule
from ._cosine import cosine_decay_schedule as cosine_decay_schedule
from ._cyclic import cyclic_schedule as cyclic_schedule
from ._cyclic import sgdr_schedule as sgdr_schedule
from ._exponential import exponential_decay as exponential_decay
from ._exponential import step_decay as step_decay
from ._inverse import inverse_sqrt_decay as inverse_sqrt_decay
from ._inverse import inverse_time_decay as inverse_time_decay
from ._join import join_schedules as join_schedules
from ._onecycle import cosine_onecycle_schedule as cosine_onecycle_schedule
from ._onecycle import linear_onecycle_schedule as linear_onecycle_schedule
from ._piecewise import piecewise_constant_schedule as piecewise_constant_schedule
from ._piecewise import piecewise_interpolate_schedule as piecewise_interpolate_schedule
from ._polynomial import linear_schedule as linear_schedule
from ._polynomial import polynomial_schedule as polynomial_schedule
from ._warmup import warmup_constant_schedule as warmup_constant_schedule
from ._warmup import warmup_cosine_decay_schedule as warmup_cosine_decay_schedule
from ._warmup import warmup_exponential_decay_schedule as warmup_exponential_decay_schedule
from ._warmup import warmup_stable_decay as warmup_stable_decay


__getattr__ = _handed_on("schedules")  # what optax has besides
