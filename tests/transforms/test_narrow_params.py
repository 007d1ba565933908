"""Parameters of bfloat16 that move by less than their last place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers, transforms


STEP = jnp.float32(-1e-3)
PLAIN = optimizers.sgd(1.0)


def after_a_hundred(tx, params, dtype):
    def body(carry, _):
        params, state = carry
        grads = jnp.full_like(params, STEP, dtype=dtype)
        updates, state = tx.update(grads, state, params)
        return (transforms.apply_updates(params, updates), state), None

    return jax.lax.scan(body, (params, tx.init(params)), length=100)[0][0]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_a_hundred_small_steps_add_up(dtype):
    """The lanes draw each for itself: their mean is within three standard errors of 1 + 100 u."""
    lanes = jnp.ones(1000, jnp.bfloat16)
    exact = 1 - 100 * float(jnp.asarray(STEP, dtype))
    stochastic = transforms.stochastic_rounding(PLAIN, key=0)
    ways = [PLAIN, stochastic, transforms.kahan(PLAIN), transforms.master_weights(PLAIN)]
    found = jax.jit(lambda p: [after_a_hundred(tx, p, dtype) for tx in ways])(lanes)
    plain, drawn, summed, copied = (np.asarray(x, np.float64) for x in found)
    assert (plain == 1).all()
    assert abs(drawn.mean() - exact) < 3 * drawn.std() / np.sqrt(drawn.size)
    assert drawn.std() > 0
    spacing = 2.0**-7  # of bfloat16 above 1
    assert np.abs(summed - exact).max() <= spacing
    assert np.abs(copied - exact).max() <= spacing / 2


def pairs(key, n):
    """Parameters and updates of all sizes and signs, and what is hard: 0, crossings, ties."""
    a, b, c, d = jax.random.split(key, 4)
    params = jax.random.normal(a, (n,)) * jnp.exp2(
        jax.random.randint(b, (n,), -30, 30).astype(float)
    )
    moves = jax.random.normal(c, (n,)) * jnp.exp2(
        jax.random.randint(d, (n,), -30, 30).astype(float)
    )
    params = params.astype(jnp.bfloat16)
    wide = params.astype(jnp.float32)
    near = -wide * (1 + moves.astype(jnp.float32) * 0 + 2.0**-10)  # all but annuls it
    half = wide * 2.0**-9
    updates = [moves.astype(jnp.float32), near, half, -wide, 0 * wide]
    params = jnp.concatenate([params] * len(updates) + [jnp.zeros(n, jnp.bfloat16)])
    return params, jnp.concatenate([*updates, moves.astype(jnp.float32)])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_what_is_drawn_is_reached_and_lies_on_both_sides(dtype, key):
    params, moves = pairs(key, 2000)

    @jax.jit
    def ends(params, moves):
        target = params.astype(jnp.float32) + moves
        updates = [transforms._narrow.reaching(params, target, dtype, up) for up in (False, True)]
        low, high = (transforms.apply_updates(params, u).astype(jnp.float32) for u in updates)
        return target, low, high

    target, low, high = map(np.asarray, ends(params, moves))
    assert (low <= target).all()
    assert (target <= high).all()
    # Between what can be reached lies at most a unit in the last place of the largest number in it.
    largest = np.maximum(np.abs(np.asarray(params, np.float32)), np.abs(moves))
    assert (high - low <= np.maximum(largest, 1e-30) * 2.0**-6).all()
    on_the_grid = np.asarray(jnp.asarray(target).astype(jnp.bfloat16).astype(jnp.float32)) == target
    exact = on_the_grid & (np.abs(moves) <= np.abs(np.asarray(params, np.float32)) / 2)
    assert exact.any()
    assert (low[exact] == high[exact]).all()


def test_a_copy_starts_anew_from_what_somebody_else_has_changed():
    tx = transforms.master_weights(PLAIN)
    params = jnp.array([1.0, 1.0], jnp.bfloat16)
    _, state = tx.update(jnp.full(2, STEP), tx.init(params), params)
    changed = jnp.array([3.0, 1.0], jnp.bfloat16)
    _, state = tx.update(jnp.full(2, STEP), state, changed)
    np.testing.assert_allclose(state.master, [3.001, 1.002], rtol=1e-6)


def test_kahan_changes_a_projected_parameter_no_further():
    tx = transforms.kahan(PLAIN)
    params = jnp.ones((), jnp.bfloat16)
    _, state = tx.update(STEP, tx.init(params), params)
    projected = jnp.zeros((), jnp.bfloat16)
    updates, _ = tx.update(jnp.zeros(()), state, projected)
    assert abs(float(updates)) <= 2.0**-8
