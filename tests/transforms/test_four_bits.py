"""Moments of 4 bits: the levels, two codes in a byte, and the places of both."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import GradientTransformationExtraArgs
from jaxopt_course.training import state_shardings
from tests.tiers import everyday_first
from tests.transforms.test_quantized_state import by_axes, trained


# As the paper prints them: table 7 of https://arxiv.org/abs/2309.01507 and T(i) = (i + 1) / 16.
SIGNED = [0.0055, 0.0325, 0.0775, 0.2125, 0.4375, 0.6625, 0.8875]
LEVELS = {
    "signed": np.array([*(-x for x in SIGNED), 0.0, *SIGNED, 1.0]),
    "positive": (np.arange(16) + 1) / 16,
}


class Held(NamedTuple):
    """The gradient before the last one, which is the next update."""

    gradient: jax.Array


def holding(block, kind, bits=4, **options):
    """An optimizer that keeps the last gradient."""

    def update(updates, state, params=None, **extra_args):
        return state.gradient, Held(updates)

    hold = GradientTransformationExtraArgs(Held, update)
    return transforms.quantized_state(
        hold, bits, block, kind=lambda field: kind, min_size=1, chunk=None, **options
    )


def kept(x, block, kind):
    """``x`` after it was encoded and decoded, and its codes."""
    tx = holding(block, kind)
    state = tx.init(x)
    return tx.update(jnp.zeros_like(x), state)[0], state.inner_state.gradient


def nearest(x, block, kind):
    """The nearest level of each entry, in float64."""
    flat = np.pad(np.asarray(x, np.float64).reshape(-1), (0, -x.size % block)).reshape(-1, block)
    scales = np.abs(flat).max(-1, keepdims=True)
    ratios = np.divide(flat, scales, out=np.zeros_like(flat), where=scales > 0)
    levels = LEVELS[kind]
    chosen = levels[np.abs(ratios[..., None] - levels).argmin(-1)]
    return (chosen * scales).reshape(-1)[: x.size].reshape(x.shape)


@pytest.mark.parametrize("kind", everyday_first(1, LEVELS))
@pytest.mark.parametrize("shape", [(6, 64), (384,), (2, 3, 64), (6, 32, 2)])
def test_each_entry_has_the_nearest_level(shape, kind, key):
    x = jax.random.normal(key, shape, jnp.float32)
    x = jnp.abs(x) if kind == "positive" else x
    for block in (16, 100):  # the second leaves a short block
        found, array = kept(x, block, kind)
        assert array.codes.shape == (*shape[:-1], shape[-1] // 2)
        assert array.codes.dtype.itemsize == 1
        np.testing.assert_allclose(found, nearest(x, block, kind), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", everyday_first(1, LEVELS))
def test_all_levels_are_kept(kind):
    levels = jnp.asarray(LEVELS[kind], jnp.float32)
    found, array = kept(3 * levels, 16, kind)
    np.testing.assert_allclose(found, 3 * levels, rtol=1e-6)
    assert array.scales.tolist() == [3.0]


def test_a_positive_number_never_becomes_zero():
    x = jnp.zeros((2, 16), jnp.float32).at[0, 3].set(1.0)
    found, _ = kept(x, 16, "positive")
    assert (np.asarray(found) > 0).all()


def test_an_odd_last_axis_keeps_eight_bits():
    params = {"even": jnp.ones((3, 8), jnp.float32), "odd": jnp.ones((8, 3), jnp.float32)}
    state = holding(4, "signed").init(params).inner_state.gradient
    assert {name: array.bits for name, array in state.items()} == {"even": 4, "odd": 8}
    assert {name: array.codes.size for name, array in state.items()} == {"even": 12, "odd": 24}


@pytest.mark.exhaustive
def test_chunks_do_as_whole_leaves(key):
    inner = optimizers.adamw(0.01, mask=by_axes)
    sizes = {"bits": 4, "block": 32, "min_size": 100}
    whole, chunked = (
        trained(transforms.quantized_state(inner, chunk=chunk, **sizes), key)
        for chunk in (None, 256)
    )
    # a number that rounding moves across a boundary would change a few entries
    for a, b in zip(jax.tree.leaves(whole[0]), jax.tree.leaves(chunked[0]), strict=True):
        assert np.mean(np.abs(a - b) > 1e-5) < 0.01
    exact = trained(inner, key)[0]
    for a, b in zip(jax.tree.leaves(whole[0]), jax.tree.leaves(exact), strict=True):
        # 30 steps of 0.01 each, whose errors partly cancel
        np.testing.assert_allclose(a, b, rtol=0, atol=0.3 * 0.5)


def test_adamw_keeps_about_one_byte_a_parameter():
    params = jnp.zeros((512, 1024), jnp.float32)
    state = transforms.quantized_state(optimizers.adamw(0.1), bits=4).init(params)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) <= 1.07 * params.size


def test_packed_leaves_share_blocks(key):
    params = {f"w{i}": jnp.ones((8, 8), jnp.float32) for i in range(10)}
    inner = transforms.quantized_state(optimizers.adamw(1e-2), 4, 16, min_size=128, chunk=None)
    tx = transforms.packed(inner)
    state = tx.init(params)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) < 1.6 * 640
    grads = {name: jax.random.normal(key, p.shape, p.dtype) for name, p in params.items()}
    updates, after = tx.update(grads, state, params)
    exact = optimizers.adamw(1e-2)
    chex.assert_trees_all_close(updates, exact.update(grads, exact.init(params), params)[0])
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_codes_lie_where_their_array_would():
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    tx = transforms.quantized_state(optimizers.adam(0.1), bits=4, min_size=2)
    shapes = {"longer last": (16, 24), "only last": (3, 8), "no half": (3, 4)}
    params = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    mu = jax.eval_shape(tx.init, params).inner_state[0].mu
    found = {name: array.codes.spec for name, array in state_shardings(mu, mesh, "fsdp").items()}
    split = jax.sharding.PartitionSpec
    assert found["longer last"] == split(None, "data")  # though half of 24 is less than 16
    assert found["only last"] == split(None, "data")
    assert found["no half"] == split()
