"""Residual sums, stochastic depth and dropped weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.nn import MLP, DropConnect, ResidualMLP, StochasticDepth, stochastic_depth
from tests.nn.arrays import normal, variables_of


def test_a_block_adds_to_what_it_is_given():
    model = ResidualMLP(3, width=4, blocks=1, activation="tanh", param_dtype=jnp.float64)
    x = normal(5, 2)
    variables = variables_of(model, x, train=False)
    p = jax.tree.map(np.asarray, variables["params"])
    affine = lambda name, h: h @ p[name]["kernel"] + p[name]["bias"]
    h = affine("Dense_0", np.asarray(x))
    h = h + affine("Dense_2", np.tanh(affine("Dense_1", h)))
    np.testing.assert_allclose(model.apply(variables, x, False), affine("Dense_3", h), rtol=1e-12)


@pytest.mark.exhaustive
def test_sums_keep_the_slope_of_the_first_layer_where_products_lose_it(key):
    """Course 4, vanishing gradients: fifty sigmoids in a row, with plus instead of times."""

    def slope(model):
        x = normal(8, 4)
        params = model.init(key, x, train=False)["params"]
        loss = lambda params: jnp.sum(model.apply({"params": params}, x, train=False) ** 2)
        return float(jnp.linalg.norm(jax.jit(jax.grad(loss))(params)["Dense_0"]["kernel"]))

    options = {"activation": "sigmoid", "param_dtype": jnp.float64}
    assert slope(MLP(2, (16,) * 50, **options)) < 1e-12
    assert 1e-2 < slope(ResidualMLP(2, width=16, blocks=50, **options)) < 1e6


def test_batch_statistics_do_not_see_padding():
    model = ResidualMLP(2, width=4, blocks=1, normalization="batch", param_dtype=jnp.float64)
    x = normal(6, 3)
    variables = variables_of(model, x, train=False)
    apply = lambda x, mask: model.apply(variables, x, True, mask, mutable=["batch_stats"])
    padded = jnp.concatenate([x, jnp.full((2, 3), 1e6)])
    y, stats = apply(x, None)
    y_padded, stats_padded = apply(padded, jnp.arange(8) < 6)
    np.testing.assert_allclose(y_padded[:6], y, rtol=1e-10)
    for ours, theirs in zip(jax.tree.leaves(stats_padded), jax.tree.leaves(stats), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_stochastic_depth_silences_whole_rows_and_keeps_the_mean(key):
    n, rate = 200_000, 0.3
    y = np.asarray(stochastic_depth(key, jnp.ones((n, 2)), rate))
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-14)
    assert abs(y[:, 0].mean() - 1) < 3 * np.sqrt(rate / (1 - rate) / n)


def test_rows_skip_blocks_in_training_only(key):
    model = ResidualMLP(2, width=4, blocks=3, stochastic_depth=0.5, param_dtype=jnp.float64)
    plain = ResidualMLP(2, width=4, blocks=3, param_dtype=jnp.float64)
    x = normal(6, 3)
    variables = variables_of(model, x, train=False)
    np.testing.assert_array_equal(
        model.apply(variables, x, False), plain.apply(variables, x, False)
    )
    apply = jax.jit(lambda key: model.apply(variables, x, True, rngs={"dropout": key}))
    assert not jnp.array_equal(apply(key), apply(jax.random.fold_in(key, 1)))


def test_dropped_weights_keep_the_mean_and_biases_stay(key):
    layer = DropConnect(1, rate=0.4, param_dtype=jnp.float64)
    x = normal(1, 5)
    variables = variables_of(layer, x, train=False)
    apply = lambda key: layer.apply(variables, x, True, rngs={"dropout": key})[0, 0]
    draws = np.asarray(jax.jit(jax.vmap(apply))(jax.random.split(key, 20_000)))
    evaluated = float(layer.apply(variables, x, False)[0, 0])
    assert abs(draws.mean() - evaluated) < 3 * draws.std() / np.sqrt(draws.size)
    terms = np.asarray(x)[0] ** 2 * np.asarray(variables["params"]["kernel"])[:, 0] ** 2
    np.testing.assert_allclose(draws.var(), 0.4 / 0.6 * terms.sum(), rtol=0.05)  # 3 / sqrt(n/2)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: StochasticDepth(1.0), r"StochasticDepth: `rate` must lie in \[0, 1\), got 1"),
        (lambda: stochastic_depth(jax.random.key(0), jnp.ones((2, 2)), -0.1), "`rate` must lie"),
        (lambda: DropConnect(0, 0.5), r"DropConnect: `features` must lie in \[1, inf\), got 0"),
        (lambda: DropConnect(2, 1.5), r"DropConnect: `rate` must lie in \[0, 1\), got 1.5"),
        (lambda: DropConnect(2, 0.5, "glorot"), "Did you mean 'glorot_normal'|'glorot_uniform'"),
        (lambda: ResidualMLP(0), r"ResidualMLP: `outputs` must lie in \[1, inf\), got 0"),
        (lambda: ResidualMLP(2, width=0), r"ResidualMLP: `width` must lie in \[1, inf\)"),
        (lambda: ResidualMLP(2, blocks=-1), r"ResidualMLP: `blocks` must lie in \[0, inf\)"),
        (lambda: ResidualMLP(2, normalization="bach"), "Did you mean 'batch'"),
        (lambda: ResidualMLP(2, stochastic_depth=1.0), "`stochastic_depth` must lie in"),
    ],
)
def test_bad_fields_get_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
