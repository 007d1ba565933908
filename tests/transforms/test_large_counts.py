"""Wrappers that wait for a number of steps, at counts that float32 cannot hold."""

import jax
import jax.numpy as jnp
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import numerics
from jaxopt_course.training import EarlyStopping


LAST, LOST = 2**31 - 1, 2**24 + 1  # the last count; the first integer that float32 lacks
ONE = jnp.ones((), jnp.float32)


def count_of(value):
    return jnp.asarray(value, jnp.int32)


def apply_every(steps, period):
    tx = transforms.apply_every(period)
    updates, _ = tx.update(ONE, tx.init(ONE)._replace(count=count_of(steps - 1)))
    return updates > 0


def multi_steps(steps, period):
    tx = transforms.MultiSteps(optimizers.sgd(1.0), period)
    updates, _ = tx.update(ONE, tx.init(ONE)._replace(mini_step=count_of(steps - 1)))
    return updates < 0


def lookahead(steps, period):
    tx = transforms.lookahead(optimizers.sgd(1.0), period, 0.5)
    params = transforms.LookaheadParams(ONE, ONE)
    state = tx.init(params)._replace(steps_since_sync=count_of(steps - 1))
    _, state = tx.update(ONE, state, params)
    return state.steps_since_sync == 0


def accumulation(steps, period):
    tx = transforms.reduce_on_plateau(accumulation_size=period)
    state = tx.init(ONE)._replace(count=count_of(steps - 1))
    return tx.update(ONE, state, value=1.0)[1].count == 0


def patience(steps, period):
    tx = transforms.reduce_on_plateau(factor=0.5, patience=period)
    state = tx.init(ONE)._replace(best_value=ONE, plateau_count=count_of(steps - 1))
    return tx.update(ONE, state, value=2.0)[1].scale < 1


def early_stopping(steps, period):
    rule = EarlyStopping(period)
    state = rule.init()._replace(best_metric=ONE, patience_count=count_of(steps - 1))
    return rule.update(state, 2 * ONE).should_stop


WAITING = [apply_every, multi_steps, lookahead, accumulation, patience, early_stopping]


@pytest.mark.parametrize("period", [3, LOST, LAST])
@pytest.mark.parametrize("is_due", WAITING, ids=lambda f: f.__name__)
def test_what_waits_for_a_number_of_steps_is_due_at_that_step(is_due, period):
    with jax.enable_x64(False):
        assert not is_due(period - 1, period)
        assert is_due(period, period)


def test_a_pause_lasts_as_long_as_it_says():
    with jax.enable_x64(False):
        tx = transforms.reduce_on_plateau(factor=0.5, patience=1, cooldown=LOST)
        _, state = tx.update(ONE, tx.init(ONE)._replace(best_value=ONE), value=2.0)
        assert state.cooldown_count == LOST


@pytest.mark.parametrize("bound", [2.5, 3.0, jnp.float32(2.5), jnp.int32(3)])
def test_a_bound_between_integers_is_reached_at_the_larger(bound):
    assert not numerics.has_reached(count_of(2), bound)
    assert numerics.has_reached(count_of(3), bound)


@pytest.mark.parametrize("bound", [jnp.inf, jnp.nan, 2.0**31, 1e30])
def test_some_bounds_are_never_reached(bound):
    with jax.enable_x64(False):
        assert not numerics.has_reached(count_of(LAST), bound)
        assert not numerics.has_reached(count_of(LAST), jnp.float32(bound))
