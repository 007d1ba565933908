import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.initializers import (
    INITIALIZERS,
    constant,
    fan_in_normal,
    initializer,
    normal,
    orthogonal,
    variance_scaling,
)


N_IN, N_OUT = 300, 200
VARIANCE = {
    "fan_in_normal": 1 / N_IN,
    "fan_out_normal": 1 / N_OUT,
    "glorot_normal": 2 / (N_IN + N_OUT),
    "glorot_uniform": 2 / (N_IN + N_OUT),
    "he_normal": 2 / N_IN,
    "he_uniform": 2 / N_IN,
    "small_normal": 0.01**2,
    "standard_normal": 1.0,
}
BOUND = {"glorot_uniform": (6 / (N_IN + N_OUT)) ** 0.5, "he_uniform": (6 / N_IN) ** 0.5}


def check_variance(init, variance, key):
    """The variance about zero, within five of its standard errors: sqrt(2 / n) for a normal
    distribution, less for the others, whose kurtosis is smaller."""
    weights = np.array(init(key, (N_IN, N_OUT), jnp.float64))
    n = weights.size
    assert abs(weights.mean()) < 5 * (variance / n) ** 0.5
    assert abs(np.mean(weights**2) / variance - 1) < 5 * (2 / n) ** 0.5


@pytest.mark.parametrize("name", VARIANCE)
def test_variances_are_those_of_the_formulas(name, key):
    check_variance(initializer(name), VARIANCE[name], key)


@pytest.mark.parametrize("name", ["fan_in_normal", "he_uniform", "small_normal"])
def test_the_check_rejects_a_variance_that_is_one_in_thirty_off(name, key):
    with pytest.raises(AssertionError):
        check_variance(initializer(name), VARIANCE[name] * 31 / 30, key)


def test_every_named_initializer_has_a_known_law():
    assert set(INITIALIZERS) == set(VARIANCE) | {"orthogonal", "zeros"}


@pytest.mark.parametrize("name", BOUND)
def test_uniform_ones_fill_their_interval(name, key):
    largest = float(jnp.abs(initializer(name)(key, (N_IN, N_OUT), jnp.float64)).max())
    # The largest of n uniform numbers lies within 20 / n of the end, but for 1 in e^20.
    assert BOUND[name] * (1 - 20 / (N_IN * N_OUT)) < largest <= BOUND[name]


def test_the_default_is_glorot_uniform():
    assert initializer() is INITIALIZERS["glorot_uniform"]


def test_the_fan_normals_are_not_cut_off_but_jax_lecun_normal_is(key):
    ours = fan_in_normal()(key, (N_IN, N_OUT), jnp.float64) * N_IN**0.5
    cut = jax.nn.initializers.lecun_normal()(key, (N_IN, N_OUT), jnp.float64) * N_IN**0.5
    assert float(jnp.abs(ours).max()) > 3.5  # of 60,000 normal numbers, 28 are expected beyond
    assert float(jnp.abs(cut).max()) < 2.3  # two standard deviations over 0.8796


def test_orthogonal_rows_or_columns_are_orthonormal(key):
    for shape in ((6, 4), (4, 6)):
        w = initializer("orthogonal")(key, shape, jnp.float64)
        gram = w.T @ w if shape[0] > shape[1] else w @ w.T
        chex.assert_trees_all_close(gram, jnp.eye(4), atol=1e-12)


def test_the_window_of_a_convolution_counts(key):
    weights = np.array(initializer("fan_in_normal")(key, (3, 3, 50, 40), jnp.float64))
    assert np.mean(weights**2) * 3 * 3 * 50 == pytest.approx(1, abs=5 * (2 / weights.size) ** 0.5)


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_dtype_and_shape_are_those_asked_for(name, dtype, key):
    weights = initializer(name)(key, (4, 3), dtype)
    assert weights.shape == (4, 3)
    assert weights.dtype == dtype


@pytest.mark.parametrize(
    "make",
    [normal, constant, orthogonal, lambda scale: variance_scaling(scale, "fan_in", "normal")],
    ids=["normal", "constant", "orthogonal", "variance_scaling"],
)
def test_numbers_can_be_vmapped(make, key):
    numbers = jnp.array([0.1, 2.0])
    draw = lambda number: make(number)(key, (3, 2), jnp.float64)
    one_by_one = jnp.stack([draw(float(number)) for number in numbers])
    chex.assert_trees_all_close(jax.vmap(draw)(numbers), one_by_one, rtol=1e-12)


def test_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match=r"initializer: `name` must be one of.*'glorot_normal'"):
        initializer("glorot_norml")
