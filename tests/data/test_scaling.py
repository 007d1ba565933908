import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.preprocessing

from jaxopt_course.data import Scaler, fit_scaler, load, scale_features, split, unscale_features


PEERS = {
    "standard": sklearn.preprocessing.StandardScaler,
    "min_max": sklearn.preprocessing.MinMaxScaler,
}


@pytest.mark.parametrize("kind", PEERS)
@pytest.mark.parametrize("name", ["wine", "digits"])  # of digits, some pixels never vary
def test_scaling_is_scikit_learns(kind, name):
    inputs = load(name).inputs.astype(np.float64)
    train = inputs[::2]
    peer = PEERS[kind]().fit(train)
    scaler = fit_scaler(train, kind)
    scaled = scale_features(scaler, inputs)
    np.testing.assert_allclose(scaled, peer.transform(inputs), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(unscale_features(scaler, scaled), inputs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", PEERS)
def test_the_training_rows_alone_decide(kind, key):
    """Course 5, scale features by the statistics of the training part."""
    data = load("wine")
    rows = split(key, 178, validation=0.2, test=0.2, stratify=data.targets)
    spoiled = data.inputs.copy()
    spoiled[rows.validation] *= 1e3
    spoiled[rows.test] -= 1e3

    def leaks(fitted_rows) -> bool:
        one, other = (fit_scaler(x[fitted_rows], kind) for x in (data.inputs, spoiled))
        return any((a != b).any() for a, b in zip(one, other, strict=True))

    assert not leaks(rows.train)
    assert leaks(slice(None))  # the planted defect: statistics of all rows


@pytest.mark.parametrize("kind", PEERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_constant_feature_comes_out_as_zero(kind, dtype):
    inputs = np.full((7, 3), 0.1, dtype)
    inputs[:, 1] = np.arange(7)
    inputs[:, 2] = 0
    scaler = fit_scaler(inputs, kind)
    assert scaler.scale[0] == scaler.scale[2] == 1
    for scaled in (scale_features(scaler, inputs), jax.jit(scale_features)(scaler, inputs)):
        assert np.isfinite(scaled).all()
        assert not np.asarray(scaled)[:, [0, 2]].any()
        assert scaled.dtype == dtype


def test_a_spread_below_float32_counts_as_none():
    inputs = np.array([[1e-50], [3e-50]])
    assert fit_scaler(inputs).scale == 1
    assert fit_scaler(inputs, "min_max").scale == 1


def test_statistics_accumulate_in_double_precision():
    inputs = np.float32(1e4) + np.linspace(-1, 1, 100_001, dtype=np.float32)[:, None]
    scaled = scale_features(fit_scaler(inputs), inputs)
    assert scaled.dtype == np.float32
    # Rounded results of size one: their mean is off by less than one rounding.
    assert abs(scaled.mean(dtype=np.float64)) < 1e-7
    assert abs(scaled.std(dtype=np.float64) - 1) < 1e-6


def test_scaling_is_a_pure_function_of_arrays(key):
    inputs = 5 + 3 * jax.random.normal(key, (20, 4))
    scaler = fit_scaler(inputs)
    on_device = Scaler(*map(jnp.asarray, scaler))
    expected = scale_features(scaler, np.asarray(inputs))
    chex.assert_trees_all_close(jax.jit(scale_features)(on_device, inputs), expected, rtol=1e-12)
    chex.assert_trees_all_close(
        jax.vmap(scale_features, (None, 0))(on_device, inputs), expected, rtol=1e-12
    )
    low = jax.jit(scale_features)(on_device, inputs.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    chex.assert_trees_all_close(unscale_features(on_device, expected), inputs, rtol=1e-12)


def test_images_and_integers_are_scaled_too():
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    scaled = scale_features(fit_scaler(images, "min_max"), images)
    assert scaled.dtype == np.float64
    np.testing.assert_array_equal(scaled, np.stack([np.zeros((3, 3)), np.ones((3, 3))]))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`kind` must be one of standard, min_max, got 'minmax'"):
        fit_scaler(np.ones((2, 2)), "minmax")
    with pytest.raises(ValueError, match="fit_scaler: the inputs are empty"):
        fit_scaler(np.ones((0, 2)))
    with pytest.raises(
        ValueError, match="fit_scaler: every number must be finite, got nan in row 1"
    ):
        fit_scaler(np.array([[1.0], [np.nan]]))
    for wrong in (np.ones((5, 3)), np.ones((2, 1)), np.ones(())):
        with pytest.raises(
            ValueError,
            match=r"`scaler` was fitted to features of shape \(2,\), got inputs of",
        ):
            scale_features(fit_scaler(np.eye(2)), wrong)
