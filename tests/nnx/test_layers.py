"""NNX layers compute, bit for bit, what the Linen layers compute with their parameters and keys."""

import inspect
import math

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxopt_course import nn
from jaxopt_course import nnx as ours
from tests.nn.arrays import normal, variables_of
from tests.nnx.moved import of_linen, of_nnx, put, same_keys


RNGS = nnx.Rngs(0)
LAYERS = {
    "Dropout": (nn.Dropout(0.3), lambda: ours.Dropout(0.3, rngs=RNGS)),
    "ClassicalDropout": (nn.ClassicalDropout(0.3), lambda: ours.ClassicalDropout(0.3, rngs=RNGS)),
    "GaussianDropout": (nn.GaussianDropout(0.3), lambda: ours.GaussianDropout(0.3, rngs=RNGS)),
    "StochasticDepth": (nn.StochasticDepth(0.5), lambda: ours.StochasticDepth(0.5, rngs=RNGS)),
    "DropConnect": (nn.DropConnect(3, 0.4), lambda: ours.DropConnect(4, 3, 0.4, rngs=RNGS)),
    "Maxout": (nn.Maxout(3, 2), lambda: ours.Maxout(4, 3, 2, rngs=RNGS)),
    "BatchNorm": (nn.BatchNorm(0.7, 1e-3), lambda: ours.BatchNorm(4, momentum=0.7, epsilon=1e-3)),
    "LayerNorm": (nn.LayerNorm(1e-3), lambda: ours.LayerNorm(4, epsilon=1e-3)),
    "GroupNorm": (nn.GroupNorm(2), lambda: ours.GroupNorm(4, 2, rngs=RNGS)),
    "RMSNorm": (nn.RMSNorm(), lambda: ours.RMSNorm(4)),
}
X = normal(6, 4, dtype="float32")


def taken(module, **offered):
    names = inspect.signature(module.__call__).parameters
    return {name: value for name, value in offered.items() if name in names}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_that_of_linen(name, train, monkeypatch):
    linen, make = LAYERS[name]
    variables = variables_of(linen, X, **taken(linen, train=False))
    model = make()
    put(model, {**variables.get("params", {}), **variables.get("batch_stats", {})})
    if not train:  # a new layer is in training mode
        model.eval()
    start_again = same_keys(monkeypatch)
    start_again()
    mask = jnp.array([1, 1, 0, 1, 0, 1], bool)
    expected = of_linen(linen, variables, X, dict, **taken(linen, train=train, mask=mask))
    got = of_nnx(model, X, **taken(model, mask=mask))
    chex.assert_trees_all_equal(got, expected)
    if name == "BatchNorm":
        assert bool((got[1]["mean"] != variables["batch_stats"]["mean"]).all()) == train


def test_every_layer_is_compared():
    models = {"MLP", "CNN", "Transformer"}  # in a file of their own
    assert {*LAYERS} | models == {name for name in dir(ours) if name[0].isupper()} - {
        "Hyperparameter"
    }


def test_train_and_eval_switch_a_model():
    model = ours.MLP(4, 2, (8,), normalization="batch", dropout=0.5, rngs=nnx.Rngs(0))
    assert not jnp.array_equal(model(X), model(X))
    model.eval()
    before = nnx.to_pure_dict(nnx.state(model))
    chex.assert_trees_all_equal(model(X), model(X))
    chex.assert_trees_all_equal(nnx.to_pure_dict(nnx.state(model)), before)
    model.train()
    assert not jnp.array_equal(model(X), model(X))


@pytest.mark.exhaustive
def test_statistics_of_a_mapped_axis_are_those_of_the_whole_batch():
    parts = X.reshape(3, 2, 4)

    def part(x):
        layer = ours.BatchNorm(4, axis_name="parts")
        return layer(x), layer.mean[...], layer.var[...]

    y, mean, var = jax.vmap(part, axis_name="parts")(parts)
    whole = ours.BatchNorm(4)
    chex.assert_trees_all_close(y.reshape(6, 4), whole(X), atol=1e-6)
    chex.assert_trees_all_close((mean[0], var[0]), (whole.mean[...], whole.var[...]), atol=1e-6)
    chex.assert_trees_all_close(whole.var[...], 0.99 + 0.01 * X.var(0), rtol=1e-6)  # biased


RATED = ["Dropout", "ClassicalDropout", "GaussianDropout", "StochasticDepth"]


@pytest.mark.parametrize("name", RATED)
def test_a_rate_may_be_traced(name):
    apply = lambda rate: getattr(ours, name)(rate, rngs=nnx.Rngs(0))(X)
    traced = jax.jit(jax.vmap(apply))(jnp.array([0.1, 0.5], jnp.float32))
    chex.assert_trees_all_close(traced, jnp.stack([apply(0.1), apply(0.5)]), rtol=1e-6)
    assert not jnp.array_equal(traced[0], traced[1])


def test_a_traced_rate_of_0_keeps_all_entries_and_one_of_1_drops_them():
    apply = lambda rate: ours.Dropout(rate, rngs=nnx.Rngs(0))(X)
    kept, dropped = jax.vmap(apply)(jnp.array([0.0, 1.0]))
    chex.assert_trees_all_equal((kept, dropped), (X, jnp.zeros_like(X)))


def test_a_layer_with_a_traced_rate_passes_through_transformations():
    layer = ours.Dropout(jnp.array(0.5), rngs=nnx.Rngs(0))
    y = nnx.jit(lambda layer, x: layer(x))(layer, X)
    assert {0.0} < {float(v) for v in jnp.where(y == 0, 0.0, 1.0).ravel()}
    assert not jax.tree.leaves(nnx.state(layer, nnx.Param))


def evaluated(model, x):
    model.eval()
    return model(x)


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: ours.Dropout(1.0, rngs=RNGS), ValueError, "^Dropout: `rate` must lie in"),
        (lambda: ours.GaussianDropout(math.nan, rngs=RNGS), ValueError, "^GaussianDropout: `rate`"),
        (lambda: ours.DropConnect(0, 3, 0.1, rngs=RNGS), ValueError, "^DropConnect: `inputs` must"),
        (lambda: ours.Maxout(2, 3, 0, rngs=RNGS), ValueError, "^Maxout: `pieces` must lie in"),
        (lambda: ours.BatchNorm(0), ValueError, "^BatchNorm: `features` must lie in"),
        (lambda: ours.BatchNorm(3)(X), ValueError, "one entry for each of the 4 features, got"),
        (lambda: ours.LayerNorm(4, epsilon=0.0), ValueError, "^LayerNorm: `epsilon` must lie in"),
        (lambda: ours.GroupNorm(4, 3)(X), ValueError, "must divide the number of features, 4"),
        (lambda: evaluated(ours.BatchNorm(4, axis=2), X), ValueError,
         r"`axis` must lie in \[-2, 2\), got 2"),
        (lambda: nn.normalize_by_moments(X, X[0], X[0], epsilon=-1.0), ValueError,
         "^normalize_by_moments: `epsilon` must lie in"),
        (lambda: nn.running_moments((X[0], X[0]), nn.batch_norm(X)[1], 1.5), ValueError,
         "^running_moments: `momentum` must lie in"),
        (lambda: nn.mean_of_classical_dropout(X, 1.0), ValueError,
         "^mean_of_classical_dropout: `rate` must lie in"),
        (lambda: ours.RMSNorm(2.0), TypeError, "^RMSNorm: `features` must be an int in"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("as_users_run_it")
def test_bad_numbers_get_a_sentence(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
