"""Moments of 8 bits: the codes, and the optimizer around them."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers, transforms
from tests.tiers import everyday_first


class Held(NamedTuple):
    """The gradient before the last one, which is the next update."""

    gradient: jax.Array


def holding(block, positive):
    """An optimizer that keeps the last gradient in 8 bits."""
    hold = optax.GradientTransformation(
        Held, lambda updates, state, params=None: (state.gradient, Held(updates))
    )
    kind = lambda field: "positive" if positive else "signed"
    return transforms.quantized_state(hold, block=block, kind=kind, min_size=1, chunk=None)


def encode(x, positive):
    """``x`` in codes, with a scale for each row."""
    return holding(x.shape[-1], positive).init(x).inner_state.gradient


def decode(array):
    positive = array.codes.dtype == jnp.uint8
    state = transforms.QuantizedState(Held(array))
    zeros = jnp.zeros(array.codes.shape, jnp.float32)
    return holding(array.block, positive).update(zeros, state)[0]


def random_sizes(key, shape):
    exponents = jax.random.uniform(key, shape, jnp.float32, -149, 127)
    return jnp.exp2(exponents)


def test_all_codes_are_kept():
    """Decoded and encoded again each of the 256 is itself, up to the sign of 0."""
    signed = jnp.arange(-127, 128, dtype=jnp.int8)
    positive = jnp.arange(256, dtype=jnp.int32).astype(jnp.uint8)
    for codes in (signed, positive):
        kept = transforms.QuantizedArray(codes, jnp.full(1, 3.0, jnp.float32), len(codes))
        again = encode(decode(kept), positive=codes.dtype == jnp.uint8)
        np.testing.assert_array_equal(again.codes, codes)
        assert again.scales.tolist() == [3.0]


def test_errors_are_within_half_a_step(key):
    """A step is 1 / (127 f'), where f is the companding and its slope the least on the way."""
    r = jnp.linspace(0, 1, 4097, dtype=jnp.float32)
    x = jnp.concatenate([r, -r])
    back = np.asarray(decode(encode(x, positive=False)), np.float64)
    y = 2 * np.abs(np.asarray(x, np.float64)) / (1 + np.abs(np.asarray(x, np.float64)))
    worst = np.minimum(y + 0.5 / 127, 1)
    small = y < 1 / 127  # becomes 0
    bound = np.where(small, np.abs(x), worst / (2 - worst) - np.abs(x))
    assert (np.abs(back - np.asarray(x)) <= bound + 1e-6).all()
    assert (np.abs(back[small]) <= np.abs(np.asarray(x))[small] + 1e-6).all()
    back = np.asarray(decode(encode(r, positive=True)), np.float64)
    y = np.asarray(r, np.float64) ** 0.25
    low, high = (np.clip(y + d, 0, 1) ** 4 for d in (-0.5 / 255, 0.5 / 255))
    least = (np.asarray(r) > 0) / 255.0**4
    assert (back <= np.maximum(high, least) + 1e-6).all()
    assert (back >= low - 1e-6).all()


def test_a_positive_number_never_becomes_zero(key):
    x = random_sizes(key, (64, 128))  # denormal ones among them
    back = jax.jit(lambda x: decode(encode(x, positive=True)))(x)
    bits = lambda x: np.asarray(x).view(np.uint32)
    assert (bits(back)[bits(x) > 0] > 0).all()
    alone = jnp.zeros((1, 128)).at[0, 3].set(1.0).astype(jnp.float32)
    assert (np.asarray(decode(encode(alone, positive=True))) == alone).all()


def largest_update(encode_v, key):
    """Adam's update from coded moments, of entries of very different sizes in one block."""
    g = jnp.exp(4 * jax.random.normal(key, (200, 256), jnp.float32))
    m, v = (decode(encode(g, positive=False)), encode_v(g * g))
    return float(jnp.max(jnp.abs(m) / (jnp.sqrt(v) + 1e-8)))


def test_no_entry_jumps_as_with_a_code_that_rounds_to_zero(key):
    def naive(v):
        scale = v.max(-1, keepdims=True)
        return jnp.round(255 * v / scale) / 255 * scale

    ours = lambda v: decode(encode(v, positive=True))
    assert largest_update(ours, key) < 3
    assert largest_update(naive, key) > 100


PARAMS = {
    "kernel": jnp.full((40, 64), 0.5, jnp.float32),
    "ragged": jnp.ones((3, 333), jnp.float32),
    "again": jnp.ones((40, 64), jnp.float32),
    "bias": jnp.ones((64,), jnp.float32),
    "none": None,
}


def by_axes(tree):
    return jax.tree.map(lambda x: x.ndim > 1, tree)


def trained(tx, key):
    def body(carry, k):
        params, state = carry
        keys = jax.random.split(k, 4)
        leaves, structure = jax.tree.flatten(params)
        noise = [jax.random.normal(a, x.shape, x.dtype) for a, x in zip(keys, leaves, strict=True)]
        grads = jax.tree.map(lambda p, n: p + 0.1 * n, params, structure.unflatten(noise))
        updates, state = tx.update(grads, state, params)
        return (transforms.apply_updates(params, updates), state), None

    start = (PARAMS, tx.init(PARAMS))
    return jax.jit(lambda: jax.lax.scan(body, start, jax.random.split(key, 30))[0])()


@pytest.mark.exhaustive
def test_chunks_do_as_whole_leaves(key):
    inner = optimizers.adamw(0.01, mask=by_axes)
    sizes = {"block": 32, "min_size": 100}
    whole, chunked = (
        trained(transforms.quantized_state(inner, chunk=chunk, **sizes), key)
        for chunk in (None, 256)
    )
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(chunked), strict=True):
        # a number that rounding moves across a boundary lies one code further
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=1e-5, atol=1.01)
    exact = trained(inner, key)[0]
    for a, b in zip(jax.tree.leaves(whole[0]), jax.tree.leaves(exact), strict=True):
        # 30 steps of 0.01 each, whose errors of some percent partly cancel
        np.testing.assert_allclose(a, b, rtol=0, atol=0.03 * 0.3)


@pytest.mark.exhaustive
def test_chunks_of_a_leaf_leave_out_what_the_state_has_in_the_place_of_another(key):
    inner = optimizers.scale_by_factored_rms()  # of each leaf it has two placeholders
    grads = {"a": jax.random.normal(key, (40, 40)), "b": jnp.ones(5), "c": jnp.ones(3000)}
    tx = transforms.quantized_state(inner, min_size=256, chunk=1024)
    wanted, wanted_state = inner.update(grads, inner.init(grads), grads)
    found, state = tx.update(grads, tx.init(grads), grads)
    chex.assert_trees_all_close(found, wanted, rtol=1e-6)
    chex.assert_trees_all_equal(state.inner_state.v_row, wanted_state.v_row)


@pytest.mark.parametrize(
    "inner",
    everyday_first(
        1,
        [
            optimizers.soap(0.1, max_precond_dim=0),  # keeps a tuple for each leaf
            transforms.masked(optimizers.adam(0.1), {"w": True, "b": False}),  # a node for a leaf
            transforms.masked(optimizers.adam(0.1), {"w": False, "b": True}),
        ],
    ),
)
def test_an_optimizer_that_keeps_something_for_an_absent_leaf_is_not_run_in_chunks(inner):
    params = {"w": jnp.ones((40, 20), jnp.float32), "b": jnp.ones(500, jnp.float32)}
    tx = transforms.quantized_state(inner, chunk=256, min_size=2)
    updates, _ = tx.update(params, tx.init(params), params)
    chex.assert_trees_all_close(updates, inner.update(params, inner.init(params), params)[0])


def test_an_optimizer_that_needs_extra_arguments_runs_on_whole_leaves():
    params = {"w": jnp.linspace(-1, 1, 600), "b": jnp.ones(())}
    inner = optax.polyak_sgd()
    tx = transforms.quantized_state(inner, min_size=64, block=16, chunk=64)
    updates, _ = tx.update(params, tx.init(params), params, value=0.5)
    expected, _ = inner.update(params, inner.init(params), params, value=0.5)
    chex.assert_trees_all_equal(updates, expected)


def test_adamw_keeps_about_two_bytes_a_parameter():
    params = jnp.zeros((512, 1024), jnp.float32)
    state = transforms.quantized_state(optimizers.adamw(0.1)).init(params)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) <= 2.13 * params.size


def test_temporaries_are_a_chunk():
    n, chunk = 2**20, 2**14
    tx = transforms.quantized_state(optimizers.adamw(0.1), chunk=chunk)
    like = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)
    state = jax.eval_shape(tx.init, like)
    program = jax.jit(tx.update, donate_argnums=(0, 1)).lower(like, state, like).compile()
    assert program.memory_analysis().temp_size_in_bytes <= 0.01 * 4 * n + 16 * 4 * chunk


def test_what_is_no_moment_stays():
    inner = transforms.ema_params(optimizers.sgd(0.1, 0.9), 0.9)
    state = transforms.quantized_state(inner, min_size=2).init(jnp.ones((8, 8))).inner_state
    assert state.ema.dtype == jnp.ones(()).dtype
    assert not isinstance(state.ema, transforms.QuantizedArray)


def test_a_chunk_holds_whole_blocks(as_users_run_it):
    with pytest.raises(ValueError, match="`chunk` must be a multiple of 256, got 100"):
        transforms.quantized_state(optimizers.adam(0.1), chunk=100)
    with pytest.raises(ValueError, match="`bits` must be 4 or 8, got 6"):
        transforms.quantized_state(optimizers.adam(0.1), bits=6)
    with pytest.raises(ValueError, match="`block` must be even for 4 bits, got 33"):
        transforms.quantized_state(optimizers.adam(0.1), bits=4, block=33)
