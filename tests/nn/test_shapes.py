"""Models and layers refuse inputs with another number of axes, while they are traced."""

import jax
import jax.numpy as jnp
import pytest

from jaxopt_course.nn import (
    CNN,
    GRU,
    MLP,
    Autoencoder,
    BatchNorm,
    DropConnect,
    GroupNorm,
    LayerNorm,
    Maxout,
    ResidualMLP,
    RMSNorm,
    Transformer,
    batch_norm,
    group_norm,
    layer_norm,
    rms_norm,
    stochastic_depth,
)
from tests.tiers import everyday_first


pytestmark = pytest.mark.usefixtures("as_users_run_it")
KEY = jax.random.key(0)
GRU_5, TRANSFORMER_5 = GRU(5, 4), Transformer(5, 8, width=4, heads=2, blocks=1)
REFUSED = [
    (CNN(10), (64, 64), r"\[batch, height, width\] or \[batch, height, width, channels\]"),
    (CNN(10), (2, 4, 8, 8, 1), r"\[batch, height, width\] or"),
    (CNN(10), (8,), r"\[batch, height, width\] or"),
    (MLP(2), (), r"\[batch, ...\]"),
    (ResidualMLP(2, 4), (), r"\[batch, ...\]"),
    (Autoencoder(2), (), r"\[batch, ...\]"),
    (BatchNorm(), (3,), r"\[batch, features\]"),
    (BatchNorm(), (), r"\[batch, features\]"),
    (GroupNorm(1), (4,), r"\[batch, features\]"),
    (LayerNorm(), (), r"\[features\] or \[batch, ...\]"),
    (RMSNorm(), (), r"\[features\] or \[batch, ...\]"),
    (Maxout(2, 2), (), r"\[inputs\] or \[batch, ...\]"),
    (DropConnect(2, 0.5), (), r"\[inputs\] or \[batch, ...\]"),
]
TAKES_TRAIN = (CNN, MLP, ResidualMLP, Autoencoder, BatchNorm, DropConnect)


def outputs(model, x):
    options = {"train": False} if isinstance(model, TAKES_TRAIN) else {}
    return jax.eval_shape(lambda: model.init_with_output(KEY, x, **options))[0]


@pytest.mark.parametrize(("model", "shape", "allowed"), REFUSED, ids=lambda x: str(x)[:12])
def test_another_number_of_axes_is_refused(model, shape, allowed):
    owner = type(model).__name__
    owner = {"LayerNorm": "layer_norm", "RMSNorm": "rms_norm", "GroupNorm": "group_norm"}.get(
        owner, owner
    )
    with pytest.raises((ValueError, TypeError)) as caught:
        outputs(model, jnp.ones(shape))
    if shape != ():  # of a scalar the features' number is asked for first
        assert caught.match(rf"^{owner}: the input must have the shape {allowed}.*, got \(")


@pytest.mark.parametrize("model", [GRU_5, TRANSFORMER_5], ids=["GRU", "Transformer"])
def test_sequence_models_take_integers_of_two_axes(model):
    owner = type(model).__name__
    for shape in [(3,), (2, 3, 5), ()]:
        with pytest.raises(ValueError, match=rf"^{owner}: .*shape \[batch, length\], got \("):
            model.init(KEY, jnp.zeros(shape, int), train=False)
    for dtype in (float, bool):
        with pytest.raises(TypeError, match=f"^{owner}: tokens must be integers, got "):
            model.init(KEY, jnp.zeros((2, 3), dtype), train=False)


@pytest.mark.parametrize(
    "model", everyday_first(1, [GRU_5, TRANSFORMER_5]), ids=["GRU", "Transformer"]
)
def test_a_token_outside_the_vocabulary_is_no_other_token(model):
    good = jnp.array([[0, 3, 1], [4, 2, 2]])
    variables = model.init(KEY, good, train=False)
    assert bool(jnp.isfinite(model.apply(variables, good, train=False)).all())
    for token in (-1, -5, 5, 100):
        found = jnp.isnan(model.apply(variables, good.at[1, 2].set(token), train=False))
        assert bool(found[1, 2].all())
        assert not bool(found[0].any())  # of another sequence


@pytest.mark.parametrize(
    "normalize",
    [
        batch_norm,
        layer_norm,
        lambda x, **parts: group_norm(x, 1, **parts),
        lambda x, **parts: rms_norm(x, parts.get("scale", parts.get("bias"))),
    ],
)
@pytest.mark.parametrize("shape", [(), (1,), (4, 3), (4,)])
@pytest.mark.parametrize("name", ["scale", "bias"])
def test_scale_and_bias_have_one_entry_a_feature(normalize, shape, name):
    with pytest.raises(ValueError, match=r"must have one entry for each of the 3 features, got"):
        normalize(jnp.ones((4, 3)), **{name: jnp.ones(shape)})


def test_running_statistics_of_other_features_are_refused():
    layer = BatchNorm(use_scale=False, use_bias=False)
    variables = layer.init(KEY, jnp.ones((4, 1)), train=True)
    with pytest.raises(ValueError, match=r"^BatchNorm: `mean` must have one entry for each of th"):
        layer.apply(variables, jnp.ones((4, 3)), train=False)


def test_a_row_is_a_batch_where_a_mapped_axis_holds_the_others():
    x = jnp.arange(6.0).reshape(3, 2)
    layer = BatchNorm(axis_name="rows")
    variables = layer.init(KEY, x[0], train=True)
    one = lambda row: layer.apply(variables, row, train=True, mutable=["batch_stats"])[0]
    whole, _ = batch_norm(x)
    assert bool(jnp.allclose(jax.vmap(one, axis_name="rows")(x), whole, atol=1e-6))


def test_stochastic_depth_needs_rows():
    with pytest.raises(ValueError, match=r"^stochastic_depth: .* \[batch, ...\], got \(\)"):
        stochastic_depth(KEY, jnp.ones(()), 0.5)
