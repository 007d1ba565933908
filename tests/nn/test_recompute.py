import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.nn import CNN, MLP, BatchNorm, recompute_batch_stats
from tests.nn.arrays import normal, variables_of
from tests.tiers import everyday_first


BATCH = {"normalization": "batch", "batch_momentum": 0.0, "param_dtype": jnp.float64}
MODELS = {
    "mlp": (MLP(2, hidden=(6, 5, 4), **BATCH), (30, 3)),
    "cnn": (
        CNN(2, channels=(2, 3), dense=(), normalization_position="after", **BATCH),
        (12, 4, 4, 1),
    ),
}


@pytest.fixture(params=everyday_first(1, MODELS))
def case(request):
    model, shape = MODELS[request.param]
    x = 2 * normal(*shape) + 1
    return model, variables_of(model, x, train=False), x


def cut(x, *at):
    return [(part, None) for part in jnp.split(x, at)]


def train(model, variables, x):
    return jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables, x
    )


def whole(model, variables, x):
    """What a training-mode pass over everything as one batch sees: momentum is 0."""
    return train(model, variables, x)[1]["batch_stats"]


@pytest.mark.parametrize("at", [(), (4, 8)])
def test_it_is_what_one_batch_of_everything_sees_however_cut(case, at):
    model, variables, x = case
    exact = recompute_batch_stats(model, variables, cut(x, *at))
    chex.assert_trees_all_close(exact["batch_stats"], whole(model, variables, x), rtol=1e-9)
    chex.assert_trees_all_equal(exact["params"], variables["params"])
    assert set(exact) == set(variables)


def test_evaluation_with_them_is_training_on_everything(case):
    model, variables, x = case
    exact = recompute_batch_stats(model, variables, cut(x, 6))
    trained = train(model, variables, x)[0]
    evaluated = model.apply(exact, x, train=False)
    np.testing.assert_allclose(evaluated, trained, rtol=1e-9, atol=1e-10)


def test_the_statistics_from_before_do_not_matter(case):
    model, variables, x = case
    spoilt = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), variables["batch_stats"])
    chex.assert_trees_all_close(
        recompute_batch_stats(model, variables | {"batch_stats": spoilt}, cut(x, 6)),
        recompute_batch_stats(model, variables, cut(x, 6)),
        rtol=1e-9,
    )


def test_padding_does_not_count(case):
    model, variables, x = case
    padded = jnp.concatenate([x[10:], 100 * jnp.ones_like(x[:3])])
    mask = jnp.arange(len(padded)) < len(x) - 10
    exact = recompute_batch_stats(model, variables, [(x[:10], None), (padded, mask)])
    chex.assert_trees_all_close(exact["batch_stats"], whole(model, variables, x), rtol=1e-9)
    nothing = (x, jnp.zeros(len(x)))
    for batches in ([nothing], [nothing, nothing]):
        chex.assert_trees_all_equal(recompute_batch_stats(model, variables, batches), variables)


def test_a_batch_in_which_no_row_counts_changes_no_bit(key):
    x = normal(9, 3, dtype=jnp.float32)
    layer = BatchNorm()
    variables = layer.init(key, x, train=True)
    some, nothing = (x, None), (x, jnp.zeros(len(x)))
    alone = recompute_batch_stats(layer, variables, [some])
    for batches in ([nothing, some], [some, nothing]):
        chex.assert_trees_all_equal(recompute_batch_stats(layer, variables, batches), alone)


@pytest.mark.parametrize("at", [(3,), (250, 500, 750)])
def test_float32_meets_numpy_in_float64(at, key):
    x = (normal(1000, 3) + jnp.array([[0.0, 5.0, 10.0]])).astype(jnp.float32)
    layer = BatchNorm()
    variables = layer.init(key, x, train=True)
    stats = recompute_batch_stats(layer, variables, cut(x, *at))["batch_stats"]
    expected = np.asarray(x, np.float64)
    np.testing.assert_allclose(stats["mean"], expected.mean(0), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(stats["var"], expected.var(0), rtol=2e-6)


def test_dropout_takes_no_part(case):
    model, variables, x = case
    chex.assert_trees_all_equal(
        recompute_batch_stats(model.clone(dropout=0.5), variables, cut(x)),
        recompute_batch_stats(model, variables, cut(x)),
    )


def test_it_runs_inside_jit(case):
    model, variables, x = case
    compiled = jax.jit(lambda v, x: recompute_batch_stats(model, v, cut(x, 6)))
    chex.assert_trees_all_close(
        compiled(variables, x), recompute_batch_stats(model, variables, cut(x, 6)), rtol=1e-9
    )


def test_a_model_without_batch_norm_comes_back_as_it_was():
    model, x = MLP(2), jnp.ones((3, 2))
    variables = variables_of(model, x, train=False)
    chex.assert_trees_all_equal(recompute_batch_stats(model, variables, [(x, None)]), variables)


def test_no_batch_and_foreign_layers_get_a_sentence(key, standard_promotion):
    x = jnp.ones((3, 2))

    class Foreign(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.BatchNorm(use_running_average=not train)(x)

    variables = Foreign().init(key, x, train=False)
    with pytest.raises(ValueError, match=r"layer at 'BatchNorm_0' does not record its moments"):
        recompute_batch_stats(Foreign(), variables, [(x, None)])
    with pytest.raises(ValueError, match="`batches` must hold at least one pair"):
        recompute_batch_stats(Foreign(), variables, [])


def test_features_may_lie_on_any_axis(key):
    x, layer = normal(6, 3, 2), BatchNorm(axis=1, param_dtype=jnp.float64)
    variables = layer.init(key, x, train=True)
    exact = recompute_batch_stats(layer, variables, cut(x, 4))["batch_stats"]
    expected = {"mean": x.mean((0, 2)), "var": x.var((0, 2))}
    chex.assert_trees_all_close(exact, expected, rtol=1e-12)
