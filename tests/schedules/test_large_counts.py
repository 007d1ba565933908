"""Every schedule at counts that float32 cannot hold, in single precision, against exact numbers.

The values to expect are formed in Python: counts and lengths are integers there, shares of
transitions are fractions, and only the last operation is in floating point.
"""

import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import schedules
from jaxopt_course.core import numerics
from tests.schedules.cases import SCHEDULES
from tests.tiers import everyday_first


LAST, LOST = 2**31 - 1, 2**24 + 1  # the last count; the first integer that float32 lacks
LONG = 2**30 + 1


def left(count, length, begin=0):
    """The share of a transition still ahead."""
    return Fraction(min(max(begin + length - count, 0), length), length)


def line(start, end, share):
    return end + (start - end) * float(share)


def half_cosine(share):
    return math.sin(math.pi / 2 * float(share)) ** 2


def warm(count, steps, then):
    return line(0.0, 1.0, left(count, steps)) if count < steps else then(count - steps)


def cosine_cycle(count):
    return warm(count, 5, lambda t: half_cosine(left(t, LOST - 5)))


def triangle(count):
    cycle, phase = divmod(count, LOST + 2)
    up = Fraction(phase, LOST) if phase < LOST else 1 - Fraction(phase - LOST, 2)
    return float(up) * 0.99**cycle


def one_cycle(count, corners, shape):
    for (a, low), (b, high) in itertools.pairwise(corners):
        if count < b:
            return line(low, high, shape(left(count, b - a, a)))
    return corners[-1][1]


DOWN = math.floor(0.3 * LONG)
AGAIN = math.floor(0.85 * LONG)

# (schedule, the count's exact value, the counts around which something happens)
CASES = {
    "constant_schedule": (schedules.constant_schedule(0.7), lambda t: 0.7, []),
    "linear_schedule": (
        schedules.linear_schedule(1.0, 0.0, 3, LOST),
        lambda t: float(left(t, 3, LOST)),
        [LOST, LOST + 3],
    ),
    "polynomial_schedule": (
        schedules.polynomial_schedule(1.0, 0.0, 2, 3, LOST),
        lambda t: float(left(t, 3, LOST)) ** 2,
        [LOST, LOST + 3],
    ),
    "cosine_decay_schedule": (
        schedules.cosine_decay_schedule(1.0, LAST),
        lambda t: half_cosine(left(t, LAST)),
        [LAST],
    ),
    "exponential_decay": (
        schedules.exponential_decay(1.0, 3, 0.3, LOST),
        lambda t: 0.3 ** (max(t - LOST, 0) / 3),
        [LOST, LOST + 3],
    ),
    "step_decay": (
        schedules.step_decay(1.0, 3, 0.3, LOST),
        lambda t: 0.3 ** (max(t - LOST, 0) // 3),
        [LOST, LOST + 3],
    ),
    "inverse_time_decay": (
        schedules.inverse_time_decay(1.0, LOST, 0.5, 3, staircase=True),
        lambda t: 1 / (1 + 0.5 * (max(t - 3, 0) // LOST)),
        [LOST + 3],
    ),
    "inverse_sqrt_decay": (
        schedules.inverse_sqrt_decay(1.0, LOST),
        lambda t: (1 + t / LOST) ** -0.5,
        [],
    ),
    "cyclic_schedule": (
        schedules.cyclic_schedule(0.0, 1.0, LOST, 2, 0.99),
        triangle,
        [LOST, LOST + 2, 127 * (LOST + 2)],
    ),
    "sgdr_schedule": (
        schedules.sgdr_schedule(
            [
                {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 5, "decay_steps": LOST}
                for _ in range(3)
            ]
        ),
        lambda t: cosine_cycle(t - LOST * min(t // LOST, 2)),
        [LOST, LOST + 1, 2 * LOST, 3 * LOST],
    ),
    "linear_onecycle_schedule": (
        schedules.linear_onecycle_schedule(LONG, 1.0),
        lambda t: one_cycle(
            t, [(0, 0.04), (DOWN, 1.0), (AGAIN, 0.04), (LONG, 4e-6)], lambda share: share
        ),
        [DOWN, AGAIN, LONG],
    ),
    "cosine_onecycle_schedule": (
        schedules.cosine_onecycle_schedule(LONG, 1.0),
        lambda t: one_cycle(t, [(0, 0.04), (DOWN, 1.0), (LONG, 4e-6)], half_cosine),
        [DOWN, LONG],
    ),
    "piecewise_constant_schedule": (
        schedules.piecewise_constant_schedule(1.0, {LAST: 0.5, LOST: 0.5, 10: 0.5}),
        lambda t: 0.5 ** sum(t >= b for b in (10, LOST, LAST)),
        [10, LOST, LAST],
    ),
    "piecewise_interpolate_schedule": (
        schedules.piecewise_interpolate_schedule("linear", 1.0, {LOST: 0.5, LOST + 3: 0.5}),
        lambda t: one_cycle(
            t, [(0, 1.0), (LOST, 0.5), (LOST + 3, 0.25), (LAST, 0.25)], lambda share: share
        ),
        [LOST, LOST + 3],
    ),
    "warmup_constant_schedule": (
        schedules.warmup_constant_schedule(0.0, 1.0, LOST),
        lambda t: warm(t, LOST, lambda _: 1.0),
        [LOST],
    ),
    "warmup_cosine_decay_schedule": (
        schedules.warmup_cosine_decay_schedule(0.0, 1.0, LOST, LOST + 4),
        lambda t: warm(t, LOST, lambda t: half_cosine(left(t, 4))),
        [LOST, LOST + 4],
    ),
    "warmup_exponential_decay_schedule": (
        schedules.warmup_exponential_decay_schedule(0.0, 1.0, LOST, 2, 0.5, 1, staircase=True),
        lambda t: warm(t, LOST, lambda t: 0.5 ** min(max(t - 1, 0) // 2, 999)),
        [LOST, LOST + 1, LOST + 3],
    ),
    "warmup_stable_decay": (
        schedules.warmup_stable_decay(0.0, 1.0, 3, LOST, 4),
        lambda t: warm(t, 3, lambda t: float(left(t, 4, LOST))),
        [3, LOST + 3, LOST + 7],
    ),
    "join_schedules": (
        schedules.join_schedules([lambda t: 1.0, schedules.linear_schedule(0, 1, 4)], [LOST]),
        lambda t: 1.0 if t < LOST else 1 - float(left(t - LOST, 4)),
        [LOST, LOST + 4],
    ),
}


def counts_around(events):
    near = [event + shift for event in (*events, LOST, 2**24, LAST) for shift in (-2, -1, 0, 1, 2)]
    return sorted({0, 1, *(count for count in near if 0 <= count <= LAST)})


def check_counts(name):
    schedule, exact, events = CASES[name]
    counts = counts_around(events)
    with jax.enable_x64(False):
        array = jnp.asarray(np.array(counts, np.int32))
        forms = schedule(array), jax.vmap(schedule)(array)
        compiled = jax.jit(lambda x: (schedule(x), jax.vmap(schedule)(x)))(array)
    expected = [exact(count) for count in counts]
    for values in (*forms, *compiled):
        # Values are at most 1: a few units in the last place of it.
        np.testing.assert_allclose(values, expected, rtol=2e-6, atol=3e-7, err_msg=str(counts))


def test_every_schedule_has_a_case():
    assert set(CASES) == set(SCHEDULES)


@pytest.mark.parametrize("name", everyday_first(4, CASES))
def test_counts_beyond_the_digits_of_float32_are_exact(name, standard_promotion):
    check_counts(name)


# A value that moves by less than 1e-6 from count to count does not tell counts apart.
SLOW = {
    *("constant_schedule", "cosine_decay_schedule", "inverse_sqrt_decay"),
    *("linear_onecycle_schedule", "cosine_onecycle_schedule", "warmup_constant_schedule"),
}


@pytest.mark.parametrize("name", everyday_first(2, [name for name in CASES if name not in SLOW]))
def test_the_check_rejects_counts_in_floats(name, monkeypatch, standard_promotion):
    in_floats = lambda *numbers: [jnp.asarray(x, float) for x in numbers]
    monkeypatch.setattr(numerics, "alike", in_floats)
    with pytest.raises(AssertionError):
        check_counts(name)


def test_counts_in_64_bits_go_further(standard_promotion):
    far = 2**53 + 1  # the first integer that float64 lacks
    schedule = schedules.piecewise_constant_schedule(1.0, {far: 0.5})
    assert [float(schedule(jnp.int64(far + i))) for i in (-1, 0)] == [1.0, 0.5]
    joined = schedules.join_schedules([lambda t: 1.0, lambda t: 0.0], [far])
    assert [float(joined(jnp.int64(far + i))) for i in (-1, 0)] == [1.0, 0.0]


def test_boundaries_in_arrays_are_compared_as_integers():
    def at(boundaries, count):
        return schedules.piecewise_constant_schedule(1.0, (boundaries, [0.5, 0.5]))(count)

    with jax.enable_x64(False):
        boundaries = jnp.array([LOST, LAST], jnp.int32)
        for form in (at, jax.jit(at)):
            values = [float(form(boundaries, jnp.int32(t))) for t in (LOST - 1, LOST, LAST - 1)]
            assert values == [1.0, 0.5, 0.5]
        # A traced boundary may be a float.
        assert jax.jit(at)(jnp.array([3.5, 9.0]), jnp.int32(4)) == 0.5


def test_traced_lengths_whose_sum_no_integer_holds_end_with_the_last_count():
    def at(length, count):
        cycle = {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 0, "decay_steps": length}
        return schedules.sgdr_schedule([cycle] * 3)(count)

    with jax.enable_x64(False):
        value = jax.jit(at)(jnp.int32(LONG), jnp.int32(LAST - 2))
    # The second cycle ends at 2^31 + 2.
    np.testing.assert_allclose(value, half_cosine(Fraction(4, LONG)), atol=1e-12)


def test_rates_near_one_keep_their_digits_in_many_steps():
    with jax.enable_x64(False):
        value = schedules.step_decay(1.0, 3, 0.9999999)(jnp.int32(10**9))
    np.testing.assert_allclose(value, 0.9999999 ** (10**9 // 3), rtol=1e-5)


@pytest.mark.parametrize("start", [1e-30, 1.0, -2.0])
def test_growth_ends_at_the_largest_float_and_no_earlier(start):
    with jax.enable_x64(False):
        schedule = schedules.exponential_decay(start, 1, 2.0)
        exponents = [10, 64, 100, 126, 127, 200, 10**6]
        values, slopes = jax.vmap(
            jax.value_and_grad(
                lambda t, rate: schedules.exponential_decay(start, 1, rate)(t), argnums=1
            ),
            (0, None),
        )(jnp.array(exponents, jnp.int32), 2.0)
        alone = [float(schedule(jnp.int32(e))) for e in exponents]
    largest = float(np.finfo(np.float32).max)
    exact = [math.copysign(min(abs(start) * 2.0 ** min(e, 999), largest), start) for e in exponents]
    np.testing.assert_allclose(values, exact, rtol=1e-5)
    np.testing.assert_allclose(alone, exact, rtol=1e-5)
    assert not np.isnan(slopes).any()


@pytest.mark.parametrize(
    ("count", "interval", "expected"),
    [
        (LOST, LOST, True),
        (LOST - 1, LOST, False),
        (LAST, LAST, True),
        (LAST - 1, LAST, False),
        (10, 9.999, True),
        (9, 9.999, False),
        (0, 1e30, True),
        (LAST, 1e30, False),
        (5, 0, True),
        (5, 0.2, True),
    ],
)
def test_is_due_counts_in_integers(count, interval, expected):
    with jax.enable_x64(False):
        data = jnp.asarray(interval)
        assert numerics.is_due(jnp.int32(count), interval) == expected
        assert jax.jit(numerics.is_due)(jnp.int32(count), data) == expected


@pytest.mark.parametrize("decay", [0.9, 0.999999, 0.999999999])
def test_bias_corrections_hold_to_the_last_count(decay):
    counts = [1, 2, 2**24 - 1, LOST, LAST - 1, LAST]
    with jax.enable_x64(False):
        ours = [numerics.one_minus_power(decay, jnp.int32(count), jnp.float32) for count in counts]
    exact = [-math.expm1(count * math.log(decay)) for count in counts]
    np.testing.assert_allclose(ours, exact, rtol=1e-6)
