"""What optax cannot be asked: closed forms, lengths of zero, refusals, precision."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import schedules
from tests.schedules.cases import SCHEDULES


def curve(schedule, counts):
    return np.asarray(schedule(jnp.array(counts)))


COUNTS = np.arange(40)


# Closed forms.


def test_inverse_time_decay_divides_by_a_line():
    values = curve(schedules.inverse_time_decay(0.5, 4, 0.3, transition_begin=2), COUNTS)
    since = np.maximum(COUNTS - 2, 0)
    np.testing.assert_allclose(values, 0.5 / (1 + 0.3 * since / 4), rtol=1e-14)


def test_inverse_time_decay_in_stairs_divides_by_stairs():
    values = curve(schedules.inverse_time_decay(0.5, 4, 0.3, 2, staircase=True), COUNTS)
    since = np.maximum(COUNTS - 2, 0)
    np.testing.assert_allclose(values, 0.5 / (1 + 0.3 * (since // 4)), rtol=1e-14)


def test_inverse_sqrt_decay_is_that_of_the_course():
    # course, section 1: eta / sqrt(t + 1)
    values = curve(schedules.inverse_sqrt_decay(0.5), COUNTS)
    np.testing.assert_allclose(values, 0.5 / np.sqrt(COUNTS + 1), rtol=1e-14)


def test_inverse_sqrt_decay_after_a_warmup_is_that_of_the_transformer():
    # Vaswani et al. 2017, equation 3, counted from 1 there: d^-0.5 min(t^-0.5, t w^-1.5)
    peak, warmup = 512**-0.5 * 10**-0.5, 10
    schedule = schedules.join_schedules(
        [
            schedules.linear_schedule(0.0, peak, warmup),
            schedules.inverse_sqrt_decay(peak, timescale=warmup),
        ],
        [warmup],
    )
    t = COUNTS[1:]
    expected = 512**-0.5 * np.minimum(t**-0.5, t * float(warmup) ** -1.5)
    np.testing.assert_allclose(curve(schedule, t), expected, rtol=1e-13)


def test_step_decay_multiplies_every_few_steps():
    values = curve(schedules.step_decay(0.5, 6, 0.1, transition_begin=3), COUNTS)
    np.testing.assert_allclose(values, 0.5 * 0.1 ** (np.maximum(COUNTS - 3, 0) // 6), rtol=1e-13)


def test_warmup_stable_decay_runs_through_its_corners():
    schedule = schedules.warmup_stable_decay(0.1, 1.0, 5, 10, 8, end_value=0.2)
    corners = np.interp(COUNTS, [0, 5, 15, 23], [0.1, 1.0, 1.0, 0.2])
    np.testing.assert_allclose(curve(schedule, COUNTS), corners, rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        ({}, lambda cycle, count: 1.0),
        ({"decay_rate": 0.5}, lambda cycle, count: 0.5 ** (cycle - 1)),
        ({"decay_rate": 0.97**12, "staircase": False}, lambda cycle, count: 0.97**count),
    ],
    ids=["triangular", "triangular2", "exp_range"],
)
def test_cyclic_schedule_has_the_three_policies_of_smith(arguments, policy):
    # Smith 2017, section 3.2, as printed there: step size 6
    cycle = np.floor(1 + COUNTS / 12)
    x = np.abs(COUNTS / 6 - 2 * cycle + 1)
    expected = 0.1 + (1.2 - 0.1) * np.maximum(0, 1 - x) * policy(cycle, COUNTS)
    values = curve(schedules.cyclic_schedule(0.1, 1.2, 6, 6, **arguments), COUNTS)
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_cyclic_schedule_may_have_unequal_sides():
    values = curve(schedules.cyclic_schedule(0.1, 1.2, 3, 5), COUNTS)
    np.testing.assert_allclose(
        values, np.interp(COUNTS % 8, [0, 3, 8], [0.1, 1.2, 0.1]), rtol=1e-12
    )


def test_a_table_may_be_a_pair_in_any_order():
    for function in (
        schedules.piecewise_constant_schedule,
        lambda *args: schedules.piecewise_interpolate_schedule("linear", *args),
    ):
        expected = curve(function(2.0, {5: 0.5, 9: 3.0, 20: 0.1}), COUNTS)
        for pair in (
            ([20, 5, 9], [0.1, 0.5, 3.0]),
            (jnp.array([20, 5, 9]), jnp.array([0.1, 0.5, 3.0])),
            (np.array([20, 5, 9]), [0.1, jnp.float32(0.5), 3]),
        ):
            np.testing.assert_allclose(curve(function(2.0, pair), COUNTS), expected, rtol=1e-7)
        traced = jax.jit(lambda b, s, f=function: f(2.0, (b, s))(jnp.array(COUNTS)))
        values = traced(jnp.array([20, 5, 9]), jnp.array([0.1, 0.5, 3.0]))
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_joined_schedules_receive_integers_and_never_negative_ones():
    seen = []

    def spy(count):
        seen.append(count)
        return 1.0

    schedules.join_schedules([spy, spy], [5])(jnp.int32(3))
    first, second = seen
    assert first == 3
    assert second == 0
    assert second.dtype == jnp.int32


# Lengths of zero: the transition is over at its begin.

ZERO = [
    ("linear_schedule", {"transition_steps": 0, "transition_begin": 3}, 1.5, 3, 0.2),
    ("polynomial_schedule", {"transition_steps": 0, "transition_begin": 3}, 1.5, 3, 0.2),
    ("exponential_decay", {"transition_steps": 0, "transition_begin": 3}, 1.5, 3, 0.9),
    ("exponential_decay", {"transition_steps": 0, "end_value": None}, 1.5, 3, 0.0),
    ("exponential_decay", {"transition_steps": 0, "decay_rate": 1.1, "end_value": 2.0}, 1.5, 3, 2),
    (
        "exponential_decay",
        {"transition_steps": 0, "decay_rate": 1.1, "end_value": None},
        *(1.5, 3, 1.5),
    ),
    ("step_decay", {"transition_steps": 0}, 1.5, 3, 0.0),
    ("inverse_time_decay", {"transition_steps": 0}, 1.5, 3, 0.0),
    ("inverse_sqrt_decay", {"timescale": 0}, None, 0, 0.0),
    ("cosine_decay_schedule", {"decay_steps": 0}, None, 0, 1.5 * 0.2),
    ("linear_onecycle_schedule", {"transition_steps": 0}, None, 0, 0.1 / 500),
    ("cosine_onecycle_schedule", {"transition_steps": 0}, None, 0, 0.1 / 500),
    ("warmup_constant_schedule", {"warmup_steps": 0}, None, 0, 1.2),
    ("warmup_cosine_decay_schedule", {"warmup_steps": 0, "decay_steps": 0}, None, 0, 0.2),
    ("warmup_cosine_decay_schedule", {"warmup_steps": 3, "decay_steps": 3}, 0.1, 3, 0.2),
    (
        "warmup_exponential_decay_schedule",
        {"warmup_steps": 0, "transition_steps": 0},
        *(1.2, 2, 0.7),
    ),
    (
        "warmup_stable_decay",
        {"warmup_steps": 0, "stable_steps": 0, "decay_steps": 0},
        *(None, 0, 0.2),
    ),
    ("warmup_stable_decay", {"warmup_steps": 0, "decay_steps": 0}, 1.2, 4, 0.2),
    ("cyclic_schedule", {"up_steps": 0, "down_steps": 0}, None, 0, 0.1),
    ("piecewise_constant_schedule", {"boundaries_and_scales": {0: 0.5}}, None, 0, 0.75),
    (
        "piecewise_interpolate_schedule",
        {"boundaries_and_scales": ([0, 0], [0.5, 0.3])},
        *(None, 0, 0.225),
    ),
    ("join_schedules", {"boundaries": [0, 0]}, None, 0, 0.6),
]


@pytest.mark.parametrize(("name", "changes", "before", "begin", "after"), ZERO)
def test_a_transition_of_length_zero_is_immediate(name, changes, before, begin, after):
    factory, kwargs = SCHEDULES[name]
    schedule = factory(**{**kwargs, **changes})
    if before is not None:
        np.testing.assert_allclose(schedule(0), before, rtol=1e-12)
    np.testing.assert_allclose(schedule(begin), after, rtol=1e-12, atol=1e-15)


def test_a_cycle_of_one_side_is_a_sawtooth():
    falling = curve(schedules.cyclic_schedule(0.0, 1.0, 0, 4), range(9))
    rising = curve(schedules.cyclic_schedule(0.0, 1.0, 4, 0), range(9))
    np.testing.assert_allclose(falling, [1, 0.75, 0.5, 0.25, 1, 0.75, 0.5, 0.25, 1], rtol=1e-15)
    np.testing.assert_allclose(rising, [0, 0.25, 0.5, 0.75, 0, 0.25, 0.5, 0.75, 0], rtol=1e-15)


def test_a_traced_negative_length_is_one_of_zero():
    def at(steps):
        return schedules.linear_schedule(1.0, 0.2, steps, 3)(jnp.array([2, 3]))

    np.testing.assert_allclose(jax.jit(at)(-5), at(0), rtol=1e-15)


def test_a_peak_of_zero_still_reaches_the_end_value():
    schedule = schedules.warmup_cosine_decay_schedule(0.2, 0.0, 5, 10, end_value=-3.0)
    np.testing.assert_allclose(curve(schedule, [0, 5, 10, 99]), [0.2, 0, -3, -3], atol=1e-15)


# Refusals.


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name, (_, kwargs) in SCHEDULES.items()
        for argument, value in kwargs.items()
        if isinstance(value, int) and not isinstance(value, bool)
    ],
)
def test_negative_lengths_are_refused(name, argument, as_users_run_it):
    factory, kwargs = SCHEDULES[name]
    lowest = "3" if argument == "decay_steps" and "warmup_cosine" in name else "0"
    sentence = rf"^{name}: `{argument}` must lie in \[{lowest}, inf\), got -1\.$"
    with pytest.raises(ValueError, match=sentence):
        factory(**{**kwargs, argument: -1})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name, (_, kwargs) in SCHEDULES.items()
        for argument, value in kwargs.items()
        if isinstance(value, float | int) and not isinstance(value, bool)
    ],
)
def test_nan_and_infinity_are_refused(name, argument, bad, as_users_run_it):
    factory, kwargs = SCHEDULES[name]
    with pytest.raises(ValueError, match=rf"^{name}: `{argument}` must lie in .*, got {bad}\.$"):
        factory(**{**kwargs, argument: bad})


@pytest.mark.parametrize(
    ("build", "kind", "sentence"),
    [
        (
            lambda: schedules.linear_schedule(1.0, 0.0, None),
            TypeError,
            r"linear_schedule: `transition_steps` must be a number in \[0, inf\), got None\.",
        ),
        (
            lambda: schedules.exponential_decay(1.0, 10, 0.0),
            ValueError,
            r"exponential_decay: `decay_rate` must lie in \(0, inf\), got 0\.0\.",
        ),
        (
            lambda: schedules.warmup_cosine_decay_schedule(0.0, 1.0, 10, 5),
            ValueError,
            r"warmup_cosine_decay_schedule: `decay_steps` must lie in \[10, inf\), got 5\.",
        ),
        (
            lambda: schedules.linear_onecycle_schedule(10, 1.0, 0.5, 0.4),
            ValueError,
            r"linear_onecycle_schedule: `pct_final` must lie in \[0\.5, 1\], got 0\.4\.",
        ),
        (
            lambda: schedules.piecewise_constant_schedule(1.0, {3: 0.5, 5: -3}),
            ValueError,
            r"piecewise_constant_schedule: `scales\[1\]` must lie in \[0, inf\), got -3\.",
        ),
        (
            lambda: schedules.piecewise_interpolate_schedule("linear", 1.0, {-3: 0.5}),
            ValueError,
            r"piecewise_interpolate_schedule: `boundaries\[0\]` must lie in \[0, inf\), got -3\.",
        ),
        (
            lambda: schedules.piecewise_interpolate_schedule("linar", 1.0),
            ValueError,
            r"`interpolate_type` must be one of linear, cosine, got 'linar'\. Did you mean",
        ),
        (
            lambda: schedules.piecewise_constant_schedule(1.0, ([3, 5], [0.5])),
            ValueError,
            r"must hold as many boundaries as scales, got 2 and 1\.",
        ),
        (
            lambda: schedules.join_schedules([abs, abs], [-1]),
            ValueError,
            r"join_schedules: `boundaries\[0\]` must lie in \[0, inf\), got -1\.",
        ),
        (
            lambda: schedules.join_schedules([abs, abs, abs], jnp.array([5, 3])),
            ValueError,
            r"join_schedules: `boundaries\[1\]` must lie in \[5, inf\), got ",
        ),
        (
            lambda: schedules.join_schedules([abs, abs], []),
            ValueError,
            r"join_schedules: `boundaries` must hold one number less than `schedules`, got 0",
        ),
        (
            lambda: schedules.sgdr_schedule([]),
            ValueError,
            r"sgdr_schedule: `cosine_kwargs` must hold at least one cycle, got none\.",
        ),
    ],
)
def test_a_bad_argument_meets_its_sentence(build, kind, sentence, as_users_run_it):
    with pytest.raises(kind, match=sentence):
        build()


# Precision.


def stairs_missed(exponential_decay):
    """For how many lengths of 40 to 62 a compiled float32 staircase takes a step too late."""
    stairs = np.arange(1, 20)

    def late(steps):
        schedule = exponential_decay(1.0, steps, 0.5, staircase=True)
        values = jax.jit(schedule)(jnp.array(steps * stairs, jnp.int32))
        return not np.allclose(values, 0.5**stairs, rtol=1e-5)

    with jax.enable_x64(False):
        return sum(map(late, range(40, 63)))


@pytest.mark.exhaustive
def test_stairs_are_taken_on_time_in_single_precision(standard_promotion):
    assert stairs_missed(schedules.exponential_decay) == 0
    assert stairs_missed(optax.exponential_decay) > 0  # so the test can fail


def test_the_end_is_exact_in_single_precision():
    with jax.enable_x64(False):
        for steps in (41, 47, 55, 61, 82):
            root = schedules.polynomial_schedule(1.0, 0.0, 0.5, steps)
            assert jax.jit(root)(steps) == 0
            assert jax.jit(schedules.cosine_decay_schedule(1.0, steps))(steps) == 0


def test_small_values_after_large_ones_keep_their_digits():
    with jax.enable_x64(False):
        value = schedules.cosine_onecycle_schedule(10, 1.0)(10)
    np.testing.assert_allclose(value, 1 / 25 / 1e4, rtol=1e-6)


def test_growth_to_an_end_value_stays_differentiable():
    def at(rate):
        return schedules.exponential_decay(1e-7, 100, rate, end_value=10.0)(1_000_000)

    assert at(1e8) == 10
    assert jax.grad(at)(1e8) == 0
