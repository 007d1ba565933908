import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.nn import (
    ClassicalDropout,
    Dropout,
    GaussianDropout,
    classical_dropout,
    dropout,
    gaussian_dropout,
)
from tests.nn.arrays import normal
from tests.tiers import everyday_first


LAYERS = [Dropout, ClassicalDropout, GaussianDropout]
FUNCTIONS = [dropout, classical_dropout, gaussian_dropout]


def apply(layer, x, key, *, train=True):
    return layer.apply({}, x, train=train, rngs={"dropout": key})


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_mean_in_training_is_the_mean_in_evaluation(layer, rate, key):
    """Course 2, dropout: scaled in training or at test time, both keep the expectation."""
    x = normal(200_000) + 3
    trained = apply(layer(rate), x, key)
    evaluated = apply(layer(rate), x, key, train=False)
    standard_error = np.std(trained - evaluated) / np.sqrt(x.size)
    assert abs(np.mean(trained - evaluated)) < 3 * standard_error


def test_classical_dropout_is_inverted_dropout_scaled_by_one_minus_rate(key):
    """Course 2, dropout: the classical form exists too; ``rate`` is the probability to drop."""
    x = normal(100)
    for train in (True, False):
        inverted, classical = (apply(layer(0.3), x, key, train=train) for layer in LAYERS[:2])
        np.testing.assert_allclose(classical, 0.7 * inverted, rtol=1e-14)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_gaussian_dropout_has_the_variance_of_dropout(rate, key):
    n = 200_000
    noise = np.asarray(gaussian_dropout(key, jnp.ones(n), rate))
    # the variance of a sample variance of a normal number is 2 sigma^4 / n
    variance = rate / (1 - rate)
    assert abs(noise.var() - variance) < 3 * variance * np.sqrt(2 / n)
    assert abs(np.var(dropout(key, jnp.ones(n), rate)) - variance) < 0.02


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.8])
def test_the_share_of_zeros_is_the_rate(rate, key):
    n = 200_000
    silenced = float(np.mean(dropout(jax.random.fold_in(key, 1), jnp.ones(n), rate) == 0))
    assert abs(silenced - rate) <= 3 * np.sqrt(rate * (1 - rate) / n)


def test_rate_zero_changes_no_bit(key):
    x = normal(100, dtype="float32")
    np.testing.assert_array_equal(dropout(key, x, 0.0), x)
    np.testing.assert_array_equal(jax.jit(dropout)(key, x, 0.0), x)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("function", everyday_first(1, FUNCTIONS))
def test_the_dtype_is_kept_and_a_traced_rate_draws_the_same_entries(function, dtype, key):
    x = normal(100, dtype=dtype)
    for rate in (0.3, jnp.float32(0.3)):
        by_number = jax.jit(lambda x, r=rate: function(key, x, r))(x)
        by_tracer = jax.jit(function)(key, x, rate)
        assert by_number.dtype == by_tracer.dtype == dtype
        np.testing.assert_array_equal(by_number == 0, by_tracer == 0)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("train", [True, False])
def test_vmap_over_rates_and_keys_is_one_by_one(layer, train, key):
    x = normal(100)
    rates, keys = jnp.array([0.0, 0.2, 0.9]), jax.random.split(key, 3)
    together = jax.vmap(lambda r, k: apply(layer(r), x, k, train=train))(rates, keys)
    for rate, k, y in zip(rates, keys, together, strict=True):
        np.testing.assert_allclose(y, apply(layer(rate), x, k, train=train), rtol=1e-14)


@pytest.mark.parametrize("rate", [0.0, 0.999, 1 - 2**-24, 1.0])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_value_and_gradient_stay_finite_up_to_rate_one(function, rate, key):
    x = normal(100, dtype="float32")

    def total(x, rate):
        return function(key, x, rate).sum()

    tree = jax.jit(jax.value_and_grad(total, (0, 1)))(x, jnp.float32(rate))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def test_the_gradient_with_respect_to_the_rate_is_that_of_the_scale(key):
    x = normal(100)
    y, slope = jax.jvp(lambda rate: dropout(key, x, rate), (jnp.array(0.4),), (jnp.array(1.0),))
    np.testing.assert_allclose(slope, y / 0.6, rtol=1e-14)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("name", ["dropout", "classical_dropout", "Dropout", "ClassicalDropout"])
def test_a_bad_rate_gets_a_sentence(name, rate, key):
    makers = {layer.__name__: layer for layer in LAYERS} | {
        function.__name__: lambda r, f=function: f(key, jnp.ones(3), r) for function in FUNCTIONS
    }
    with pytest.raises(ValueError, match=rf"{name}: `rate` must lie in \[0, 1\), got {rate}"):
        makers[name](rate)


@pytest.mark.parametrize("rate", [None, "0.5", True, np.ones(2)])
def test_a_rate_of_a_bad_kind_gets_a_sentence(rate, as_users_run_it):
    with pytest.raises(TypeError, match="Dropout: `rate` must be a number in"):
        Dropout(rate)


def test_training_asks_for_its_stream_and_evaluation_for_nothing(key):
    x = jnp.ones(3)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, False), x)
    with pytest.raises(Exception, match="dropout"):
        Dropout(0.5).apply({}, x, True)
    with pytest.raises(TypeError, match="train"):
        Dropout(0.5).apply({}, x)
