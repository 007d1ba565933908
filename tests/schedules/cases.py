"""Every public schedule with a value for each of its arguments, for tests that walk them all.

Numbers with a decimal point are values, the others lengths. The values are in general position:
no bound is met exactly, none is at its default.
"""

from jaxopt_course import schedules


CYCLE = {
    "init_value": 0.1,
    "peak_value": 1.2,
    "warmup_steps": 3,
    "decay_steps": 9,
    "end_value": 0.2,
    "exponent": 1.5,
}

# name -> (factory, its arguments)
SCHEDULES = {
    "constant_schedule": (schedules.constant_schedule, {"value": 0.7}),
    "linear_schedule": (
        schedules.linear_schedule,
        {"init_value": 1.5, "end_value": 0.2, "transition_steps": 7, "transition_begin": 3},
    ),
    "polynomial_schedule": (
        schedules.polynomial_schedule,
        {
            "init_value": 1.5,
            "end_value": 0.2,
            "power": 0.6,
            "transition_steps": 7,
            "transition_begin": 3,
        },
    ),
    "exponential_decay": (
        schedules.exponential_decay,
        {
            "init_value": 1.5,
            "transition_steps": 4,
            "decay_rate": 0.8,
            "transition_begin": 3,
            "staircase": False,
            "end_value": 0.9,
        },
    ),
    "step_decay": (
        schedules.step_decay,
        {"init_value": 1.5, "transition_steps": 4, "decay_rate": 0.8, "transition_begin": 3},
    ),
    "inverse_time_decay": (
        schedules.inverse_time_decay,
        {
            "init_value": 1.5,
            "transition_steps": 4,
            "decay_rate": 0.8,
            "transition_begin": 3,
            "staircase": False,
        },
    ),
    "inverse_sqrt_decay": (
        schedules.inverse_sqrt_decay,
        {"init_value": 1.5, "timescale": 3.0},
    ),
    "cosine_decay_schedule": (
        schedules.cosine_decay_schedule,
        {"init_value": 1.5, "decay_steps": 7, "alpha": 0.2, "exponent": 0.4},
    ),
    "sgdr_schedule": (
        schedules.sgdr_schedule,
        {"cosine_kwargs": [CYCLE, {**CYCLE, "peak_value": 0.6, "decay_steps": 14}]},
    ),
    "cyclic_schedule": (
        schedules.cyclic_schedule,
        {
            "init_value": 0.1,
            "peak_value": 1.2,
            "up_steps": 3,
            "down_steps": 5,
            "decay_rate": 0.8,
            "staircase": False,
        },
    ),
    "linear_onecycle_schedule": (
        schedules.linear_onecycle_schedule,
        {
            "transition_steps": 11,
            "peak_value": 1.2,
            "pct_start": 0.35,
            "pct_final": 0.7,
            "div_factor": 12.0,
            "final_div_factor": 500.0,
        },
    ),
    "cosine_onecycle_schedule": (
        schedules.cosine_onecycle_schedule,
        {
            "transition_steps": 11,
            "peak_value": 1.2,
            "pct_start": 0.35,
            "div_factor": 12.0,
            "final_div_factor": 500.0,
        },
    ),
    "piecewise_constant_schedule": (
        schedules.piecewise_constant_schedule,
        {"init_value": 1.5, "boundaries_and_scales": ([4, 9], [0.5, 0.3])},
    ),
    "piecewise_interpolate_schedule": (
        schedules.piecewise_interpolate_schedule,
        {
            "interpolate_type": "cosine",
            "init_value": 1.5,
            "boundaries_and_scales": ([4, 9], [0.5, 0.3]),
        },
    ),
    "warmup_constant_schedule": (
        schedules.warmup_constant_schedule,
        {"init_value": 0.1, "peak_value": 1.2, "warmup_steps": 3},
    ),
    "warmup_cosine_decay_schedule": (schedules.warmup_cosine_decay_schedule, CYCLE),
    "warmup_exponential_decay_schedule": (
        schedules.warmup_exponential_decay_schedule,
        {
            "init_value": 0.1,
            "peak_value": 1.2,
            "warmup_steps": 3,
            "transition_steps": 4,
            "decay_rate": 0.8,
            "transition_begin": 2,
            "staircase": False,
            "end_value": 0.7,
        },
    ),
    "warmup_stable_decay": (
        schedules.warmup_stable_decay,
        {
            "init_value": 0.1,
            "peak_value": 1.2,
            "warmup_steps": 3,
            "stable_steps": 4,
            "decay_steps": 6,
            "end_value": 0.2,
            "power": 0.5,
            "shape": "1-sqrt",
        },
    ),
    "join_schedules": (
        schedules.join_schedules,
        {
            "schedules": [
                schedules.constant_schedule(1.5),
                schedules.linear_schedule(0.2, 0.9, 4),
                schedules.inverse_sqrt_decay(0.6),
            ],
            "boundaries": [4, 9],
        },
    ),
}
