"""Weights of 24 bits, 16 in the parameters and 8 in the state, against float64."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxopt_course import optimizers, transforms


PLAIN = optimizers.sgd(1.0)
NARROW = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


def unit_of(w):
    """1/256 of the distance from |w| to the next larger number of its dtype, in float64."""
    magnitude = np.abs(w)
    above = np.nextafter(magnitude, np.array(np.inf, w.dtype))
    return (above.astype(np.float64) - magnitude.astype(np.float64)) / 256


def start_and_moves(dtype):
    """Parameters of many sizes with zeros among them, and moves from tiny to crossing zero."""
    sizes, moves, kinds = np.random.default_rng(0).normal(size=(3, 12, 400))
    start = sizes[0] * np.exp2(np.round(4 * kinds[0])) * (kinds[1] < 1)
    return start.astype(NARROW[dtype]), moves * np.abs(start) * np.exp2(-8 + 4 * kinds)


@pytest.mark.parametrize("dtype", NARROW)
def test_each_step_is_rounded_to_24_bits_and_the_parameter_to_16(dtype):
    tx = transforms.split_weights(PLAIN)
    params, moves = map(jnp.asarray, start_and_moves(dtype))

    def body(carry, move):
        params, state = carry
        updates, state = tx.update(-move.astype(jnp.float32), state, params)
        params = transforms.apply_updates(params, updates)
        return (params, state), (params, state.weights(params))

    found = jax.jit(lambda p: jax.lax.scan(body, (p, tx.init(p)), moves)[1])(params)
    weights = np.asarray(params, np.float64)
    for w, m, move in zip(*map(np.asarray, (*found, moves)), strict=True):
        wanted = weights + move.astype(np.float32)
        weights = m.astype(np.float64)
        rounding = 2.0**-24 * np.abs(wanted)  # of the sum in float32
        assert (w == m.astype(NARROW[dtype])).all()
        unit = unit_of(w)
        half = np.where(np.abs(wanted - w.astype(np.float64)) > 127 * unit, 1, 0.5) * unit
        assert (np.abs(weights - wanted) <= half + rounding).all()
    assert (np.asarray(found[0])[-1] != np.asarray(params)).mean() > 0.5


def test_a_hundred_steps_below_the_last_place_add_up():
    tx = transforms.split_weights(PLAIN)

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(jnp.full_like(params, -1e-3), state, params)
        return (transforms.apply_updates(params, updates), state), None

    start = jnp.ones(3, jnp.bfloat16)
    params, state = jax.lax.scan(body, (start, tx.init(start)), length=100)[0]
    exact = 1 + 100 * float(jnp.bfloat16(1e-3))
    # each step is rounded to 2^-15; half of that a hundred times
    np.testing.assert_allclose(state.weights(params), exact, rtol=0, atol=100 * 2.0**-16)
    assert jnp.abs(params.astype(jnp.float32) - exact).max() <= 2.0**-8 + 100 * 2.0**-16


def test_the_optimizer_sees_the_weights():
    """Decay of a weight by a thousandth is below the last place of the parameter."""
    tx = transforms.split_weights(optimizers.sgdw(1.0, weight_decay=1e-3))
    params, zero = jnp.full(4, 1.5, jnp.bfloat16), jnp.zeros(4, jnp.bfloat16)
    state = tx.init(params)
    for _ in range(20):
        updates, state = tx.update(zero, state, params)
        params = transforms.apply_updates(params, updates)
    np.testing.assert_allclose(state.weights(params), 1.5 * 0.999**20, rtol=20 * 2.0**-17)


def test_a_projected_parameter_is_changed_no_further():
    tx = transforms.split_weights(PLAIN)
    params = jnp.ones((), jnp.bfloat16)
    _, state = tx.update(jnp.float32(-1e-3), tx.init(params), params)
    projected = jnp.full((), 0.25, jnp.bfloat16)
    assert abs(float(state.weights(projected)) - 0.25) <= 2.0**-10  # half a unit of its last place


def test_wide_parameters_are_left_alone(key):
    tx = transforms.split_weights(optimizers.adam(0.1))
    params = {"w": jax.random.normal(key, (3, 2), jnp.float32)}
    state = tx.init(params)
    wanted, _ = optimizers.adam(0.1).update(params, optimizers.adam(0.1).init(params), params)
    assert not jax.tree.leaves(state.correction)
    assert (tx.update(params, state, params)[0]["w"] == wanted["w"]).all()
