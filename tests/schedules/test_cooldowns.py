"""The shapes of the decay of ``warmup_stable_decay``, beside their formulas in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.schedules import polynomial_schedule, warmup_stable_decay


PASSED = np.array([0, 0.25, 0.5, 0.75, 1])
SHAPES = {
    "linear": 1 - PASSED,
    "1-sqrt": np.array([1, 0.5, 1 - np.sqrt(0.5), 1 - np.sqrt(0.75), 0]),
    "1-square": 1 - PASSED**2,
    "cosine": (1 + np.cos(np.pi * PASSED)) / 2,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("power", [1.0, 2.5])
def test_the_values_at_quarters(shape, power):
    """From the peak 1.2 at step 10 to the end value 0.2 at step 50, and before and after."""
    schedule = warmup_stable_decay(0.0, 1.2, 3, 7, 40, 0.2, power, shape=shape)
    wanted = 0.2 + SHAPES[shape] ** power
    np.testing.assert_allclose(schedule(jnp.arange(10, 51, 10)), wanted, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(schedule(jnp.array([3, 9, 51, 10**6])), [1.2, 1.2, 0.2, 0.2])


def test_without_a_shape_it_is_the_polynomial_schedule_after_a_warmup():
    schedule = warmup_stable_decay(0.1, 1.0, 5, 10, 8, 0.2, 0.6)
    decay = polynomial_schedule(1.0, 0.2, 0.6, 8, 10)
    steps = jnp.arange(5, 40)
    np.testing.assert_array_equal(schedule(steps), decay(steps - 5))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_number_may_be_traced_and_has_a_finite_slope(shape):
    numbers = {"init_value": 0.1, "peak_value": 1.2, "end_value": 0.2, "power": 0.7}
    lengths = {"warmup_steps": 2, "stable_steps": 3, "decay_steps": 6}
    steps = jnp.arange(14)
    curve = lambda numbers: warmup_stable_decay(**numbers, **lengths, shape=shape)(steps)
    slopes = jax.jacobian(curve)({name: jnp.float64(x) for name, x in numbers.items()})
    for name, slope in slopes.items():
        assert np.isfinite(slope).all()
        h = 1e-6
        ahead, behind = (curve(numbers | {name: numbers[name] + d}) for d in (h, -h))
        # 1e-9 is the rounding of values of size 1, over 2h
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-9)
    of = lambda length: warmup_stable_decay(
        **numbers, warmup_steps=2, stable_steps=3, decay_steps=length, shape=shape
    )(steps)
    together = jax.vmap(of)(jnp.array([0, 4, 6]))
    np.testing.assert_allclose(together, [of(0), of(4), of(6)], rtol=1e-14)


def test_the_last_steps_lose_no_digits():
    """1 - sqrt(1 - r) is r / 2 for small r, where the difference would be rounded to a few bits."""
    schedule = warmup_stable_decay(0.0, 1.0, 0, 0, 2**30, shape="1-sqrt")
    last = np.float32(jax.jit(schedule)(jnp.int32(2**30 - 1)))
    assert last == pytest.approx(2.0**-31, rel=1e-6)


def test_a_wrong_shape_is_named(as_users_run_it):
    build = functools.partial(warmup_stable_decay, 0.0, 1.0, 1, 1, 1)
    with pytest.raises(ValueError, match=r"`shape` must be one of linear, 1-sqrt, 1-square, cos"):
        build(shape="1-sqr")
