"""Moments of floats of 8 bits: the codes are those of ``ml_dtypes``, an independent rounding."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxopt_course import optimizers, transforms
from tests.transforms.test_four_bits import holding
from tests.transforms.test_quantized_state import random_sizes, trained


DTYPES = {"signed": ml_dtypes.float8_e4m3fn, "positive": ml_dtypes.float8_e5m2}
# Largest error relative to a normal number: half a step of 3 or 2 bits after the leading one.
ERRORS = {"signed": 1 / 16, "positive": 1 / 8}


def kept(x, kind):
    """``x`` after it was encoded with a scale for each row and decoded, and its codes."""
    tx = holding(x.shape[-1], kind, 8, float8=True)
    state = tx.init(x)
    return tx.update(jnp.zeros_like(x), state)[0], state.inner_state.gradient


@pytest.mark.parametrize("kind", DTYPES)
def test_codes_are_rounded_to_nearest(kind, key):
    x = jax.random.normal(key, (20, 256), jnp.float32) ** 3
    x = jnp.abs(x) if kind == "positive" else x
    found, array = kept(x, kind)
    dtype = DTYPES[kind]
    largest = np.float32(ml_dtypes.finfo(dtype).max)
    scales = np.abs(x).max(-1, keepdims=True)
    expected = (np.asarray(x) * (1 / scales) * largest).astype(dtype)
    if kind == "positive":  # no code of 0
        expected = np.maximum(expected, ml_dtypes.finfo(dtype).smallest_subnormal)
    assert array.codes.dtype == dtype
    np.testing.assert_array_equal(np.asarray(array.codes).view(np.uint8), expected.view(np.uint8))
    np.testing.assert_allclose(found, expected.astype(np.float32) / largest * scales, rtol=1e-6)
    is_normal = np.abs(x) > scales / largest * np.float32(ml_dtypes.finfo(dtype).smallest_normal)
    assert is_normal.mean() > 0.9
    errors = np.abs(found / x - 1)[is_normal]
    assert 0.8 * ERRORS[kind] < errors.max() <= ERRORS[kind] * (1 + 1e-6)


@pytest.mark.parametrize("kind", DTYPES)
def test_encoding_again_changes_nothing(kind, key):
    x = jnp.abs(jax.random.normal(key, (4, 64), jnp.float32))
    once, _ = kept(x, kind)
    np.testing.assert_array_equal(kept(once, kind)[0], once)


def test_a_positive_number_never_becomes_zero(key):
    x = random_sizes(key, (64, 128))  # subnormal ones among them
    found = np.asarray(kept(x, "positive")[0])
    bits = lambda x: np.asarray(x).view(np.uint32)
    assert (bits(found)[bits(x) > 0] > 0).all()
    assert np.isfinite(found).all()


def test_adamw_keeps_about_two_bytes_a_parameter_and_stays_near(key):
    inner = optimizers.adamw(0.01)
    tx = transforms.quantized_state(inner, block=32, float8=True, min_size=100, chunk=None)
    (params, state), (exact, _) = trained(tx, key), trained(inner, key)
    moments = state.inner_state[0]
    for array in (moments.mu["kernel"], moments.nu["kernel"]):
        assert array.codes.nbytes == 40 * 64
        assert array.scales.nbytes == 4 * 40 * 64 / 32
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(exact), strict=True):
        # 30 steps of 0.01 each, whose errors of some 10 percent partly cancel
        np.testing.assert_allclose(a, b, rtol=0, atol=0.2 * 0.3)


def test_floats_have_eight_bits(as_users_run_it):
    with pytest.raises(ValueError, match="`float8` needs `bits` of 8, got 4"):
        transforms.quantized_state(optimizers.adam(0.1), bits=4, float8=True)
