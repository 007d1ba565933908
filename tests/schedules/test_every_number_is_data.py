"""Every numeric argument of every schedule, one by one: traced, vmapped, differentiated."""

import inspect
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import schedules
from jaxopt_course.core import checks
from tests.names import public_names
from tests.schedules.cases import SCHEDULES
from tests.tiers import everyday, everyday_first


COUNTS = [0, 1, 3, 4, 6, 9, 11, 25, 400]
BETWEEN = [0.3, 2.3, 5.3, 7.3, 10.3, 15.3]  # where no curve has a kink
H = 1e-5


class Numbers(NamedTuple):
    """The numeric arguments of a schedule: their names, values, and the curve as a function."""

    names: list[str]
    values: list[int | float]
    curve: Callable


def numbers_of(factory, kwargs):
    paths, leaves = zip(*jax.tree.leaves_with_path(kwargs), strict=True)
    numeric = [
        i for i, x in enumerate(leaves) if isinstance(x, int | float) and not isinstance(x, bool)
    ]

    def curve(values, counts):
        changed = dict(zip(numeric, values, strict=True))
        new = [changed.get(i, leaf) for i, leaf in enumerate(leaves)]
        return factory(**jax.tree.unflatten(jax.tree.structure(kwargs), new))(jnp.array(counts))

    names = [jax.tree_util.keystr(paths[i]) for i in numeric]
    return Numbers(names, [leaves[i] for i in numeric], curve)


def neighbours(number):
    """Of a length: 0, itself and more. Of a value: itself and both sides of it."""
    if isinstance(number, int):
        return [number, 0, number + 2]
    return [number, 0.9 * number, 1.1 * number]


def rows_of(numbers, values_of):
    """``(argument, values of all arguments)``, one argument changed at a time."""
    return [
        (name, [*numbers.values[:i], value, *numbers.values[i + 1 :]])
        for i, name in enumerate(numbers.names)
        for value in values_of(numbers.values[i])
    ]


def columns(rows, dtype=None):
    return [jnp.array(column, dtype) for column in zip(*(row for _, row in rows), strict=True)]


def check_each_is_traceable(numbers):
    for i, value in enumerate(numbers.values):
        others = list(numbers.values)

        def alone(v, i=i, others=others):
            return numbers.curve([*others[:i], v, *others[i + 1 :]], COUNTS)

        assert jax.eval_shape(alone, value).shape == (len(COUNTS),)


def check_vmapped_equals_one_by_one(numbers):
    rows = rows_of(numbers, neighbours)
    together = jax.jit(jax.vmap(lambda v: numbers.curve(v, COUNTS)))(columns(rows))
    assert np.all(np.isfinite(together))
    for (name, row), curve in zip(rows, together, strict=True):
        try:
            alone = numbers.curve(row, COUNTS)
        except ValueError:  # a concrete 0 that has to be larger than another argument
            assert 0 in row, name
            continue
        # rtol: compiled sin, exp and pow may differ from the others in the last digits.
        np.testing.assert_allclose(curve, alone, rtol=1e-12, atol=1e-15, err_msg=name)


def check_slopes_are_finite_and_right(numbers):
    rows = rows_of(numbers, neighbours)
    slopes_at = jax.vmap(jax.jacrev(lambda v: numbers.curve(v, [*COUNTS, *BETWEEN])))
    slopes = jax.jit(slopes_at)(columns(rows, float))
    for name, slope in zip(numbers.names, slopes, strict=True):
        assert np.all(np.isfinite(slope)), f"slope in {name}: {slope}"
    stencil = rows_of(numbers, lambda number: [number + H, number - H])
    values = [numbers.curve(row, BETWEEN) for _, row in stencil]
    for name, slope, up, down in zip(numbers.names, slopes, values[::2], values[1::2], strict=True):
        # atol: the cancellation of the difference, eps / H, and its truncation, H^2.
        np.testing.assert_allclose(
            slope[0, len(COUNTS) :], (up - down) / (2 * H), rtol=1e-6, atol=1e-8, err_msg=name
        )


CHECKS = [
    check_each_is_traceable,
    check_vmapped_equals_one_by_one,
    check_slopes_are_finite_and_right,
]


EVERYDAY = {"exponential_decay", "step_decay", "join_schedules", "warmup_cosine_decay_schedule"}


@pytest.mark.parametrize("name", everyday(SCHEDULES, EVERYDAY))
def test_every_numeric_argument_is_data(name):
    numbers = numbers_of(*SCHEDULES[name])
    for check in CHECKS:
        check(numbers)
    for argument in numbers.names:
        sys.stdout.write(f"{name:34s} {argument:36s} traced  vmapped  differentiated\n")


def test_the_table_names_every_schedule():
    assert sorted(SCHEDULES) == public_names(schedules)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_table_names_every_argument(name):
    factory, kwargs = SCHEDULES[name]
    assert list(kwargs) == list(inspect.signature(factory).parameters)


# What the checks must refuse.


def branches_on_its_length(length):
    return lambda count: jnp.zeros(count.shape) if length <= 0 else count / length


def branches_when_called(rate):
    return lambda count: jnp.full(count.shape, rate if rate > 0 else 0.0)


def freezes_its_argument(rate):
    return lambda count: jnp.full(count.shape, float(rate))


def has_an_infinite_slope(length):
    return lambda count: jnp.sqrt(jnp.maximum(length - count, 0.0))


def stops_the_slope(rate):
    return lambda count: jax.lax.stop_gradient(jnp.full(count.shape, rate))


def knows_whether_it_is_traced(rate):
    return lambda count: jnp.full(count.shape, rate) * (1.0 if checks.is_traced(rate) else 2.0)


@pytest.mark.parametrize(
    ("check", "factory", "kwargs"),
    [
        (check_each_is_traceable, branches_on_its_length, {"length": 4}),
        (check_each_is_traceable, branches_when_called, {"rate": 0.5}),
        (check_vmapped_equals_one_by_one, freezes_its_argument, {"rate": 0.5}),
        (check_vmapped_equals_one_by_one, knows_whether_it_is_traced, {"rate": 0.5}),
        (check_slopes_are_finite_and_right, has_an_infinite_slope, {"length": 4}),
        (check_slopes_are_finite_and_right, stops_the_slope, {"rate": 0.5}),
    ],
)
def test_the_checks_bite(check, factory, kwargs):
    with pytest.raises((AssertionError, jax.errors.ConcretizationTypeError)):
        check(numbers_of(factory, kwargs))


# Where the numbers are used.


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_kind_of_count_gives_a_float_scalar(name):
    factory, kwargs = SCHEDULES[name]
    schedule = factory(**kwargs)
    expected = schedule(5)
    for count in (jnp.int32(5), jnp.uint32(5), 5.0, np.int64(5), jnp.float32(5)):
        value = schedule(count)
        assert value.shape == ()
        assert value.dtype == jnp.float64
        assert value == expected


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_whole_curve_at_once_equals_count_by_count(name):
    factory, kwargs = SCHEDULES[name]
    schedule = factory(**kwargs)
    values = schedule(jnp.array(COUNTS))
    np.testing.assert_allclose(values, [schedule(c) for c in COUNTS], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", everyday_first(4, SCHEDULES))
def test_schedule_runs_inside_scan_with_traced_numbers(name):
    numbers = numbers_of(*SCHEDULES[name])

    @jax.jit
    def run(values):
        return jax.lax.scan(
            lambda n, _: (n + 1, numbers.curve(values, n)), jnp.int32(0), None, length=30
        )[1]

    expected = numbers.curve(numbers.values, range(30))
    np.testing.assert_allclose(run(numbers.values), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_in_single_precision_the_curve_is_the_same(name):
    numbers = numbers_of(*SCHEDULES[name])
    expected = numbers.curve(numbers.values, COUNTS)
    with jax.enable_x64(False):
        values = jax.jit(lambda values: numbers.curve(values, COUNTS))(numbers.values)
    assert values.dtype == jnp.float32
    # atol: a few roundings of numbers of size 1 in float32.
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
