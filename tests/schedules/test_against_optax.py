"""Every schedule that optax has, against optax, wherever optax is defined."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import schedules
from tests.names import public_names


COUNTS = [*range(32), 49, 50, 51, 99, 100, 101, 1000, 123_456]
CYCLE = {"init_value": 0.1, "peak_value": 1.2, "warmup_steps": 5, "decay_steps": 20}

CALLS = [
    ("constant_schedule", {"value": 3}),
    ("linear_schedule", {"init_value": 1.0, "end_value": 0.1, "transition_steps": 10}),
    (
        "linear_schedule",
        {"init_value": -1.0, "end_value": 2, "transition_steps": 7, "transition_begin": 5},
    ),
    *(
        (
            "polynomial_schedule",
            {
                "init_value": 1.0,
                "end_value": 0.1,
                "power": power,
                "transition_steps": 11,
                "transition_begin": begin,
            },
        )
        for power in (0, 0.5, 1, 2, 3.7)
        for begin in (0, 4)
    ),
    *(
        (
            "exponential_decay",
            {
                "init_value": 2.0,
                "transition_steps": 7,
                "decay_rate": rate,
                "transition_begin": begin,
                "staircase": staircase,
                "end_value": end_value,
            },
        )
        for rate, end_value in ((0.5, None), (0.5, 0.3), (1.0, 1.5), (1.3, 9.0), (0.9, None))
        for begin in (0, 3)
        for staircase in (False, True)
    ),
    ("exponential_decay", {"init_value": 2.0, "transition_steps": 50, "decay_rate": 1.01}),
    *(
        (
            "cosine_decay_schedule",
            {"init_value": 2.0, "decay_steps": steps, "alpha": alpha, "exponent": exponent},
        )
        for steps in (1, 20, 10**10)
        for alpha in (0.0, 0.3, -0.5)
        for exponent in (0.5, 1.0, 2)
    ),
    *(
        (
            "linear_onecycle_schedule",
            {"transition_steps": steps, "peak_value": 3.0, **others},
        )
        for steps in (10, 50, 101)
        for others in (
            {},
            {"pct_start": 0.4, "pct_final": 0.7, "div_factor": 10.0, "final_div_factor": 100.0},
        )
    ),
    *(
        ("cosine_onecycle_schedule", {"transition_steps": steps, "peak_value": 3.0, **others})
        for steps in (10, 50, 101)
        for others in ({}, {"pct_start": 0.4, "div_factor": 10.0, "final_div_factor": 100.0})
    ),
    *(
        ("piecewise_constant_schedule", {"init_value": 2.0, "boundaries_and_scales": table})
        for table in (None, {}, {3: 0.5}, {50: 0.0, 10: 2.0, 0: 3.0})
    ),
    *(
        (
            "piecewise_interpolate_schedule",
            {"interpolate_type": kind, "init_value": 2.0, "boundaries_and_scales": table},
        )
        for kind in ("linear", "cosine")
        for table in (None, {}, {3: 0.5}, {50: 0.0, 10: 2.0, 20: 3.0}, {0: 2.0, 5: 3.0})
    ),
    *(
        ("warmup_constant_schedule", {"init_value": 0.0, "peak_value": 2.0, "warmup_steps": steps})
        for steps in (1, 10)
    ),
    ("warmup_cosine_decay_schedule", CYCLE),
    ("warmup_cosine_decay_schedule", {**CYCLE, "end_value": -3.0, "exponent": 2}),
    ("warmup_cosine_decay_schedule", {**CYCLE, "peak_value": 0.0}),
    *(
        (
            "warmup_exponential_decay_schedule",
            {
                "init_value": 0.1,
                "peak_value": 2.0,
                "warmup_steps": 5,
                "transition_steps": 7,
                "decay_rate": 0.8,
                "transition_begin": begin,
                "staircase": staircase,
                "end_value": end_value,
            },
        )
        for begin in (0, 3)
        for staircase in (False, True)
        for end_value in (None, 0.7)
    ),
    ("sgdr_schedule", {"cosine_kwargs": [CYCLE]}),
    (
        "sgdr_schedule",
        {"cosine_kwargs": [CYCLE, {**CYCLE, "peak_value": 0.5, "decay_steps": 40}, CYCLE]},
    ),
]


def curve(schedule, counts):
    """At all counts at once: that a schedule gives the same one by one is another test."""
    return np.broadcast_to(schedule(jnp.array(counts)), len(counts))


@pytest.mark.parametrize(
    ("name", "kwargs"), CALLS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CALLS)]
)
def test_values_are_those_of_optax(name, kwargs, standard_promotion):
    theirs = getattr(optax, name)(**kwargs)
    if name == "piecewise_interpolate_schedule" or "onecycle" in name:  # takes one count at a time
        expected = np.array([theirs(count) for count in COUNTS])
    else:
        expected = curve(theirs, [float(count) for count in COUNTS])
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        values = curve(getattr(schedules, name)(**kwargs), COUNTS)
    # atol: optax's 1 + cos(x) cancels near pi to the rounding of 1, and 1 - t / T likewise; its
    # half powers take the root of that.
    atol = 1e-7 if kwargs.get("exponent", 1) == 0.5 else 1e-14
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=atol)


def test_all_of_them_are_compared():
    offered = {name for name in public_names(schedules) if hasattr(optax, name)}
    assert offered - {"join_schedules"} == {name for name, _ in CALLS}


@pytest.mark.parametrize("name", [name for name in public_names(schedules) if hasattr(optax, name)])
def test_signature_is_that_of_optax(name):
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (schedules, optax))
    assert [(p.name, p.default) for p in ours.values()] == [
        (p.name, p.default) for p in theirs.values()
    ]


def test_joined_schedules_are_those_of_optax(standard_promotion):
    parts = [
        optax.constant_schedule(1.0),
        optax.linear_schedule(1.0, 0.5, 10),
        schedules.inverse_sqrt_decay(0.3),
    ]
    for boundaries in ([3, 20], jnp.array([3, 20]), [3, jnp.array(3)]):
        expected = optax.join_schedules(parts, [int(b) for b in boundaries])
        ours = schedules.join_schedules(parts, boundaries)
        np.testing.assert_allclose(
            [ours(c) for c in COUNTS], [expected(c) for c in COUNTS], rtol=1e-12
        )
